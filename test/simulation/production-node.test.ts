/** The production wiring of a cluster node under every family of faults: the short form of `npm run simulate`. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { startClusterNode } from "../../src/server/assemble-cluster-node.ts";
import { batchedDrain } from "../../src/simulation/batched-drain.ts";
import { DEFAULT_PLAN_OPTIONS } from "../../src/simulation/fault-plan.ts";
import { type SimulationResult, simulate } from "../../src/simulation/simulator.ts";

const FIRST_SEED = 1;
const SEEDS = 20;
/** Seeds that once found a bug, as `docs/findings.md` tells. */
const KNOWN_SEEDS = [15_370, 16_234, 16_549, 200_337, 201_976, 202_314];

function run(seed: number): Promise<SimulationResult> {
  return simulate(seed, {
    start: startClusterNode,
    drain: batchedDrain(setImmediate),
    keepsChanges: true,
    plan: { ...DEFAULT_PLAN_OPTIONS, faultsMs: 60_000 },
  });
}

describe("a simulated cluster of production nodes", () => {
  it("breaks no promise", async (t) => {
    const seeds = Array.from({ length: SEEDS }, (_, i) => FIRST_SEED + i);
    let acknowledged = 0;
    for (const seed of [...seeds, ...KNOWN_SEEDS]) {
      const { failures, statistics } = await run(seed);
      assert.deepEqual(failures, [], `npm run simulate -- --seed ${seed} --seeds 1 --minutes 1`);
      acknowledged += Number(statistics["acknowledged"]);
    }
    assert.ok(acknowledged > 1000, "it gives the nodes something to do");
    t.diagnostic(`${acknowledged} events acknowledged`);
  });

  it("does the same again for the same seed", async () => {
    const [first, second] = [await run(7), await run(7)];
    assert.equal(second.traceHash, first.traceHash);
  });
});
