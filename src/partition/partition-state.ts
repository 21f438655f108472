/**
 * What one partition knows: counters, keys, producers, overrides and its rule. Changed only by committed entries, in
 * order, so that replay of the log gives the same state.
 * Invariant: a page that was restored at a later position than an entry is not changed by that entry again.
 */

import type { CheckpointPage, Position } from "../checkpoint/checkpoint-store.ts";
import type { CommittedEntry } from "../commit/group-commit.ts";
import type { CounterTable } from "../counters/counter-table.ts";
import { type DomainName, DomainParser } from "../model/domain-name.ts";
import { CatchallError } from "../model/errors.ts";
import {
  isKeyed,
  readUint32,
  recordCount,
  recordEnd,
  recordFingerprint,
  recordHash,
  recordKeyStart,
  recordKind,
  recordNameLength,
  recordNameStart,
} from "../model/event-records.ts";
import type { ImportChunk } from "../model/import-chunk.ts";
import {
  classify,
  type Rule,
  STATUS_NAMES,
  STATUS_UNSEEN,
  type StatusCode,
  type StatusName,
  statusCodeOf,
} from "../model/status.ts";
import type { IdempotencyWindow } from "./idempotency-window.ts";
import { applyImport, type ImportMark, type ImportTarget } from "./import-apply.ts";
import { decodeMetaImage, encodeMetaImage } from "./meta-image.ts";
import { RuleSweep } from "./rule-sweep.ts";
import {
  type Change,
  SECTION_IMPORT,
  SECTION_OVERRIDE,
  SECTION_RESET,
  SECTION_RULE,
} from "./section-codec.ts";
import type { EventCounter, StateChange } from "./state-change.ts";

export type { EventCounter, StateChange } from "./state-change.ts";

export interface Override {
  readonly status: StatusName;
  readonly reason: string;
  readonly by: string;
  readonly atMs: number;
}

export interface PartitionStateOptions {
  readonly partition: number;
  readonly table: CounterTable;
  readonly window: IdempotencyWindow;
  readonly rule: Rule;
  /** Called for each status change while it is set; not during recovery. */
  readonly onChange: (change: StateChange) => void;
}

export class PartitionState {
  readonly partition: number;
  readonly table: CounterTable;
  readonly window: IdempotencyWindow;
  rule: Rule;
  ruleRevision = 0;
  position: Position = { epoch: 0, incarnation: 0, sequence: 0 };
  /** Events applied since recovery, by kind; shared by the partitions of a node. */
  eventCounters: readonly [EventCounter, EventCounter] = [{ value: 0 }, { value: 0 }];
  /** What the last rule change did so far: [from][to] counts. */
  ruleTransitions: readonly (readonly number[])[] = [];
  /** Overrides and producers changed since they were last encoded. */
  isMetaDirty = false;
  /** Last committed sequence of each producer incarnation. */
  readonly producers: Map<number, number> = new Map();
  /** How far other stores have been imported, by store id. */
  readonly imports: Map<number, ImportMark> = new Map();
  /** Time of the last entry of each producer, ms. */
  readonly #producerTimes: Map<number, number> = new Map();
  /** By entry of the table. */
  readonly #overrides: Map<number, Override> = new Map();
  readonly #pagesAhead: Map<number, Position> = new Map();
  readonly #onChange: (change: StateChange) => void;
  readonly #parser = new DomainParser();
  /** Counts what an entry asks of this partition, whether a page has it already or not: replay gives the same ids. */
  #ordinal = -1;
  #sweep: RuleSweep | null = null;
  #isRecovering = true;

  constructor(options: PartitionStateOptions) {
    this.partition = options.partition;
    this.table = options.table;
    this.window = options.window;
    this.rule = options.rule;
    this.#onChange = options.onChange;
  }

  /** Moves to an entry; its sections are applied after this. Entries that say nothing here move it too. */
  advance(epoch: number, entry: CommittedEntry): void {
    const { incarnation, sequence } = entry;
    const before = this.position;
    // An entry may have several sections here.
    const isSame = before.sequence === sequence && before.incarnation === incarnation;
    if (!isSame || before.epoch !== epoch) this.#ordinal = -1;
    this.position = { epoch, incarnation, sequence };
  }

  applyEvents(bytes: Uint8Array, start: number, recordCountTotal: number, timeMs: number): void {
    const table = this.table;
    let at = start;
    for (let i = 0; i < recordCountTotal; i++) {
      this.#ordinal++;
      const hash = recordHash(bytes, at);
      const kind = recordKind(bytes, at);
      const count = recordCount(bytes, at);
      this.eventCounters[kind].value += count;
      if (isKeyed(bytes, at)) this.#applyKey(bytes, at, timeMs);
      if (this.#pagesAhead.size === 0 || !this.#isPageAhead(hash)) {
        const nameStart = recordNameStart(bytes, at);
        const entry = table.findOrInsert(hash, bytes, nameStart, recordNameLength(bytes, at));
        if (entry < 0) throw new CatchallError("table_full");
        if (this.#sweep !== null) this.settle(entry);
        table.add(entry, kind, count, timeMs);
        this.#reclassify(entry, timeMs);
      }
      at = recordEnd(bytes, at);
    }
    this.window.expire(timeMs);
  }

  applyProducer(producer: number, sequence: number, timeMs: number): void {
    this.isMetaDirty = true;
    this.producers.set(producer, sequence);
    this.#producerTimes.set(producer, timeMs);
  }

  /** Drops the rows of producers that are gone for ever and have sent nothing since `beforeMs`. */
  pruneProducers(isGone: (producer: number) => boolean, beforeMs: number): void {
    for (const [producer, timeMs] of this.#producerTimes) {
      if (timeMs >= beforeMs || !isGone(producer)) continue;
      this.producers.delete(producer);
      this.#producerTimes.delete(producer);
      this.isMetaDirty = true;
    }
  }

  applyChange(change: Change, timeMs: number): void {
    this.#ordinal++;
    switch (change.kind) {
      case SECTION_RULE:
        // Asked for again while it waited for the log, or overtaken by a later rule.
        if (change.revision <= this.ruleRevision) return;
        this.sweepRule(Number.POSITIVE_INFINITY);
        this.rule = change.rule;
        this.ruleRevision = change.revision;
        this.isMetaDirty = true;
        this.#startSweep(timeMs);
        return;
      case SECTION_OVERRIDE:
        this.#applyOverride(change, timeMs);
        return;
      case SECTION_RESET:
        this.#applyReset(change.domain, timeMs);
        return;
      case SECTION_IMPORT:
        this.#applyImport(change.chunk, timeMs);
    }
  }

  /** Entry of a domain in the table, -1 when never seen. */
  find(domain: DomainName): number {
    this.#parser.parseText(domain, false);
    const { hash, bytes, length } = this.#parser;
    return this.table.find(hash, bytes, 0, length);
  }

  overrideOf(entry: number): Override | undefined {
    return this.#overrides.get(entry);
  }

  /** True while statuses of a changed rule are still to be worked out. */
  get isSweeping(): boolean {
    return this.#sweep !== null;
  }

  /** Works out up to `countMax` statuses of a changed rule; returns how many domains it visited. */
  sweepRule(countMax: number): number {
    const sweep = this.#sweep;
    if (sweep === null) return 0;
    const visited = sweep.run(countMax, (entry) => this.#settle(sweep, entry));
    if (sweep.isDone) this.#sweep = null;
    return visited;
  }

  /** Brings the status of a domain to the rule in force; due before it is read or changed. */
  settle(entry: number): void {
    const sweep = this.#sweep;
    if (sweep?.isDue(entry) === true) this.#settle(sweep, entry);
  }

  /** As {@link settle}, for the domains of a page. */
  settlePage(id: number): void {
    if (this.#sweep === null) return;
    for (const entry of this.table.pageEntries(id)) this.settle(entry);
  }

  /** How many of the entries in [start, end) would change, and to what, under another rule: [from][to] counts. */
  tryRule(rule: Rule, start: number, end: number): number[][] {
    const counts = [0, 1, 2, 3].map(() => [0, 0, 0, 0]);
    for (let entry = start; entry < end; entry++) {
      this.settle(entry);
      const from = this.table.status(entry);
      if (from === STATUS_UNSEEN || this.#overrides.has(entry)) continue;
      const to = classify(rule, this.table.delivered(entry), this.table.bounced(entry));
      const row = counts[from] as number[];
      if (to !== from) row[to] = (row[to] as number) + 1;
    }
    return counts;
  }

  encodeMeta(): Uint8Array {
    this.isMetaDirty = false;
    return encodeMetaImage({
      rule: this.rule,
      ruleRevision: this.ruleRevision,
      producers: [...this.producers].map(([producer, sequence]) => {
        return [producer, sequence, this.#producerTimes.get(producer) ?? 0] as const;
      }),
      overrides: [...this.#overrides].map(([entry, o]) => [this.table.name(entry), o] as const),
      imports: [...this.imports],
    });
  }

  /** Takes one page of a checkpoint; `watermark` is what its manifest covers. */
  restorePage(page: CheckpointPage, watermark: Position): void {
    switch (page.kind) {
      case "counters":
        this.table.decodePage(page.id, page.bytes);
        if (isAfter(page.position, watermark)) this.#pagesAhead.set(page.id, page.position);
        return;
      case "keys":
        this.window.decodeBucket(page.id, page.bytes);
        return;
      case "meta":
        this.#restoreMeta(page.bytes);
    }
  }

  /** Recovery is over: from now on every entry changes every page. */
  endRecovery(): void {
    this.#pagesAhead.clear();
    this.#isRecovering = false;
  }

  #restoreMeta(bytes: Uint8Array): void {
    const image = decodeMetaImage(bytes);
    this.rule = image.rule;
    this.ruleRevision = image.ruleRevision;
    for (const [producer, sequence, timeMs = 0] of image.producers) {
      this.producers.set(producer, sequence);
      this.#producerTimes.set(producer, timeMs);
    }
    for (const [domain, override] of image.overrides) {
      this.#overrides.set(this.#findOrInsert(domain as DomainName), override);
    }
    for (const [storeId, mark] of image.imports ?? []) this.imports.set(storeId, mark);
  }

  #startSweep(timeMs: number): void {
    this.#sweep = new RuleSweep(this.position, this.#ordinal, timeMs, this.table.entryCount);
    this.ruleTransitions = this.#sweep.transitions;
    // A checkpoint that covers the rule has every page as the rule has it, whether its turn had come or not.
    if (!this.#isRecovering) this.table.markAllDirty();
    else this.sweepRule(Number.POSITIVE_INFINITY);
  }

  #settle(sweep: RuleSweep, entry: number): void {
    const from = this.table.status(entry);
    if (from === STATUS_UNSEEN || this.#isEntryAhead(entry)) return;
    const to = this.#statusOf(entry);
    if (to === from) return;
    this.table.setStatus(entry, to, sweep.timeMs);
    sweep.count(from, to);
    this.#announce(entry, from, to, sweep.timeMs, sweep);
  }

  #applyReset(domain: DomainName, timeMs: number): void {
    const entry = this.find(domain);
    if (entry < 0 || this.#isPageAhead(this.#parser.hash)) return;
    this.settle(entry);
    const from = this.table.status(entry);
    const sinceMs = this.table.statusSinceMs(entry);
    const override = this.#overrides.get(entry);
    this.table.reset(entry);
    if (override !== undefined) {
      const to = statusCodeOf(override.status);
      this.table.setStatus(entry, to, to === from ? sinceMs : timeMs);
    }
    this.#announce(entry, from, this.table.status(entry), timeMs);
  }

  #applyOverride(change: Change & { kind: typeof SECTION_OVERRIDE }, timeMs: number): void {
    this.isMetaDirty = true;
    const entry = this.#findOrInsert(change.domain);
    this.settle(entry);
    if (change.override === null) {
      this.#overrides.delete(entry);
      if (this.#isPageAhead(this.#parser.hash)) return;
      const from = this.table.status(entry);
      if (this.table.firstSeenMs(entry) !== 0) this.#reclassify(entry, timeMs);
      else {
        this.table.reset(entry);
        this.#announce(entry, from, STATUS_UNSEEN, timeMs);
      }
      return;
    }
    this.#overrides.set(entry, { ...change.override, by: change.by, atMs: timeMs });
    if (!this.#isPageAhead(this.#parser.hash)) this.#reclassify(entry, timeMs);
  }

  #applyImport(chunk: ImportChunk, timeMs: number): void {
    this.isMetaDirty = true;
    const { table, imports } = this;
    const target: ImportTarget = {
      ...{ table, imports },
      isEntryAhead: (entry) => this.#isEntryAhead(entry),
      findOrInsert: (domain) => {
        this.#ordinal++;
        return this.#findOrInsert(domain);
      },
      settle: (entry) => this.settle(entry),
      overrideOf: (entry) => this.#overrides.get(entry),
      setOverride: (entry, override) => this.#overrides.set(entry, override),
      statusOf: (entry) => this.#statusOf(entry),
      announce: (entry, from, to) => this.#announce(entry, from, to, timeMs),
    };
    applyImport(target, chunk, timeMs);
  }

  #findOrInsert(domain: DomainName): number {
    this.#parser.parseText(domain, false);
    const { hash, bytes, length } = this.#parser;
    const entry = this.table.findOrInsert(hash, bytes, 0, length);
    if (entry < 0) throw new CatchallError("table_full");
    return entry;
  }

  #applyKey(bytes: Uint8Array, at: number, timeMs: number): void {
    const key = recordKeyStart(at);
    this.window.add(
      readUint32(bytes, key),
      readUint32(bytes, key + 4),
      readUint32(bytes, key + 8),
      readUint32(bytes, key + 12),
      recordFingerprint(bytes, at),
      timeMs,
    );
  }

  #reclassify(entry: number, timeMs: number): void {
    const from = this.table.status(entry);
    const to = this.#statusOf(entry);
    if (to === from) return;
    this.table.setStatus(entry, to, timeMs);
    this.#announce(entry, from, to, timeMs);
  }

  #statusOf(entry: number): StatusCode {
    const override = this.#overrides.size === 0 ? undefined : this.#overrides.get(entry);
    if (override !== undefined) return statusCodeOf(override.status);
    return classify(this.rule, this.table.delivered(entry), this.table.bounced(entry));
  }

  #announce(
    entry: number,
    from: StatusCode,
    to: StatusCode,
    timeMs: number,
    sweep: RuleSweep | null = null,
  ): void {
    if (STATUS_NAMES[from] === STATUS_NAMES[to]) return;
    this.#onChange({
      position: sweep === null ? this.position : sweep.position,
      partition: this.partition,
      ordinal: sweep === null ? this.#ordinal : sweep.ordinal,
      isOfRule: sweep !== null,
      entry,
      table: this.table,
      from,
      to,
      timeMs,
    });
  }

  #isEntryAhead(entry: number): boolean {
    return this.#pagesAhead.size > 0 && this.#isPageAhead(this.table.hashOf(entry));
  }

  #isPageAhead(hash: number): boolean {
    if (this.#pagesAhead.size === 0) return false;
    const ahead = this.#pagesAhead.get(hash >>> 16);
    return ahead !== undefined && !isAfter(this.position, ahead);
  }
}

/** Positions order by epoch, then sequence, within one partition. */
export function isAfter(a: Position, b: Position): boolean {
  return a.epoch > b.epoch || (a.epoch === b.epoch && a.sequence > b.sequence);
}
