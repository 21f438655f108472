/**
 * The image of one page, as checkpoints keep it. It stands alone: names, exact counts, times and status of each entry,
 * in no promised order. Bytes read are from outside: every one is checked, and what is wrong is `checkpoint_damaged`.
 * Never reads past the end, and never believes a length or a count before the bytes are there.
 *
 *   version u8 · page id u16 LE · entry count varint · base time varint (ms, the lowest time of the page)
 *   entry: flags u8 (bits 0-1 status, 2 seen times, 3 status time) · name length u8 · name
 *          · delivered varint · bounced varint · [first - base varint · last - first varint] · [since - base varint]
 *
 * Varints: seven bits a byte, lowest first, shortest form only, at most 2^53 - 1.
 */
import { CatchallError } from "../model/errors.ts";
import { BOUNCED, DELIVERED } from "../model/event.ts";
import { type EntryRecords, TIME_MS_MAX } from "./entry-records.ts";
import type { HashKey } from "./keyed-hash.ts";
import { NAME_LENGTH_MAX } from "./name-arena.ts";
import { checkName, NAME_HASH32, NAME_KEYED_HASH } from "./name-check.ts";
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

export const PAGE_FORMAT_VERSION = 1;

const STATUS_MASK = 3;
const HAS_SEEN_TIMES = 4;
const HAS_STATUS_TIME = 8;
/** Flags, name length, name, two counts of 8 bytes, three times of 6. */
const ENTRY_BYTES_MAX: number = 1 + 1 + NAME_LENGTH_MAX + 2 * 8 + 3 * 6;
const ENTRY_BYTES_MIN = 1 + 1 + 1 + 1 + 1;
const HEADER_BYTES_MAX = 1 + 2 + 8 + 6;
const SCRATCH_BYTES_MIN = 16 * 1024;
/** A page that an attacker made large must not keep its scratch for ever. */
const SCRATCH_KEPT_BYTES_MAX = 1024 * 1024;

/** Writes images; keeps one scratch buffer, so encoding allocates only the result. */
export class PageWriter {
  #scratch: Uint8Array = new Uint8Array(0);
  #at = 0;

  /** Encodes the entries from `head` (an index plus one, 0 = none) on; blank ones are left out. */
  encode(pageId: number, head: number, records: EntryRecords): Uint8Array {
    let count = 0;
    let baseMs = TIME_MS_MAX;
    for (let next = head; next !== 0; next = records.next(next - 1)) {
      const entry = next - 1;
      if (records.isBlank(entry)) continue;
      count++;
      const firstMs = records.firstSeenMs(entry);
      const sinceMs = records.statusSinceMs(entry);
      if (firstMs !== 0 && firstMs < baseMs) baseMs = firstMs;
      if (sinceMs !== 0 && sinceMs < baseMs) baseMs = sinceMs;
    }
    this.#at = 0;
    this.#makeRoom(HEADER_BYTES_MAX);
    this.#byte(PAGE_FORMAT_VERSION);
    this.#byte(pageId & 0xff);
    this.#byte(pageId >>> 8);
    this.#varint(count);
    this.#varint(baseMs);
    for (let next = head; next !== 0; next = records.next(next - 1)) {
      if (!records.isBlank(next - 1)) this.#entry(next - 1, baseMs, records);
    }
    const image = this.#scratch.slice(0, this.#at);
    if (this.#scratch.length > SCRATCH_KEPT_BYTES_MAX) this.#scratch = new Uint8Array(0);
    return image;
  }

  #entry(entry: number, baseMs: number, records: EntryRecords): void {
    this.#makeRoom(ENTRY_BYTES_MAX);
    const firstMs = records.firstSeenMs(entry);
    const sinceMs = records.statusSinceMs(entry);
    let flags: number = records.status(entry);
    if (firstMs !== 0) flags |= HAS_SEEN_TIMES;
    if (sinceMs !== 0) flags |= HAS_STATUS_TIME;
    this.#byte(flags);
    const length = records.copyName(entry, this.#scratch, this.#at + 1);
    this.#scratch[this.#at] = length;
    this.#at += 1 + length;
    this.#varint(records.countOf(entry, DELIVERED));
    this.#varint(records.countOf(entry, BOUNCED));
    if (firstMs !== 0) {
      this.#varint(firstMs - baseMs);
      this.#varint(records.lastSeenMs(entry) - firstMs);
    }
    if (sinceMs !== 0) this.#varint(sinceMs - baseMs);
  }

  #makeRoom(bytes: number): void {
    if (this.#at + bytes <= this.#scratch.length) return;
    const larger = new Uint8Array(Math.max(SCRATCH_BYTES_MIN, this.#scratch.length * 2));
    larger.set(this.#scratch);
    this.#scratch = larger;
  }

  #byte(value: number): void {
    this.#scratch[this.#at++] = value;
  }

  #varint(value: number): void {
    let rest = value;
    while (rest >= 0x80) {
      // The low bits of `>>> 0` are right above 2^32 too.
      this.#scratch[this.#at++] = ((rest >>> 0) & 0x7f) | 0x80;
      rest = rest < 0x80000000 ? rest >>> 7 : Math.floor(rest / 128);
    }
    this.#scratch[this.#at++] = rest;
  }
}

/** Reads one image: the constructor checks the header, {@link PageReader.readRows} the rest. */
export class PageReader {
  readonly #bytes: Uint8Array;
  readonly #pageId: number;
  readonly #baseMs: number;
  readonly #hashes: Int32Array = new Int32Array(2);
  #at = 0;
  readonly count: number;

  constructor(pageId: number, bytes: Uint8Array) {
    this.#pageId = pageId;
    this.#bytes = bytes;
    if (this.#byte() !== PAGE_FORMAT_VERSION) this.damaged("its format version is unknown");
    const id = this.#byte() | (this.#byte() << 8);
    if (id !== pageId) this.damaged(`it is the image of page ${id}`);
    this.count = this.#varint();
    this.#baseMs = this.#varint();
    if (this.count > (bytes.length - this.#at) / ENTRY_BYTES_MIN) {
      this.damaged("it is too short for its entry count");
    }
  }

  /**
   * Reads all entries into `rows`, {@link PAGE_ROW_NUMBERS} each, with the keyed hashes of their names into
   * `keyedHashes`; both have room. Checks everything that can be wrong with an image, its end too.
   */
  readRows(rows: Float64Array, keyedHashes: Int32Array, key: HashKey): void {
    const bytes = this.#bytes;
    const pageId = this.#pageId;
    const hashes = this.#hashes;
    const key0 = key[0] | 0;
    const key1 = key[1] | 0;
    for (let i = 0, row = 0; i < this.count; i++, row += PAGE_ROW_NUMBERS) {
      const at = this.#at;
      if (bytes.length - at < ENTRY_BYTES_MIN) this.damaged("it ends too early");
      const flags = bytes[at] as number;
      if (flags > 15) this.damaged("an entry has unknown flags");
      const length = bytes[at + 1] as number;
      const start = at + 2;
      if (length === 0 || length > NAME_LENGTH_MAX) this.damaged("a name has a wrong length");
      if (length > bytes.length - start) this.damaged("it ends inside a name");
      if (!checkName(bytes, start, length, key0, key1, hashes)) {
        this.damaged("a name has a byte that is not visible ASCII");
      }
      if ((hashes[NAME_HASH32] as number) >>> 16 !== pageId) {
        this.damaged("a domain is of another page");
      }
      keyedHashes[i] = hashes[NAME_KEYED_HASH] as number;
      rows[row + ROW_NAME_START] = start;
      rows[row + ROW_NAME_LENGTH] = length;
      this.#at = start + length;
      this.#numbers(rows, row, flags);
    }
    if (this.#at !== bytes.length) this.damaged("bytes follow the last entry");
  }

  /** Reads what follows the name of an entry. */
  #numbers(rows: Float64Array, row: number, flags: number): void {
    const delivered = this.#varint();
    const bounced = this.#varint();
    if (flags === 0 && delivered === 0 && bounced === 0) this.damaged("an entry is blank");
    let firstSeenMs = 0;
    let lastSeenMs = 0;
    if ((flags & HAS_SEEN_TIMES) !== 0) {
      firstSeenMs = this.#timeAfter(this.#baseMs);
      lastSeenMs = this.#timeAfter(firstSeenMs);
    }
    rows[row + ROW_DELIVERED] = delivered;
    rows[row + ROW_BOUNCED] = bounced;
    rows[row + ROW_FIRST_SEEN_MS] = firstSeenMs;
    rows[row + ROW_LAST_SEEN_MS] = lastSeenMs;
    const hasStatusTime = (flags & HAS_STATUS_TIME) !== 0;
    rows[row + ROW_STATUS_SINCE_MS] = hasStatusTime ? this.#timeAfter(this.#baseMs) : 0;
    rows[row + ROW_STATUS] = flags & STATUS_MASK;
  }

  damaged(reason: string): never {
    throw new CatchallError(
      "checkpoint_damaged",
      `Counter page ${this.#pageId} is damaged near byte ${this.#at}: ${reason}`,
    );
  }

  #timeAfter(startMs: number): number {
    const timeMs = startMs + this.#varint();
    if (timeMs === 0 || timeMs > TIME_MS_MAX) this.damaged("a time is out of range");
    return timeMs;
  }

  #byte(): number {
    if (this.#at >= this.#bytes.length) this.damaged("it ends too early");
    return this.#bytes[this.#at++] as number;
  }

  #varint(): number {
    const first = this.#byte();
    return first < 0x80 ? first : this.#longVarint(first);
  }

  #longVarint(first: number): number {
    let byte = first;
    let value = byte & 0x7f;
    let shift = 7;
    // Four bytes fit a small integer, which is faster.
    for (; shift < 28; shift += 7) {
      byte = this.#byte();
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return this.#shortest(value, byte);
    }
    for (let scale = 2 ** 28; scale < 2 ** 56; scale *= 128) {
      byte = this.#byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return this.#shortest(value, byte);
    }
    return this.damaged("a number is longer than 8 bytes");
  }

  #shortest(value: number, lastByte: number): number {
    if (lastByte === 0) this.damaged("a number is not in its shortest form");
    if (value > Number.MAX_SAFE_INTEGER) this.damaged("a number is over 2^53 - 1");
    return value;
  }
}
