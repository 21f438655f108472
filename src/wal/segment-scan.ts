/**
 * Recovery of one segment, a pure function over its bytes. The rule: every sector is whole, or all zero because it was
 * never written. Only one append is ever in flight, so a crash leaves at most one unfinished record, at the very end:
 *   torn    some of its sectors are zero, the others whole and of just that record, and nothing lies after it: cut;
 *   damaged anything else: a sector that is neither zero nor whole, sectors after a hole, a whole record that does not
 *           continue the chain, a torn record in a segment that has a successor. Refused, never skipped.
 * A segment that ends early counts as if zeros followed.
 */

import { chainSeed, ENTRY_BYTES_MAX, type EntryView, readEnvelope } from "./entry-codec.ts";
import {
  decodeSegmentHeader,
  isSectorWhole,
  isZero,
  readSectorTag,
  SECTOR_BYTES,
  SECTOR_PAYLOAD_BYTES,
  type SegmentHeader,
  sectorsOf,
  unframe,
} from "./segment-format.ts";

export interface SegmentExpectations {
  readonly storeId: number;
  readonly incarnation: number;
  readonly firstSequence: number;
  /** Crc of the entry before; null when that was trimmed: then the header is believed. */
  readonly previousCrc: number | null;
  /** No segment follows. */
  readonly isLast: boolean;
  /** Looks at nothing after this sequence (the log may be growing); absent: everything. */
  readonly upTo?: number;
}

export interface ScannedEntry {
  readonly sequence: number;
  /** Where its record begins in the segment. */
  readonly offset: number;
  /** Of the entry, envelope included. */
  readonly entryBytes: number;
}

export interface SegmentScan {
  readonly entries: readonly ScannedEntry[];
  /** Last sequence read, `firstSequence - 1` when there is none. */
  readonly lastSequence: number;
  /** Crc of the last entry: what the next one must be chained to. */
  readonly lastCrc: number;
  /** End of the last good record. */
  readonly validEnd: number;
  readonly verdict: "clean" | "torn" | "damaged";
  /** Where the trouble is; `validEnd` when clean. */
  readonly offset: number;
  readonly reason: string;
}

interface Judgement {
  readonly verdict: "clean" | "torn" | "damaged";
  readonly offset: number;
  readonly reason: string;
}

/** Scans a whole segment. Never throws, whatever the bytes. */
export function scanSegment(bytes: Uint8Array, expected: SegmentExpectations): SegmentScan {
  const entries: ScannedEntry[] = [];
  let lastSequence = expected.firstSequence - 1;
  let at = SECTOR_BYTES;
  const header = checkHeader(bytes, expected);
  if (typeof header === "string") {
    const validEnd = 0;
    const verdict = "damaged";
    return { entries, lastSequence, lastCrc: 0, validEnd, verdict, offset: 0, reason: header };
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const upTo = expected.upTo ?? Number.MAX_SAFE_INTEGER;
  const reader = new RecordReader(bytes, view, expected.incarnation);
  let lastCrc = header.previousCrc;
  let reason = "";
  while (lastSequence < upTo) {
    const entry = reader.read(at, lastSequence + 1, lastCrc);
    if (typeof entry === "string") {
      reason = entry;
      break;
    }
    const entryBytes = entry.end - entry.start;
    entries.push({ sequence: entry.sequence, offset: at, entryBytes });
    lastSequence = entry.sequence;
    lastCrc = entry.crc;
    at += sectorsOf(entryBytes) * SECTOR_BYTES;
  }
  const judged: Judgement =
    lastSequence >= upTo
      ? { verdict: "clean", offset: at, reason: "" }
      : judgeTail(bytes, view, at, lastSequence + 1, expected, reason);
  return { entries, lastSequence, lastCrc, validEnd: at, ...judged };
}

/** The bytes of one scanned entry, copied. */
export function copyEntry(bytes: Uint8Array, entry: ScannedEntry): Uint8Array {
  const out = new Uint8Array(entry.entryBytes);
  unframe(bytes, entry.offset, sectorsOf(entry.entryBytes), out);
  return out;
}

function checkHeader(bytes: Uint8Array, expected: SegmentExpectations): SegmentHeader | string {
  const header = decodeSegmentHeader(bytes);
  if (typeof header === "string") return header;
  if (header.storeId !== expected.storeId) return "the segment belongs to another data directory";
  if (header.incarnation !== expected.incarnation) {
    return `the segment belongs to incarnation ${header.incarnation}`;
  }
  if (header.firstSequence !== expected.firstSequence) {
    return `the segment begins at sequence ${header.firstSequence}, not ${expected.firstSequence}`;
  }
  if (expected.previousCrc !== null && header.previousCrc !== expected.previousCrc) {
    return "the segment does not continue the one before it";
  }
  return header;
}

/** Reads records without judging: an entry whose chained crc holds is good, anything else is for `judgeTail`. */
class RecordReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #incarnation: number;
  #scratch: Uint8Array = new Uint8Array(SECTOR_PAYLOAD_BYTES * 16);

  constructor(bytes: Uint8Array, view: DataView, incarnation: number) {
    this.#bytes = bytes;
    this.#view = view;
    this.#incarnation = incarnation;
  }

  read(at: number, sequence: number, previousCrc: number): EntryView | string {
    if (at + SECTOR_BYTES > this.#bytes.length) return "the segment ends";
    const { count } = readSectorTag(this.#view, at);
    if (count === 0 || count > sectorsOf(ENTRY_BYTES_MAX)) return "no record begins here";
    if (at + count * SECTOR_BYTES > this.#bytes.length) return "the record goes past the end";
    const payloadBytes = count * SECTOR_PAYLOAD_BYTES;
    if (payloadBytes > this.#scratch.length) this.#scratch = new Uint8Array(payloadBytes);
    const scratch = this.#scratch.subarray(0, payloadBytes);
    unframe(this.#bytes, at, count, scratch);
    const { ok, damage } = readEnvelope(scratch, 0, payloadBytes, previousCrc);
    if (ok === undefined) return damage;
    if (sectorsOf(ok.end) !== count) return "the record's length is not that of its entry";
    if (ok.sequence !== sequence) return `the entry's sequence is ${ok.sequence}, not ${sequence}`;
    if (ok.incarnation !== this.#incarnation) return "the entry is another incarnation's";
    return ok;
  }
}

/** Says what the bytes from `at` on are, where no good record begins. */
function judgeTail(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  sequence: number,
  expected: SegmentExpectations,
  recordReason: string,
): Judgement {
  if (isZero(bytes, at, bytes.length)) return { verdict: "clean", offset: at, reason: "" };
  const damaged = (offset: number, reason: string): Judgement => ({
    verdict: "damaged",
    offset,
    reason,
  });
  const seed = chainSeed(expected.incarnation, expected.storeId);
  let count = 0;
  let wholeSectors = 0;
  for (let index = 0, offset = at; offset < bytes.length; index += 1, offset += SECTOR_BYTES) {
    if (isZero(bytes, offset, Math.min(offset + SECTOR_BYTES, bytes.length))) {
      // Only zeros are left: no use in looking at each sector of a mostly empty segment.
      if (isZero(bytes, offset, bytes.length)) break;
      continue;
    }
    if (offset + SECTOR_BYTES > bytes.length) {
      return damaged(offset, "the segment ends inside a sector");
    }
    if (!isSectorWhole(bytes, view, offset, seed)) {
      return damaged(offset, "a sector's checksum is wrong");
    }
    const tag = readSectorTag(view, offset);
    count = count === 0 ? tag.count : count;
    const isOfRecord = tag.index === index && tag.sequenceLow === sequence >>> 0;
    if (!isOfRecord || tag.count !== count || index >= count) {
      return damaged(at, `entry ${sequence} is missing but later bytes are there`);
    }
    wholeSectors += 1;
  }
  if (wholeSectors === count) return damaged(at, recordReason);
  if (!expected.isLast) return damaged(at, "an unfinished record, but a later segment follows");
  return { verdict: "torn", offset: at, reason: `entry ${sequence} was not written whole` };
}
