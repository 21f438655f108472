/**
 * Goal: at several times its peak a node goes on counting, answers every probe, and counts what it acknowledged.
 * Method: a small scripts/overload.ts, sender and probes in this process. How much it takes depends on what else the
 * machine does, so shares and latencies are not judged here.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { OverloadClient } from "../../scripts/overload/overload-client.ts";
import { runOverload } from "../../scripts/overload/overload-run.ts";
import { faultsOf } from "../../scripts/overload/report.ts";

describe("Overload", () => {
  it("leaves a node counting, answering probes and telling the truth", async () => {
    const report = await runOverload({
      stepMs: 250,
      phaseMs: 1000,
      factors: [8],
      connections: 200,
      singleConnections: 0,
      requests: 8,
      probeLimitMs: 5000,
      openSource: (url, shape) => Promise.resolve(new OverloadClient(url, shape)),
    });
    assert.deepEqual(faultsOf(report), []);
    const [phase] = report.phases;
    assert.ok(phase !== undefined, "the phase ran");
    assert.ok((phase.counts.refused["overloaded"] ?? 0) > 0, "something was refused");
    assert.equal(phase.counts.unknownEvents, 0);
    assert.ok(phase.counts.eventsPerSecond > 0, "something was accepted all the same");
  });
});
