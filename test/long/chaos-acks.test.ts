/**
 * Goal: an acknowledgement that gets lost loses and doubles nothing, whichever it is. Method: scripts/chaos/dropped-acks.ts,
 * a short script; `npm run chaos -- --dropped-acks 200` is the whole of it.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runDroppedAcks } from "../../scripts/chaos/dropped-acks.ts";

describe("dropped acknowledgements", { timeout: 280_000 }, () => {
  it("counts exactly when the k-th acknowledgement gets lost", async () => {
    const report = await runDroppedAcks({
      ...{ operations: 12, leaseTtlMs: 2000 },
      onLine: () => undefined,
    });
    assert.deepEqual(report.violations, []);
    assert.deepEqual(report.cases, { publish: 12, http: 12 });
    assert.deepEqual(report.lost, report.cases);
    // A node asks its log again; a client can't.
    assert.deepEqual(report.unknown, { publish: 0, http: 12 });
  });
});
