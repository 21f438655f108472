/**
 * NodeLog over the Disk port, for the embedded node: wal/<incarnation>/<first sequence>.wal, one segment after another
 * (segment-format.ts). An append is one synced write of whole sectors; nothing is acknowledged before it. A failed
 * write or sync is never tried again: its outcome is unknown, and the log takes nothing more.
 * Invariant: what `read` yields is the exact chain from the first kept entry on, or it throws `log_damaged`.
 */

import { CatchallError } from "../model/errors.ts";
import { assert } from "../runtime/assert.ts";
import type { Disk } from "../runtime/disk.ts";
import { chainSeed, ENTRY_BYTES_MAX, readEnvelope } from "./entry-codec.ts";
import {
  type LogFiles,
  listLogs,
  logDirectory,
  readLog,
  sealLog,
  WAL_DIRECTORY,
} from "./file-log-reader.ts";
import { SegmentWriter, segmentPath } from "./file-segment.ts";
import {
  type AppendOutcome,
  FIRST_KEPT,
  type NodeLog,
  RESERVE_BYTES,
  tooLarge,
} from "./node-log.ts";

export interface FileNodeLogOptions {
  /** From `openStoreIdentity`. */
  readonly storeId: number;
  /** Allocated at a time; a bigger entry gets a segment of its own size. Default 16 MiB. */
  readonly segmentBytes?: number;
  /** Bytes that all logs may occupy; appends that would need more answer `log_full`. Default: no limit. */
  readonly logBytesMax?: number | null;
}

const SEGMENT_BYTES_DEFAULT: number = 16 * 1024 * 1024;

interface OwnLog {
  readonly files: LogFiles;
  readonly writer: SegmentWriter;
  readonly seed: number;
  lastSequence: number;
  lastCrc: number;
  /** Why nothing more may be appended; null while all is well. */
  closedFor: string | null;
  pending: Promise<AppendOutcome> | null;
}

export class FileNodeLog implements NodeLog {
  readonly storeId: number;
  /** After a failed sync nobody can say what is on the disk. */
  readonly canResend = false;
  readonly #disk: Disk;
  readonly #segmentBytes: number;
  readonly #logBytesMax: number;
  readonly #logs: Map<number, LogFiles>;
  #reservedBytes = 0;
  #own: OwnLog | null = null;

  private constructor(disk: Disk, options: FileNodeLogOptions, logs: Map<number, LogFiles>) {
    this.storeId = options.storeId;
    this.#disk = disk;
    this.#segmentBytes = options.segmentBytes ?? SEGMENT_BYTES_DEFAULT;
    this.#logBytesMax = options.logBytesMax ?? Number.MAX_SAFE_INTEGER;
    this.#logs = logs;
  }

  /** Finds the logs that are there; reads none of them. Errors: CatchallError `log_failed`. */
  static async open(disk: Disk, options: FileNodeLogOptions): Promise<FileNodeLog> {
    await disk.makeDirectory(WAL_DIRECTORY);
    await disk.syncDirectory(".");
    return new FileNodeLog(disk, options, await listLogs(disk));
  }

  get sizeBytes(): number {
    let total = this.#reservedBytes;
    for (const files of this.#logs.values()) {
      for (const segment of files.segments) total += segment.sizeBytes;
    }
    return total;
  }

  /**
   * The first segment may go over the limit by RESERVE_BYTES: a node that did not start could never write the checkpoint that makes room.
   * Errors: CatchallError `log_failed`, `log_full` of the disk; `conflict` when this incarnation already has a log.
   */
  async create(incarnation: number): Promise<void> {
    assert(this.#own === null, "a process creates one log");
    if (this.#logs.has(incarnation)) {
      throw new CatchallError("conflict", `Incarnation ${incarnation} already has a log`);
    }
    const directory = logDirectory(incarnation);
    await this.#disk.makeDirectory(directory);
    await this.#disk.syncDirectory(WAL_DIRECTORY);
    const files: LogFiles = { incarnation, segments: [], end: null };
    const seed = chainSeed(incarnation, this.storeId);
    const writer = new SegmentWriter(this.#disk, directory, this.#segmentBytes, {
      reserve: (bytes) => this.#reserve(bytes),
      release: (bytes) => {
        this.#reservedBytes -= bytes;
      },
      named: (firstSequence, sizeBytes) => {
        this.#reservedBytes -= sizeBytes;
        files.segments.push({ firstSequence, sizeBytes });
      },
    });
    await writer.prepare(0, this.#firstSegmentBytes());
    await writer.roll({ storeId: this.storeId, incarnation, firstSequence: 1, previousCrc: seed });
    this.#logs.set(incarnation, files);
    const nothing = { lastSequence: 0, lastCrc: seed, closedFor: null, pending: null };
    this.#own = { files, writer, seed, ...nothing };
  }

  async append(bytes: Uint8Array, expectedLast: number): Promise<AppendOutcome> {
    const own = this.#own;
    if (own === null) return { kind: "fenced", reason: "this process has no log" };
    if (own.pending !== null) return { kind: "fenced", reason: "another append is in flight" };
    if (own.closedFor !== null) return { kind: "fenced", reason: own.closedFor };
    if (expectedLast !== own.lastSequence) {
      const reason = `the last entry is ${own.lastSequence}, not ${expectedLast}`;
      return { kind: "fenced", reason };
    }
    own.pending = this.#append(own, bytes);
    try {
      return await own.pending;
    } finally {
      own.pending = null;
    }
  }

  async *read(incarnation: number, from: number, to: number): AsyncIterable<Uint8Array> {
    const own = this.#ownOf(incarnation);
    const files = own === null ? this.#logs.get(incarnation) : own.files;
    const last = own !== null && own.closedFor === null ? own.lastSequence : files?.end;
    if (files === undefined) return;
    const upTo = last === null || last === undefined ? to : Math.min(to, last);
    const first = from === FIRST_KEPT ? (files.segments[0]?.firstSequence ?? 1) : from;
    yield* readLog(this.#disk, this.storeId, files, first, upTo);
  }

  async seal(incarnation: number): Promise<number> {
    const files = this.#logs.get(incarnation);
    if (files === undefined) return 0;
    if (files.end !== null) return files.end;
    const own = this.#ownOf(incarnation);
    if (own !== null) {
      own.closedFor ??= "the log is sealed";
      await own.pending;
      await own.writer.close();
    }
    return sealLog(this.#disk, this.storeId, files);
  }

  async lastSequence(incarnation: number): Promise<number> {
    return this.#ownOf(incarnation)?.lastSequence ?? this.#logs.get(incarnation)?.end ?? 0;
  }

  async list(): Promise<readonly number[]> {
    return [...this.#logs.keys()].sort((a, b) => a - b);
  }

  async trim(incarnation: number, upTo: number): Promise<void> {
    const files = this.#logs.get(incarnation);
    if (files === undefined) return;
    let next = files.segments[1];
    // The last segment stays: it carries the end of the chain.
    while (next !== undefined && next.firstSequence <= upTo + 1) {
      await this.#removeFirst(files);
      next = files.segments[1];
    }
  }

  async delete(incarnation: number): Promise<void> {
    const files = this.#logs.get(incarnation);
    if (files === undefined) return;
    const own = this.#ownOf(incarnation);
    if (own !== null) {
      own.closedFor ??= "the log is deleted";
      await own.pending;
      await own.writer.close();
      this.#own = null;
    }
    for (let first = files.segments[0]; first !== undefined; first = files.segments[0]) {
      await this.#removeFirst(files);
    }
    await this.#disk.remove(logDirectory(incarnation));
    await this.#disk.syncDirectory(WAL_DIRECTORY);
    this.#logs.delete(incarnation);
  }

  async close(): Promise<void> {
    const own = this.#own;
    if (own === null) return;
    own.closedFor ??= "the log is closed";
    await own.pending;
    await own.writer.close();
  }

  async #append(own: OwnLog, bytes: Uint8Array): Promise<AppendOutcome> {
    if (bytes.length > ENTRY_BYTES_MAX) return { kind: "fenced", reason: "the entry is too long" };
    // What could not be read back must not be acknowledged: our own bug, found before it costs anything.
    const { ok, damage } = readEnvelope(bytes, 0, bytes.length, own.lastCrc);
    if (ok === undefined || ok.end !== bytes.length || ok.sequence !== own.lastSequence + 1) {
      own.closedFor = `the entry does not continue the log: ${damage ?? "wrong sequence or length"}`;
      return { kind: "fenced", reason: own.closedFor };
    }
    try {
      if (own.writer.needsSegment(bytes.length)) {
        const full = await this.#rollOver(own, bytes.length);
        if (full !== null) return full;
      }
      await own.writer.write(bytes, ok.sequence, own.seed);
    } catch (error) {
      const reason = error instanceof Error ? error.message : "the write failed";
      own.closedFor ??= `an earlier write failed: ${reason}`;
      return { kind: "unknown", reason };
    }
    own.lastSequence = ok.sequence;
    own.lastCrc = ok.crc;
    return { kind: "committed" };
  }

  async #rollOver(own: OwnLog, entryBytes: number): Promise<AppendOutcome | null> {
    try {
      await own.writer.prepare(entryBytes);
    } catch (error) {
      if (!(error instanceof CatchallError) || error.code !== "log_full") throw error;
      return { kind: "notApplied", code: "log_full", reason: error.message };
    }
    await own.writer.roll({
      storeId: this.storeId,
      incarnation: own.files.incarnation,
      firstSequence: own.lastSequence + 1,
      previousCrc: own.lastCrc,
    });
    return null;
  }

  /** Oldest first and synced one by one: what a crash leaves is a trimmed log, never one with a hole. */
  async #removeFirst(files: LogFiles): Promise<void> {
    const first = files.segments[0];
    if (first === undefined) return;
    await this.#disk.remove(segmentPath(logDirectory(files.incarnation), first.firstSequence));
    await this.#disk.syncDirectory(logDirectory(files.incarnation));
    files.segments.shift();
  }

  #firstSegmentBytes(): number {
    const hasRoom = this.sizeBytes + this.#segmentBytes <= this.#logBytesMax;
    return hasRoom ? this.#segmentBytes : Math.min(this.#segmentBytes, RESERVE_BYTES);
  }

  #reserve(bytes: number): void {
    if (this.#own !== null && this.sizeBytes + bytes > this.#logBytesMax) {
      throw new CatchallError("log_full", tooLarge(this.#logBytesMax));
    }
    this.#reservedBytes += bytes;
  }

  #ownOf(incarnation: number): OwnLog | null {
    return this.#own?.files.incarnation === incarnation ? this.#own : null;
  }
}
