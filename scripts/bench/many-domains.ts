/**
 * How many domains one node holds: memory of ten million, and the time to start again from their checkpoint.
 * Every domain gets exactly one event, in bulk; then a clean stop, then a start measured until `/readyz` is 200.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
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

export async function measureManyDomains(
  domains: number,
  seed: number,
): Promise<ManyDomainsResult> {
  const dataDir = await mkdtemp(join(tmpdir(), "catchall-many-domains-"));
  const flags = ["--log-level", "warn", "--shutdown-timeout", "120s"];
  const options = { port: await freePort(), dataDir, flags, readyTimeoutMs: DEADLINE_MS };
  let node = await NodeProcess.start(options);
  try {
    const rssBeforeMib = rssMibOf(node.pid);
    const outcome = await new CountedLoads(node.url, seed).fill(domains);
    const rssAfterMib = rssMibOf(node.pid);
    const tableBytes = await metricOf(node.url, "catchall_table_bytes");
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

async function wrongSamplesOf(url: string, names: DomainNames, domains: number): Promise<number> {
  const http = new LoadHttp({ baseUrl: url, token: null, deadlineMs: DEADLINE_MS });
  const step = Math.max(1, Math.floor(domains / SAMPLES));
  const sampled: string[] = [];
  for (let i = 0; i < domains && sampled.length < SAMPLES; i += step) sampled.push(names.nameOf(i));
  const answers = await http.lookup(sampled);
  return answers.filter((answer) => answer?.delivered !== 1 || answer.bounced !== 0).length;
}
