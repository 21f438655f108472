/** The promises of the port HttpServer, as one suite that every adapter runs. */

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { SECURITY_HEADERS } from "../../src/http/security-headers.ts";
import { ask, chunkedPost, get, HOST, post, put, waitFor } from "../support/http-requests.ts";
import {
  BODY_BYTES_MAX,
  DEADLINE_MS,
  HttpServerFixture,
  type OpenHttpServer,
  URL_BYTES_MAX,
} from "../support/http-server-fixture.ts";
import { exchange, RawConnection } from "../support/raw-http.ts";
import { describeConnections, describeStreams } from "./http-connections.ts";
import { describeSkippedBodies } from "./http-skipped-bodies.ts";

export function describeHttpServer(name: string, open: OpenHttpServer): void {
  describe(name, () => {
    let fixture: HttpServerFixture;
    before(async () => {
      fixture = await HttpServerFixture.start(open);
    });
    after(() => fixture.stop());
    describeRouting(() => fixture);
    describeReplies(() => fixture);
    describeBodies(() => fixture);
    describeSkippedBodies(() => fixture);
    describeConnections(open);
    describeStreams(open);
  });
}

function describeRouting(fixture: () => HttpServerFixture): void {
  it("gives path, query, parameter and header raw", async () => {
    const bytes = `GET /domains/b%C3%BCcher.de?a=%20b&c HTTP/1.1\r\n${HOST}X-Note:  n 1 \r\n\r\n`;
    const { status, body } = await ask(fixture(), bytes);
    assert.equal(status, 200);
    assert.deepEqual(JSON.parse(body.toString()), {
      method: "GET",
      path: "/domains/b%C3%BCcher.de",
      query: "a=%20b&c",
      parameter: "b%C3%BCcher.de",
      note: "n 1",
    });
  });
  it("gives an empty query, and an empty header, when there is none", async () => {
    const seen = JSON.parse((await ask(fixture(), get("/domains/a.example"))).body.toString());
    assert.deepEqual([seen.query, seen.parameter, seen.note], ["", "a.example", ""]);
  });
  it("reads the bytes of a path as UTF-8, or refuses them", async () => {
    const { status, body } = await ask(fixture(), get("/domains/b\xc3\xbccher.de"));
    if (status === 200) assert.equal(JSON.parse(body.toString()).parameter, "bücher.de");
    else assert.equal(status, 400);
  });
  it("prefers a static segment to a parameter", async () => {
    assert.equal((await ask(fixture(), get("/domains/stats"))).body.toString(), "stats");
  });
  it("serves the root path", async () => {
    assert.equal((await ask(fixture(), get("/"))).body.toString(), "root");
  });
  for (const path of [
    "/nothing",
    "/domains",
    "/domains/",
    "/domains/a/",
    "/domains//a",
    "/events/a/b/c",
    "//",
    `/${"a/".repeat(120)}`,
  ]) {
    it(`hands the unknown path ${path.slice(0, 20)} to the fallback`, async () => {
      const { status, body } = await ask(fixture(), get(path));
      assert.deepEqual([status, body.toString()], [404, '{"allow":[]}']);
    });
  }
  it("tells a wrong method with what is allowed", async () => {
    const { status, headers } = await ask(fixture(), get("/domains/a.example", "PUT"));
    assert.deepEqual([status, headers.get("allow")], [405, "GET, HEAD, DELETE, OPTIONS"]);
    const event = await ask(fixture(), get("/events/a.example/delivered"));
    assert.deepEqual([event.status, event.headers.get("allow")], [405, "PUT, OPTIONS"]);
  });
  for (const method of ["TRACE", "PATCH", "PROPFIND"]) {
    it(`does not serve ${method}`, async () => {
      assert.equal((await ask(fixture(), get("/domains/a.example", method))).status, 405);
    });
  }
  it("answers OPTIONS with 204 and Allow", async () => {
    const { status, headers } = await ask(fixture(), get("/domains/a.example", "OPTIONS"));
    assert.deepEqual([status, headers.get("allow")], [204, "GET, HEAD, DELETE, OPTIONS"]);
    assert.equal((await ask(fixture(), get("/nothing", "OPTIONS"))).status, 404);
  });
  it("answers HEAD like GET without the body, and the connection goes on", async () => {
    const connection = await RawConnection.open(fixture().port);
    connection.send(get("/domains/stats", "HEAD"));
    const [head] = await connection.responses(1, 3000, true);
    assert.deepEqual([head?.status, head?.headers.get("content-length")], [200, "5"]);
    connection.bytes = Buffer.alloc(0);
    connection.send(get("/domains/stats"));
    const [second] = await connection.responses(1);
    assert.equal(second?.body.toString(), "stats");
    connection.destroy();
  });
  it("answers a URL over the limit with 414, and one at the limit normally", async () => {
    const path = "/domains/a?";
    const fits = await ask(fixture(), get(path + "q".repeat(URL_BYTES_MAX - path.length)));
    const over = await ask(fixture(), get(path + "q".repeat(URL_BYTES_MAX - path.length + 1)));
    const long = await ask(fixture(), get(`/domains/${"q".repeat(4000)}`));
    assert.deepEqual([fits.status, over.status, long.status], [200, 414, 414]);
    assert.equal(JSON.parse(over.body.toString()).code, "uri_too_long");
  });
  it("measures the URL of a route with a parameter like any other", async () => {
    const around = "/events//delivered".length;
    const statusOf = async (length: number, query = ""): Promise<number> => {
      const path = `/events/${"d".repeat(length - around)}/delivered${query}`;
      return (await ask(fixture(), get(path, "PUT"))).status;
    };
    const fits = [await statusOf(URL_BYTES_MAX), await statusOf(URL_BYTES_MAX - 2, "?q")];
    const over = [await statusOf(URL_BYTES_MAX + 1), await statusOf(URL_BYTES_MAX - 1, "?q")];
    assert.deepEqual([...fits, ...over], [204, 204, 414, 414]);
  });

  it("takes headers of 8 KiB and refuses those of 64 KiB", async () => {
    const fits = await ask(fixture(), put("a.example", `X-A: ${"a".repeat(8192)}\r\n`));
    assert.equal(fits.status, 204);
    const { responses, isClosed } = await exchange(
      fixture().port,
      put("a.example", `X-A: ${"a".repeat(65_536)}\r\n`),
    );
    assert.ok(isClosed || responses[0]?.status === 431);
    assert.notEqual(responses[0]?.status, 204);
  });
}

function describeReplies(fixture: () => HttpServerFixture): void {
  it("answers the hot path with a bare 204", async () => {
    const { status, headers } = await ask(fixture(), put("a.example"));
    assert.equal(status, 204);
    assert.equal(headers.get("idempotency-replayed"), undefined);
    assert.equal(headers.get("content-length"), undefined);
    assert.equal(headers.get("content-security-policy"), undefined);
  });
  it("marks a replayed event", async () => {
    const { status, headers } = await ask(
      fixture(),
      put("a.example", "Idempotency-Key: again\r\n"),
    );
    assert.deepEqual([status, headers.get("idempotency-replayed")], [204, "true"]);
  });
  for (const [name, lines] of [
    ["empty", "Idempotency-Key: \r\n"],
    ["without a space behind its colon", "Idempotency-Key:\r\n"],
    ["given twice", "Idempotency-Key: a\r\nidempotency-key: b\r\n"],
    ["given twice, the same", "Idempotency-Key: a\r\nX-A: b\r\nIdempotency-Key: a\r\n"],
    ["given twice, the first empty", "Idempotency-Key:\r\nIdempotency-Key: a\r\n"],
  ] as const) {
    it(`refuses an Idempotency-Key that is ${name}`, async () => {
      const before = fixture().handledCount;
      const { status, body } = await ask(fixture(), put("a.example", lines));
      const { code, effect } = JSON.parse(body.toString());
      assert.deepEqual([status, code, effect], [400, "invalid_event_id", "none"]);
      assert.equal(fixture().handledCount, before);
    });
  }
  it("trims bytes over 0x7F from the ends of a value on uws, a limit of the library; node never does", async () => {
    const noteOf = async (value: string): Promise<string> => {
      const bytes = `GET /domains/a.example HTTP/1.1\r\n${HOST}X-Note: ${value}\r\n\r\n`;
      return JSON.parse((await ask(fixture(), bytes)).body.toString()).note;
    };
    const statusOf = async (headers: string, body = ""): Promise<number> =>
      (await ask(fixture(), put("a.example", headers) + body)).status;
    const isTrimmed = fixture().server.kind === "uws";
    const notes = [await noteOf("order1\xc3\xa9"), await noteOf("\xffa\x80")];
    assert.deepEqual(notes, isTrimmed ? ["order1", "a"] : ["order1\xc3\xa9", "\xffa\x80"]);
    // Taken for what it is not, or refused.
    const expected = isTrimmed ? 204 : 400;
    assert.equal(await statusOf("Content-Length: \xff5\r\n", "hello"), expected);
    assert.equal(await statusOf("Transfer-Encoding: \xffchunked\r\n", "0\r\n\r\n"), expected);
    assert.equal(await statusOf("Idempotency-Key: \xc3\xa9\r\n"), isTrimmed ? 400 : 204);
  });
  it("sends the security headers with every other answer", async () => {
    const paths = [
      "/domains/a.example",
      "/nothing",
      "/throw",
      "/stream",
      "/silent",
      `/domains/${"a".repeat(600)}`,
    ];
    for (const path of paths) {
      const { headers } = await ask(fixture(), get(path));
      for (const [name, value] of SECURITY_HEADERS)
        assert.equal(headers.get(name.toLowerCase()), value, path);
    }
  });
  it("lets a handler replace a security header", async () => {
    const { headers } = await ask(fixture(), get("/own-policy"));
    assert.equal(headers.get("cache-control"), "max-age=60");
    assert.equal(headers.get("x-content-type-options"), "nosniff");
  });
  it("sends a reply once", async () => {
    const { responses } = await exchange(fixture().port, get("/twice"), {
      count: 2,
      timeoutMs: 200,
    });
    assert.deepEqual(
      responses.map(({ body }) => body.toString()),
      ["first"],
    );
  });
  it("answers 500 without the reason when a handler throws, and reports it", async () => {
    const count = fixture().errors.length;
    for (const bytes of [get("/throw"), post("/throw-in-body", "x")]) {
      const { status, body } = await ask(fixture(), bytes);
      assert.deepEqual([status, JSON.parse(body.toString()).code], [500, "internal"]);
      assert.ok(!body.includes("secret"));
    }
    assert.equal(fixture().errors.length, count + 2);
  });
  it("answers a request without a Host as it answers all that is malformed", async () => {
    const { status, headers } = await ask(fixture(), "GET / HTTP/1.1\r\nX-A: b\r\n\r\n");
    assert.equal(status, 400);
    if (fixture().server.kind === "node") {
      assert.equal(headers.get("content-type"), "application/problem+json");
    }
  });
  it("takes a request with an expectation that it does not know", async () => {
    const head = `POST /events HTTP/1.1\r\n${HOST}Content-Length: 5\r\nExpect: 200-maybe\r\n\r\n`;
    const { status, body } = await ask(fixture(), `${head}hello`);
    assert.deepEqual([status, body.toString()], [200, "hello"]);
  });
  it("never lets a header value start another line", async () => {
    const { status, headers } = await ask(fixture(), get("/bad-header"));
    assert.deepEqual([status, headers.has("x-b")], [500, false]);
  });
  it("refuses to read a request after its handler returned", async () => {
    assert.equal((await ask(fixture(), get("/late-read"))).body.toString(), "refused");
  });
  it("answers 504 with an unknown outcome at the deadline, and ignores the late reply", async () => {
    const startedMs = performance.now();
    const { status, body } = await ask(fixture(), get("/silent"));
    const tookMs = performance.now() - startedMs;
    const problem = JSON.parse(body.toString());
    assert.deepEqual([status, problem.code, problem.effect], [504, "outcome_unknown", "unknown"]);
    assert.ok(tookMs >= DEADLINE_MS - 100 && tookMs < DEADLINE_MS + 600, `${tookMs} ms`);
  });
  it("answers 504 with effect none at the deadline of what only reads", async () => {
    const { status, body } = await ask(fixture(), get("/silent-read"));
    const problem = JSON.parse(body.toString());
    assert.deepEqual([status, problem.code, problem.effect], [504, "deadline_exceeded", "none"]);
  });
}

function describeBodies(fixture: () => HttpServerFixture): void {
  for (const size of [0, 1, BODY_BYTES_MAX - 1, BODY_BYTES_MAX]) {
    it(`reads a body of ${size} bytes, by length and in chunks`, async () => {
      const body = "b".repeat(size);
      const plain = await ask(fixture(), post("/events", body));
      assert.deepEqual([plain.status, plain.body.toString()], [200, body]);
      const halves = [body.slice(0, size / 2), body.slice(size / 2)].filter((half) => half !== "");
      const inChunks = await ask(fixture(), chunkedPost("/events", halves));
      assert.deepEqual([inChunks.status, inChunks.body.toString()], [200, body]);
    });
  }
  it("reads no body as an empty one", async () => {
    const { status, body } = await ask(fixture(), get("/events", "POST"));
    assert.deepEqual([status, body.length], [200, 0]);
  });
  for (const size of [BODY_BYTES_MAX + 1, BODY_BYTES_MAX * 20, 1_000_000]) {
    it(`refuses a body of ${size} bytes, by length and in chunks`, async () => {
      const body = "b".repeat(size);
      assert.equal(
        (await ask(fixture(), post("/events", body.slice(0, 20_000).padEnd(size, "b")))).status,
        413,
      );
      const { responses, isClosed } = await exchange(
        fixture().port,
        chunkedPost("/events", [body]),
      );
      assert.ok(responses[0]?.status === 413 || (responses.length === 0 && isClosed));
    });
  }
  it("refuses a huge Content-Length before any of the body came", async () => {
    const bytes = `POST /events HTTP/1.1\r\n${HOST}Content-Length: 999999999999\r\n\r\n`;
    const { responses } = await exchange(fixture().port, bytes);
    assert.deepEqual(
      responses.map(({ status }) => status),
      [413],
    );
  });
  it("leaves a body as it is until its answer, whatever arrives meanwhile", async () => {
    const slow = "slow body ".repeat(100);
    const answer = ask(fixture(), post("/events", slow));
    for (let i = 0; i < 20; i++) {
      const { body } = await ask(fixture(), post("/events", String(i).padEnd(slow.length, "x")));
      assert.equal(body.toString(), String(i).padEnd(slow.length, "x"));
    }
    assert.equal((await answer).body.toString(), slow);
  });
  it("answers Expect: 100-continue", async () => {
    const connection = await RawConnection.open(fixture().port);
    connection.send(
      `POST /events HTTP/1.1\r\n${HOST}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n`,
    );
    assert.ok(await connection.until(() => connection.bytes.includes("100 Continue"), 2000));
    connection.send("hello");
    const [response] = await connection.responses(1);
    assert.equal(response?.body.toString(), "hello");
    connection.destroy();
  });
  it("tells a handler that the body timed out", async () => {
    const bytes = `POST /events HTTP/1.1\r\n${HOST}Content-Length: 10\r\n\r\nhalf`;
    const { responses } = await exchange(fixture().port, bytes);
    assert.deepEqual(
      responses.map(({ status }) => status),
      [408],
    );
    assert.equal(fixture().bodyErrors.at(-1), "timeout");
  });
  it("tells a handler that the client went in mid-body, once", async () => {
    const count = fixture().bodyErrors.length;
    const connection = await RawConnection.open(fixture().port);
    connection.send(`POST /events HTTP/1.1\r\n${HOST}Content-Length: 10\r\n\r\nhalf`);
    await new Promise((resolve) => setTimeout(resolve, 30));
    connection.destroy();
    await waitFor(() => fixture().bodyErrors.length > count);
    assert.deepEqual(fixture().bodyErrors.slice(count), ["aborted"]);
  });
  it("drops a body that no handler reads, and never takes it for a request", async () => {
    const body = put("smuggled.example");
    const connection = await RawConnection.open(fixture().port);
    const head = `DELETE /domains/a.example HTTP/1.1\r\n${HOST}Content-Length: ${body.length}\r\n`;
    connection.send(`${head}\r\n${body}`);
    assert.equal((await connection.responses(1))[0]?.status, 204);
    connection.send(get("/domains/stats"));
    const responses = await connection.responses(2);
    assert.deepEqual(
      responses.map(({ status }) => status),
      [204, 200],
    );
    assert.equal(fixture().handled.get("smuggled.example"), undefined);
    connection.destroy();
  });
}
