/**
 * The envelope of a log entry, little-endian; the body is opaque here.
 *   0 u32 length of the whole entry · 4 u32 crc · 8 u8 format · 9 u8 kind · 10 u16 zero · 12 u32 nonce
 *   16 f64 incarnation · 24 f64 sequence · 32 f64 timeMs · 40 body
 * The crc (crc32c over bytes 0..4 and 8..length) is seeded with the previous entry's crc, the first one with
 * `chainSeed`: a dropped, swapped, old or foreign entry never fits. Never asserts on bytes that were read.
 */

import { assert } from "../runtime/assert.ts";
import { crc32c } from "../runtime/crc32c.ts";

export const ENTRY_FORMAT = 1;
export const ENTRY_HEADER_BYTES = 40;
/** Hard limit of one entry, envelope included. The group commit closes its entries at half of this. */
export const ENTRY_BYTES_MAX: number = 1024 * 1024;
export const ENTRY_KIND_DATA = 0;
export const ENTRY_KIND_SEAL = 1;

export interface EntryHeader {
  /** ENTRY_KIND_DATA or ENTRY_KIND_SEAL. */
  readonly kind: number;
  /** 32 random bits: tells one's own entry from another with the same sequence. */
  readonly nonce: number;
  readonly incarnation: number;
  /** Counts the entries of one log from 1. */
  readonly sequence: number;
  /** Wall time, whole milliseconds, never falling within a log. */
  readonly timeMs: number;
}

/** Where an entry lies in the bytes it was read from, and what its envelope says. */
export interface EntryView extends EntryHeader {
  readonly start: number;
  readonly end: number;
  readonly bodyStart: number;
  readonly crc: number;
}

export type EnvelopeResult =
  | { readonly ok: EntryView; readonly damage?: never }
  | { readonly damage: string; readonly ok?: never };

/** Seed of the first entry's crc: depends on the incarnation and on the store (data directory or stream). */
export function chainSeed(incarnation: number, storeId: number): number {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, ENTRY_FORMAT, true);
  view.setUint32(4, storeId, true);
  view.setFloat64(8, incarnation, true);
  return crc32c(bytes, 0, bytes.length);
}

/**
 * Writes the envelope into the first ENTRY_HEADER_BYTES of `bytes`, which is the whole entry with its body in place.
 * Returns the entry's crc: the `previousCrc` of the next entry.
 */
export function sealEnvelope(bytes: Uint8Array, header: EntryHeader, previousCrc: number): number {
  assert(bytes.length >= ENTRY_HEADER_BYTES, "an entry is at least its envelope");
  assert(bytes.length <= ENTRY_BYTES_MAX, "an entry is at most ENTRY_BYTES_MAX");
  assert(Number.isSafeInteger(header.sequence) && header.sequence >= 1, "sequences count from 1");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  view.setUint32(0, bytes.length, true);
  view.setUint8(8, ENTRY_FORMAT);
  view.setUint8(9, header.kind);
  view.setUint16(10, 0, true);
  view.setUint32(12, header.nonce, true);
  view.setFloat64(16, header.incarnation, true);
  view.setFloat64(24, header.sequence, true);
  view.setFloat64(32, header.timeMs, true);
  const crc = entryCrc(bytes, 0, bytes.length, previousCrc);
  view.setUint32(4, crc, true);
  return crc;
}

/**
 * Reads the entry that begins at `offset` and must end at or before `end`. `damage` says in words what is wrong;
 * nothing else about a damaged entry may be believed.
 */
export function readEnvelope(
  bytes: Uint8Array,
  offset: number,
  end: number,
  previousCrc: number,
): EnvelopeResult {
  if (offset + ENTRY_HEADER_BYTES > end || end > bytes.length) {
    return { damage: "the entry is shorter than its envelope" };
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, ENTRY_HEADER_BYTES);
  const length = view.getUint32(0, true);
  if (length < ENTRY_HEADER_BYTES || length > ENTRY_BYTES_MAX) {
    return { damage: `the entry's length ${length} is out of range` };
  }
  if (offset + length > end) {
    return { damage: `the entry's length ${length} goes past the end` };
  }
  const crc = view.getUint32(4, true);
  if (crc !== entryCrc(bytes, offset, offset + length, previousCrc)) {
    return { damage: "the entry's checksum does not fit the entry before it" };
  }
  const entry: EntryView = {
    kind: view.getUint8(9),
    nonce: view.getUint32(12, true),
    incarnation: view.getFloat64(16, true),
    sequence: view.getFloat64(24, true),
    timeMs: view.getFloat64(32, true),
    start: offset,
    end: offset + length,
    bodyStart: offset + ENTRY_HEADER_BYTES,
    crc,
  };
  const damage = envelopeDamage(entry, view.getUint8(8), view.getUint16(10, true));
  return damage === null ? { ok: entry } : { damage };
}

/** The fields of an entry whose checksum holds: written by a newer version, or by mistake. */
function envelopeDamage(entry: EntryView, format: number, reserved: number): string | null {
  if (format !== ENTRY_FORMAT) return `the entry's format ${format} is not known`;
  if (entry.kind !== ENTRY_KIND_DATA && entry.kind !== ENTRY_KIND_SEAL) {
    return `the entry's kind ${entry.kind} is not known`;
  }
  if (reserved !== 0) return "the entry's reserved bytes are not zero";
  if (!Number.isSafeInteger(entry.sequence) || entry.sequence < 1) {
    return "the entry's sequence is not a number from 1";
  }
  if (!Number.isSafeInteger(entry.incarnation) || entry.incarnation < 0) {
    return "the entry's incarnation is not a whole number";
  }
  return Number.isFinite(entry.timeMs) ? null : "the entry's time is not a number";
}

function entryCrc(bytes: Uint8Array, start: number, end: number, previousCrc: number): number {
  return crc32c(bytes, start + 8, end, crc32c(bytes, start, start + 4, previousCrc));
}

/** The header of an entry whose envelope was checked before; reads nothing else. */
export function readEntryHeader(entry: Uint8Array): EntryHeader {
  const view = new DataView(entry.buffer, entry.byteOffset, ENTRY_HEADER_BYTES);
  return {
    kind: view.getUint8(9),
    nonce: view.getUint32(12, true),
    incarnation: view.getFloat64(16, true),
    sequence: view.getFloat64(24, true),
    timeMs: view.getFloat64(32, true),
  };
}
