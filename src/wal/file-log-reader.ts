/**
 * Finding, reading and sealing the logs of a data directory, one segment in memory at a time. Reading never changes a
 * file; sealing cuts a torn tail and nothing else; only `repairLog`, on an operator's word, gives up entries.
 */

import { CatchallError } from "../model/errors.ts";
import type { Disk } from "../runtime/disk.ts";
import { chainSeed } from "./entry-codec.ts";
import { padNumber, parseSegmentName, segmentPath } from "./file-segment.ts";
import { copyEntry, type SegmentScan, scanSegment } from "./segment-scan.ts";

export const WAL_DIRECTORY = "wal";

export interface SegmentFile {
  readonly firstSequence: number;
  sizeBytes: number;
}

export interface LogFiles {
  readonly incarnation: number;
  /** Ascending; whoever trims or appends changes it. */
  readonly segments: SegmentFile[];
  /** Last sequence once sealed. */
  end: number | null;
}

export function logDirectory(incarnation: number): string {
  return `${WAL_DIRECTORY}/${padNumber(incarnation)}`;
}

/** The logs under `wal/`. Removes segments that never got their name. */
export async function listLogs(disk: Disk): Promise<Map<number, LogFiles>> {
  const logs = new Map<number, LogFiles>();
  for (const name of await disk.list(WAL_DIRECTORY)) {
    if (!/^\d{16}$/.test(name)) continue;
    const incarnation = Number(name);
    const files: LogFiles = { incarnation, segments: [], end: null };
    for (const file of await disk.list(logDirectory(incarnation))) {
      const path = `${logDirectory(incarnation)}/${file}`;
      const firstSequence = parseSegmentName(file);
      if (file.endsWith(".tmp")) await disk.remove(path);
      if (firstSequence === null) continue;
      files.segments.push({ firstSequence, sizeBytes: await disk.size(path) });
    }
    files.segments.sort((a, b) => a.firstSequence - b.firstSequence);
    logs.set(incarnation, files);
  }
  return logs;
}

/** Entries with sequence in [from, to] that are there. Errors: CatchallError `log_damaged`. */
export async function* readLog(
  disk: Disk,
  storeId: number,
  files: LogFiles,
  from: number,
  to: number,
): AsyncIterable<Uint8Array> {
  if (from > to || files.segments.length === 0) return;
  const segments = files.segments.slice();
  const first = Math.max(
    0,
    segments.findLastIndex((segment) => segment.firstSequence <= from),
  );
  const kept = (segments[first] as SegmentFile).firstSequence;
  if (from < kept) {
    throw damagedAt(segmentPath(logDirectory(files.incarnation), kept), 0, {
      reason: `entries ${from} to ${kept - 1} are no longer there`,
    });
  }
  let previous: SegmentScan | null = null;
  for (let i = first; i < segments.length; i += 1) {
    if ((segments[i] as SegmentFile).firstSequence > to) return;
    const { bytes, scan } = await scanFile(disk, storeId, files, segments, i, previous, to);
    if (scan.verdict === "damaged") throw damagedAt(pathOf(files, segments, i), scan.offset, scan);
    for (const entry of scan.entries) {
      if (entry.sequence >= from && entry.sequence <= to) yield copyEntry(bytes, entry);
    }
    previous = scan;
  }
}

/**
 * Scans all segments and cuts the torn tail of the last; returns the last sequence, and remembers it in `files`.
 * The last record is written and synced once more, the same bytes: its writer may have died of a failed sync, and then
 * what was just read came from the page cache and is not on the disk.
 */
export async function sealLog(disk: Disk, storeId: number, files: LogFiles): Promise<number> {
  let previous: SegmentScan | null = null;
  let lastRecord: Uint8Array = new Uint8Array(0);
  for (let i = 0; i < files.segments.length; i += 1) {
    const { bytes, scan } = await scanFile(disk, storeId, files, files.segments, i, previous);
    if (scan.verdict === "damaged") {
      throw damagedAt(pathOf(files, files.segments, i), scan.offset, scan);
    }
    lastRecord = bytes.slice(scan.entries.at(-1)?.offset ?? 0, scan.validEnd);
    previous = scan;
  }
  const last = files.segments.at(-1);
  if (previous !== null && last !== undefined) {
    await cutSegment(disk, files, last, previous.validEnd, lastRecord);
  }
  files.end = previous?.lastSequence ?? 0;
  return files.end;
}

export interface LogRepair {
  /** Last sequence that is kept. */
  readonly lastSequence: number;
  /** Where the damage began; null when there was none, and nothing was changed but a torn tail. */
  readonly damagedPath: string | null;
  readonly offset: number;
  readonly reason: string;
}

/**
 * Gives up everything from the first damage of this log on: the segment is kept aside under `.damaged`, then cut.
 * For `catchall inspect wal --repair` only. With `isDryRun` it says what it would do.
 */
export async function repairLog(
  disk: Disk,
  storeId: number,
  files: LogFiles,
  isDryRun: boolean,
): Promise<LogRepair> {
  let previous: SegmentScan | null = null;
  for (let i = 0; i < files.segments.length; i += 1) {
    const { bytes, scan } = await scanFile(disk, storeId, files, files.segments, i, previous);
    if (scan.verdict === "damaged") {
      const path = pathOf(files, files.segments, i);
      const { offset, reason, lastSequence } = scan;
      if (!isDryRun) await cutLog(disk, files, i, scan, bytes);
      return { lastSequence, damagedPath: path, offset, reason };
    }
    previous = scan;
  }
  const lastSequence = isDryRun
    ? (previous?.lastSequence ?? 0)
    : await sealLog(disk, storeId, files);
  return { lastSequence, damagedPath: null, offset: 0, reason: "" };
}

async function cutLog(
  disk: Disk,
  files: LogFiles,
  index: number,
  scan: SegmentScan,
  bytes: Uint8Array,
): Promise<void> {
  const aside = await disk.create(`${pathOf(files, files.segments, index)}.damaged`, 0);
  await aside.write(0, bytes);
  await aside.sync();
  await aside.close();
  // The newest goes first, so that a crash on the way leaves no hole but the damage itself.
  for (let i = files.segments.length - 1; i > index; i -= 1) {
    const path = pathOf(files, files.segments, i);
    await disk.rename(path, `${path}.damaged`);
  }
  files.segments.splice(index + 1);
  const segment = files.segments[index] as SegmentFile;
  if (scan.validEnd === 0) {
    await disk.remove(pathOf(files, files.segments, index));
    files.segments.splice(index);
  } else {
    const lastRecord = bytes.slice(scan.entries.at(-1)?.offset ?? 0, scan.validEnd);
    await cutSegment(disk, files, segment, scan.validEnd, lastRecord);
  }
  await disk.syncDirectory(logDirectory(files.incarnation));
}

/** Makes the segment end with its last good record (or header), and that record durable. */
async function cutSegment(
  disk: Disk,
  files: LogFiles,
  segment: SegmentFile,
  validEnd: number,
  lastRecord: Uint8Array,
): Promise<void> {
  const path = segmentPath(logDirectory(files.incarnation), segment.firstSequence);
  const file = await disk.open(path);
  try {
    await file.writeSynced(validEnd - lastRecord.length, lastRecord);
    await file.truncate(validEnd);
    await file.sync();
  } finally {
    await file.close();
  }
  segment.sizeBytes = validEnd;
}

async function scanFile(
  disk: Disk,
  storeId: number,
  files: LogFiles,
  segments: readonly SegmentFile[],
  index: number,
  previous: SegmentScan | null,
  upTo?: number,
): Promise<{ readonly bytes: Uint8Array; readonly scan: SegmentScan }> {
  const { firstSequence } = segments[index] as SegmentFile;
  const path = pathOf(files, segments, index);
  if (previous !== null && previous.lastSequence + 1 !== firstSequence) {
    const reason = `entries ${previous.lastSequence + 1} to ${firstSequence - 1} are missing`;
    const hole = { ...previous, entries: [], validEnd: 0, offset: 0, reason };
    return { bytes: await disk.read(path), scan: { ...hole, verdict: "damaged" } };
  }
  const isFirst = firstSequence === 1;
  const bytes = await disk.read(path);
  const scan = scanSegment(bytes, {
    storeId,
    incarnation: files.incarnation,
    firstSequence,
    previousCrc: isFirst ? chainSeed(files.incarnation, storeId) : (previous?.lastCrc ?? null),
    isLast: index === segments.length - 1,
    ...(upTo === undefined ? {} : { upTo }),
  });
  return { bytes, scan };
}

function pathOf(files: LogFiles, segments: readonly SegmentFile[], index: number): string {
  const { firstSequence } = segments[index] as SegmentFile;
  return segmentPath(logDirectory(files.incarnation), firstSequence);
}

function damagedAt(path: string, offset: number, why: { readonly reason: string }): CatchallError {
  return new CatchallError(
    "log_damaged",
    `Write-ahead log "${path}" is damaged at byte ${offset}: ${why.reason}; restore the file, or run ` +
      `"catchall inspect wal --repair" to keep only what lies before`,
  );
}
