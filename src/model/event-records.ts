/**
 * The bytes of counted events, the same in frames, log sections and memory (little-endian):
 *   u8 flags (bit 0 kind, bit 1 keyed) · u8 name length · u16 0 · u32 hash32 · u32 count · [16 B key · u32 fingerprint]
 *   · name.
 * Anonymous events of one domain and kind add up in one record; keyed events stay apart. Bytes from outside are checked
 * by `recordsError` before anything else reads them.
 */

import { BOUNCED, DELIVERED, type EventKind } from "./event.ts";

export const RECORD_HEADER_BYTES = 12;
export const RECORD_KEY_BYTES = 20;
const KIND_BIT = 1;
const KEYED_BIT = 2;
const UINT32_MAX = 0xffffffff;
const RECENT_SLOTS = 256;
const NO_RECENT = new Int32Array(0);
/** Up to this a loop beats the view that `set` needs. */
const COPIED_BY_LOOP_MAX = 128;

export function readUint32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)) >>>
    0
  );
}

export function writeUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}

export function recordKind(bytes: Uint8Array, at: number): EventKind {
  return ((bytes[at] as number) & KIND_BIT) === 0 ? DELIVERED : BOUNCED;
}

export function isKeyed(bytes: Uint8Array, at: number): boolean {
  return ((bytes[at] as number) & KEYED_BIT) !== 0;
}

export function recordNameLength(bytes: Uint8Array, at: number): number {
  return bytes[at + 1] as number;
}

export function recordHash(bytes: Uint8Array, at: number): number {
  return readUint32(bytes, at + 4);
}

export function recordCount(bytes: Uint8Array, at: number): number {
  return readUint32(bytes, at + 8);
}

export function recordKeyStart(at: number): number {
  return at + RECORD_HEADER_BYTES;
}

export function recordFingerprint(bytes: Uint8Array, at: number): number {
  return readUint32(bytes, at + RECORD_HEADER_BYTES + 16);
}

export function recordNameStart(bytes: Uint8Array, at: number): number {
  return at + RECORD_HEADER_BYTES + (isKeyed(bytes, at) ? RECORD_KEY_BYTES : 0);
}

export function recordEnd(bytes: Uint8Array, at: number): number {
  return recordNameStart(bytes, at) + recordNameLength(bytes, at);
}

/** The event that a key stands for: kind and count, never 0. Another event under the same key differs here. */
export function fingerprintOf(kind: EventKind, count: number): number {
  return count * 2 + kind + 1;
}

/** Null when `bytes[start, end)` is exactly `count` well-formed records; else what is wrong. */
export function recordsError(
  bytes: Uint8Array,
  start: number,
  end: number,
  count: number,
): string | null {
  let at = start;
  for (let i = 0; i < count; i++) {
    if (at + RECORD_HEADER_BYTES > end) return `record ${i} is cut short`;
    const flags = bytes[at] as number;
    if ((flags & ~(KIND_BIT | KEYED_BIT)) !== 0) return `record ${i} has unknown flags`;
    if (recordNameLength(bytes, at) < 4) return `record ${i} has no name`;
    if (recordCount(bytes, at) === 0) return `record ${i} counts nothing`;
    const next = recordEnd(bytes, at);
    if (next > end) return `record ${i} is cut short`;
    if (isKeyed(bytes, at) && !hasOwnFingerprint(bytes, at)) {
      return `record ${i} has a false fingerprint`;
    }
    at = next;
  }
  return at === end ? null : "bytes are left over";
}

function hasOwnFingerprint(bytes: Uint8Array, at: number): boolean {
  const own = fingerprintOf(recordKind(bytes, at), recordCount(bytes, at));
  return recordFingerprint(bytes, at) === own;
}

/** A growing run of records. `clear` keeps the memory. */
export class RecordWriter {
  bytes: Uint8Array;
  length = 0;
  count = 0;
  keyedCount = 0;
  /** Where the last anonymous record of a hash stands, +1; wrong guesses only cost a record more. */
  readonly #recent: Int32Array;

  constructor(
    bytes: Uint8Array = new Uint8Array(1024),
    recent: Int32Array = new Int32Array(RECENT_SLOTS),
  ) {
    this.bytes = bytes;
    this.#recent = recent;
  }

  /** Records that were encoded elsewhere and checked; `bytes` stay theirs while they are read. Not for adding to. */
  static holding(bytes: Uint8Array, count: number, keyedCount: number): RecordWriter {
    const records = new RecordWriter(bytes, NO_RECENT);
    records.length = bytes.length;
    records.count = count;
    records.keyedCount = keyedCount;
    return records;
  }

  /** Adds an anonymous event; merges it into the record of the same domain and kind when one is near. */
  add(name: Uint8Array, nameLength: number, hash: number, kind: EventKind, count: number): void {
    const slot = (hash ^ kind) & (RECENT_SLOTS - 1);
    const at = (this.#recent[slot] as number) - 1;
    if (at >= 0 && this.#isSame(at, name, nameLength, hash, kind)) {
      const sum = recordCount(this.bytes, at) + count;
      if (sum <= UINT32_MAX) {
        writeUint32(this.bytes, at + 8, sum);
        return;
      }
    }
    this.#recent[slot] = this.length + 1;
    this.#append(name, nameLength, hash, kind, count, 0);
  }

  /** Adds a keyed event; `key` is 16 bytes, the four words of `hashKey128`. */
  addKeyed(
    name: Uint8Array,
    nameLength: number,
    hash: number,
    kind: EventKind,
    count: number,
    key: Uint32Array,
  ): void {
    const at = this.#append(name, nameLength, hash, kind, count, RECORD_KEY_BYTES);
    for (let i = 0; i < 4; i++) {
      writeUint32(this.bytes, at + RECORD_HEADER_BYTES + 4 * i, key[i] as number);
    }
    writeUint32(this.bytes, at + RECORD_HEADER_BYTES + 16, fingerprintOf(kind, count));
    this.keyedCount++;
  }

  /** Copies one encoded record. */
  copy(from: Uint8Array, start: number, end: number): void {
    this.#reserve(end - start);
    for (let i = start; i < end; i++) this.bytes[this.length++] = from[i] as number;
    this.count++;
    if (isKeyed(from, start)) this.keyedCount++;
  }

  /** Writes all records to `bytes` at `at`. */
  copyInto(bytes: Uint8Array, at: number): void {
    const { length } = this;
    if (length > COPIED_BY_LOOP_MAX) bytes.set(this.bytes.subarray(0, length), at);
    else for (let i = 0; i < length; i++) bytes[at + i] = this.bytes[i] as number;
  }

  clear(): void {
    if (this.count > 0) this.#recent.fill(0);
    this.length = 0;
    this.count = 0;
    this.keyedCount = 0;
  }

  #append(
    name: Uint8Array,
    nameLength: number,
    hash: number,
    kind: EventKind,
    count: number,
    keyBytes: number,
  ): number {
    this.#reserve(RECORD_HEADER_BYTES + keyBytes + nameLength);
    const at = this.length;
    const bytes = this.bytes;
    bytes[at] = kind | (keyBytes === 0 ? 0 : KEYED_BIT);
    bytes[at + 1] = nameLength;
    bytes[at + 2] = 0;
    bytes[at + 3] = 0;
    writeUint32(bytes, at + 4, hash);
    writeUint32(bytes, at + 8, count);
    const nameStart = at + RECORD_HEADER_BYTES + keyBytes;
    for (let i = 0; i < nameLength; i++) bytes[nameStart + i] = name[i] as number;
    this.length = nameStart + nameLength;
    this.count++;
    return at;
  }

  #isSame(
    at: number,
    name: Uint8Array,
    nameLength: number,
    hash: number,
    kind: EventKind,
  ): boolean {
    const bytes = this.bytes;
    if (recordHash(bytes, at) !== hash || bytes[at] !== kind || bytes[at + 1] !== nameLength) {
      return false;
    }
    const start = at + RECORD_HEADER_BYTES;
    for (let i = 0; i < nameLength; i++) if (bytes[start + i] !== name[i]) return false;
    return true;
  }

  #reserve(more: number): void {
    const needed = this.length + more;
    if (needed <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.bytes.length * 2));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
  }
}
