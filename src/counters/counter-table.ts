/**
 * The counters of one partition: for each domain two exact counts, three times, the status and
 * the name; found by a keyed hash; grouped in pages by hash32, which checkpoints write and read one by one.
 * Invariant: entries are never removed, so an entry index stays valid for the life of the table.
 * Never classifies: the owner of the table applies the rule and calls {@link CounterTable.setStatus}.
 */
import { CatchallError } from "../model/errors.ts";
import { BOUNCED, DELIVERED, type EventKind } from "../model/event.ts";
import { STATUS_UNSEEN, type StatusCode } from "../model/status.ts";
import { assert } from "../runtime/assert.ts";
import { CounterTotals, type CounterTotalsView } from "./counter-totals.ts";
import { EntryRecords } from "./entry-records.ts";
import type { HashKey } from "./keyed-hash.ts";
import { NAME_LENGTH_MAX } from "./name-arena.ts";
import { PageReader, PageWriter } from "./page-codec.ts";
import { PAGE_ROW_NUMBERS } from "./page-rows.ts";
import { SLOT_ENTRIES_MAX, SlotIndex } from "./slot-index.ts";

/** Pages of all partitions together; the page of a domain is the high half of its hash32. */
export const PAGE_COUNT = 65_536;

/**
 * `partitions`: a power of two up to {@link PAGE_COUNT}. `seed`: two random 32-bit words of this process, secret.
 * `entriesMax`: domains that fit; then {@link CounterTable.findOrInsert} answers -1.
 */
export interface CounterTableOptions {
  readonly partition: number;
  readonly partitions: number;
  readonly seed: HashKey;
  readonly entriesMax?: number;
}

/** Times are wall milliseconds, 0 = null. Counts stop at Number.MAX_SAFE_INTEGER and never wrap. */
export class CounterTable {
  readonly #records: EntryRecords = new EntryRecords();
  readonly #slots: SlotIndex;
  readonly #totals: CounterTotals = new CounterTotals();
  readonly #pageWriter: PageWriter = new PageWriter();
  readonly #firstPageId: number;
  readonly #entriesMax: number;
  /** By page: its first entry plus one, 0 = none. */
  readonly #heads: Uint32Array;
  readonly #dirty: Uint8Array;
  readonly #nameScratch: Buffer = Buffer.alloc(NAME_LENGTH_MAX);
  // Scratch of decodePage, kept from page to page: new arrays for each would be left to the collector.
  #rows: Float64Array = new Float64Array(0);
  #keyedHashes: Int32Array = new Int32Array(0);
  // The page of the entry last found, so that add after find need not hash the name again.
  #foundEntry = -1;
  #foundPage = 0;

  constructor(options: CounterTableOptions) {
    const { partition, partitions } = options;
    const pageCount = PAGE_COUNT / partitions;
    assert(Number.isInteger(pageCount) && pageCount > 0, "partitions must divide the pages");
    assert(Number.isInteger(Math.log2(partitions)), "partitions must be a power of two");
    assert(partition >= 0 && partition < partitions, "no such partition");
    this.#firstPageId = partition * pageCount;
    this.#entriesMax = Math.min(options.entriesMax ?? SLOT_ENTRIES_MAX, SLOT_ENTRIES_MAX);
    this.#slots = new SlotIndex(this.#records, options.seed);
    this.#heads = new Uint32Array(pageCount);
    this.#dirty = new Uint8Array(pageCount);
  }

  get entryCount(): number {
    return this.#records.count;
  }

  /** Live: changes with the table. */
  get totals(): CounterTotalsView {
    return this.#totals;
  }

  /** Memory of records, names, slots and pages. Parts reserved but not yet touched are counted too. */
  get bytes(): number {
    const pages = this.#heads.byteLength + this.#dirty.byteLength;
    return this.#records.bytes + this.#slots.bytes + pages;
  }

  /** Makes room for `count` entries in all, so that a restore need not grow step by step. */
  reserve(count: number): void {
    this.#slots.reserve(Math.min(count, this.#entriesMax));
  }

  /** Returns the entry of `bytes[start, start + length)`, whose hash32 is `hash`, or -1. */
  find(hash: number, bytes: Uint8Array, start: number, length: number): number {
    const keyed = this.#slots.hash(bytes, start, length);
    const entry = this.#slots.find(keyed, bytes, start, length);
    this.#foundEntry = entry;
    this.#foundPage = (hash >>> 16) - this.#firstPageId;
    return entry;
  }

  /** As {@link find}, but appends a blank entry where there is none; -1 when the table is full. */
  findOrInsert(hash: number, bytes: Uint8Array, start: number, length: number): number {
    const keyed = this.#slots.hash(bytes, start, length);
    this.#slots.step();
    const page = (hash >>> 16) - this.#firstPageId;
    let entry = this.#slots.find(keyed, bytes, start, length);
    if (entry < 0) entry = this.#insert(keyed, page, bytes, start, length);
    this.#foundEntry = entry;
    this.#foundPage = page;
    return entry;
  }

  #insert(keyed: number, page: number, bytes: Uint8Array, start: number, length: number): number {
    assert(page >= 0 && page < this.#heads.length, "the domain is of another partition");
    assert(length > 0 && length <= NAME_LENGTH_MAX, "the name has a wrong length");
    if (this.#records.count >= this.#entriesMax) return -1;
    const entry = this.#records.append(bytes, start, length, this.#heads[page] as number);
    if (entry < 0) return -1;
    this.#heads[page] = entry + 1;
    this.#slots.insert(keyed, entry);
    this.#totals.addEntry();
    return entry;
  }

  delivered(entry: number): number {
    return this.#records.countOf(entry, DELIVERED);
  }

  bounced(entry: number): number {
    return this.#records.countOf(entry, BOUNCED);
  }

  firstSeenMs(entry: number): number {
    return this.#records.firstSeenMs(entry);
  }

  lastSeenMs(entry: number): number {
    return this.#records.lastSeenMs(entry);
  }

  statusSinceMs(entry: number): number {
    return this.#records.statusSinceMs(entry);
  }

  status(entry: number): StatusCode {
    return this.#records.status(entry);
  }

  /**
   * Counts `count` events at `timeMs`. First seen is set once and last seen never goes back.
   * Does not change the status: the caller classifies.
   */
  add(entry: number, kind: EventKind, count: number, timeMs: number): void {
    assert(count >= 0 && Number.isSafeInteger(count), "count is not a whole number");
    this.#totals.addCount(kind, this.#records.addCount(entry, kind, count));
    this.#records.touch(entry, timeMs);
    this.#markDirty(entry);
  }

  /** Adds what another table counted of the domain; times 0 = null. Does not change the status either. */
  merge(
    entry: number,
    other: {
      readonly delivered: number;
      readonly bounced: number;
      readonly firstSeenMs: number;
      readonly lastSeenMs: number;
    },
  ): void {
    const { delivered, bounced, firstSeenMs, lastSeenMs } = other;
    this.#totals.addCount(DELIVERED, this.#records.addCount(entry, DELIVERED, delivered));
    this.#totals.addCount(BOUNCED, this.#records.addCount(entry, BOUNCED, bounced));
    if (lastSeenMs !== 0) this.#records.widen(entry, firstSeenMs, lastSeenMs);
    this.#markDirty(entry);
  }

  setStatus(entry: number, status: StatusCode, sinceMs: number): void {
    this.#totals.moveStatus(this.#records.status(entry), status);
    this.#records.setStatus(entry, status, sinceMs);
    this.#markDirty(entry);
  }

  /** Counts 0, times null, status unseen; the entry and its name stay. */
  reset(entry: number): void {
    this.#totals.addCount(DELIVERED, -this.#records.countOf(entry, DELIVERED));
    this.#totals.addCount(BOUNCED, -this.#records.countOf(entry, BOUNCED));
    this.#totals.moveStatus(this.#records.status(entry), STATUS_UNSEEN);
    this.#records.clear(entry);
    this.#markDirty(entry);
  }

  name(entry: number): string {
    const length = this.#records.copyName(entry, this.#nameScratch, 0);
    return this.#nameScratch.toString("latin1", 0, length);
  }

  /** Copies the name to `into[at…]`, which has room for it; returns its length, bytes. */
  copyName(entry: number, into: Uint8Array, at: number): number {
    return this.#records.copyName(entry, into, at);
  }

  /** The hash32 of the name, computed anew. */
  hashOf(entry: number): number {
    return this.#records.nameHash32(entry);
  }

  #markDirty(entry: number): void {
    this.#dirty[entry === this.#foundEntry ? this.#foundPage : this.#pageOf(entry)] = 1;
  }

  #pageOf(entry: number): number {
    return (this.hashOf(entry) >>> 16) - this.#firstPageId;
  }

  /** The first and the last page id of this partition, both included. */
  pageIds(): { readonly first: number; readonly last: number } {
    return { first: this.#firstPageId, last: this.#firstPageId + this.#heads.length - 1 };
  }

  /** Ids of the pages changed since they were last encoded or restored, ascending. */
  dirtyPages(): number[] {
    const ids: number[] = [];
    let page = this.#dirty.indexOf(1);
    while (page >= 0) {
      ids.push(this.#firstPageId + page);
      page = this.#dirty.indexOf(1, page + 1);
    }
    return ids;
  }

  /** Marks every page that has entries, as before a full checkpoint. */
  markAllDirty(): void {
    for (let page = 0; page < this.#heads.length; page++) {
      if (this.#heads[page] !== 0) this.#dirty[page] = 1;
    }
  }

  /** True when the page has no entries, blank ones neither: most pages of a small node. */
  isPageEmpty(pageId: number): boolean {
    return this.#heads[this.#pageAt(pageId)] === 0;
  }

  /** The entries of a page, blank ones too, in no promised order. */
  *pageEntries(pageId: number): IterableIterator<number> {
    let next = this.#heads[this.#pageAt(pageId)] as number;
    while (next !== 0) {
      yield next - 1;
      next = this.#records.next(next - 1);
    }
  }

  /**
   * Entries of a page, blank ones too, by name (byte order) and only those after `afterName`; "" for all.
   * With page ids ascending this is a stable order for listings: (page id, last name shown) is a cursor.
   */
  sortedPageEntries(pageId: number, afterName = ""): number[] {
    const rows: { readonly name: string; readonly entry: number }[] = [];
    for (const entry of this.pageEntries(pageId)) {
      const name = this.name(entry);
      if (name > afterName) rows.push({ name, entry });
    }
    rows.sort((a, b) => (a.name < b.name ? -1 : 1));
    return rows.map((row) => row.entry);
  }

  /** The image of a page: all of its entries but blank ones. The page is clean from here on. */
  encodePage(pageId: number): Uint8Array {
    const page = this.#pageAt(pageId);
    const head = this.#heads[page] as number;
    const image = this.#pageWriter.encode(pageId, head, this.#records);
    this.#dirty[page] = 0;
    return image;
  }

  #pageAt(pageId: number): number {
    const page = pageId - this.#firstPageId;
    assert(page >= 0 && page < this.#heads.length, "the page is of another partition");
    return page;
  }

  /**
   * Restores an image into a page that is still empty; the page is clean then.
   *
   * Errors: checkpoint_damaged — the image is malformed, of another page, or the page has entries already;
   * table_full. After an error the table may hold part of the page: give it up.
   */
  decodePage(pageId: number, bytes: Uint8Array): void {
    const page = pageId - this.#firstPageId;
    const reader = new PageReader(pageId, bytes);
    if (!(page >= 0 && page < this.#heads.length)) reader.damaged("it is of another partition");
    if (this.#heads[page] !== 0) reader.damaged("the page was restored before");
    // All bytes are checked before anything changes.
    const { count } = reader;
    if (count > this.#keyedHashes.length) {
      // An image has at least five bytes an entry, so this is at most 14 times its size.
      this.#rows = new Float64Array(count * PAGE_ROW_NUMBERS);
      this.#keyedHashes = new Int32Array(count);
    }
    reader.readRows(this.#rows, this.#keyedHashes, this.#slots.key);
    const first = this.#records.count;
    if (first + count > this.#entriesMax) throw new CatchallError("table_full");
    if (!this.#records.appendRows(bytes, this.#rows, count)) throw new CatchallError("table_full");
    if (this.#slots.insertNew(this.#keyedHashes, first, count) >= 0) {
      reader.damaged("a domain is there twice");
    }
    this.#totals.addRows(this.#rows, count);
    if (count > 0) this.#heads[page] = first + count;
    this.#dirty[page] = 0;
  }
}
