/**
 * Appends to a file log, one after another, as a group commit does: appends/s, bytes/s, p50 and p99 by entry size.
 * Usage: npx tsx scripts/bench/wal-append.ts [--seconds 3] [--directory <on the disk to measure>]
 */

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { NodeDisk } from "../../src/runtime/node-disk.ts";
import { chainSeed, sealEnvelope } from "../../src/wal/entry-codec.ts";
import { FileNodeLog } from "../../src/wal/file-node-log.ts";

const STORE_ID = 1;
const INCARNATION = 1;

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "3" },
    directory: { type: "string", default: tmpdir() },
  },
});

async function measure(entryBytes: number, durationMs: number): Promise<void> {
  await mkdir(values.directory, { recursive: true });
  const root = await mkdtemp(join(values.directory, "catchall-bench-"));
  try {
    const log = await FileNodeLog.open(new NodeDisk(root), { storeId: STORE_ID });
    await log.create(INCARNATION);
    const bytes = new Uint8Array(entryBytes).fill(0x61);
    const latenciesMs: number[] = [];
    let crc = chainSeed(INCARNATION, STORE_ID);
    let sequence = 0;
    const startedMs = performance.now();
    let nowMs = startedMs;
    while (nowMs - startedMs < durationMs) {
      sequence += 1;
      const header = { kind: 0, nonce: sequence, incarnation: INCARNATION, sequence, timeMs: 0 };
      crc = sealEnvelope(bytes, header, crc);
      const outcome = await log.append(bytes, sequence - 1);
      if (outcome.kind !== "committed") throw new Error(`append: ${outcome.reason}`);
      const thenMs = nowMs;
      nowMs = performance.now();
      latenciesMs.push(nowMs - thenMs);
      // What a checkpoint would do: keeps the disk from filling up.
      if (sequence % 2000 === 0) await log.trim(INCARNATION, sequence);
    }
    await log.close();
    report(entryBytes, latenciesMs, nowMs - startedMs);
  } finally {
    await rm(root, { recursive: true });
  }
}

function report(entryBytes: number, latenciesMs: number[], elapsedMs: number): void {
  latenciesMs.sort((a, b) => a - b);
  const at = (share: number): string =>
    (latenciesMs[Math.floor((latenciesMs.length - 1) * share)] ?? 0).toFixed(3);
  const perSecond = (latenciesMs.length * 1000) / elapsedMs;
  const megabytes = (perSecond * entryBytes) / 1e6;
  console.log(
    `${String(entryBytes).padStart(7)} B  ${perSecond.toFixed(0).padStart(6)} appends/s` +
      `  ${megabytes.toFixed(1).padStart(7)} MB/s  p50 ${at(0.5)} ms  p99 ${at(0.99)} ms  max ${at(1)} ms`,
  );
}

for (const entryBytes of [64, 4096, 65_536, 524_288]) {
  await measure(entryBytes, Number(values.seconds) * 1000);
}
