/**
 * The part `disturbed`: latencies at half the peak while nothing happens, while checkpoints are written, while partitions
 * move to a node that joined, and while an owner is dead. The peak is measured on the same processes right before each
 * load: the machine is another one a minute later.
 */
import type { LoadOutcome } from "../../src/cli/load/load-engine.ts";
import type { ClusterRig } from "../../test/support/cluster-rig.ts";
import { bringBack, checkpointed, during, move, takeAway } from "./cluster-changes.ts";
import { WITHOUT_CHECKPOINTS } from "./cluster-cost.ts";
import { startTarget } from "./compare.ts";
import { LATENCIES, LATENCY_COLUMNS } from "./comparison-table.ts";
import { amountOf, CountedLoads, scaled } from "./counted-loads.ts";
import { decimal, percent, whole, withRange } from "./figures.ts";
import type { BenchContext, BenchPart, Table } from "./part.ts";
import { usualConnections } from "./single-part.ts";
import type { Target } from "./targets.ts";
import { startRig, targetOf } from "./targets-cluster.ts";
import { settleMsOf, takeTurnsLiving } from "./turns.ts";

const DOMAINS = 1_000_000;
const SEED = 1;
const SHARE_OF_PEAK = 0.5;
const CHECKPOINTS = ["--checkpoint-interval", "5s"];
const QUIET = WITHOUT_CHECKPOINTS;
const FOURTH = "n4";
const VICTIM = "n3";
/** How long everything may take to answer again, and a load go on for a change, ms. */
const FAILOVER_LIMIT_MS = 60_000;
const CHANGE_LIMIT_MS = 120_000;

/** Without a change: a load of the usual length. With one: as long as the change. */
interface Situation {
  readonly title: string;
  /** A node that the load leaves alone, since it will be dead: only what was asked of others counts. */
  readonly victim?: string;
  /** Before the peak is measured, and between that and the load. */
  readonly prepare?: (rig: ClusterRig) => Promise<unknown>;
  readonly await?: (rig: ClusterRig) => Promise<unknown>;
  readonly change?: (rig: ClusterRig) => Promise<unknown>;
  /** Afterwards, so that the next round finds what this one found. */
  readonly undo?: (rig: ClusterRig) => Promise<unknown>;
}

/** What lives over all rounds, and what happens to it in each. */
interface Host {
  readonly kind: "bare" | "catchall" | "cluster";
  readonly flags: readonly string[];
  readonly situations: readonly Situation[];
}

const REBALANCE: Situation = {
  title: "three nodes, checkpoints, rebalance to a fourth",
  prepare: (rig) => rig.startNode(FOURTH),
  change: (rig) => move(rig, "/cluster/rebalance", {}),
  undo: (rig) => takeAway(rig, FOURTH),
};
const FAILOVER: Situation = {
  title: "three nodes, checkpoints, one of them killed",
  victim: VICTIM,
  await: checkpointed,
  change: async (rig) => {
    await rig.kill(VICTIM);
    const [asked = ""] = rig.running;
    await rig.answersAgain(asked, rig.domainsByPartition("again-"), FAILOVER_LIMIT_MS);
  },
  undo: (rig) => bringBack(rig, VICTIM),
};

const HOSTS: Readonly<Record<string, Host>> = {
  bare: { kind: "bare", flags: [], situations: [{ title: "bare uWebSockets.js with a Map" }] },
  node: { kind: "catchall", flags: QUIET, situations: [{ title: "one node, quiet" }] },
  "node with checkpoints": {
    ...{ kind: "catchall", flags: CHECKPOINTS },
    situations: [{ title: "one node, checkpoints" }],
  },
  cluster: { kind: "cluster", flags: QUIET, situations: [{ title: "three nodes, quiet" }] },
  "cluster with checkpoints": {
    ...{ kind: "cluster", flags: CHECKPOINTS },
    situations: [{ title: "three nodes, checkpoints" }, REBALANCE, FAILOVER],
  },
};

interface Seen {
  readonly title: string;
  readonly outcome: LoadOutcome;
  /** Of the closed loop before, events/s. */
  readonly peak: number;
  /** Of the change, where there is one. */
  readonly tookMs: number | null;
}

interface Running {
  readonly target: Target;
  readonly rig: ClusterRig | null;
  readonly loads: CountedLoads;
}

export const disturbedPart: BenchPart = {
  name: "disturbed",
  run: async (context) => {
    const hostOf = (name: string): Host => HOSTS[name] as Host;
    const names = Object.keys(HOSTS).filter((name) => context.targets.includes(hostOf(name).kind));
    const results = await takeTurnsLiving(context, names, {
      start: (name) => start(hostOf(name)),
      settle: async ({ loads }, name) => {
        await loads.fill(scaled(context, DOMAINS));
        const durationMs = settleMsOf(context, hostOf(name).kind === "cluster");
        const connections = usualConnections(context);
        if (durationMs > 0) await loads.run({ connections, durationMs });
      },
      measure: async (running, name) => {
        const seen: Seen[] = [];
        for (const situation of hostOf(name).situations) {
          seen.push(await measure(context, running, situation));
        }
        return seen;
      },
      verify: ({ loads }) => loads.verify(),
    });
    return [tableOf(context, [...results.values()].flat(2))];
  },
};

async function start({ kind, flags }: Host): Promise<Running> {
  const rig = kind === "cluster" ? await startRig(flags) : null;
  const target = rig === null ? await startTarget(kind, flags) : targetOf(rig);
  return { target, rig, loads: new CountedLoads(target.url, SEED) };
}

async function measure(
  context: BenchContext,
  { target, rig, loads }: Running,
  situation: Situation,
): Promise<Seen> {
  const { title, victim, change } = situation;
  const { warmupMs } = context;
  const dead = victim === undefined ? undefined : rig?.url(victim);
  const urls = target.url
    .split(",")
    .filter((url) => url !== dead)
    .join(",");
  const load = { connections: usualConnections(context), urls };
  if (rig !== null) await situation.prepare?.(rig);
  const { eventsPerSecond: peak } = await loads.run({ ...load, warmupMs, ...amountOf(context) });
  if (rig !== null) await situation.await?.(rig);
  const paced = { ...load, warmupMs, rate: Math.max(1, Math.round(peak * SHARE_OF_PEAK)) };
  const { outcome, tookMs } =
    rig === null || change === undefined
      ? { outcome: await loads.run({ ...paced, ...amountOf(context) }), tookMs: null }
      : await during(
          warmupMs,
          (signal) => loads.run({ ...paced, durationMs: CHANGE_LIMIT_MS, signal }),
          () => change(rig),
        );
  if (rig !== null) await situation.undo?.(rig);
  const { p50, p99, p999, max } = outcome.latency;
  context.say(`  ${title}: ${paced.rate}/s, P50 ${p50} P99 ${p99} P99.9 ${p999} max ${max} ms`);
  return { title, outcome, peak, tookMs };
}

function tableOf(context: BenchContext, all: readonly Seen[]): Table {
  const rows = [...new Set(all.map(({ title }) => title))].map((title) => {
    const rounds = all.filter((seen) => seen.title === title);
    const range = (of: (seen: Seen) => number, write: (value: number) => string, unit?: string) =>
      withRange(rounds.map(of), write, unit);
    const took = rounds.flatMap(({ tookMs }) => (tookMs === null ? [] : [tookMs / 1000]));
    return [
      title,
      range(({ outcome }) => outcome.eventsPerSecond, whole),
      range(({ outcome, peak }) => outcome.eventsPerSecond / peak, percent, " %"),
      ...LATENCIES.map((key) => range(({ outcome }) => outcome.latency[key], decimal)),
      range(({ outcome }) => outcome.latency.max, decimal),
      errorsText(rounds),
      withRange(took, decimal),
    ];
  });
  return {
    title: "Open loop at half the peak, disturbed",
    text:
      `${whole(scaled(context, DOMAINS))} domains, single \`PUT\`s uniform over them on ${usualConnections(context)} ` +
      "connections, at half the rate that a closed loop reached on the same processes right before. Intended start times, " +
      "latencies corrected for coordinated omission; a request that is refused is sent again and its latency goes on. " +
      "Checkpoints: one every 5 s, else none. A change is measured from its begin to its end: the moves from the request on; " +
      "from `kill -9`, when all before the load was in a checkpoint, until every partition has counted an event. The load " +
      "goes to nodes that stay alive.",
    columns: [
      ...["situation", "events/s", "of the peak", ...LATENCY_COLUMNS, "max ms"],
      ...["refused or broken", "change s"],
    ],
    rows,
  };
}

/** All rounds together. */
function errorsText(rounds: readonly Seen[]): string {
  const counts = new Map<string, number>();
  for (const { outcome } of rounds) {
    for (const [code, count] of Object.entries(outcome.errors)) {
      counts.set(code, (counts.get(code) ?? 0) + count);
    }
  }
  if (counts.size === 0) return "0";
  return [...counts].map(([code, count]) => `${code} ${whole(count)}`).join(", ");
}
