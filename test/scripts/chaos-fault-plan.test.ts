/** Goal: a seed is a plan, and plans have everything in them. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AckLosses } from "../../scripts/chaos/fault-driver.ts";
import { FAULT_KINDS, planFaults, textOfFault } from "../../scripts/chaos/fault-plan.ts";

const OPTIONS = { round: 1, nodes: ["n1", "n2", "n3"], durationMs: 600_000, leaseTtlMs: 2000 };

describe("planFaults", () => {
  it("gives the same plan for the same seed and round, and others for others", () => {
    const plan = planFaults({ ...OPTIONS, seed: 7 });
    assert.deepEqual(planFaults({ ...OPTIONS, seed: 7 }), plan);
    assert.notDeepEqual(planFaults({ ...OPTIONS, seed: 8 }), plan);
    assert.notDeepEqual(planFaults({ ...OPTIONS, seed: 7, round: 2 }), plan);
  });

  it("has every kind of fault in ten minutes, in order of time, and only in that time", () => {
    const plan = planFaults({ ...OPTIONS, seed: 7 });
    assert.deepEqual([...new Set(plan.map(({ kind }) => kind))].sort(), [...FAULT_KINDS].sort());
    const times = plan.map(({ atMs }) => atMs);
    assert.deepEqual(
      times,
      [...times].sort((a, b) => a - b),
    );
    assert.ok((times.at(-1) ?? 0) < OPTIONS.durationMs, "in time");
    assert.equal(plan.length, new Set(plan.map(textOfFault)).size);
  });

  it("freezes past the lease when it says so", () => {
    const kinds = ["pause-past-lease"] as const;
    for (const { durationMs, node } of planFaults({ ...OPTIONS, seed: 1, kinds })) {
      assert.ok(durationMs > OPTIONS.leaseTtlMs, `${durationMs} ms`);
      assert.ok(OPTIONS.nodes.includes(node), node);
    }
  });
});

describe("AckLosses", () => {
  it("loses exactly those that it was armed for, of logs only", () => {
    const losses = new AckLosses();
    losses.arm("publish", "n1", { skip: 1, lose: 2 });
    const stream = "CHAOS_LOG_1";
    assert.equal(losses.isPublishAckLost("n1", "KV_chaos"), false);
    assert.equal(losses.isPublishAckLost("n2", stream), false);
    const lost = Array.from({ length: 5 }, () => losses.isPublishAckLost("n1", stream));
    assert.deepEqual(lost, [false, true, true, false, false]);
    assert.deepEqual([losses.lostPublishAcks, losses.lostHttpAnswers], [2, 0]);
    losses.arm("http", "n1", { skip: 0, lose: 1 });
    losses.disarm();
    assert.equal(losses.isHttpAnswerLost("n1"), false);
  });
});
