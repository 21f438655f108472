/**
 * Short runs with a fault every second or two, small tables and few domains: a seed costs well under a second of
 * processor time and still meets owners at their worst moments.
 * Invariant: a function of the seed alone.
 */
import { drawPlan, FAULT_FAMILIES, type PlanOptions } from "../../src/simulation/fault-plan.ts";
import { SimRandom } from "../../src/simulation/sim-random.ts";

const FAULTS_MS = 40_000;
const HEAL_MS = 120_000;

export function densePlan(seed: number): PlanOptions {
  const options = { faultsMs: FAULTS_MS, healMs: HEAL_MS };
  const drawn = drawPlan(seed, options);
  const random = new SimRandom(seed, "dense");
  const nodes = random.pick([2, 3, 3, 4]);
  const nodesMax = nodes + random.below(2);
  return {
    ...options,
    families: FAULT_FAMILIES.filter(() => random.chance(0.7)),
    override: {
      nodes,
      nodesMax,
      clocks: Array.from({ length: nodesMax }, (_, i) => {
        const { length } = drawn.clocks;
        return drawn.clocks[i % length] as (typeof drawn.clocks)[number];
      }),
      partitions: 2 ** random.below(4),
      domains: random.pick([3, 20, 60]),
      leaseTtlMs: random.pick([1000, 1000, 2000]),
      expectNodes: 1 + random.below(nodes),
      checkpointIntervalMs: random.pick([500, 1000, 3000]),
      logRetentionMs: random.chance(0.2) ? 5000 : 0,
      faultGapMs: random.pick([700, 1500, 3000]),
      clientGapMs: random.pick([25, 50, 100]),
      keyed: random.pick([0, 0.3, 0.6]),
      changeGapMs: random.pick([0, 300, 2000]),
    },
  };
}
