/**
 * One record of 48 bytes for each domain, in chunks, so that growth never copies: the next entry of the page, two
 * counts, three times, the status, and the name (up to 19 bytes; of longer ones 15, the rest is in the arena). The
 * first chunk alone begins small and doubles: most partitions of a small cluster hold few domains. Entries are dense
 * indexes from 0 and are never removed. The name lies in the record because a look-up pays for every cache miss:
 * with all names in an arena, updates at ten million domains were a third slower, for the same memory.
 * Invariant: a count below 2^32 - 1 is in its word; from there on the word is all ones and the count is in a map.
 */
import type { EventKind } from "../model/event.ts";
import { hash32 } from "../model/hash32.ts";
import type { StatusCode } from "../model/status.ts";
import { assert } from "../runtime/assert.ts";
import { halfSipHash } from "./keyed-hash.ts";
import { NAME_LENGTH_MAX, NameArena } from "./name-arena.ts";
import {
  PAGE_ROW_NUMBERS,
  ROW_BOUNCED,
  ROW_DELIVERED,
  ROW_FIRST_SEEN_MS,
  ROW_LAST_SEEN_MS,
  ROW_NAME_LENGTH,
  ROW_NAME_START,
  ROW_STATUS,
  ROW_STATUS_SINCE_MS,
} from "./page-rows.ts";

/** Times have 42 bits: up to the year 2109. */
export const TIME_MS_MAX: number = 2 ** 42 - 1;

/** The last chunk of a partition is half empty on average: 4,096 entries, so 0.6 bytes a domain at ten million. */
const CHUNK_BITS = 12;
const CHUNK_ENTRIES = 1 << CHUNK_BITS;
const CHUNK_MASK = CHUNK_ENTRIES - 1;
/** Of the first chunk at first; doubled when it is full, up to a whole chunk. */
const FIRST_CHUNK_ENTRIES = 256;
const RECORD_WORDS = 12;
const RECORD_BYTES: number = RECORD_WORDS * Uint32Array.BYTES_PER_ELEMENT;

// Words of a record.
const COUNTS = 0;
const FIRST_SEEN = 2;
const LAST_SEEN = 3;
const STATUS_SINCE = 4;
/** High ten bits of first seen, last seen and status since, from the lowest; status in the top two. */
const HIGH_BITS = 5;
const NEXT = 6;
/** A length byte, then the name; of a long name its first bytes, and in the last word where its rest is in the arena. */
const NAME = 7;
const REST_OFFSET: number = RECORD_WORDS - 1;

const NAME_BYTE: number = NAME * Uint32Array.BYTES_PER_ELEMENT;
const SHORT_NAME_LENGTH_MAX: number = RECORD_BYTES - NAME_BYTE - 1;
/** How much of a long name is in the record. */
const HEAD_LENGTH: number = SHORT_NAME_LENGTH_MAX - Uint32Array.BYTES_PER_ELEMENT;

const HIGH_MASK = 0x3ff;
const STATUS_SHIFT = 30;

const WORD = 2 ** 32;
const COUNT_IN_MAP = 0xffffffff;
/** What a map entry costs, about: key, value and bucket, bytes. */
const MAP_ENTRY_BYTES = 64;

export class EntryRecords {
  readonly #chunks: Uint32Array[] = [];
  /** The same chunks as bytes, for the names. */
  readonly #byteChunks: Uint8Array[] = [];
  /** What of the long names is not in their records. */
  readonly #rests: NameArena = new NameArena();
  readonly #nameScratch: Uint8Array = new Uint8Array(NAME_LENGTH_MAX);
  /** entry * 2 + kind → count, for counts that do not fit a word. */
  readonly #largeCounts = new Map<number, number>();
  #count = 0;
  /** Entries that the chunks have room for. */
  #capacity = 0;

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return (
      this.#capacity * RECORD_BYTES + this.#rests.bytes + this.#largeCounts.size * MAP_ENTRY_BYTES
    );
  }

  /**
   * Appends a blank entry for a name of 1 to NAME_LENGTH_MAX bytes; `next` is as {@link next} gives it.
   * Returns its index, or -1 when the arena is full.
   */
  append(bytes: Uint8Array, start: number, length: number, next: number): number {
    const head = headLengthOf(length);
    const offset = head < length ? this.#rests.add(bytes, start + head, length - head) : 0;
    if (offset < 0) return -1;
    const entry = this.#appendBlank();
    const chunk = this.#chunkOf(entry);
    const at = wordOf(entry);
    chunk[at + NEXT] = next;
    const byteChunk = this.#byteChunkOf(entry);
    const nameAt = nameByteOf(entry);
    byteChunk[nameAt] = length;
    for (let i = 0; i < head; i++) byteChunk[nameAt + 1 + i] = bytes[start + i] as number;
    if (head < length) chunk[at + REST_OFFSET] = offset;
    return entry;
  }

  #appendBlank(): number {
    const entry = this.#count;
    if (entry === this.#capacity) this.#grow();
    this.#count = entry + 1;
    return entry;
  }

  #grow(): void {
    const first = this.#chunks[0];
    const isFirst = this.#capacity < CHUNK_ENTRIES;
    const capacity = first === undefined ? FIRST_CHUNK_ENTRIES : this.#capacity * 2;
    const words = new Uint32Array((isFirst ? capacity : CHUNK_ENTRIES) * RECORD_WORDS);
    if (isFirst && first !== undefined) words.set(first);
    const at = isFirst ? 0 : this.#chunks.length;
    this.#chunks[at] = words;
    this.#byteChunks[at] = new Uint8Array(words.buffer);
    this.#capacity = isFirst ? capacity : this.#capacity + CHUNK_ENTRIES;
  }

  /**
   * Appends the first `count` of `rows` (page-codec.ts) as one chain of {@link next}, whose head is the last of them.
   * Their names are in `bytes`. False when the arena is full; then only some are there.
   */
  appendRows(bytes: Uint8Array, rows: Float64Array, count: number): boolean {
    let next = 0;
    for (let i = 0, row = 0; i < count; i++, row += PAGE_ROW_NUMBERS) {
      const start = rows[row + ROW_NAME_START] as number;
      const entry = this.append(bytes, start, rows[row + ROW_NAME_LENGTH] as number, next);
      if (entry < 0) return false;
      next = entry + 1;
      const chunk = this.#chunkOf(entry);
      const at = wordOf(entry);
      const delivered = rows[row + ROW_DELIVERED] as number;
      const bounced = rows[row + ROW_BOUNCED] as number;
      if (delivered < COUNT_IN_MAP) chunk[at + COUNTS] = delivered;
      else this.#setCount(entry, 0, delivered);
      if (bounced < COUNT_IN_MAP) chunk[at + COUNTS + 1] = bounced;
      else this.#setCount(entry, 1, bounced);
      const firstMs = rows[row + ROW_FIRST_SEEN_MS] as number;
      const lastMs = rows[row + ROW_LAST_SEEN_MS] as number;
      const sinceMs = rows[row + ROW_STATUS_SINCE_MS] as number;
      const status = rows[row + ROW_STATUS] as number;
      chunk[at + FIRST_SEEN] = firstMs >>> 0;
      chunk[at + LAST_SEEN] = lastMs >>> 0;
      chunk[at + STATUS_SINCE] = sinceMs >>> 0;
      chunk[at + HIGH_BITS] =
        (status << STATUS_SHIFT) |
        ((sinceMs / WORD) << 20) |
        ((lastMs / WORD) << 10) |
        (firstMs / WORD);
    }
    return true;
  }

  /** Whether two entries have one name. */
  haveSameName(entry: number, other: number): boolean {
    const chunk = this.#byteChunkOf(other);
    const at = nameByteOf(other);
    const length = chunk[at] as number;
    if (length <= SHORT_NAME_LENGTH_MAX) return this.nameEquals(entry, chunk, at + 1, length);
    const name = new Uint8Array(length);
    this.copyName(other, name, 0);
    return this.nameEquals(entry, name, 0, length);
  }

  nameEquals(entry: number, bytes: Uint8Array, start: number, length: number): boolean {
    const chunk = this.#byteChunkOf(entry);
    const at = nameByteOf(entry);
    if (chunk[at] !== length) return false;
    const head = headLengthOf(length);
    for (let i = 0; i < head; i++) {
      if (chunk[at + 1 + i] !== bytes[start + i]) return false;
    }
    if (head === length) return true;
    return this.#rests.equals(this.#restOffset(entry), bytes, start + head, length - head);
  }

  /** Copies the name to `into[at…]`; returns its length, bytes. */
  copyName(entry: number, into: Uint8Array, at: number): number {
    const chunk = this.#byteChunkOf(entry);
    const from = nameByteOf(entry);
    const length = chunk[from] as number;
    const head = headLengthOf(length);
    for (let i = 0; i < head; i++) into[at + i] = chunk[from + 1 + i] as number;
    if (head < length) {
      this.#rests.copy(this.#restOffset(entry), length - head, into, at + head);
    }
    return length;
  }

  nameHash32(entry: number): number {
    const chunk = this.#byteChunkOf(entry);
    const at = nameByteOf(entry);
    const length = chunk[at] as number;
    if (length > SHORT_NAME_LENGTH_MAX) {
      return hash32(this.#nameScratch, 0, this.copyName(entry, this.#nameScratch, 0));
    }
    return hash32(chunk, at + 1, at + 1 + length);
  }

  nameKeyedHash(entry: number, key0: number, key1: number): number {
    const chunk = this.#byteChunkOf(entry);
    const at = nameByteOf(entry);
    const length = chunk[at] as number;
    if (length > SHORT_NAME_LENGTH_MAX) {
      this.copyName(entry, this.#nameScratch, 0);
      return halfSipHash(this.#nameScratch, 0, length, key0, key1, 1, 3);
    }
    return halfSipHash(chunk, at + 1, length, key0, key1, 1, 3);
  }

  #restOffset(entry: number): number {
    return this.#chunkOf(entry)[wordOf(entry) + REST_OFFSET] as number;
  }

  /** The next entry of the same page plus one; 0 at the end. */
  next(entry: number): number {
    return this.#chunkOf(entry)[wordOf(entry) + NEXT] as number;
  }

  countOf(entry: number, kind: EventKind): number {
    const word = this.#chunkOf(entry)[wordOf(entry) + COUNTS + kind] as number;
    return word === COUNT_IN_MAP ? (this.#largeCounts.get(entry * 2 + kind) as number) : word;
  }

  /** Adds; stops at Number.MAX_SAFE_INTEGER. Returns by how much the count grew. */
  addCount(entry: number, kind: EventKind, count: number): number {
    const chunk = this.#chunkOf(entry);
    const at = wordOf(entry) + COUNTS + kind;
    const before = chunk[at] as number;
    const sum = before + count;
    if (sum < COUNT_IN_MAP) {
      chunk[at] = sum;
      return count;
    }
    return this.#addLargeCount(entry, kind, count);
  }

  #addLargeCount(entry: number, kind: EventKind, count: number): number {
    const before = this.countOf(entry, kind);
    // Both are at most 2^53 - 1; a sum that had to be rounded is over the maximum in any case.
    const after = Math.min(before + count, Number.MAX_SAFE_INTEGER);
    this.#setCount(entry, kind, after);
    return after - before;
  }

  #setCount(entry: number, kind: EventKind, count: number): void {
    const chunk = this.#chunkOf(entry);
    const at = wordOf(entry) + COUNTS + kind;
    if (count >= COUNT_IN_MAP) {
      chunk[at] = COUNT_IN_MAP;
      this.#largeCounts.set(entry * 2 + kind, count);
    } else {
      if (chunk[at] === COUNT_IN_MAP) this.#largeCounts.delete(entry * 2 + kind);
      chunk[at] = count;
    }
  }

  firstSeenMs(entry: number): number {
    return this.#timeMs(entry, FIRST_SEEN, 0);
  }

  lastSeenMs(entry: number): number {
    return this.#timeMs(entry, LAST_SEEN, 10);
  }

  statusSinceMs(entry: number): number {
    return this.#timeMs(entry, STATUS_SINCE, 20);
  }

  #timeMs(entry: number, word: number, shift: number): number {
    const chunk = this.#chunkOf(entry);
    const at = wordOf(entry);
    const high = ((chunk[at + HIGH_BITS] as number) >>> shift) & HIGH_MASK;
    return high * WORD + (chunk[at + word] as number);
  }

  /** First seen is set once, last seen only grows: clocks that jump back do not show. */
  touch(entry: number, timeMs: number): void {
    const lastMs = this.#timeMs(entry, LAST_SEEN, 10);
    if (timeMs <= lastMs) return;
    // Both are null, or neither is.
    if (lastMs === 0) this.#setTimeMs(entry, FIRST_SEEN, 0, timeMs);
    this.#setTimeMs(entry, LAST_SEEN, 10, timeMs);
  }

  /** Takes in the times of another record of the domain; neither is 0. */
  widen(entry: number, firstMs: number, lastMs: number): void {
    const beforeMs = this.firstSeenMs(entry);
    if (beforeMs === 0 || firstMs < beforeMs) this.#setTimeMs(entry, FIRST_SEEN, 0, firstMs);
    if (lastMs > this.lastSeenMs(entry)) this.#setTimeMs(entry, LAST_SEEN, 10, lastMs);
  }

  #setTimeMs(entry: number, word: number, shift: number, timeMs: number): void {
    assert(timeMs >= 0 && timeMs <= TIME_MS_MAX, "time is out of range");
    const chunk = this.#chunkOf(entry);
    const at = wordOf(entry);
    const low = timeMs >>> 0;
    const high = Math.floor(timeMs / WORD);
    chunk[at + word] = low;
    const others = (chunk[at + HIGH_BITS] as number) & ~(HIGH_MASK << shift);
    chunk[at + HIGH_BITS] = others | (high << shift);
  }

  status(entry: number): StatusCode {
    const word = this.#chunkOf(entry)[wordOf(entry) + HIGH_BITS] as number;
    return (word >>> STATUS_SHIFT) as StatusCode;
  }

  setStatus(entry: number, status: StatusCode, sinceMs: number): void {
    this.#setTimeMs(entry, STATUS_SINCE, 20, sinceMs);
    const chunk = this.#chunkOf(entry);
    const at = wordOf(entry) + HIGH_BITS;
    const others = (chunk[at] as number) & ~(3 << STATUS_SHIFT);
    chunk[at] = others | (status << STATUS_SHIFT);
  }

  /** True for an entry that says nothing: no counts, no times, status unseen. */
  isBlank(entry: number): boolean {
    const chunk = this.#chunkOf(entry);
    const at = wordOf(entry);
    for (let word = COUNTS; word <= HIGH_BITS; word++) {
      if (chunk[at + word] !== 0) return false;
    }
    return true;
  }

  clear(entry: number): void {
    this.#setCount(entry, 0, 0);
    this.#setCount(entry, 1, 0);
    const at = wordOf(entry);
    this.#chunkOf(entry).fill(0, at + COUNTS, at + HIGH_BITS + 1);
  }

  #chunkOf(entry: number): Uint32Array {
    if (entry >>> 0 >= this.#count) assert(false, "no such entry");
    return this.#chunks[entry >>> CHUNK_BITS] as Uint32Array;
  }

  #byteChunkOf(entry: number): Uint8Array {
    if (entry >>> 0 >= this.#count) assert(false, "no such entry");
    return this.#byteChunks[entry >>> CHUNK_BITS] as Uint8Array;
  }
}

function headLengthOf(nameLength: number): number {
  return nameLength <= SHORT_NAME_LENGTH_MAX ? nameLength : HEAD_LENGTH;
}

function wordOf(entry: number): number {
  return (entry & CHUNK_MASK) * RECORD_WORDS;
}

function nameByteOf(entry: number): number {
  return (entry & CHUNK_MASK) * RECORD_BYTES + NAME_BYTE;
}
