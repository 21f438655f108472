/**
 * How many domains one node holds: memory of ten million, checkpoints of them all, and the time to start again from one.
 * Every domain gets exactly one event, in bulk, then the node is stopped, which writes a checkpoint. Each cycle starts a
 * node on a copy of its folder, dirties every page and waits for the checkpoint by the clock.
 */
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { setTimeout as pause } from "node:timers/promises";
import { NodeProcess } from "../../test/support/node-process.ts";
import { freePort } from "../free-port.ts";
import { WITHOUT_CHECKPOINTS } from "./cluster-cost.ts";
import { BULK_LINES, CountedLoads, metricOf } from "./counted-loads.ts";
import { cpuMsOf, rssMibOf } from "./targets.ts";

/** Of the node that is filled. */
export interface Filling {
  readonly eventsPerSecond: number;
  /** Resident memory before the first event and after the last, MiB. */
  readonly rssBeforeMib: number;
  readonly rssAfterMib: number;
  /** The node's own figure for its counter tables, where its metrics tell. */
  readonly tableBytesPerDomain: number | null;
  readonly stallMs: number;
  /** The clean stop, which writes everything. */
  readonly stopSeconds: number;
}

/** Of one start from that and one checkpoint of every page. */
export interface Cycle {
  readonly startSeconds: number;
  /** Processor time of that start, all threads: does not depend on what else the machine does. */
  readonly startCpuSeconds: number;
  readonly rssMib: number;
  /** Processor time of the checkpoint, all threads. */
  readonly checkpointCpuSeconds: number;
  readonly stallMs: number;
}

export interface ManyDomainsResult {
  readonly filling: Filling;
  readonly cycles: readonly Cycle[];
}

const DEADLINE_MS = 120_000;
const FLAGS = ["--log-level", "warn", "--shutdown-timeout", "120s"];
/** The first checkpoint of a cycle comes when every page is dirty. */
const CHECKPOINT_INTERVAL_MS = 30_000;
/** Of 65,536 pages none is left out. */
const DIRTYING_EVENTS = 1_000_000;
const DIRTYING_CONNECTIONS = 4;
const POLL_MS = 500;
/** So long the node is watched while it does nothing. */
const IDLE_MS = 3_000;
/** The metric counts the time from one look at the clock to the next one, which is meant to be that long. */
const LOOK_MS = 10;

interface ManyDomainsOptions {
  readonly domains: number;
  readonly seed: number;
  readonly cycles: number;
}

/** Errors: a wrong count after a start, no checkpoint in time. */
export async function measureManyDomains(options: ManyDomainsOptions): Promise<ManyDomainsResult> {
  const { domains, seed } = options;
  const parent = await mkdtemp(join(tmpdir(), "catchall-many-domains-"));
  const filled = join(parent, "filled");
  const port = await freePort();
  const start = (dataDir: string, flags: readonly string[]): Promise<NodeProcess> =>
    NodeProcess.start({ port, dataDir, flags: [...FLAGS, ...flags], readyTimeoutMs: DEADLINE_MS });
  try {
    const first = await start(filled, WITHOUT_CHECKPOINTS);
    const loads = new CountedLoads(first.url, seed);
    const filling = await ending(first, () => fill(first, loads, domains));
    const cycles: Cycle[] = [];
    for (let i = 0; i < options.cycles; i++) {
      const copy = join(parent, "copy");
      await cp(filled, copy, { recursive: true });
      const fromMs = performance.now();
      const node = await start(copy, ["--checkpoint-interval", `${CHECKPOINT_INTERVAL_MS}ms`]);
      const startSeconds = (performance.now() - fromMs) / 1000;
      const startCpuSeconds = cpuMsOf(node.pid) / 1000;
      const rssMib = rssMibOf(node.pid);
      const written = await ending(node, () => dirtyAndWrite(node, options));
      cycles.push({ startSeconds, startCpuSeconds, rssMib, ...written });
      await rm(copy, { recursive: true });
    }
    const last = await start(filled, WITHOUT_CHECKPOINTS);
    await ending(last, () => loads.verify());
    return { filling, cycles };
  } finally {
    await rm(parent, { recursive: true, force: true });
  }
}

/** Kills the node afterwards, unless it has ended by itself. */
async function ending<T>(node: NodeProcess, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } finally {
    if (node.isRunning) await node.kill();
  }
}

/** Stops the node. */
async function fill(node: NodeProcess, loads: CountedLoads, domains: number): Promise<Filling> {
  const rssBeforeMib = rssMibOf(node.pid);
  await takeStallMs(node.url);
  const { eventsPerSecond } = await loads.fill(domains);
  const rssAfterMib = rssMibOf(node.pid);
  const stallMs = await takeStallMs(node.url);
  const tableBytes = await metricOf(node.url, "catchall_table_bytes");
  const tableBytesPerDomain = tableBytes === null ? null : tableBytes / domains;
  const fromMs = performance.now();
  await node.stop();
  const stopSeconds = (performance.now() - fromMs) / 1000;
  return { eventsPerSecond, rssBeforeMib, rssAfterMib, tableBytesPerDomain, stallMs, stopSeconds };
}

async function dirtyAndWrite(
  node: NodeProcess,
  { domains, seed }: ManyDomainsOptions,
): Promise<Pick<Cycle, "checkpointCpuSeconds" | "stallMs">> {
  await new CountedLoads(node.url, seed, domains).run({
    ...{ connections: DIRTYING_CONNECTIONS, bulk: BULK_LINES, events: DIRTYING_EVENTS },
  });
  await takeStallMs(node.url);
  const checkpointCpuSeconds = await checkpointCpuSecondsOf(node);
  return { checkpointCpuSeconds, stallMs: await takeStallMs(node.url) };
}

/** The longest hold-up of the event loop since it was last asked for; asking begins anew. Errors: the node does not tell. */
async function takeStallMs(url: string): Promise<number> {
  const seconds = await metricOf(url, "nodejs_eventloop_lag_max_seconds");
  if (seconds === null) throw new Error("No hold-ups in the metrics");
  return Math.max(0, seconds * 1000 - LOOK_MS);
}

/**
 * Of the first checkpoint of a node that does nothing else: its processor time from now on, without what the node needs
 * while it waits. Errors: there was one before, none ends in time.
 */
async function checkpointCpuSecondsOf(node: NodeProcess): Promise<number> {
  const idleFromMs = cpuMsOf(node.pid);
  await pause(IDLE_MS);
  const idleShare = (cpuMsOf(node.pid) - idleFromMs) / IDLE_MS;
  if (await hasCheckpoint(node)) throw new Error("The first checkpoint came too early");
  const fromMs = performance.now();
  const cpuFromMs = cpuMsOf(node.pid);
  while (!(await hasCheckpoint(node))) {
    if (performance.now() - fromMs > CHECKPOINT_INTERVAL_MS + DEADLINE_MS) {
      throw new Error("No checkpoint");
    }
    await pause(POLL_MS);
  }
  const idleMs = idleShare * (performance.now() - fromMs);
  return (cpuMsOf(node.pid) - cpuFromMs - idleMs) / 1000;
}

async function hasCheckpoint(node: NodeProcess): Promise<boolean> {
  const { nodes } = (await (await fetch(`${node.url}/cluster`)).json()) as {
    readonly nodes: readonly { readonly checkpointAgeMs: number | null }[];
  };
  return (nodes[0]?.checkpointAgeMs ?? null) !== null;
}
