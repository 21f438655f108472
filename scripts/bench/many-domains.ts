/**
 * How many domains one node holds: memory of ten million, a checkpoint of them all, and the time to start again from it.
 * Every domain gets exactly one event, in bulk; then a checkpoint by the clock, a clean stop, and a start measured until
 * `/readyz` is 200.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { setTimeout as pause } from "node:timers/promises";
import { DomainNames } from "../../src/cli/load/domain-names.ts";
import { LoadHttp } from "../../src/cli/load/load-http.ts";
import { NodeProcess } from "../../test/support/node-process.ts";
import { freePort } from "../free-port.ts";
import { CountedLoads, metricOf } from "./counted-loads.ts";
import { cpuMsOf, rssMibOf } from "./targets.ts";

export interface ManyDomainsResult {
  readonly domains: number;
  readonly eventsPerSecond: number;
  /** Resident memory before the first event and after the last, MiB. */
  readonly rssBeforeMib: number;
  readonly rssAfterMib: number;
  /** The node's own figure for its counter tables, where its metrics tell. */
  readonly tableBytesPerDomain: number | null;
  /** Longest time between two looks at the clock meant to be 10 ms apart, ms: while filling, while all was written. */
  readonly gapMsFilling: number;
  readonly gapMsCheckpoint: number;
  /** Processor time of the checkpoint, all threads. */
  readonly checkpointCpuSeconds: number;
  readonly stopSeconds: number;
  readonly startSeconds: number;
  /** Processor time of that start, all threads: does not depend on what else the machine does. */
  readonly startCpuSeconds: number;
  readonly rssRestartedMib: number;
  /** Of domains sampled after the restart, those with a wrong count. */
  readonly wrongSamples: number;
}

const SAMPLES = 10_000;
const DEADLINE_MS = 120_000;
/** The first checkpoint comes when all domains are there. */
const CHECKPOINT_INTERVAL_MS = 120_000;
const POLL_MS = 500;
/** So long the node is watched while it does nothing. */
const IDLE_MS = 5_000;

export async function measureManyDomains(
  domains: number,
  seed: number,
): Promise<ManyDomainsResult> {
  const dataDir = await mkdtemp(join(tmpdir(), "catchall-many-domains-"));
  const flags = ["--log-level", "warn", "--shutdown-timeout", "120s"];
  flags.push("--checkpoint-interval", `${CHECKPOINT_INTERVAL_MS}ms`);
  const options = { port: await freePort(), dataDir, flags, readyTimeoutMs: DEADLINE_MS };
  let node = await NodeProcess.start(options);
  try {
    const rssBeforeMib = rssMibOf(node.pid);
    await takeGapMs(node.url);
    const outcome = await new CountedLoads(node.url, seed).fill(domains);
    const rssAfterMib = rssMibOf(node.pid);
    const gapMsFilling = await takeGapMs(node.url);
    const tableBytes = await metricOf(node.url, "catchall_table_bytes");
    const checkpointCpuSeconds = await checkpointCpuSecondsOf(node);
    const gapMsCheckpoint = await takeGapMs(node.url);
    const stopFrom = performance.now();
    await node.stop();
    const startFrom = performance.now();
    node = await NodeProcess.start(options);
    const startSeconds = (performance.now() - startFrom) / 1000;
    const startCpuSeconds = cpuMsOf(node.pid) / 1000;
    return {
      domains,
      eventsPerSecond: outcome.eventsPerSecond,
      rssBeforeMib,
      rssAfterMib,
      tableBytesPerDomain: tableBytes === null ? null : tableBytes / domains,
      gapMsFilling,
      gapMsCheckpoint,
      checkpointCpuSeconds,
      stopSeconds: (startFrom - stopFrom) / 1000,
      startSeconds,
      startCpuSeconds,
      rssRestartedMib: rssMibOf(node.pid),
      wrongSamples: await wrongSamplesOf(node.url, new DomainNames(seed), domains),
    };
  } finally {
    if (node.isRunning) await node.kill();
    await rm(dataDir, { recursive: true, force: true });
  }
}

/** The longest gap since it was last asked for; asking begins a new one. Errors: the node does not tell. */
async function takeGapMs(url: string): Promise<number> {
  const seconds = await metricOf(url, "nodejs_eventloop_lag_max_seconds");
  if (seconds === null) throw new Error("No gaps in the metrics");
  return seconds * 1000;
}

/**
 * Of the first checkpoint of a node that does nothing else: its processor time from now on, without what the node needs
 * while it waits. Errors: there was one before, none ends in time.
 */
async function checkpointCpuSecondsOf(node: NodeProcess): Promise<number> {
  if (await hasCheckpoint(node)) throw new Error("Filling took longer than the first checkpoint");
  const idleFromMs = cpuMsOf(node.pid);
  await pause(IDLE_MS);
  const idleShare = (cpuMsOf(node.pid) - idleFromMs) / IDLE_MS;
  const fromMs = performance.now();
  const cpuFromMs = cpuMsOf(node.pid);
  while (!(await hasCheckpoint(node))) {
    if (performance.now() - fromMs > 2 * CHECKPOINT_INTERVAL_MS) throw new Error("No checkpoint");
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

async function wrongSamplesOf(url: string, names: DomainNames, domains: number): Promise<number> {
  const http = new LoadHttp({ baseUrl: url, token: null, deadlineMs: DEADLINE_MS });
  const step = Math.max(1, Math.floor(domains / SAMPLES));
  const sampled: string[] = [];
  for (let i = 0; i < domains && sampled.length < SAMPLES; i += step) sampled.push(names.nameOf(i));
  const answers = await http.lookup(sampled);
  return answers.filter((answer) => answer?.delivered !== 1 || answer.bounced !== 0).length;
}
