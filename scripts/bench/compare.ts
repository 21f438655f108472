/**
 * Targets side by side: each is started, settled, loaded and ended in its turn, round after round, so that a slow minute
 * of the machine hits all. Figures are medians over the rounds; the counts of every load are verified.
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
  cpuMsOf,
  rssMibOf,
  startBare,
  startCatchall,
  type Target,
  type TargetName,
  type TargetOutcome,
} from "./targets.ts";
import { startCluster } from "./targets-cluster.ts";

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

/** Of several processes together. */
export function cpuMsOfAll(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + cpuMsOf(pid), 0);
}

/** Measures every name in its turn, as many times as there are rounds. */
export async function takeTurns<Name extends string, Result>(
  context: BenchContext,
  names: readonly Name[],
  measure: (name: Name) => Promise<Result>,
): Promise<ReadonlyMap<Name, readonly Result[]>> {
  const results = new Map<Name, Result[]>(names.map((name) => [name, []]));
  for (let round = 1; round <= context.rounds; round++) {
    context.say(`round ${round} of ${context.rounds}`);
    for (const [name, rounds] of results) rounds.push(await measure(name));
  }
  return results;
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
  const results = await takeTurns(context, comparison.targets, (name) =>
    measureTarget(context, name, comparison),
  );
  return comparison.loads.map((_, index) =>
    [...results].map(([target, rounds]) => {
      return { target, rounds: rounds.map((round) => round[index] as Measurement) };
    }),
  );
}

/** Starts a target, lets it settle, and measures one load after the other. */
export async function measureTarget(
  context: BenchContext,
  name: TargetName,
  comparison: Omit<Comparison, "targets">,
): Promise<readonly Measurement[]> {
  const target = await startTarget(name, comparison.targetFlags);
  try {
    const { settleMs } = context;
    const [first] = comparison.loads;
    const { prepare } = comparison;
    if (prepare !== undefined) await runLoadTool(["--url", target.url, ...prepare]);
    // A load of its own before those that are measured: the processor time of compilation is paid once in a process.
    if (settleMs > 0 && first !== undefined) {
      await load({ ...context, durationMs: settleMs, warmupMs: 0 }, target, first);
    }
    const measurements: Measurement[] = [];
    for (const compared of comparison.loads) {
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
  } finally {
    await target.stop();
  }
}

async function load(
  context: BenchContext,
  target: Target,
  { connections, flags }: ComparedLoad,
  onLoaded?: () => void,
): Promise<TargetOutcome> {
  const { durationMs, warmupMs, events } = context;
  if (target.load !== undefined) {
    const outcome = await target.load(connections, warmupMs, durationMs);
    onLoaded?.();
    return outcome;
  }
  const time = ["--duration", `${durationMs}ms`, "--warmup", `${warmupMs}ms`];
  const amount = events === null ? time : ["--events", String(events)];
  const count = ["--connections", String(connections)];
  return runLoadTool(["--url", target.url, ...amount, ...count, ...flags], onLoaded);
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
