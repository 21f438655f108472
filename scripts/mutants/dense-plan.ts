/**
 * Short runs with a fault every second or two, small tables and few domains: a seed costs well under a second of
 * processor time and still meets owners at their worst moments.
 * Invariant: a function of the seed alone.
 */
import {
  drawPlan,
  FAULT_FAMILIES,
  type FaultFamily,
  isNewer,
  type PlanOptions,
} from "../../src/simulation/fault-plan.ts";
import { SimRandom } from "../../src/simulation/sim-random.ts";
import type { ServiceFaults } from "../../src/simulation/sim-service.ts";

const FAULTS_MS = 40_000;
const HEAL_MS = 120_000;
const UPGRADES = 0.05;
/** More often, by turns, since one kind of fault hides another: a node that is dead moves nothing, reads nothing. */
const OFTEN: readonly (readonly FaultFamily[])[] = [
  ["rebalance", "rebalance", "leave", "drain"],
  ["rebalance", "leave", "drain", "lag", "ambush", "ambush"],
  ["rebalance", "halfCheckpoint", "halfCheckpoint"],
  ["lag", "ambush", "ambush", "natsAway"],
];

export function densePlan(seed: number): PlanOptions {
  const options = { faultsMs: FAULTS_MS, healMs: HEAL_MS };
  const drawn = drawPlan(seed, options);
  const random = new SimRandom(seed, "dense");
  const nodes = random.pick([2, 3, 3, 4]);
  const nodesMax = nodes + random.below(2);
  const often = OFTEN[seed % OFTEN.length] as (typeof OFTEN)[number];
  const share = random.pick([0.3, 0.8]);
  const strikes = new SimRandom(seed, "dense/strikes");
  // A cluster that waits for an upgrade to end does little else that a mutant could break.
  const shareOf = (name: FaultFamily): number => (name === "upgrade" ? UPGRADES : share);
  const streamOf = (name: FaultFamily): SimRandom => (isNewer(name) ? strikes : random);
  const turnMaxMs = new SimRandom(seed, "dense/turns").pick([0, 2, 10, 30]);
  return {
    ...options,
    families: [...FAULT_FAMILIES.filter((name) => streamOf(name).chance(shareOf(name))), ...often],
    override: {
      nodes,
      nodesMax,
      clocks: Array.from({ length: nodesMax }, (_, i) => {
        const { length } = drawn.clocks;
        return { ...(drawn.clocks[i % length] as (typeof drawn.clocks)[number]), turnMaxMs };
      }),
      partitions: 2 ** random.below(4),
      domains: random.pick([3, 20, 60]),
      leaseTtlMs: random.pick([1000, 1000, 2000, 2000, 5000]),
      autoRebalance: random.chance(0.5),
      expectNodes: 1 + random.below(nodes),
      checkpointIntervalMs: random.pick([500, 1000, 3000, 15_000]),
      logRetentionMs: random.chance(0.2) ? 5000 : 0,
      faultGapMs: random.pick([700, 1500, 3000]),
      clientGapMs: random.pick([25, 50, 100]),
      keyed: random.pick([0, 0.3, 0.6]),
      changeGapMs: random.pick([0, 60, 150, 150, 600]),
      control: { ...drawn.control, service: denseControl(random) },
      network: {
        delayMinMs: 0.1,
        delayMaxMs: random.pick([1, 10, 30]),
        slow: random.pick([0, 0.05, 0.2]),
        slowMaxMs: 5000,
        lost: random.pick([0, 0.03, 0.1]),
        duplicated: random.pick([0, 0.3, 0.5]),
      },
      log: denseService(random),
      checkpoints: denseService(random),
    },
  };
}

/** Renewals that are lost, and often none that comes late: what comes late hides who is declared dead too early. */
function denseControl(random: SimRandom): ServiceFaults {
  const service = denseService(random);
  const requestLost = random.chance(0.3) ? random.unit() * 0.25 : service.requestLost;
  return { ...service, requestLost, late: random.chance(0.5) ? 0 : service.late };
}

/** Slow answers matter where a lease counts from its sending, lost ones where an outcome is unknown. */
function denseService(random: SimRandom): ServiceFaults {
  const rate = (most: number): number => (random.chance(0.6) ? random.unit() * most : 0);
  return {
    delayMinMs: 0.2,
    delayMaxMs: random.pick([2, 20, 100]),
    slow: rate(0.15),
    requestLost: rate(0.1),
    answerLost: rate(0.15),
    late: rate(0.05),
  };
}
