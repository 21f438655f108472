/**
 * What the run of an embedded node will be like, drawn from its seed: sizes of log and checkpoints, clients, which
 * families of faults are on and how often.
 * Invariant: the plan is a function of the seed and the options alone.
 */

import type { MachineClock } from "./sim-life.ts";
import { SimRandom } from "./sim-random.ts";
import type { Weather } from "./storms.ts";
import type { WorkloadPlan } from "./workload.ts";

/** Things that happen to an embedded node, its process and its disk; each family is on or off in a run. */
export const EMBEDDED_FAULT_FAMILIES = [
  "crash",
  "ambush",
  "powerCut",
  "powerAmbush",
  "restart",
  "full",
  "readError",
  "writeError",
  "syncError",
  "slow",
  "rot",
  "clockJump",
  "pause",
] as const;
export type EmbeddedFaultFamily = (typeof EMBEDDED_FAULT_FAMILIES)[number];

export interface EmbeddedPlan extends WorkloadPlan {
  readonly seed: number;
  readonly faultsMs: number;
  readonly healMs: number;
  readonly weather: Weather;
  readonly families: readonly EmbeddedFaultFamily[];
  readonly faultGapMs: number;
  readonly clock: MachineClock;
  readonly segmentBytes: number;
  readonly logBytesMax: number | null;
  readonly logRetentionMs: number;
  readonly checkpointIntervalMs: number;
}

export interface EmbeddedPlanOptions {
  readonly faultsMs: number;
  readonly healMs: number;
  /** Only these families; default: drawn. */
  readonly families?: readonly EmbeddedFaultFamily[];
}

export const EMBEDDED_PLAN_OPTIONS: EmbeddedPlanOptions = { faultsMs: 60_000, healMs: 60_000 };

export function drawEmbeddedPlan(seed: number, options: EmbeddedPlanOptions): EmbeddedPlan {
  const random = new SimRandom(seed, "embedded plan");
  const { faultsMs, healMs } = options;
  const drawn = EMBEDDED_FAULT_FAMILIES.filter(() => random.chance(0.5));
  const isDrifting = random.chance(0.5);
  const segmentBytes = random.pick([2048, 8192, 65_536]);
  return {
    seed,
    faultsMs,
    healMs,
    weather: { storms: [{ startMs: 0, endMs: faultsMs }], calms: [] },
    families: options.families ?? drawn,
    faultGapMs: random.pick([500, 2000, 6000]),
    clock: {
      rate: isDrifting ? random.between(0.99, 1.01) : 1,
      wallRate: isDrifting ? random.between(0.999, 1.001) : 1,
      wallOffsetMs: 0,
      monotonicStartMs: random.between(0, 1e6),
      turnMaxMs: random.pick([0, 0, 1, 10]),
    },
    segmentBytes,
    logBytesMax: random.chance(0.3) ? segmentBytes * (4 + random.below(20)) : null,
    logRetentionMs: random.chance(0.3) ? 10_000 : 0,
    checkpointIntervalMs: random.pick([500, 3000, 20_000]),
    partitions: 2 ** random.below(5),
    domains: random.pick([3, 20, 100]),
    isSkewed: random.chance(0.5),
    clientGapMs: random.pick([10, 40, 150]),
    calmClientGapMs: 5000,
    reads: random.between(0.05, 0.3),
    keyed: random.between(0, 0.5),
    changeGapMs: random.pick([0, 0, 1000, 8000]),
  };
}
