/**
 * Finds entries by name: open addressing with linear probing over 32-bit slots. A slot holds entry + 1 in as many low
 * bits as the capacity has, and the remaining high bits of the keyed hash as a tag; 0 is free.
 * Growth is incremental: the larger array starts empty, later operations move a few entries each, and until all are
 * moved a search looks into the new array, then into the old one, which no longer changes.
 * Never moves many entries at once: no operation may pause the node.
 */
import { assert } from "../runtime/assert.ts";
import type { EntryRecords } from "./entry-records.ts";
import { type HashKey, halfSipHash } from "./keyed-hash.ts";

const CAPACITY_MIN = 1024;
/** One array of 2^30 slots is 4 GiB; with the load maximum that is 858 million entries. */
const CAPACITY_MAX: number = 2 ** 30;
const LOAD_MAX = 0.8;
/**
 * Growing from C to 2C slots starts at 0.8 C entries and must end before 1.6 C: one move for each insert would do;
 * four end it after 0.2 C operations.
 */
const MOVES_PER_STEP = 4;

const NO_SLOTS: Uint32Array = new Uint32Array(1);

/** The number of entries that a slot index can hold. */
export const SLOT_ENTRIES_MAX: number = Math.floor(CAPACITY_MAX * LOAD_MAX);

export class SlotIndex {
  readonly #records: EntryRecords;
  readonly key: HashKey;
  readonly #key0: number;
  readonly #key1: number;
  #slots: Uint32Array = new Uint32Array(CAPACITY_MIN);
  #growAtCount = Math.floor(CAPACITY_MIN * LOAD_MAX);
  /** The array before growth: entries [0, #moveEnd); those below #moved are in the new one too. */
  #oldSlots: Uint32Array = NO_SLOTS;
  #moved = 0;
  #moveEnd = 0;
  #capacityWanted = CAPACITY_MIN;
  /** Means nothing; written so that the compiler cannot drop the reads of #warm. */
  warmSum = 0;

  constructor(records: EntryRecords, key: HashKey) {
    this.#records = records;
    this.key = key;
    this.#key0 = key[0] | 0;
    this.#key1 = key[1] | 0;
  }

  get bytes(): number {
    return (this.#slots.length + this.#oldSlots.length) * Uint32Array.BYTES_PER_ELEMENT;
  }

  get isMoving(): boolean {
    return this.#moved < this.#moveEnd;
  }

  /** The keyed hash of a name, for {@link find} and {@link insert}. */
  hash(bytes: Uint8Array, start: number, length: number): number {
    return halfSipHash(bytes, start, length, this.#key0, this.#key1, 1, 3);
  }

  /** Returns the entry, or -1. */
  find(hash: number, bytes: Uint8Array, start: number, length: number): number {
    const entry = this.#findIn(this.#slots, hash, bytes, start, length);
    if (entry >= 0 || this.#moved >= this.#moveEnd) return entry;
    return this.#findIn(this.#oldSlots, hash, bytes, start, length);
  }

  #findIn(
    slots: Uint32Array,
    hash: number,
    bytes: Uint8Array,
    start: number,
    length: number,
  ): number {
    const mask = slots.length - 1;
    const tag = hash & ~mask;
    let at = hash & mask;
    // Invariant: the load is below one, so a free slot ends the loop.
    while (true) {
      const slot = slots[at] as number;
      if (slot === 0) return -1;
      if ((slot & ~mask) === tag) {
        const entry = (slot & mask) - 1;
        if (this.#records.nameEquals(entry, bytes, start, length)) return entry;
      }
      at = (at + 1) & mask;
    }
  }

  /**
   * Reads the slots of many hashes in a tight loop, so that the processor waits for their cache lines all at once
   * and the searches that follow find them near.
   */
  #warm(hashes: Int32Array, count: number): void {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let sum = 0;
    for (let i = 0; i < count; i++) sum ^= slots[(hashes[i] as number) & mask] as number;
    this.warmSum = sum;
  }

  /** Places an entry just appended to the records, not found before. */
  insert(hash: number, entry: number): void {
    if (entry >= this.#growAtCount) this.#grow(entry);
    place(this.#slots, hash, entry);
  }

  /**
   * Places `count` entries from `first` on, already appended, whose keyed hashes are `hashes`.
   * Returns the first of them whose name was there before it, or -1; then not all of them are placed.
   */
  insertNew(hashes: Int32Array, first: number, count: number): number {
    this.#warm(hashes, count);
    for (let i = 0; i < count; i++) {
      const entry = first + i;
      this.step();
      if (entry >= this.#growAtCount) this.#grow(entry);
      if (!this.#placeNew(hashes[i] as number, entry)) return entry;
    }
    return -1;
  }

  /** False when an entry of the same name is there. */
  #placeNew(hash: number, entry: number): boolean {
    const records = this.#records;
    if (this.#moved < this.#moveEnd && this.#holdsName(this.#oldSlots, hash, entry)) return false;
    const slots = this.#slots;
    const mask = slots.length - 1;
    const tag = hash & ~mask;
    let at = hash & mask;
    for (let slot = slots[at] as number; slot !== 0; slot = slots[at] as number) {
      if ((slot & ~mask) === tag && records.haveSameName((slot & mask) - 1, entry)) return false;
      at = (at + 1) & mask;
    }
    slots[at] = tag | (entry + 1);
    return true;
  }

  #holdsName(slots: Uint32Array, hash: number, entry: number): boolean {
    const mask = slots.length - 1;
    for (let at = hash & mask; slots[at] !== 0; at = (at + 1) & mask) {
      const slot = slots[at] as number;
      if ((slot & ~mask) !== (hash & ~mask)) continue;
      if (this.#records.haveSameName((slot & mask) - 1, entry)) return true;
    }
    return false;
  }

  /** Moves a few entries while a growth is under way. Call it with each find-or-insert. */
  step(): void {
    if (this.#moved < this.#moveEnd) this.#moveSome();
  }

  /** Makes the next growth large enough for `count` entries; starts it now if none is under way. */
  reserve(count: number): void {
    assert(count <= SLOT_ENTRIES_MAX, "too many entries are reserved");
    let capacity = CAPACITY_MIN;
    while (Math.floor(capacity * LOAD_MAX) < count) capacity *= 2;
    this.#capacityWanted = Math.max(capacity, this.#capacityWanted);
    if (this.#capacityWanted > this.#slots.length && !this.isMoving) {
      this.#grow(this.#records.count);
    }
  }

  #grow(entryCount: number): void {
    assert(!this.isMoving, "the last growth has not ended");
    const capacity = Math.max(this.#slots.length * 2, this.#capacityWanted);
    assert(capacity <= CAPACITY_MAX, "the slots cannot grow further");
    // Large arrays of zeros come straight from the system and cost nothing until touched.
    const slots = new Uint32Array(capacity);
    if (entryCount > 0) {
      this.#oldSlots = this.#slots;
      this.#moved = 0;
      this.#moveEnd = entryCount;
    }
    this.#slots = slots;
    this.#growAtCount = Math.floor(capacity * LOAD_MAX);
  }

  #moveSome(): void {
    const end = Math.min(this.#moved + MOVES_PER_STEP, this.#moveEnd);
    for (let entry = this.#moved; entry < end; entry++) {
      place(this.#slots, this.#records.nameKeyedHash(entry, this.#key0, this.#key1), entry);
    }
    this.#moved = end;
    if (end === this.#moveEnd) this.#oldSlots = NO_SLOTS;
  }
}

function place(slots: Uint32Array, hash: number, entry: number): void {
  const mask = slots.length - 1;
  let at = hash & mask;
  while (slots[at] !== 0) at = (at + 1) & mask;
  slots[at] = (hash & ~mask) | (entry + 1);
}
