/**
 * The simulator itself: equal seeds give equal runs, a correct node passes, and each way to break it is seen.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { batchedDrain } from "../../src/simulation/batched-drain.ts";
import type { FaultPlan, PlanOptions } from "../../src/simulation/fault-plan.ts";
import { type SimulationResult, simulate } from "../../src/simulation/simulator.ts";
import { type ToyDefect, toyNode } from "./toy-node.ts";

const PLAN: PlanOptions = {
  faultsMs: 40_000,
  healMs: 120_000,
  override: {
    faultGapMs: 2000,
    clientGapMs: 60,
    nodes: 3,
    nodesMax: 3,
    keyed: 0.3,
    autoRebalance: false,
  },
};

function run(
  seed: number,
  defect: ToyDefect | null = null,
  more: Partial<FaultPlan> = {},
): Promise<SimulationResult> {
  const plan = { ...PLAN, override: { ...PLAN.override, clocks: PERFECT, ...more } };
  return simulate(seed, { start: toyNode(defect), drain: batchedDrain(setImmediate), plan });
}

const PERFECT = [0.99, 1, 1.01].map((rate) => ({
  rate,
  wallRate: 1,
  wallOffsetMs: 0,
  monotonicStartMs: 0,
}));

const SEEDS_PER_DEFECT = 12;

describe("Simulator", () => {
  it("gives the same run for the same seed, another for another", async () => {
    const [first, again, other] = [await run(3), await run(3), await run(4)];
    assert.equal(first.traceHash, again.traceHash);
    assert.deepEqual(first.statistics, again.statistics);
    assert.notEqual(first.traceHash, other.traceHash);
  });

  it("finds nothing wrong with a correct node, and gives it much to do", async () => {
    let acknowledged = 0;
    let owners = 0;
    for (let seed = 1; seed <= 5; seed++) {
      const { failures, statistics } = await run(seed);
      assert.deepEqual(failures, [], `seed ${seed}`);
      acknowledged += statistics["acknowledged"] ?? 0;
      owners += statistics["ownerChanges"] ?? 0;
    }
    assert.ok(acknowledged > 500, `${acknowledged} events were acknowledged`);
    assert.ok(owners > 20, `${owners} changes of owner`);
  });

  it("sees a cluster that should balance itself and does not", async () => {
    // The toy never moves anything: the node with the lowest incarnation keeps all.
    const { failures } = await run(1, null, { autoRebalance: true, partitions: 8, families: [] });
    assert.deepEqual(
      failures.map(({ rule }) => rule),
      ["I20"],
    );
    assert.match(String(failures[0]?.text), /shared out evenly.*shares (8,0,0|0,8,0|0,0,8)/);
  });

  const defects: readonly ToyDefect[] = [
    "ackBeforeAppend",
    "readWithoutLease",
    "tableWithoutSeal",
    "impatientDetector",
    "newSequenceOnRetry",
    "unknownIsNone",
    "keysForgotten",
    "replayOneLess",
    "replayTwice",
    "dedupeInMemoryOnly",
    "epochKept",
  ];
  for (const defect of defects) {
    it(`sees ${defect}`, async () => {
      for (let seed = 1; seed <= SEEDS_PER_DEFECT; seed++) {
        if ((await run(seed, defect)).failures.length > 0) return;
      }
      assert.fail(`${SEEDS_PER_DEFECT} seeds did not notice`);
    });
  }
});
