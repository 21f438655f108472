/**
 * Mutated requests over both servers, from a seed: test/support/http-fuzz-run.ts says which laws. `npm run http-fuzz`
 * sends many more; a seed that found something is pinned here.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runHttpFuzz } from "../support/http-fuzz-run.ts";
import { readStrictly } from "../support/http-reading.ts";

const REQUESTS = Number(process.env["CATCHALL_MUTATED_REQUESTS"] ?? 25_000);
const SEED = 1;

for (const kind of ["uws", "node"] as const) {
  describe(`Mutated requests over ${kind}`, { timeout: 580_000 }, () => {
    it("count as acknowledged, and get no answer but declared ones", async () => {
      const report = await runHttpFuzz({ kind, requests: REQUESTS, seed: SEED });
      assert.deepEqual(report.faults, [], "faults");
      assert.equal(report.sent, REQUESTS);
      assert.ok(report.acknowledged > REQUESTS / 10, `${report.acknowledged} acknowledged`);
      assert.ok(report.honest > 0, "an honest client was served beside them");
    });
  });
}

describe("readStrictly", () => {
  const head = "PUT /events/a.example/delivered HTTP/1.1\r\nHost: a.example\r\n";
  for (const whole of [`${head}\r\n`, `${head}Content-Length: 2\r\n\r\nab`]) {
    it(`reads ${JSON.stringify(whole.slice(head.length))} as one request`, () => {
      assert.equal(readStrictly(whole)?.path, "/events/a.example/delivered");
    });
  }
  for (const other of ["", "\r\nx", "Content-Length: 3\r\n\r\nab", "Host: b\r\n\r\n"]) {
    it(`does not read ${JSON.stringify(other)} as one request`, () => {
      assert.equal(readStrictly(head + other), null);
    });
  }
});
