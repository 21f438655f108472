/**
 * What an event costs a whole cluster: processor time of all server processes, messages and bytes through nats-server,
 * bytes and appends of the logs. Of bulk and of single events, uniform over domains that are known already.
 */
import type { ClusterRig } from "../../test/support/cluster-rig.ts";
import {
  amountOf,
  BULK_LINES,
  type CountedLoad,
  CountedLoads,
  metricOf,
  scaled,
} from "./counted-loads.ts";
import { decimal, whole } from "./figures.ts";
import type { BenchContext } from "./part.ts";
import { usualConnections } from "./single-part.ts";
import { startRig, targetOf } from "./targets-cluster.ts";
import { cpuMsOfAll, settleMsOf, takeTurnsLiving } from "./turns.ts";

export const LOAD_KINDS = ["bulk", "single"] as const;
export type LoadKind = (typeof LOAD_KINDS)[number];

/** An event, but for the rate. */
export interface ClusterCost {
  readonly eventsPerSecond: number;
  readonly cpuUs: number;
  /** What nodes send to nats-server: its own answers and deliveries come on top. */
  readonly messages: number;
  readonly messageBytes: number;
  /** What is stored, with the frame of each message. */
  readonly logBytes: number;
  /** Events in one append, and in one frame from node to node: NaN where there was none. */
  readonly eventsPerAppend: number;
  readonly eventsPerFrame: number;
}

export type ClusterCosts = Readonly<Record<LoadKind, ClusterCost>>;

/** None while something is measured: what they cost is the matter of the part `disturbed`. */
export const WITHOUT_CHECKPOINTS: readonly string[] = ["--checkpoint-interval", "24h"];
const DOMAINS = 100_000;
const SEED = 1;

/** What a cluster is started with. */
export interface ClusterShape {
  readonly nodes: readonly string[];
  readonly flags: readonly string[];
}

/** Several clusters beside each other: each loaded in its turn. */
export function measureClusterCosts<Name extends string>(
  context: BenchContext,
  names: readonly Name[],
  shapeOf: (name: Name) => ClusterShape,
): Promise<ReadonlyMap<Name, readonly ClusterCosts[]>> {
  const { bulk, single } = loadsOf(context);
  return takeTurnsLiving(context, names, {
    start: async (name) => {
      const { nodes, flags } = shapeOf(name);
      const rig = await startRig([...WITHOUT_CHECKPOINTS, ...flags], nodes);
      const target = targetOf(rig);
      return { rig, target, loads: new CountedLoads(target.url, SEED) };
    },
    settle: async ({ loads }) => {
      await loads.fill(scaled(context, DOMAINS));
      await settle(context, loads, true);
    },
    measure: async ({ rig, loads }, name) => {
      const costs = {
        bulk: await costOf(rig, loads, { ...bulk, ...amountOf(context) }),
        single: await costOf(rig, loads, { ...single, ...amountOf(context) }),
      };
      for (const [kind, { eventsPerSecond, cpuUs }] of Object.entries(costs)) {
        context.say(`  ${name}, ${kind}: ${whole(eventsPerSecond)}/s, ${decimal(cpuUs)} µs/event`);
      }
      return costs;
    },
    verify: ({ loads }) => loads.verify(),
  });
}

/** One figure of all rounds. */
export function costsOf(
  rounds: readonly ClusterCosts[] | undefined,
  kind: LoadKind,
  key: keyof ClusterCost,
): readonly number[] {
  return (rounds ?? []).map((round) => round[kind][key]);
}

/** How each kind of load is sent. */
export function loadsOf(context: BenchContext): Readonly<Record<LoadKind, CountedLoad>> {
  return {
    bulk: { connections: context.bulkConnections, bulk: BULK_LINES },
    single: { connections: usualConnections(context) },
  };
}

/** The processor time of compilation is paid once in a process, and for each kind of load. */
export async function settle(
  context: BenchContext,
  loads: CountedLoads,
  isCluster: boolean,
): Promise<void> {
  const durationMs = settleMsOf(context, isCluster) / LOAD_KINDS.length;
  if (durationMs === 0) return;
  for (const load of Object.values(loadsOf(context))) await loads.run({ ...load, durationMs });
}

/** For the text of a table. */
export function loadsText(context: BenchContext): string {
  const { bulk, single } = loadsOf(context);
  return (
    `Events are uniform over the domains, which all have been counted before; bulk of ` +
    `${BULK_LINES} lines on ${bulk.connections} connections, single \`PUT\`s on ` +
    `${single.connections}; no checkpoints meanwhile.`
  );
}

async function costOf(
  rig: ClusterRig,
  loads: CountedLoads,
  load: CountedLoad,
): Promise<ClusterCost> {
  const before = await totalsOf(rig);
  const { eventsPerSecond, ackedTotal } = await loads.run(load);
  const after = await totalsOf(rig);
  const grown = (key: keyof Totals): number => after[key] - before[key];
  return {
    eventsPerSecond,
    cpuUs: (grown("cpuMs") * 1000) / ackedTotal,
    messages: grown("messages") / ackedTotal,
    messageBytes: grown("messageBytes") / ackedTotal,
    logBytes: grown("logBytes") / ackedTotal,
    eventsPerAppend: grown("appendedEvents") / grown("appends"),
    eventsPerFrame: grown("framedEvents") / grown("frames"),
  };
}

type Totals = Awaited<ReturnType<typeof totalsOf>>;

/** Since the start of the cluster. */
async function totalsOf(rig: ClusterRig) {
  const { url, pids } = targetOf(rig);
  const count = async (name: string): Promise<number> =>
    (await metricOf(url, `catchall_${name}`)) ?? 0;
  const server = await monitorOf(rig, "varz");
  const stored = await monitorOf(rig, "jsz");
  return {
    cpuMs: cpuMsOfAll(pids),
    messages: server["in_msgs"] as number,
    messageBytes: server["in_bytes"] as number,
    logBytes: stored["bytes"] as number,
    appends: await count("wal_commit_events_count"),
    appendedEvents: await count("wal_commit_events_sum"),
    frames: await count("forward_batch_events_count"),
    framedEvents: await count("forward_batch_events_sum"),
  };
}

async function monitorOf(rig: ClusterRig, page: string): Promise<Record<string, unknown>> {
  const response = await fetch(`${rig.nats.monitorUrl}/${page}`);
  return (await response.json()) as Record<string, unknown>;
}
