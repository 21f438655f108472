/**
 * Reading and writing one checkpoint file over the Disk port, about 2 MiB in memory at a time. A file gets its name
 * only when it is whole and synced, so an incomplete file with a name is damage, not a crash.
 */

import { CatchallError } from "../model/errors.ts";
import type { Disk, DiskFile } from "../runtime/disk.ts";
import {
  CHECKPOINT_HEADER_BYTES,
  type CheckpointHeader,
  type CheckpointRecord,
  decodeHeader,
  decodeRecord,
  encodeEnd,
  encodeHeader,
  encodePage,
  RECORD_HEADER_BYTES,
  recordLength,
} from "./checkpoint-codec.ts";
import type { CheckpointPage, ManifestSet } from "./checkpoint-store.ts";

const CHUNK_BYTES: number = 1024 * 1024;
/** Longest piece of a record that is copied in front of the next chunk. */
const CARRY_BYTES_MAX: number = 16 * 1024;

export interface CheckpointFileEnd {
  readonly header: CheckpointHeader;
  readonly set: ManifestSet;
  /** What the next delta's header must carry. */
  readonly lastCrc: number;
}

/**
 * Yields the pages of a file as they come, and returns what stands at its end. A page's bytes are a view that is valid
 * only until the next page is asked for. With `skipPages` everything is checked and no page is yielded.
 * Errors: CatchallError `checkpoint_damaged` naming file and offset. Pages yielded before are whole.
 */
export async function* readCheckpointFile(
  disk: Disk,
  path: string,
  storeId: number,
  skipPages = false,
): AsyncGenerator<CheckpointPage, CheckpointFileEnd> {
  const sizeBytes = await disk.size(path);
  const file = new SequentialFile(path, await disk.open(path), sizeBytes);
  try {
    await file.need(0, CHECKPOINT_HEADER_BYTES);
    const header = decodeHeader(file.bytes);
    if (typeof header === "string") throw damagedCheckpoint(path, 0, header);
    if (header.storeId !== storeId) {
      throw damagedCheckpoint(path, 0, "it belongs to another data directory");
    }
    let offset = CHECKPOINT_HEADER_BYTES;
    let lastCrc = header.crc;
    let pages = 0;
    let set: ManifestSet | null = null;
    while (true) {
      // Nearly every record is in memory already: no waiting for those.
      if (!file.hasRecord(offset)) await file.needRecord(offset);
      const result = decodeRecord(file.bytes, offset - file.start, lastCrc);
      if ("damage" in result) throw damagedCheckpoint(path, offset, result.damage);
      const record: CheckpointRecord = result.record;
      const isInPlace = (record.kind === "trailer") === (set !== null);
      if (!isInPlace) throw damagedCheckpoint(path, offset, "its records are out of order");
      if (record.kind === "trailer" && record.pages !== pages) {
        throw damagedCheckpoint(path, offset, `it has ${pages} pages, not ${record.pages}`);
      }
      offset = file.start + result.end;
      lastCrc = result.crc;
      if (record.kind === "page") {
        pages += 1;
        if (!skipPages) yield record.page;
      }
      if (record.kind === "manifest") set = record.set;
      if (record.kind === "trailer" && set !== null) break;
    }
    if (offset !== sizeBytes) throw damagedCheckpoint(path, offset, "bytes follow its end");
    return { header, set, lastCrc };
  } finally {
    await file.close();
  }
}

/** Writes one file; the caller keeps calls one after another, and names it when `finish` has resolved. */
export class CheckpointFileWriter {
  readonly #file: DiskFile;
  #buffer: Uint8Array = new Uint8Array(CHUNK_BYTES);
  #used = 0;
  #position = 0;
  #pages = 0;
  #crc: number;

  constructor(file: DiskFile, header: CheckpointHeader) {
    this.#file = file;
    const bytes = encodeHeader(header);
    this.#buffer.set(bytes, 0);
    this.#used = bytes.length;
    this.#crc = new DataView(bytes.buffer).getUint32(CHECKPOINT_HEADER_BYTES - 4, true);
  }

  async put(pages: readonly CheckpointPage[]): Promise<void> {
    for (const page of pages) {
      const length = RECORD_HEADER_BYTES + page.bytes.length;
      if (this.#used + length > this.#buffer.length) await this.#flush(length);
      this.#crc = encodePage(page, this.#crc, this.#buffer.subarray(this.#used));
      this.#used += length;
      this.#pages += 1;
    }
  }

  /** Writes the manifests and the trailer, and syncs. */
  async finish(set: ManifestSet): Promise<{ sizeBytes: number; lastCrc: number }> {
    await this.#flush(0);
    const { bytes, crc } = encodeEnd(set, this.#pages, this.#crc);
    await this.#file.write(this.#position, bytes);
    await this.#file.sync();
    await this.#file.close();
    return { sizeBytes: this.#position + bytes.length, lastCrc: crc };
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  async #flush(nextLength: number): Promise<void> {
    await this.#file.write(this.#position, this.#buffer.subarray(0, this.#used));
    this.#position += this.#used;
    this.#used = 0;
    const size = Math.max(CHUNK_BYTES, nextLength);
    if (this.#buffer.length !== size) this.#buffer = new Uint8Array(size);
  }
}

/**
 * Reads a file from its beginning to its end, through two buffers: while one is worked on, the next chunk is read into
 * the other, behind room for a record that spans both.
 */
class SequentialFile {
  readonly #path: string;
  readonly #file: DiskFile;
  readonly #sizeBytes: number;
  readonly #chunkBytes: number;
  #current: Uint8Array;
  #other: Uint8Array;
  /** What is in memory: the file from `start` on. */
  bytes: Uint8Array = new Uint8Array(0);
  start = 0;
  /** Bytes of the next chunk, which goes to #other. */
  #next: Promise<number>;

  constructor(path: string, file: DiskFile, sizeBytes: number) {
    this.#path = path;
    this.#file = file;
    this.#sizeBytes = sizeBytes;
    this.#chunkBytes = Math.min(CHUNK_BYTES, sizeBytes);
    this.#current = new Uint8Array(CARRY_BYTES_MAX + this.#chunkBytes);
    this.#other = new Uint8Array(CARRY_BYTES_MAX + this.#chunkBytes);
    this.#next = this.#readNext();
  }

  hasRecord(offset: number): boolean {
    const at = offset - this.start;
    if (at + RECORD_HEADER_BYTES > this.bytes.length) return false;
    return at + recordLength(this.bytes, at) <= this.bytes.length;
  }

  async needRecord(offset: number): Promise<void> {
    await this.need(offset, RECORD_HEADER_BYTES);
    const at = offset - this.start;
    if (at + RECORD_HEADER_BYTES > this.bytes.length) return;
    const length = recordLength(this.bytes, at);
    // A damaged length must not make us allocate: never more than the file has.
    if (offset + length <= this.#sizeBytes) await this.need(offset, length);
  }

  /** Drops what is before `offset`, and reads until `length` bytes from there are in memory or the file ends. */
  async need(offset: number, length: number): Promise<void> {
    const end = this.start + this.bytes.length;
    const wantedEnd = Math.min(offset + length, this.#sizeBytes);
    if (wantedEnd <= end) return;
    const rest = this.bytes.subarray(offset - this.start);
    const nextBytes = await this.#next;
    if (rest.length <= CARRY_BYTES_MAX && wantedEnd <= end + nextBytes) {
      const from = CARRY_BYTES_MAX - rest.length;
      this.#other.set(rest, from);
      this.bytes = this.#other.subarray(from, CARRY_BYTES_MAX + nextBytes);
      [this.#current, this.#other] = [this.#other, this.#current];
    } else {
      // A record larger than a buffer gets memory of its own.
      this.bytes = new Uint8Array(wantedEnd - offset);
      this.bytes.set(rest);
      await this.#fill(end, this.bytes.subarray(rest.length));
    }
    this.start = offset;
    this.#next = this.#readNext();
  }

  async close(): Promise<void> {
    await this.#next.catch(() => undefined);
    await this.#file.close();
  }

  #readNext(): Promise<number> {
    const from = this.start + this.bytes.length;
    const length = Math.min(this.#chunkBytes, this.#sizeBytes - from);
    const next = this.#fill(from, this.#other.subarray(CARRY_BYTES_MAX, CARRY_BYTES_MAX + length));
    // Whoever needs it sees the error; it must not count as unhandled until then.
    next.catch(() => undefined);
    return next;
  }

  async #fill(from: number, into: Uint8Array): Promise<number> {
    const length = await this.#file.readInto(from, into);
    if (length === into.length) return length;
    throw damagedCheckpoint(this.#path, from + length, "it became shorter while it was read");
  }
}

export function damagedCheckpoint(path: string, offset: number, reason: string): CatchallError {
  const where = `Checkpoint "${path}" is damaged at byte ${offset}`;
  return new CatchallError("checkpoint_damaged", `${where}: ${reason}`);
}
