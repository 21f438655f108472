/**
 * Laws of both servers over hostile bytes. Smuggling: no request is handled that a strict reading does not allow, and
 * bytes of a body are never handled as a request. Splits: however the bytes arrive, handled = answered.
 */

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { HttpServerFixture, type OpenHttpServer } from "../support/http-server-fixture.ts";
import { exchange, RawConnection } from "../support/raw-http.ts";
import { SMUGGLING_VECTORS, type SmugglingVector } from "../support/smuggling-vectors.ts";

// The parser of uWebSockets.js waits for more where it should refuse; its idle limit (10 s, in steps of 4 s) ends that.
const SETTLE_MS = 150;
const HANG_MS_MAX = 14_500;

const HOST = "Host: a.example\r\n";
const PUT = `PUT /events/a.example/delivered HTTP/1.1\r\n${HOST}`;
const SHAPES: Readonly<Record<string, { bytes: string; status: number }>> = {
  "PUT without a body": { bytes: `${PUT}\r\n`, status: 204 },
  "PUT with an empty body": { bytes: `${PUT}Content-Length: 0\r\n\r\n`, status: 204 },
  "PUT with a body that is skipped": {
    bytes: `${PUT}Content-Length: 5\r\n\r\nhello`,
    status: 204,
  },
  "PUT with chunks that are skipped": {
    bytes: `${PUT}Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n`,
    status: 204,
  },
  "DELETE with a body that nobody reads": {
    bytes: `DELETE /domains/a.example HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`,
    status: 204,
  },
  "POST by length": {
    bytes: `POST /events HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`,
    status: 200,
  },
  "POST in chunks": {
    bytes: `POST /events HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n`,
    status: 200,
  },
  "GET with a query": { bytes: `GET /domains/a.example?x=1 HTTP/1.1\r\n${HOST}\r\n`, status: 200 },
};

export function describeHttpParsing(name: "uws" | "node", open: OpenHttpServer): void {
  describe(`${name} parsing`, () => {
    let fixture: HttpServerFixture;
    before(async () => {
      fixture = await HttpServerFixture.start(open);
    });
    after(() => fixture.stop());
    describe("smuggling", () => {
      for (const vector of SMUGGLING_VECTORS) {
        it(vector.name, () => checkVector(name, fixture, vector));
      }
    });
    describe("splits", () => {
      for (const [shape, { bytes, status }] of Object.entries(SHAPES)) {
        it(`${shape}, at each byte`, () => checkSplits(name, fixture, bytes, status));
      }
    });
    it("still serves after all that, and no handler failed", async () => {
      const { responses } = await exchange(fixture.port, `${PUT}\r\n`);
      assert.deepEqual(
        responses.map(({ status }) => status),
        [204],
      );
      assert.deepEqual(fixture.errors, []);
    });
  });
}

/** Vectors that got no answer at once: each must be cut off within the idle limit. One wait for all of them. */
export function describeHttpHangs(name: "uws" | "node", open: OpenHttpServer): void {
  describe(`${name} hangs`, () => {
    it("cuts off every connection that it does not answer", { timeout: 30_000 }, async () => {
      const fixture = await HttpServerFixture.start(open);
      try {
        const connections = await Promise.all(
          SMUGGLING_VECTORS.map(async (vector) => {
            const connection = await RawConnection.open(fixture.port);
            connection.send(vector.bytes);
            return { vector, connection };
          }),
        );
        const open_ = connections.map(async ({ vector, connection }) => {
          const isCut = await connection.until(() => connection.isClosed, HANG_MS_MAX);
          connection.destroy();
          return isCut ? null : vector.name;
        });
        const hanging = (await Promise.all(open_)).filter((hang) => hang !== null);
        assert.deepEqual(hanging, []);
      } finally {
        await fixture.stop();
      }
    });
  });
}

async function checkVector(
  name: "uws" | "node",
  fixture: HttpServerFixture,
  { bytes, allowed, lenient }: SmugglingVector,
): Promise<void> {
  const before = fixture.handledCount;
  fixture.handled.clear();
  const { responses, isClosed } = await exchange(fixture.port, bytes, {
    count: 9,
    timeoutMs: SETTLE_MS,
  });
  const handled = fixture.handledCount - before;
  assert.equal(
    fixture.handled.get("smuggled.example"),
    undefined,
    "a body was taken for a request",
  );
  const granted = lenient?.[name] === undefined ? allowed : Math.max(allowed, 1);
  assert.ok(handled <= granted, `handled ${handled}, granted ${granted}`);
  const accepted = responses.filter(({ status }) => status < 300).length;
  assert.ok(accepted <= handled, "accepted without being handled");
  assert.ok(handled <= accepted + 1, "handled without an answer");
  if (accepted < handled) assert.ok(isClosed, "handled, not answered, and the connection goes on");
}

async function checkSplits(
  name: "uws" | "node",
  fixture: HttpServerFixture,
  bytes: string,
  status: number,
): Promise<void> {
  const before = fixture.handledCount;
  const cuts = Array.from({ length: bytes.length - 1 }, (_, index) => index + 1);
  const statuses = await Promise.all(
    cuts.map(async (cut) => {
      const connection = await RawConnection.open(fixture.port);
      connection.send(bytes.slice(0, cut));
      // A write of its own: by now the first part has left.
      await new Promise((resolve) => setTimeout(resolve, 20));
      connection.send(bytes.slice(cut));
      const responses = await connection.responses(1);
      connection.destroy();
      return responses.map((response) => response.status).join();
    }),
  );
  const versionStart = bytes.indexOf(" HTTP/1.1");
  const wrong = cuts.filter((cut, index) => {
    if (statuses[index] === String(status)) return false;
    // uWebSockets.js refuses a request line that arrives cut in front of its target or within its version.
    const isKnown =
      cut === bytes.indexOf(" ") + 1 || (cut > versionStart && cut < versionStart + 11);
    return !(name === "uws" && isKnown && statuses[index] === "505");
  });
  assert.deepEqual(wrong, [], `cuts with another answer: ${statuses.join(" ")}`);
  const accepted = statuses.filter((answer) => answer === String(status)).length;
  assert.equal(fixture.handledCount - before, accepted);
}
