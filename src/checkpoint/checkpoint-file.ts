/**
 * Reading and writing one checkpoint file over the Disk port, about 1 MiB in memory at a time. A file gets its name
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

export interface CheckpointFileEnd {
  readonly header: CheckpointHeader;
  readonly set: ManifestSet;
  /** What the next delta's header must carry. */
  readonly lastCrc: number;
}

/**
 * Yields the pages of a file as they come, and returns what stands at its end.
 * Errors: CatchallError `checkpoint_damaged` naming file and offset. Pages yielded before are whole.
 */
export async function* readCheckpointFile(
  disk: Disk,
  path: string,
  storeId: number,
): AsyncGenerator<CheckpointPage, CheckpointFileEnd> {
  const sizeBytes = await disk.size(path);
  const file = await disk.open(path);
  try {
    const chunks = new ChunkedFile(path, file, sizeBytes);
    const header = decodeHeader(await chunks.at(0, CHECKPOINT_HEADER_BYTES));
    if (typeof header === "string") throw damagedCheckpoint(path, 0, header);
    if (header.storeId !== storeId) {
      throw damagedCheckpoint(path, 0, "it belongs to another data directory");
    }
    let offset = CHECKPOINT_HEADER_BYTES;
    let lastCrc = header.crc;
    let pages = 0;
    let set: ManifestSet | null = null;
    while (true) {
      const next: { record: CheckpointRecord; end: number; crc: number } = await chunks.record(
        offset,
        lastCrc,
      );
      const { record } = next;
      const isInPlace = (record.kind === "trailer") === (set !== null);
      if (!isInPlace) throw damagedCheckpoint(path, offset, "its records are out of order");
      if (record.kind === "page") {
        pages += 1;
        yield record.page;
      }
      if (record.kind === "manifest") set = record.set;
      if (record.kind === "trailer" && record.pages !== pages) {
        throw damagedCheckpoint(path, offset, `it has ${pages} pages, not ${record.pages}`);
      }
      offset = next.end;
      lastCrc = next.crc;
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

/** Keeps one chunk of the file; a record across its end is read anew with the next chunk. */
class ChunkedFile {
  readonly #path: string;
  readonly #file: DiskFile;
  readonly #sizeBytes: number;
  #chunk: Uint8Array = new Uint8Array(0);
  #start = 0;

  constructor(path: string, file: DiskFile, sizeBytes: number) {
    this.#path = path;
    this.#file = file;
    this.#sizeBytes = sizeBytes;
  }

  /** The bytes from `offset` on, at least `length` of them unless the file ends. */
  async at(offset: number, length: number): Promise<Uint8Array> {
    if (offset < this.#start || offset + length > this.#start + this.#chunk.length) {
      const wanted = Math.min(Math.max(CHUNK_BYTES, length), this.#sizeBytes - offset);
      this.#chunk = await this.#file.read(offset, Math.max(0, wanted));
      this.#start = offset;
    }
    return this.#chunk.subarray(offset - this.#start);
  }

  async record(
    offset: number,
    previousCrc: number,
  ): Promise<{ record: CheckpointRecord; end: number; crc: number }> {
    let bytes = await this.at(offset, RECORD_HEADER_BYTES);
    const length = bytes.length < RECORD_HEADER_BYTES ? 0 : recordLength(bytes, 0);
    // A damaged length must not make us allocate: never more than the file has.
    if (length > bytes.length && offset + length <= this.#sizeBytes) {
      bytes = await this.at(offset, length);
    }
    const result = decodeRecord(bytes, 0, previousCrc);
    if ("damage" in result) throw damagedCheckpoint(this.#path, offset, result.damage);
    return { record: result.record, end: offset + result.end, crc: result.crc };
  }
}

export function damagedCheckpoint(path: string, offset: number, reason: string): CatchallError {
  const where = `Checkpoint "${path}" is damaged at byte ${offset}`;
  return new CatchallError("checkpoint_damaged", `${where}: ${reason}`);
}
