/**
 * One record of 32 bytes for each domain, in chunks, so that growth never copies: where the name is, the next entry
 * of the page, two counts, three times, the status. Entries are dense indexes from 0 and are never removed.
 * Invariant: a count below 2^32 - 1 is in its word; from there on the word is all ones and the count is in a map.
 */
import { assert } from "../runtime/assert.ts";
import type { EventKind } from "../model/event.ts";
import type { StatusCode } from "../model/status.ts";

/** Times have 42 bits: up to the year 2109. */
export const TIME_MS_MAX: number = 2 ** 42 - 1;

const CHUNK_BITS = 12;
const CHUNK_ENTRIES = 1 << CHUNK_BITS;
const CHUNK_MASK = CHUNK_ENTRIES - 1;
const RECORD_BITS = 3;
const RECORD_WORDS = 1 << RECORD_BITS;

const NAME = 0;
const NEXT = 1;
const COUNTS = 2;
const FIRST_SEEN = 4;
const LAST_SEEN = 5;
const STATUS_SINCE = 6;
// High ten bits of first seen, last seen and status since, from the lowest; status in the top two.
const HIGH_BITS = 7;
const HIGH_MASK = 0x3ff;
const STATUS_SHIFT = 30;

const WORD = 2 ** 32;
const COUNT_IN_MAP = 0xffffffff;
/** What a map entry costs, about: key, value and bucket, bytes. */
const MAP_ENTRY_BYTES = 64;

export class EntryRecords {
  readonly #chunks: Uint32Array[] = [];
  /** entry * 2 + kind → count, for counts that do not fit a word. */
  readonly #largeCounts = new Map<number, number>();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    const chunkBytes = CHUNK_ENTRIES * RECORD_WORDS * Uint32Array.BYTES_PER_ELEMENT;
    return this.#chunks.length * chunkBytes + this.#largeCounts.size * MAP_ENTRY_BYTES;
  }

  /** Appends a blank entry; `next` is as {@link next} gives it. Returns its index. */
  append(nameOffset: number, next: number): number {
    const entry = this.#count;
    if ((entry & CHUNK_MASK) === 0) {
      this.#chunks.push(new Uint32Array(CHUNK_ENTRIES * RECORD_WORDS));
    }
    this.#count = entry + 1;
    const chunk = this.#chunkOf(entry);
    const at = wordOf(entry);
    chunk[at + NAME] = nameOffset;
    chunk[at + NEXT] = next;
    return entry;
  }

  nameOffset(entry: number): number {
    return this.#chunkOf(entry)[wordOf(entry) + NAME] as number;
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
    this.#chunkOf(entry).fill(0, at + COUNTS, at + RECORD_WORDS);
  }

  #chunkOf(entry: number): Uint32Array {
    if (entry >>> 0 >= this.#count) assert(false, "no such entry");
    return this.#chunks[entry >>> CHUNK_BITS] as Uint32Array;
  }
}

function wordOf(entry: number): number {
  return (entry & CHUNK_MASK) << RECORD_BITS;
}
