/**
 * The part `disturbed`: latencies at half the peak while nothing happens, while checkpoints are written, while partitions
 * move to a node that joined, and while an owner is dead. Each situation has servers of its own, filled with domains.
 */
import type { LoadOutcome } from "../../src/cli/load/load-engine.ts";
import type { ClusterRig } from "../../test/support/cluster-rig.ts";
import { WITHOUT_CHECKPOINTS } from "./cluster-cost.ts";
import { amountOf, type CountedLoad, CountedLoads, scaled } from "./counted-loads.ts";
import { decimal, median, whole, withRange } from "./figures.ts";
import { during, move } from "./moves.ts";
import type { BenchContext, BenchPart, Table } from "./part.ts";
import { usualConnections } from "./single-part.ts";
import { startCatchall, type Target } from "./targets.ts";
import { startRig, targetOf } from "./targets-cluster.ts";
import { takeTurns } from "./turns.ts";

const DOMAINS = 1_000_000;
const SEED = 1;
const SHARE_OF_PEAK = 0.5;
const CHECKPOINTS = ["--checkpoint-interval", "5s"];
const FOURTH = "n4";
const VICTIM = "n3";
/** How long everything may take to answer again, ms. */
const FAILOVER_LIMIT_MS = 60_000;

type Kind = "node" | "cluster";

interface Situation {
  readonly title: string;
  readonly kind: Kind;
  readonly flags: readonly string[];
  /** Before the load. */
  readonly prepare?: (rig: ClusterRig) => Promise<unknown>;
  /** Begins when the load is measured; resolves when it is over. */
  readonly change?: (rig: ClusterRig) => Promise<unknown>;
  /** A node that the load leaves alone, since it will be dead: only what was asked of others counts. */
  readonly victim?: string;
}

const QUIET = WITHOUT_CHECKPOINTS;
const SITUATIONS: readonly Situation[] = [
  { title: "one node, quiet", kind: "node", flags: QUIET },
  { title: "one node, checkpoints", kind: "node", flags: CHECKPOINTS },
  { title: "three nodes, quiet", kind: "cluster", flags: QUIET },
  { title: "three nodes, checkpoints", kind: "cluster", flags: CHECKPOINTS },
  {
    title: "rebalance to a fourth node",
    ...{ kind: "cluster", flags: QUIET },
    prepare: (rig) => rig.startNode(FOURTH),
    change: (rig) => move(rig, "/cluster/rebalance", {}),
  },
  {
    title: "one of three nodes killed",
    ...{ kind: "cluster", flags: QUIET, victim: VICTIM },
    change: async (rig) => {
      await rig.kill(VICTIM);
      const [asked = ""] = rig.running;
      await rig.answersAgain(asked, rig.domainsByPartition("again-"), FAILOVER_LIMIT_MS);
    },
  },
];

interface Seen {
  readonly outcome: LoadOutcome;
  /** Of the change, where there is one. */
  readonly tookMs: number | null;
}

export const disturbedPart: BenchPart = {
  name: "disturbed",
  run: async (context) => {
    const rates: Record<Kind, number> = { node: 0, cluster: 0 };
    for (const kind of ["node", "cluster"] as const) {
      rates[kind] = Math.max(1, Math.round((await peakOf(context, kind)) * SHARE_OF_PEAK));
      context.say(`  half the peak of a ${kind}: ${rates[kind]} events/s`);
    }
    const byTitle = new Map(SITUATIONS.map((situation) => [situation.title, situation]));
    const results = await takeTurns(context, [...byTitle.keys()], async (title) => {
      const situation = byTitle.get(title) as Situation;
      const seen = await measure(context, situation, rates[situation.kind]);
      const { p50, p99, p999, max } = seen.outcome.latency;
      context.say(`  ${title}: P50 ${p50} P99 ${p99} P99.9 ${p999} max ${max} ms`);
      return seen;
    });
    return [tableOf(context, rates, results)];
  },
};

interface Running {
  readonly target: Target;
  readonly rig: ClusterRig | null;
}

async function start(kind: Kind, flags: readonly string[]): Promise<Running> {
  if (kind === "node") return { target: await startCatchall(flags), rig: null };
  const rig = await startRig(flags);
  return { target: targetOf(rig), rig };
}

/** Events/s in a closed loop. */
async function peakOf(context: BenchContext, kind: Kind): Promise<number> {
  const { target } = await start(kind, QUIET);
  try {
    const loads = new CountedLoads(target.url, SEED);
    await loads.fill(scaled(context, DOMAINS));
    const load = { connections: usualConnections(context), ...amountOf(context) };
    await settle(context, loads, load);
    return (await loads.run(load)).eventsPerSecond;
  } finally {
    await target.stop();
  }
}

async function measure(context: BenchContext, situation: Situation, rate: number): Promise<Seen> {
  const { kind, flags, prepare, change, victim } = situation;
  const { target, rig } = await start(kind, flags);
  try {
    const urls = target.url
      .split(",")
      .filter((url) => victim === undefined || url !== rig?.url(victim));
    const loads = new CountedLoads(urls.join(","), SEED);
    await loads.fill(scaled(context, DOMAINS));
    if (rig !== null) await prepare?.(rig);
    const { warmupMs } = context;
    const load = { connections: usualConnections(context), rate, ...amountOf(context) };
    await settle(context, loads, load);
    const run = (): Promise<LoadOutcome> => loads.run({ ...load, warmupMs });
    const seen: Seen =
      rig === null || change === undefined
        ? { outcome: await run(), tookMs: null }
        : await during(warmupMs, run, () => change(rig));
    await loads.verify();
    return seen;
  } finally {
    await target.stop();
  }
}

async function settle(
  { settleMs }: BenchContext,
  loads: CountedLoads,
  load: CountedLoad,
): Promise<void> {
  if (settleMs > 0) await loads.run({ ...load, durationMs: settleMs });
}

function tableOf(
  context: BenchContext,
  rates: Readonly<Record<Kind, number>>,
  results: ReadonlyMap<string, readonly Seen[]>,
): Table {
  const rows = [...results].map(([title, rounds]) => {
    const latencies = rounds.map(({ outcome }) => outcome.latency);
    const took = rounds.flatMap(({ tookMs }) => (tookMs === null ? [] : [tookMs / 1000]));
    return [
      title,
      whole(median(rounds.map(({ outcome }) => outcome.eventsPerSecond))),
      ...(["p50", "p95", "p99"] as const).map((key) =>
        decimal(median(latencies.map((latency) => latency[key]))),
      ),
      withRange(
        latencies.map(({ p999 }) => p999),
        decimal,
      ),
      decimal(median(latencies.map(({ max }) => max))),
      errorsText(rounds),
      took.length === 0 ? "" : withRange(took, decimal),
    ];
  });
  return {
    title: "Open loop at half the peak, disturbed",
    text:
      `${whole(scaled(context, DOMAINS))} domains, single \`PUT\`s uniform over them on ${usualConnections(context)} ` +
      `connections: ${whole(rates.node)} events/s for one node, ${whole(rates.cluster)} for three, half of what each did in ` +
      "a closed loop. Intended start times, latencies corrected for coordinated omission; a request that is refused is sent " +
      "again and its latency goes on. Checkpoints: one every 5 s, else none. Change: the moves from the request to their end; " +
      "from `kill -9` until every partition has counted an event. The load goes to the nodes that stay alive.",
    columns: [
      ...["situation", "events/s", "P50 ms", "P95 ms", "P99 ms", "P99.9 ms", "max ms"],
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
