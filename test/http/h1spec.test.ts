/**
 * The 33 cases of h1spec (github.com/uNetworking/h1spec, http_test.ts) against both adapters, each with its exact
 * outcome. `uws` names the outcome of uWebSockets.js where it is not the one wanted: what it does not answer it cuts
 * off when its idle limit is over, and never handles.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { HttpServer, HttpServerOptions } from "../../src/http/http-server.ts";
import { createNodeHttpServer } from "../../src/http/node-http-server.ts";
import { createUwsHttpServer } from "../../src/http/uws-http-server.ts";
import { RawConnection } from "../support/raw-http.ts";

const QUIET_MS = 400;
const IDLE_MS_MAX = 15_000;
/** The server waits for more bytes. */
const WAITS = 0;

interface Case {
  readonly name: string;
  readonly bytes: string;
  /** A status, or WAITS. */
  readonly wanted: number;
  readonly body?: string;
  /** What uWebSockets.js does in its place. */
  readonly uws?: number;
}

const HOST = "Host: example.com\r\n";

function get(name: string, headers: string, wanted: number, uws: number = wanted): Case {
  return { name, bytes: `GET / HTTP/1.1\r\n${headers}\r\n`, wanted, uws };
}

const WHOLE = "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";
/** Name and number of bytes; the fragments of h1spec are the beginnings of one request. */
const FRAGMENTS: readonly (readonly [string, string])[] = [
  ["Fragmented method", "G"],
  ["Fragmented URL 1", "GET "],
  ["Fragmented URL 2", "GET /hello"],
  ["Fragmented URL 3", "GET /hello "],
  ["Fragmented HTTP version", "GET /hello HTTP"],
  ["Fragmented request line", "GET /hello HTTP/1.1"],
  ["Fragmented request line newline 1", "GET /hello HTTP/1.1\r"],
  ["Fragmented request line newline 2", "GET /hello HTTP/1.1\r\n"],
  ["Fragmented field name", "GET /hello HTTP/1.1\r\nHos"],
  ["Fragmented field value 1", "GET /hello HTTP/1.1\r\nHost:"],
  ["Fragmented field value 2", "GET /hello HTTP/1.1\r\nHost: "],
  ["Fragmented field value 3", "GET /hello HTTP/1.1\r\nHost: localhost"],
  ["Fragmented field value 4", "GET /hello HTTP/1.1\r\nHost: localhost\r"],
  ["Fragmented request", "GET /hello HTTP/1.1\r\nHost: localhost\r\n"],
  ["Fragmented request termination", "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r"],
];

const CASES: readonly Case[] = [
  { name: "Request without HTTP version", bytes: "GET / \r\n\r\n", wanted: 400, uws: 505 },
  get("Request with Expect header", `${HOST}Expect: 100-continue\r\n`, 200),
  get("Valid GET request", HOST, 200),
  get("Valid GET request with edge cases", "hoSt:\texample.com\r\nempty:\r\n", 200),
  get("Invalid header characters", `${HOST}X-Invalid[]: test\r\n`, 400, WAITS),
  get("Missing Host header", "Content-Length: 5\r\n", 400),
  get("Multiple Host headers", `${HOST}Host: example.org\r\n`, 400),
  get(
    "Overflowing negative Content-Length header",
    `${HOST}Content-Length: -123456789123456789123456789\r\n`,
    400,
  ),
  get("Negative Content-Length header", `${HOST}Content-Length: -1234\r\n`, 400),
  get("Non-numeric Content-Length header", `${HOST}Content-Length: abc\r\n`, 400),
  get("Empty header value", `${HOST}X-Empty-Header: \r\n`, 200),
  get(
    "Header containing invalid control character",
    `${HOST}X-Bad-Control-Char: test\x07\r\n`,
    400,
    WAITS,
  ),
  {
    name: "Invalid HTTP version",
    bytes: `GET / HTTP/9.9\r\n${HOST}\r\n`,
    wanted: 400,
    uws: 505,
  },
  {
    name: "Invalid prefix of request",
    bytes: `Extra lineGET / HTTP/1.1\r\n${HOST}\r\n`,
    wanted: 400,
    uws: 505,
  },
  {
    name: "Invalid line ending",
    bytes: `GET / HTTP/1.1\r\n${HOST}\rSome-Header: Test\r\n\r\n`,
    wanted: 400,
    uws: WAITS,
  },
  {
    name: "Valid POST request with body",
    bytes: `POST / HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`,
    wanted: 200,
    body: "hello",
  },
  {
    name: "Chunked Transfer-Encoding",
    bytes: `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\nc\r\nHellO world1\r\n0\r\n\r\n`,
    wanted: 200,
    body: "HellO world1",
  },
  {
    name: "Conflicting Transfer-Encoding and Content-Length in varying case",
    bytes:
      `POST / HTTP/1.1\r\n${HOST}content-LengtH: 5\r\nTransFer-Encoding: chunked\r\n\r\n` +
      "c\r\nHellO world1\r\n0\r\n\r\n",
    wanted: 400,
  },
];

/** As h1spec asks of its subjects: any method, the body echoed. Counts what is handled. */
async function withEcho(
  open: (options: HttpServerOptions) => HttpServer | Promise<HttpServer>,
  work: (port: number, handled: () => number) => Promise<void>,
): Promise<void> {
  let handled = 0;
  const server = await open({
    routes: ["/", "/hello"].flatMap((pattern) => [
      {
        method: "GET" as const,
        pattern,
        handler: (_request, reply) => {
          handled++;
          reply.send(200, [], null);
        },
      },
      {
        method: "POST" as const,
        pattern,
        handler: (_request, reply) => {
          reply.readBody(
            1000,
            (body) => {
              handled++;
              reply.send(200, [], body);
            },
            () => reply.send(413, [], null),
          );
        },
      },
    ]),
    fallback: (_request, reply) => reply.send(404, [], null),
    onError: (error) => assert.fail(String(error)),
    requestDeadlineMs: 2_000,
    bodyDeadlineMs: 2_000,
    urlBytesMax: 512,
    tls: null,
  });
  try {
    await work(await server.listen("127.0.0.1", 0), () => handled);
  } finally {
    await server.close();
  }
}

async function withConnection<T>(
  port: number,
  work: (connection: RawConnection) => Promise<T>,
): Promise<T> {
  const connection = await RawConnection.open(port);
  try {
    return await work(connection);
  } finally {
    connection.destroy();
  }
}

for (const [kind, open] of [
  ["uws", createUwsHttpServer],
  ["node", createNodeHttpServer],
] as const) {
  describe(`h1spec over ${kind}`, () => {
    it("waits for the rest of every fragment, and takes it", { timeout: 20_000 }, async () => {
      assert.equal(FRAGMENTS.length + CASES.length, 33);
      await withEcho(open, async (port, handled) => {
        const outcomes = await Promise.all(
          FRAGMENTS.map(([name, fragment]) =>
            withConnection(port, async (connection) => {
              assert.ok(WHOLE.startsWith(fragment));
              connection.send(fragment);
              const isAnswered = await connection.until(
                () => connection.isClosed || connection.bytes.length > 0,
                QUIET_MS,
              );
              const early = isAnswered ? "early " : "";
              connection.send(WHOLE.slice(fragment.length));
              const [response] = await connection.responses(1);
              return `${name}: ${early}${response?.status}`;
            }),
          ),
        );
        // uWebSockets.js takes a request line that ends at these places for one of HTTP/1.0, and refuses it.
        const refused = kind === "uws" ? [1, 3, 4, 5, 6] : [];
        const wanted = FRAGMENTS.map(
          ([name], index) => `${name}: ${refused.includes(index) ? "early 505" : "200"}`,
        );
        assert.deepEqual(outcomes, wanted);
        assert.equal(handled(), FRAGMENTS.length - refused.length);
      });
    });

    for (const { name, bytes, wanted, body, uws } of CASES) {
      const expected = kind === "uws" ? (uws ?? wanted) : wanted;
      const outcome = expected === WAITS ? "is not answered (wanted 400)" : `gets ${expected}`;
      it(`${name} ${outcome}`, { timeout: 20_000 }, async () => {
        await withEcho(open, async (port, handled) => {
          await withConnection(port, async (connection) => {
            connection.send(bytes);
            const responses = await connection.responses(1, expected === WAITS ? QUIET_MS : 3_000);
            assert.deepEqual(
              responses.map(({ status }) => status),
              expected === WAITS ? [] : [expected],
            );
            if (body !== undefined) assert.equal(responses[0]?.body.toString(), body);
            assert.equal(handled(), expected === 200 ? 1 : 0);
            if (expected === 200) return;
            // Nothing that follows on this connection may be taken for a request.
            connection.send(WHOLE);
            await connection.until(
              () => connection.isClosed,
              expected === WAITS ? QUIET_MS : 3_000,
            );
            assert.equal(connection.isClosed, expected !== WAITS);
            assert.equal(handled(), 0);
          });
        });
      });
    }

    it("cuts off what it does not answer", { timeout: 20_000 }, async () => {
      await withEcho(open, async (port, handled) => {
        const unanswered = CASES.filter(({ uws }) => uws === WAITS);
        assert.equal(unanswered.length, 3);
        await Promise.all(
          unanswered.map(({ name, bytes }) =>
            withConnection(port, async (connection) => {
              connection.send(bytes);
              const isCut = await connection.until(() => connection.isClosed, IDLE_MS_MAX);
              assert.equal(isCut, true, name);
            }),
          ),
        );
        assert.equal(handled(), 0);
      });
    });
  });
}
