/**
 * Writing the segments of one log: the current one, and the next, which is allocated in the background once the current
 * one is half full, so that no append waits for it. A segment is allocated under a temporary name and gets its real one
 * only with a synced header inside: a file that is named like a segment always has a header.
 */

import { CatchallError } from "../model/errors.ts";
import { assert } from "../runtime/assert.ts";
import type { Disk, DiskFile } from "../runtime/disk.ts";
import {
  encodeSegmentHeader,
  frameRecord,
  SECTOR_BYTES,
  type SegmentHeader,
  sectorsOf,
} from "./segment-format.ts";

const NUMBER_DIGITS = 16;
const SEGMENT_NAME = /^(\d{16})\.wal$/;
export const SEGMENT_TEMPORARY = "next.tmp";

/** Numbers in file names have 16 digits, so that names sort as numbers do. */
export function padNumber(value: number): string {
  return String(value).padStart(NUMBER_DIGITS, "0");
}

export function segmentPath(directory: string, firstSequence: number): string {
  return `${directory}/${padNumber(firstSequence)}.wal`;
}

/** First sequence that a file name tells, null when it is not a segment's. */
export function parseSegmentName(name: string): number | null {
  const digits = SEGMENT_NAME.exec(name)?.[1];
  return digits === undefined ? null : Number(digits);
}

/** What the writer tells its log about space: asks before it allocates, says when a segment has its name. */
export interface SegmentSpace {
  /** Reserves bytes, or throws CatchallError `log_full`. */
  reserve(bytes: number): void;
  release(bytes: number): void;
  named(firstSequence: number, sizeBytes: number): void;
}

interface Segment {
  readonly file: DiskFile;
  readonly sizeBytes: number;
}

/** One writer per log; the caller keeps calls one after another. Rejections of `write` mean that the log is lost. */
export class SegmentWriter {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #segmentBytes: number;
  readonly #space: SegmentSpace;
  #current: Segment | null = null;
  #next: Promise<Segment | CatchallError> | null = null;
  #position = 0;
  #frame: Uint8Array = new Uint8Array(16 * SECTOR_BYTES);

  constructor(disk: Disk, directory: string, segmentBytes: number, space: SegmentSpace) {
    this.#disk = disk;
    this.#directory = directory;
    this.#segmentBytes = segmentBytes;
    this.#space = space;
  }

  /** Whether the entry needs a new segment first. */
  needsSegment(entryBytes: number): boolean {
    if (this.#current === null) return true;
    return this.#position + sectorsOf(entryBytes) * SECTOR_BYTES > this.#current.sizeBytes;
  }

  /**
   * Allocates the next segment, or waits until that is done. Nothing of any entry is written.
   * Errors: CatchallError `log_full` or `log_failed`; harmless, may be tried again.
   */
  async prepare(entryBytes: number, segmentBytes: number = this.#segmentBytes): Promise<void> {
    const needed = SECTOR_BYTES + sectorsOf(entryBytes) * SECTOR_BYTES;
    const prepared = await this.#next;
    if (prepared !== null && !(prepared instanceof CatchallError)) {
      if (prepared.sizeBytes >= needed) return;
      await this.#discard(prepared);
    }
    this.#next = this.#allocate(Math.max(segmentBytes, needed));
    const outcome = await this.#next;
    if (!(outcome instanceof CatchallError)) return;
    this.#next = null;
    throw outcome;
  }

  /** Begins the segment that `prepare` allocated: header, sync, name, sync of the directory. */
  async roll(header: SegmentHeader): Promise<void> {
    const prepared = await this.#next;
    assert(prepared !== null && !(prepared instanceof CatchallError), "a segment is prepared");
    this.#next = null;
    await prepared.file.writeSynced(0, encodeSegmentHeader(header));
    const path = segmentPath(this.#directory, header.firstSequence);
    await this.#disk.rename(`${this.#directory}/${SEGMENT_TEMPORARY}`, path);
    await this.#disk.syncDirectory(this.#directory);
    await this.#current?.file.close();
    this.#current = prepared;
    this.#position = SECTOR_BYTES;
    this.#space.named(header.firstSequence, prepared.sizeBytes);
  }

  /** Appends one record and makes it durable, with a single write. */
  async write(entry: Uint8Array, sequence: number, seed: number): Promise<void> {
    const current = this.#current;
    assert(current !== null && !this.needsSegment(entry.length), "the segment has room");
    const recordBytes = sectorsOf(entry.length) * SECTOR_BYTES;
    if (this.#frame.length < recordBytes) this.#frame = new Uint8Array(recordBytes * 2);
    frameRecord(entry, sequence, seed, this.#frame);
    await current.file.writeSynced(this.#position, this.#frame.subarray(0, recordBytes));
    this.#position += recordBytes;
    const isHalfFull = this.#position * 2 > current.sizeBytes;
    if (isHalfFull && this.#next === null) this.#next = this.#allocate(this.#segmentBytes);
  }

  async close(): Promise<void> {
    const prepared = await this.#next;
    this.#next = null;
    if (prepared !== null && !(prepared instanceof CatchallError)) await this.#discard(prepared);
    await this.#current?.file.close();
    this.#current = null;
  }

  /** Never rejects: it runs in the background, and whoever needs the segment looks at the outcome. */
  async #allocate(sizeBytes: number): Promise<Segment | CatchallError> {
    const path = `${this.#directory}/${SEGMENT_TEMPORARY}`;
    let isReserved = false;
    try {
      this.#space.reserve(sizeBytes);
      isReserved = true;
      return { file: await this.#disk.create(path, sizeBytes), sizeBytes };
    } catch (cause) {
      if (isReserved) {
        this.#space.release(sizeBytes);
        await this.#disk.remove(path).catch(() => undefined);
      }
      if (cause instanceof CatchallError) return cause;
      return new CatchallError("log_failed", `Cannot allocate "${path}"`, { cause });
    }
  }

  async #discard(segment: Segment): Promise<void> {
    await segment.file.close();
    await this.#disk.remove(`${this.#directory}/${SEGMENT_TEMPORARY}`);
    this.#space.release(segment.sizeBytes);
  }
}
