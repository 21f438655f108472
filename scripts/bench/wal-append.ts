/**
 * Appends to a log, one after another, as a group commit does: appends/s, bytes/s, p50 and p99 by entry size.
 * Usage: npx tsx scripts/bench/wal-append.ts [--seconds 3] [--log file|jetstream] [--directory <on the disk to measure>]
 */

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { NodeClock } from "../../src/runtime/node-clock.ts";
import { NodeDisk } from "../../src/runtime/node-disk.ts";
import { NodeRandom } from "../../src/runtime/node-random.ts";
import { chainSeed, sealEnvelope } from "../../src/wal/entry-codec.ts";
import { FileNodeLog } from "../../src/wal/file-node-log.ts";
import { JetStreamNodeLog } from "../../src/wal/jetstream-node-log.ts";
import type { NodeLog } from "../../src/wal/node-log.ts";
import { TestNatsServer } from "../../test/support/nats-server.ts";
import { quantile, startWatch, type Work } from "./figures.ts";
import { cpuMsOf } from "./targets.ts";

const STORE_ID = 1;
const INCARNATION = 1;
/** What a checkpoint would do: keeps the disk from filling up. */
const TRIM_ENTRIES = 2000;

export interface AppendWork extends Work {
  /** Of one append each, ms, sorted. */
  readonly latenciesMs: readonly number[];
  /** Processor time of the log's server, ms; zero where there is none. */
  readonly serverCpuMs: number;
}

export interface AppendOptions {
  readonly entryBytes: number;
  readonly durationMs: number;
}

/** Each append synced to a file below `directory`. */
export async function measureFileAppends(
  options: AppendOptions & { readonly directory: string },
): Promise<AppendWork> {
  await mkdir(options.directory, { recursive: true });
  const root = await mkdtemp(join(options.directory, "catchall-bench-"));
  try {
    const log = await FileNodeLog.open(new NodeDisk(root), { storeId: STORE_ID });
    return { ...(await measure(log, options)), serverCpuMs: 0 };
  } finally {
    await rm(root, { recursive: true });
  }
}

/** Each append synced by a nats-server of its own: `sync_interval: always`. */
export async function measureJetStreamAppends(options: AppendOptions): Promise<AppendWork> {
  const nats = await TestNatsServer.start();
  try {
    const requests = await nats.connect("bench");
    try {
      const log = await JetStreamNodeLog.open(requests, {
        ...{ clusterName: "bench", replicas: 1, logBytesMax: null },
        ...{ clock: new NodeClock(), random: new NodeRandom() },
      });
      const cpuBeforeMs = cpuMsOf(nats.pid);
      const work = await measure(log, options);
      return { ...work, serverCpuMs: cpuMsOf(nats.pid) - cpuBeforeMs };
    } finally {
      await requests.close();
    }
  } finally {
    await nats.dispose();
  }
}

async function measure(
  log: NodeLog,
  { entryBytes, durationMs }: AppendOptions,
): Promise<Omit<AppendWork, "serverCpuMs">> {
  await log.create(INCARNATION);
  const bytes = new Uint8Array(entryBytes).fill(0x61);
  const latenciesMs: number[] = [];
  let crc = chainSeed(INCARNATION, log.storeId);
  const read = startWatch();
  const endMs = performance.now() + durationMs;
  for (let sequence = 1, nowMs = 0; nowMs < endMs; sequence++) {
    const startMs = performance.now();
    const header = { kind: 0, nonce: sequence, incarnation: INCARNATION, sequence, timeMs: 0 };
    crc = sealEnvelope(bytes, header, crc);
    const outcome = await log.append(bytes, sequence - 1);
    if (outcome.kind !== "committed") throw new Error(`append: ${outcome.reason}`);
    nowMs = performance.now();
    latenciesMs.push(nowMs - startMs);
    if (sequence % TRIM_ENTRIES === 0) await log.trim(INCARNATION, sequence);
  }
  const work = { count: latenciesMs.length, ...read() };
  await log.close();
  return { ...work, latenciesMs: latenciesMs.sort((a, b) => a - b) };
}

function report(entryBytes: number, { count, seconds, latenciesMs }: AppendWork): void {
  const at = (share: number): string => quantile(latenciesMs, share).toFixed(3);
  const perSecond = count / seconds;
  const megabytes = (perSecond * entryBytes) / 1e6;
  console.log(
    `${String(entryBytes).padStart(7)} B  ${perSecond.toFixed(0).padStart(6)} appends/s` +
      `  ${megabytes.toFixed(1).padStart(7)} MB/s  p50 ${at(0.5)} ms  p99 ${at(0.99)} ms  max ${at(1)} ms`,
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "3" },
      log: { type: "string", default: "file" },
      directory: { type: "string", default: tmpdir() },
    },
  });
  const durationMs = Number(values.seconds) * 1000;
  const { directory } = values;
  for (const entryBytes of [64, 4096, 65_536, 524_288]) {
    const work =
      values.log === "jetstream"
        ? await measureJetStreamAppends({ entryBytes, durationMs })
        : await measureFileAppends({ entryBytes, durationMs, directory });
    report(entryBytes, work);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
