/**
 * Everything that a run will be like, drawn from its seed before it begins: size, speeds, which families of faults are
 * on and how often. Printed with a failure, so that a seed can be read.
 * Invariant: the plan is a function of the seed and the options alone.
 */

import type { ControlFaults } from "./sim-control-store.ts";
import type { MachineClock } from "./sim-life.ts";
import { SimRandom } from "./sim-random.ts";
import { NO_SERVICE_FAULTS, type ServiceFaults } from "./sim-service.ts";
import { type NetworkFaults, NO_NETWORK_FAULTS } from "./sim-transport.ts";
import { drawWeather, type Weather } from "./storms.ts";

/** Things that happen to a cluster; each family is on or off in a run. */
export const FAULT_FAMILIES = [
  "kill",
  "pause",
  "suspend",
  "wallJump",
  "cut",
  "cutOff",
  "natsAway",
  "mongoAway",
  "watchSilence",
  "leaderLoss",
  "lag",
  "ambush",
  "halfCheckpoint",
  "rebalance",
  "drain",
  "leave",
  "join",
  "moveStrike",
  "coordinatorStrike",
  "upgrade",
] as const;
export type FaultFamily = (typeof FAULT_FAMILIES)[number];

/** They come with a move, or with an act of a coordinator, not by the clock. */
const STRIKES: readonly FaultFamily[] = ["moveStrike", "coordinatorStrike"];

/** True for families that an unbiased seed does not have. */
export function isNewer(family: FaultFamily): boolean {
  return isStrike(family) || family === "upgrade";
}

/** Share of the seeds: while a table can't be read by all, little else happens to a cluster. */
const UPGRADES = 0.1;

/** True for families that are armed by what the cluster does, and not drawn from time to time. */
export function isStrike(family: FaultFamily): boolean {
  return STRIKES.includes(family);
}

export interface FaultPlan {
  readonly seed: number;
  /** Machines at the start, and with those that join later. */
  readonly nodes: number;
  readonly nodesMax: number;
  readonly partitions: number;
  readonly domains: number;
  readonly isSkewed: boolean;
  /** Until it heals: storms and calms together. */
  readonly faultsMs: number;
  readonly weather: Weather;
  readonly healMs: number;
  readonly leaseTtlMs: number;
  readonly checkpointIntervalMs: number;
  readonly logRetentionMs: number;
  /** Bytes that a node lets its log grow to; null: any. */
  readonly logBytesMax: number | null;
  readonly expectNodes: number;
  readonly autoRebalance: boolean;
  readonly clocks: readonly MachineClock[];
  /** Mean time between two things of the kinds below, ms, in a storm and in a calm. */
  readonly faultGapMs: number;
  readonly calmFaultGapMs: number;
  readonly families: readonly FaultFamily[];
  /** Faults befall nodes that own much more often. */
  readonly isBiasedToOwners: boolean;
  readonly log: ServiceFaults;
  readonly control: ControlFaults;
  readonly checkpoints: ServiceFaults;
  readonly network: NetworkFaults;
  /** Mean time between two operations of clients, ms, in a storm and in a calm. */
  readonly clientGapMs: number;
  readonly calmClientGapMs: number;
  /** Shares of operations. */
  readonly reads: number;
  readonly keyed: number;
  /** Mean time between two changes of rule or override by operators in a storm, ms; 0: none. */
  readonly changeGapMs: number;
}

export interface PlanOptions {
  /** Of storms, all together. */
  readonly faultsMs: number;
  /** Of calms between storms, all together; default: none, one storm. */
  readonly calmMs?: number;
  readonly healMs: number;
  /** Only these families; default: drawn. */
  readonly families?: readonly FaultFamily[];
  /** Any node may be hit, at any time: what seeds were before faults had a bias to owners and moves. */
  readonly isUnbiased?: boolean;
  /** Set these instead of what was drawn. */
  readonly override?: Partial<FaultPlan>;
}

export const DEFAULT_PLAN_OPTIONS: PlanOptions = { faultsMs: 600_000, healMs: 120_000 };

/** A minute of storms, as one of `faultsMs: 60_000` has it, and nine of calm between them. */
export const WEATHER_PLAN_OPTIONS: PlanOptions = {
  faultsMs: 60_000,
  calmMs: 540_000,
  healMs: 120_000,
};

/**
 * As many faults of a seed in a part of the time: so many times as often, so many times shorter. Operators do not hurry:
 * three changes of the rule in two seconds alone would keep a log full that is small and must be kept for a while.
 */
export function hurriedOptions(seed: number, options: PlanOptions, times: number): PlanOptions {
  const { faultGapMs } = drawPlan(seed, options);
  return {
    ...options,
    faultsMs: options.faultsMs / times,
    calmMs: (options.calmMs ?? 0) / times,
    override: { ...options.override, faultGapMs: faultGapMs / times },
  };
}

export function drawPlan(seed: number, options: PlanOptions = DEFAULT_PLAN_OPTIONS): FaultPlan {
  const random = new SimRandom(seed, "plan");
  const nodes = 1 + random.below(5);
  const nodesMax = nodes + random.below(3);
  const isQuiet = random.chance(0.2);
  const lags = new SimRandom(seed, "plan/lags");
  const ambushes = new SimRandom(seed, "plan/ambushes");
  const streams: Partial<Record<FaultFamily, SimRandom>> = {
    lag: lags,
    ambush: ambushes,
    halfCheckpoint: new SimRandom(seed, "plan/half checkpoints"),
    moveStrike: new SimRandom(seed, "plan/move strikes"),
    coordinatorStrike: new SimRandom(seed, "plan/coordinator strikes"),
    upgrade: new SimRandom(seed, "plan/upgrades"),
  };
  const shareOf = (name: FaultFamily): number => (name === "upgrade" ? UPGRADES : 0.5);
  const { isUnbiased = false } = options;
  const drawn = FAULT_FAMILIES.filter(
    (name) => (streams[name] ?? random).chance(shareOf(name)) && !(isUnbiased && isNewer(name)),
  );
  const families = options.families ?? drawn;
  const leaseTtlMs = random.pick([1000, 2000, 5000]);
  const turnMaxMs = new SimRandom(seed, "plan/turns").pick([0, 0, 1, 10]);
  const { faultsMs, calmMs = 0, healMs } = options;
  const plan: FaultPlan = {
    seed,
    nodes,
    nodesMax,
    partitions: 2 ** random.below(5),
    domains: random.pick([3, 20, 100, 300]),
    isSkewed: random.chance(0.5),
    faultsMs: faultsMs + calmMs,
    weather: drawWeather(new SimRandom(seed, "plan/weather"), faultsMs, calmMs),
    healMs,
    leaseTtlMs,
    checkpointIntervalMs: random.pick([2000, 10_000, 60_000]),
    logRetentionMs: random.chance(0.3) ? 30_000 : 0,
    expectNodes: 1 + random.below(nodes),
    autoRebalance: random.chance(0.3),
    clocks: Array.from({ length: nodesMax }, () => ({ ...drawClock(random), turnMaxMs })),
    faultGapMs: isQuiet ? 60_000 : random.pick([3000, 8000, 20_000]),
    calmFaultGapMs: 60_000,
    families,
    isBiasedToOwners: !isUnbiased && new SimRandom(seed, "plan/victims").chance(0.75),
    log: drawService(random, isQuiet),
    control: drawControl(random, isQuiet),
    checkpoints: drawService(random, isQuiet),
    network: drawNetwork(random, isQuiet),
    clientGapMs: random.pick([50, 150, 400]),
    calmClientGapMs: 5000,
    reads: random.between(0.1, 0.4),
    keyed: random.between(0, 0.4),
    changeGapMs: new SimRandom(seed, "plan/changes").pick([0, 2000, 20_000]),
    logBytesMax: new SimRandom(seed, "plan/full logs").pick([null, null, null, 16_384, 65_536]),
  };
  return { ...plan, ...options.override };
}

/** One line a field. */
export function describePlan(plan: object): string {
  return Object.entries(plan)
    .map(([name, value]) => `  ${name}: ${JSON.stringify(value)}`)
    .join("\n");
}

function drawClock(random: SimRandom): MachineClock {
  const isDrifting = random.chance(0.7);
  return {
    rate: isDrifting ? random.between(0.99, 1.01) : 1,
    wallRate: isDrifting ? random.between(0.999, 1.001) : 1,
    wallOffsetMs: random.between(-500, 500),
    monotonicStartMs: random.between(0, 1e6),
  };
}

function drawService(random: SimRandom, isQuiet: boolean): ServiceFaults {
  const rate = (most: number): number =>
    !isQuiet && random.chance(0.5) ? random.unit() * most : 0;
  return {
    delayMinMs: NO_SERVICE_FAULTS.delayMinMs,
    delayMaxMs: random.pick([2, 10, 50]),
    slow: rate(0.1),
    requestLost: rate(0.05),
    answerLost: rate(0.05),
    late: rate(0.03),
  };
}

function drawControl(random: SimRandom, isQuiet: boolean): ControlFaults {
  const rate = (most: number): number =>
    !isQuiet && random.chance(0.5) ? random.unit() * most : 0;
  return {
    service: drawService(random, isQuiet),
    staleRead: rate(0.2),
    staleMaxMs: 3000,
    watchLost: rate(0.5),
    watchRepeated: rate(0.3),
    watchLate: rate(0.3),
  };
}

function drawNetwork(random: SimRandom, isQuiet: boolean): NetworkFaults {
  const rate = (most: number): number =>
    !isQuiet && random.chance(0.5) ? random.unit() * most : 0;
  return {
    delayMinMs: NO_NETWORK_FAULTS.delayMinMs,
    delayMaxMs: random.pick([1, 5, 30]),
    slow: rate(0.05),
    slowMaxMs: 5000,
    lost: rate(0.1),
    duplicated: rate(0.3),
  };
}
