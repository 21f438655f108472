/**
 * `inspect wal` and `inspect checkpoint`: what lies in a data directory, read without changing it, also while a node
 * runs on it. Only `inspect wal --repair` changes anything, and only when no node has the directory.
 */

import { statSync } from "node:fs";
import { type Command, InvalidArgumentError } from "commander";
import type { CheckpointStore } from "../../checkpoint/checkpoint-store.ts";
import type { Disk } from "../../runtime/disk.ts";
import { readOnly } from "../../runtime/read-only-disk.ts";
import type { LogFiles, LogRepair } from "../../wal/file-log-reader.ts";
import { type CliContext, CommandFailure, UsageError } from "../context.ts";
import {
  countOf,
  formatCount,
  note,
  printJson,
  printLine,
  printTable,
  writeData,
} from "../output.ts";

interface WalFlags {
  readonly limit: number;
  readonly json?: boolean;
  readonly repair?: boolean;
  readonly dryRun?: boolean;
}

interface EntryRow {
  readonly incarnation: number;
  readonly sequence: number;
  readonly time: string;
  readonly kind: "events" | "seal";
  readonly bytes: number;
  readonly crc: "ok";
}

export function registerInspect(program: Command, context: CliContext): void {
  const inspect = program.command("inspect").description("show what lies in a data directory");
  inspect
    .command("wal <data-dir>")
    .description("show the entries of the write-ahead log and check every checksum")
    .option(
      "--limit <n>",
      "show so many of the last entries (--json: all, one a line)",
      parseLimit,
      20,
    )
    .option("--repair", "give up everything from the first damage on (kept aside as .damaged)")
    .option("--dry-run", "with --repair: only say what would be given up")
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      "\nExamples:\n  catchall inspect wal ./data\n  catchall inspect wal ./data --repair --dry-run",
    )
    .action((dataDir: string, flags: WalFlags) => inspectWal(dataDir, flags, context));
  inspect
    .command("checkpoint <data-dir>")
    .description("show the manifests and pages of the newest checkpoint")
    .option("--json", "print JSON")
    .addHelpText("after", "\nExample:\n  catchall inspect checkpoint ./data")
    .action((dataDir: string, flags: { readonly json?: boolean }) =>
      inspectCheckpoint(dataDir, flags.json === true, context),
    );
}

async function inspectWal(dataDir: string, flags: WalFlags, context: CliContext): Promise<void> {
  if (flags.dryRun === true && flags.repair !== true)
    throw new UsageError("--dry-run goes with --repair");
  const disk = await openDisk(dataDir);
  if (flags.repair === true) return repairWal(disk, dataDir, flags, context);
  const { storeId, logs } = await findLogs(readOnly(disk));
  const last: EntryRow[] = [];
  let count = 0;
  let bytes = 0;
  const rows = entriesOf(readOnly(disk), storeId, logs);
  try {
    for await (const row of rows) {
      count++;
      bytes += row.bytes;
      if (flags.json === true) await writeData(context, `${JSON.stringify(row)}\n`);
      last.push(row);
      if (last.length > flags.limit) last.shift();
    }
  } finally {
    if (flags.json !== true) await printEntries(last, context);
  }
  const summary = `${entryCount(count)} in ${countOf(logs.length, "log")}, ${formatCount(bytes)} bytes, every checksum right`;
  if (flags.json === true) note(context, summary);
  else printLine(context, summary);
}

async function printEntries(rows: readonly EntryRow[], context: CliContext): Promise<void> {
  if (rows.length === 0) return;
  await printTable(
    context,
    ["INCARNATION", "SEQUENCE", "TIME", "KIND", "BYTES", "CRC"],
    rows.map((row) => [row.incarnation, row.sequence, row.time, row.kind, row.bytes, row.crc]),
  );
}

/** Every entry of every log; the chained checksum is checked by the reader, which throws at the first that is wrong. */
async function* entriesOf(
  disk: Disk,
  storeId: number,
  logs: readonly LogFiles[],
): AsyncGenerator<EntryRow> {
  const { readLog } = await import("../../wal/file-log-reader.ts");
  const { ENTRY_KIND_SEAL, readEntryHeader } = await import("../../wal/entry-codec.ts");
  for (const files of logs) {
    const from = files.segments[0]?.firstSequence ?? 1;
    for await (const entry of readLog(disk, storeId, files, from, Number.MAX_SAFE_INTEGER)) {
      const { incarnation, sequence, timeMs, kind } = readEntryHeader(entry);
      yield {
        incarnation,
        sequence,
        time: new Date(timeMs).toISOString(),
        kind: kind === ENTRY_KIND_SEAL ? "seal" : "events",
        bytes: entry.length,
        crc: "ok",
      };
    }
  }
}

async function repairWal(
  disk: Disk,
  dataDir: string,
  flags: WalFlags,
  context: CliContext,
): Promise<void> {
  const isDryRun = flags.dryRun === true;
  const { repairLog } = await import("../../wal/file-log-reader.ts");
  const { lockDataDirectory } = await import("../../runtime/node-data-lock.ts");
  const lock = await lockDataDirectory(dataDir);
  const repairs: (LogRepair & { readonly incarnation: number })[] = [];
  try {
    const { storeId, logs } = await findLogs(disk);
    for (const files of logs) {
      const { incarnation } = files;
      repairs.push({ incarnation, ...(await repairLog(disk, storeId, files, isDryRun)) });
    }
  } finally {
    await lock.release();
  }
  if (flags.json === true) return printJson(context, { dryRun: isDryRun, repairs });
  for (const repair of repairs) {
    const { incarnation, lastSequence, damagedPath, offset, reason } = repair;
    if (damagedPath === null) {
      printLine(context, `log ${incarnation}: whole, ${entryCount(lastSequence)}`);
    } else {
      const verb = isDryRun ? "would keep" : "kept";
      printLine(
        context,
        `log ${incarnation}: ${damagedPath} is damaged at byte ${offset} (${reason})`,
      );
      printLine(
        context,
        `  ${verb} entries up to ${lastSequence}; what follows ${isDryRun ? "would be" : "is"} given up`,
      );
    }
  }
}

async function findLogs(disk: Disk): Promise<{ storeId: number; logs: readonly LogFiles[] }> {
  const { listLogs, WAL_DIRECTORY } = await import("../../wal/file-log-reader.ts");
  const { openStoreIdentity } = await import("../../wal/store-identity.ts");
  const isThere = (await disk.exists("store.json")) && (await disk.exists(WAL_DIRECTORY));
  if (!isThere)
    throw new CommandFailure("This is not a data directory: it has no log", {
      next: "name the folder given to --data-dir",
    });
  const { storeId } = await openStoreIdentity(disk, { uint32: () => 0 });
  const logs = [...(await listLogs(disk)).values()];
  return { storeId, logs: logs.toSorted((left, right) => left.incarnation - right.incarnation) };
}

async function inspectCheckpoint(
  dataDir: string,
  isJson: boolean,
  context: CliContext,
): Promise<void> {
  const disk = readOnly(await openDisk(dataDir));
  const { storeId } = await findLogs(disk);
  if (!(await disk.exists("checkpoints")))
    return printLine(context, isJson ? "null" : "No checkpoint yet");
  const { FileCheckpointStore } = await import("../../checkpoint/file-checkpoint-store.ts");
  const store: CheckpointStore = await FileCheckpointStore.open(disk, { storeId });
  try {
    const set = await store.readManifests(null);
    if (set === null) return printLine(context, isJson ? "null" : "No checkpoint yet");
    const partitions = new Set(set.manifests.map((manifest) => manifest.partition));
    const pages = new Map<string, { pages: number; bytes: number }>();
    for await (const page of store.readPages(partitions)) {
      const key = `${page.partition} ${page.kind}`;
      const sum = pages.get(key) ?? { pages: 0, bytes: 0 };
      pages.set(key, { pages: sum.pages + 1, bytes: sum.bytes + page.bytes.length });
    }
    const manifests = set.manifests.map((manifest) => ({
      partition: manifest.partition,
      watermark: manifest.watermark,
      counters: pages.get(`${manifest.partition} counters`) ?? { pages: 0, bytes: 0 },
      keys: pages.get(`${manifest.partition} keys`) ?? { pages: 0, bytes: 0 },
      meta: pages.get(`${manifest.partition} meta`) ?? { pages: 0, bytes: 0 },
    }));
    const { formatVersion, hashName, canonicalisationVersion } = set;
    const time = new Date(set.timeMs).toISOString();
    const head = {
      time,
      formatVersion,
      partitions: set.partitions,
      hashName,
      canonicalisationVersion,
    };
    if (isJson) return printJson(context, { ...head, manifests });
    printLine(
      context,
      `checkpoint of ${time}, format ${formatVersion}, ${set.partitions} partitions, hash ${hashName}`,
    );
    await printTable(
      context,
      ["PARTITION", "EPOCH", "INCARNATION", "SEQUENCE", "COUNTER PAGES", "KEY PAGES", "BYTES"],
      manifests.map(({ partition, watermark, counters, keys, meta }) => [
        partition,
        watermark.epoch,
        watermark.incarnation,
        watermark.sequence,
        counters.pages,
        keys.pages,
        counters.bytes + keys.bytes + meta.bytes,
      ]),
    );
  } finally {
    await store.close();
  }
}

async function openDisk(dataDir: string): Promise<Disk> {
  if (statSync(dataDir, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new CommandFailure(`"${dataDir}" is not a directory`, {
      next: "name the folder given to --data-dir",
    });
  }
  const { NodeDisk } = await import("../../runtime/node-disk.ts");
  return new NodeDisk(dataDir);
}

function entryCount(count: number): string {
  return `${formatCount(count)} ${count === 1 ? "entry" : "entries"}`;
}

function parseLimit(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError("It must be a whole number.");
  return Number(text);
}
