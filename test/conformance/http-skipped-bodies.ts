/** The promises of the port HttpServer about bodies that a handler waits for and does not want. Part of its suite. */

import assert from "node:assert/strict";
import { it } from "node:test";
import { ask, get, put, waitFor } from "../support/http-requests.ts";
import { BODY_BYTES_MAX, type HttpServerFixture } from "../support/http-server-fixture.ts";
import { RawConnection } from "../support/raw-http.ts";

const LENGTH_10 = "Content-Length: 10\r\n";
const CHUNKED = "Transfer-Encoding: chunked\r\n";

/** Bodies that are announced and then do not come, or come wrong. */
export const BROKEN_BODIES: Readonly<Record<string, readonly [headers: string, body: string]>> = {
  "cut off by the client": [LENGTH_10, "abc"],
  "with a bad chunk size": [CHUNKED, "zz\r\nhello\r\n0\r\n\r\n"],
  "with a bad second chunk size": [CHUNKED, "5\r\nhello\r\nzz\r\n"],
  "without its last chunk": [CHUNKED, "5\r\nhello\r\n"],
  "without anything": [CHUNKED, ""],
};

export function describeSkippedBodies(fixture: () => HttpServerFixture): void {
  it("ends the wait for a body when it is whole, however it is framed", async () => {
    const body = put("smuggled.example");
    const inChunks = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
    for (const bytes of [
      put("skipped.example", `Content-Length: ${body.length}\r\n`) + body,
      put("skipped.example", CHUNKED) + inChunks,
      `${put("skipped.example", CHUNKED)}0\r\n\r\n`,
      put("skipped.example", "Content-Length: 0\r\n"),
    ]) {
      assert.equal((await ask(fixture(), bytes)).status, 204);
    }
    const { handled } = fixture();
    assert.deepEqual([handled.get("skipped.example"), handled.has("smuggled.example")], [4, false]);
  });
  it("goes on with the connection after a body of a length that was skipped", async () => {
    const connection = await RawConnection.open(fixture().port);
    connection.send(`${put("a.example", LENGTH_10)}0123456789`);
    await connection.responses(1);
    connection.send(get("/domains/stats"));
    const statuses = (await connection.responses(2)).map(({ status }) => status);
    assert.deepEqual(statuses, [204, 200]);
    connection.destroy();
  });
  it("does not end the wait before the last byte", async () => {
    const before = fixture().handledCount;
    const connection = await RawConnection.open(fixture().port);
    connection.send(`${put("a.example", LENGTH_10)}012345678`);
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.deepEqual([fixture().handledCount, connection.bytes.length], [before, 0]);
    connection.send("9");
    assert.equal((await connection.responses(1))[0]?.status, 204);
    connection.destroy();
  });
  for (const [name, [headers, body]] of Object.entries(BROKEN_BODIES)) {
    it(`never handles a request with a body ${name}`, async () => {
      const before = [fixture().handledCount, fixture().bodyErrors.length];
      const connection = await RawConnection.open(fixture().port);
      connection.send(put("broken.example", headers) + body);
      await new Promise((resolve) => setTimeout(resolve, 20));
      connection.socket.end();
      assert.ok(await connection.until(() => connection.isClosed, 3000));
      assert.deepEqual(
        [fixture().handledCount, fixture().bodyErrors.length],
        [before[0], (before[1] as number) + 1],
      );
      assert.ok(!connection.bytes.includes("HTTP/1.1 2"));
    });
  }
  it("refuses a skipped body over the limit, and one that does not come in time", async () => {
    const over = `Content-Length: ${BODY_BYTES_MAX + 1}\r\n`;
    const large = await ask(fixture(), put("a.example", over) + "b".repeat(BODY_BYTES_MAX + 1));
    assert.equal(large.status, 413);
    assert.equal((await ask(fixture(), `${put("a.example", LENGTH_10)}half`)).status, 408);
    await waitFor(() => fixture().bodyErrors.at(-1) === "timeout");
  });
}
