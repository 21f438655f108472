/**
 * Targets side by side: each is started and settled once, then they are loaded in their turn, round after round. Figures
 * are medians over the rounds; the counts of every load are verified.
 */
import {
  COMPARISON_COLUMNS,
  type ComparedTarget,
  comparisonRows,
  type Measurement,
} from "./comparison-table.ts";
import { decimal, whole } from "./figures.ts";
import { runLoadTool } from "./load-tool.ts";
import type { BenchContext, Table } from "./part.ts";
import { startMongoPeer, startRedisPeer } from "./peers.ts";
import { startGubernator } from "./peers-gubernator.ts";
import {
  rssMibOf,
  startBare,
  startCatchall,
  type Target,
  type TargetName,
  type TargetOutcome,
} from "./targets.ts";
import { startCluster } from "./targets-cluster.ts";
import { cpuMsOfAll, settleMsOf, takeTurnsLiving } from "./turns.ts";

export interface ComparedLoad {
  /** Of its table, and what is said while it runs. */
  readonly title: string;
  readonly text: string;
  readonly connections: number;
  /** Flags of the load tool besides those for URL, connections and time. */
  readonly flags: readonly string[];
}

export interface Comparison {
  readonly targets: readonly TargetName[];
  /** One after another on the same process of a target. A table each. */
  readonly loads: readonly ComparedLoad[];
  /** For the nodes among the targets. */
  readonly targetFlags?: readonly string[];
  /** Flags of a load that comes before all others, when nothing has been sent yet. */
  readonly prepare?: readonly string[];
}

const STARTERS: Readonly<Record<TargetName, (flags: readonly string[]) => Promise<Target>>> = {
  bare: () => startBare(),
  catchall: (flags) => startCatchall(flags),
  cluster: (flags) => startCluster(flags),
  mongo: () => startMongoPeer(),
  redis: () => startRedisPeer(),
  gubernator: () => startGubernator(),
};

export const TARGET_NAMES: readonly TargetName[] = Object.keys(STARTERS) as TargetName[];

/** `flags` are those of a node; targets that are none ignore them. */
export function startTarget(name: TargetName, flags: readonly string[] = []): Promise<Target> {
  return STARTERS[name](flags);
}

/** One table a load. Errors: a wrong count, a target that does not start. */
export async function compare(
  context: BenchContext,
  comparison: Comparison,
): Promise<readonly Table[]> {
  const compared = await measureLoads(context, comparison);
  return comparison.loads.map(({ title, text }, index) => {
    const rows = comparisonRows(compared[index] ?? []);
    return { title, text, columns: COMPARISON_COLUMNS, rows };
  });
}

/** For each load the rounds of all targets. Errors: as of `compare`. */
export async function measureLoads(
  context: BenchContext,
  comparison: Comparison,
): Promise<readonly (readonly ComparedTarget[])[]> {
  const { targets, loads, targetFlags } = comparison;
  const results = await takeTurnsLiving(context, targets, {
    start: async (name) => ({ name, target: await startTarget(name, targetFlags) }),
    settle: (running) => settle(context, running, comparison),
    measure: (running) => measureEach(context, running, loads),
  });
  return loads.map((_, index) =>
    [...results].map(([target, rounds]) => {
      return { target, rounds: rounds.map((round) => round[index] as Measurement) };
    }),
  );
}

interface Running {
  readonly name: TargetName;
  readonly target: Target;
}

async function settle(
  context: BenchContext,
  { name, target }: Running,
  { loads: [first], prepare }: Comparison,
): Promise<void> {
  if (prepare !== undefined) await runLoadTool(["--url", target.url, ...prepare]);
  const durationMs = settleMsOf(context, name === "cluster");
  if (durationMs > 0 && first !== undefined) {
    await load({ ...context, events: null, durationMs, warmupMs: 0 }, target, first);
  }
}

async function measureEach(
  context: BenchContext,
  { name, target }: Running,
  loads: readonly ComparedLoad[],
): Promise<readonly Measurement[]> {
  const measurements: Measurement[] = [];
  for (const compared of loads) {
    const cpuBeforeMs = cpuMsOfAll(target.pids);
    let cpuAfterMs = 0;
    // Without the reads that verify the counts: with many domains they cost as much as the events.
    const outcome = await load(context, target, compared, () => {
      cpuAfterMs = cpuMsOfAll(target.pids);
    });
    const measurement = measurementOf(target, outcome, cpuAfterMs - cpuBeforeMs);
    measurements.push(measurement);
    context.say(`  ${name}, ${compared.title}: ${sentenceOf(measurement)}`);
  }
  return measurements;
}

async function load(
  context: BenchContext,
  target: Target,
  { connections, flags }: ComparedLoad,
  onLoaded?: () => void,
): Promise<TargetOutcome> {
  const { durationMs, warmupMs, events } = context;
  if (target.load !== undefined) {
    return await target.load({ connections, warmupMs, durationMs }, onLoaded);
  }
  const time = ["--duration", `${durationMs}ms`, "--warmup", `${warmupMs}ms`];
  const amount = events === null ? time : ["--events", String(events)];
  const count = ["--connections", String(connections)];
  return await runLoadTool(["--url", target.url, ...amount, ...count, ...flags], onLoaded);
}

/** Of events and reads together; latencies are those of the events, where there are any. */
function measurementOf(target: Target, outcome: TargetOutcome, serverCpuMs: number): Measurement {
  const { reads = null } = outcome;
  const { latency } = outcome.acked === 0 && reads !== null ? reads : outcome;
  const { p50, p95, p99, p999 } = latency;
  return {
    eventsPerSecond: outcome.eventsPerSecond + (reads?.readsPerSecond ?? 0),
    ...{ p50, p95, p99, p999 },
    serverUsPerEvent: (serverCpuMs * 1000) / (outcome.ackedTotal + (reads?.answeredTotal ?? 0)),
    clientUsPerEvent: (outcome.clientCpuMs * 1000) / (outcome.acked + (reads?.answered ?? 0)),
    rssMib: target.pids.reduce((sum, pid) => sum + rssMibOf(pid), 0),
    readLatency: reads?.latency ?? null,
  };
}

function sentenceOf(m: Measurement): string {
  return (
    `${whole(m.eventsPerSecond)} events/s, ` +
    `P50 ${m.p50} P95 ${m.p95} P99 ${m.p99} P99.9 ${m.p999} ms, ` +
    `CPU ${decimal(m.serverUsPerEvent)} + ${decimal(m.clientUsPerEvent)} µs/event, ` +
    `RSS ${whole(m.rssMib)} MiB`
  );
}
