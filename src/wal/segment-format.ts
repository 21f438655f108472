/**
 * How the file log lays entries on sectors (docs/adr/0003-file-log.md). A segment is a header sector, then records;
 * a record is one entry, spread over whole sectors of 512 bytes, each with its own crc and tag:
 *   0 u32 crc32c of 4..512, seeded by log · 4 u16 index in the record · 6 u16 sectors of the record
 *   8 u32 low bits of the sequence · 12 payload, zero-padded at the record's end
 * Invariant: a written sector is never all zero and proves itself, so that under the one assumption made (a power cut
 * leaves each sector old or new, never mixed) a torn write and damage can always be told apart.
 */

import { assert } from "../runtime/assert.ts";
import { crc32c } from "../runtime/crc32c.ts";

export const SECTOR_BYTES = 512;
export const SECTOR_HEADER_BYTES = 12;
export const SECTOR_PAYLOAD_BYTES: number = SECTOR_BYTES - SECTOR_HEADER_BYTES;
export const SEGMENT_VERSION = 1;
const MAGIC: Uint8Array = new TextEncoder().encode("CATCHWAL");
const ZERO_BLOCK: Buffer = Buffer.alloc(64 * 1024);

export interface SegmentHeader {
  readonly storeId: number;
  readonly incarnation: number;
  /** Sequence of the first entry that this segment holds or will hold. */
  readonly firstSequence: number;
  /** Crc of the entry before it, or the chain's seed. */
  readonly previousCrc: number;
}

export interface SectorTag {
  readonly index: number;
  readonly count: number;
  readonly sequenceLow: number;
}

export function sectorsOf(entryBytes: number): number {
  return Math.ceil(entryBytes / SECTOR_PAYLOAD_BYTES);
}

/** The header sector; its crc is in its last four bytes. */
export function encodeSegmentHeader(header: SegmentHeader): Uint8Array {
  const bytes = new Uint8Array(SECTOR_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC, 0);
  view.setUint32(8, SEGMENT_VERSION, true);
  view.setUint32(12, header.storeId, true);
  view.setFloat64(16, header.incarnation, true);
  view.setFloat64(24, header.firstSequence, true);
  view.setUint32(32, header.previousCrc, true);
  view.setUint32(SECTOR_BYTES - 4, crc32c(bytes, 0, SECTOR_BYTES - 4), true);
  return bytes;
}

/** Returns the header, or in words why there is none. */
export function decodeSegmentHeader(bytes: Uint8Array): SegmentHeader | string {
  if (bytes.length < SECTOR_BYTES) return "the segment is shorter than its header";
  const view = new DataView(bytes.buffer, bytes.byteOffset, SECTOR_BYTES);
  if (!MAGIC.every((byte, i) => bytes[i] === byte)) return "the segment's header is not ours";
  if (view.getUint32(SECTOR_BYTES - 4, true) !== crc32c(bytes, 0, SECTOR_BYTES - 4)) {
    return "the segment header's checksum is wrong";
  }
  const version = view.getUint32(8, true);
  if (version !== SEGMENT_VERSION) return `the segment's version ${version} is not known`;
  return {
    storeId: view.getUint32(12, true),
    incarnation: view.getFloat64(16, true),
    firstSequence: view.getFloat64(24, true),
    previousCrc: view.getUint32(32, true),
  };
}

/** Writes `entry` as one record at the start of `out`; returns the record's bytes, a multiple of the sector. */
export function frameRecord(
  entry: Uint8Array,
  sequence: number,
  seed: number,
  out: Uint8Array,
): number {
  const count = sectorsOf(entry.length);
  assert(out.length >= count * SECTOR_BYTES, "the frame has room for the record");
  const view = new DataView(out.buffer, out.byteOffset, out.byteLength);
  for (let index = 0; index < count; index += 1) {
    const at = index * SECTOR_BYTES;
    const from = index * SECTOR_PAYLOAD_BYTES;
    const payload = entry.subarray(from, from + SECTOR_PAYLOAD_BYTES);
    out.set(payload, at + SECTOR_HEADER_BYTES);
    if (payload.length < SECTOR_PAYLOAD_BYTES) {
      out.fill(0, at + SECTOR_HEADER_BYTES + payload.length, at + SECTOR_BYTES);
    }
    view.setUint16(at + 4, index, true);
    view.setUint16(at + 6, count, true);
    view.setUint32(at + 8, sequence >>> 0, true);
    view.setUint32(at, crc32c(out, at + 4, at + SECTOR_BYTES, seed), true);
  }
  return count * SECTOR_BYTES;
}

/** Copies the payload of `count` sectors that begin at `at` into `out`; proves nothing about them. */
export function unframe(bytes: Uint8Array, at: number, count: number, out: Uint8Array): void {
  for (let index = 0; index < count; index += 1) {
    const sector = at + index * SECTOR_BYTES;
    const payload = bytes.subarray(sector + SECTOR_HEADER_BYTES, sector + SECTOR_BYTES);
    const to = index * SECTOR_PAYLOAD_BYTES;
    const room = out.length - to;
    out.set(room < payload.length ? payload.subarray(0, room) : payload, to);
  }
}

/** The tag as it stands, whether or not the sector is whole. */
export function readSectorTag(view: DataView, at: number): SectorTag {
  return {
    index: view.getUint16(at + 4, true),
    count: view.getUint16(at + 6, true),
    sequenceLow: view.getUint32(at + 8, true),
  };
}

export function isSectorWhole(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  seed: number,
): boolean {
  return view.getUint32(at, true) === crc32c(bytes, at + 4, at + SECTOR_BYTES, seed);
}

/** Whether `bytes[start, end)` is all zero. */
export function isZero(bytes: Uint8Array, start: number, end: number): boolean {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = start; at < end; at += ZERO_BLOCK.length) {
    const stop = Math.min(end, at + ZERO_BLOCK.length);
    if (buffer.compare(ZERO_BLOCK, 0, stop - at, at, stop) !== 0) return false;
  }
  return true;
}
