/**
 * Replays every entry as it is stored into one state a partition: what the whole history says, whatever was trimmed,
 * checkpointed, moved or restored meanwhile. I16: what nodes answer in the end equals that, in every field.
 */

import { CounterTable } from "../../counters/counter-table.ts";
import type { DomainName } from "../../model/domain-name.ts";
import { DomainParser } from "../../model/domain-name.ts";
import { isoTime } from "../../model/iso-time.ts";
import { partitionOf } from "../../model/partition-id.ts";
import { type Rule, STATUS_NAMES } from "../../model/status.ts";
import type { StatusChange } from "../../model/status-change.ts";
import { IdempotencyWindow, KeyBudget } from "../../partition/idempotency-window.ts";
import { PartitionState } from "../../partition/partition-state.ts";
import {
  type Change,
  decodeChange,
  readEvents,
  readSections,
  SECTION_CLAIM,
  SECTION_EVENTS,
  SECTION_OVERRIDE,
  SECTION_RELEASE,
  type SectionView,
} from "../../partition/section-codec.ts";
import type { StateChange } from "../../partition/state-change.ts";
import type { DomainStatus } from "../../router/ingress.ts";
import { statusChangeOf } from "../../router/router.ts";
import {
  ENTRY_HEADER_BYTES,
  ENTRY_KIND_SEAL,
  type EntryHeader,
  readEntryHeader,
} from "../../wal/entry-codec.ts";
import type { SimWorld } from "../sim-world.ts";
import type { StoreHistory } from "../store-history.ts";

/** An entry younger than this may be stored and not applied yet. */
const UNSETTLED_MS = 1000;

/** What a change says whoever tells of it; counts may be those of a page that is ahead. */
const TOLD_FIELDS = ["domain", "from", "to", "at"] as const;

/** Applies what is in one section; answers the change that it was, if any. */
export function replaySection(
  state: PartitionState,
  bytes: Uint8Array,
  section: SectionView,
  header: EntryHeader,
): Change | null {
  if (section.kind === SECTION_CLAIM || section.kind === SECTION_RELEASE) return null;
  state.advance(section.epoch, header);
  if (section.kind === SECTION_EVENTS) {
    const events = readEvents(bytes, section);
    state.applyProducer(events.producer, events.producerSequence, header.timeMs);
    state.applyEvents(bytes, events.recordsStart, events.recordCount, header.timeMs);
    return null;
  }
  const change = decodeChange(bytes, section);
  state.applyChange(change, header.timeMs);
  return change;
}

export interface ReplayCheckerOptions {
  readonly world: SimWorld;
  readonly partitions: number;
  readonly rule: Rule;
  readonly windowMs: number;
}

export class ReplayChecker implements StoreHistory {
  readonly #options: ReplayCheckerOptions;
  readonly #states: Map<number, PartitionState> = new Map();
  readonly #authors: Set<string> = new Set();
  readonly #budget: KeyBudget = new KeyBudget(Number.MAX_SAFE_INTEGER);
  readonly #parser: DomainParser = new DomainParser();
  /** When a partition last got an entry that counts or changes something. */
  readonly #changedMs: Map<number, number> = new Map();
  /** Every status change that the history makes, by id. */
  readonly changes: Map<string, StatusChange> = new Map();

  constructor(options: ReplayCheckerOptions) {
    this.#options = options;
  }

  entryStored(_incarnation: number, _sequence: number, bytes: Uint8Array): void {
    const header = readEntryHeader(bytes);
    if (header.kind === ENTRY_KIND_SEAL) return;
    for (const section of readSections(bytes, ENTRY_HEADER_BYTES, bytes.length)) {
      if (section.kind === SECTION_CLAIM || section.kind === SECTION_RELEASE) continue;
      this.#changedMs.set(section.partition, this.#options.world.nowMs);
      const change = replaySection(this.#stateOf(section.partition), bytes, section, header);
      if (change?.kind === SECTION_OVERRIDE) this.#once(change.by);
    }
  }

  /** I3: what an operator asked for once is done once at most. */
  #once(author: string): void {
    if (!this.#authors.has(author)) this.#authors.add(author);
    else this.#options.world.fail("I3", `The change of an override by ${author} was made twice`);
  }

  /** I16. `askedMs`: when the reading was asked for; nothing is said where entries came later or just before. */
  check(answer: DomainStatus, askedMs: number, where: string): void {
    const name = answer.domain as DomainName;
    this.#parser.parseText(name, false);
    const partition = partitionOf(this.#parser.hash, this.#options.partitions);
    if ((this.#changedMs.get(partition) ?? -UNSETTLED_MS) + UNSETTLED_MS > askedMs) return;
    const expected = this.#expected(partition, name);
    for (const [field, value] of Object.entries(expected)) {
      const found = answer[field as keyof DomainStatus];
      // A toy of the tests answers with counts alone.
      if (found === undefined || found === value) continue;
      const text = `${field} of ${name} is ${found} on ${where}, the whole history says ${value}`;
      this.#options.world.fail("I16", text);
    }
  }

  /** I22: nobody is told of a change that the history does not make; what restores wrongly shows here at once. */
  checkTold(told: StatusChange): void {
    const change = this.changes.get(told.id);
    const { world } = this.#options;
    if (change === undefined) {
      const what = `${told.domain} from ${told.from} to ${told.to}`;
      world.fail("I22", `A status change that the history does not make: ${told.id}, ${what}`);
      return;
    }
    for (const field of TOLD_FIELDS) {
      if (told[field] === change[field]) continue;
      const text = `${field} of the status change ${told.id} is ${told[field]}, not ${change[field]}`;
      world.fail("I22", text);
    }
  }

  #expected(partition: number, name: DomainName): Partial<DomainStatus> {
    const state = this.#stateOf(partition);
    const { table } = state;
    const entry = state.find(name);
    if (entry < 0) return { status: "unknown", delivered: 0, bounced: 0, overridden: false };
    const text = (timeMs: number): string | null => (timeMs === 0 ? null : isoTime(timeMs));
    return {
      status: STATUS_NAMES[table.status(entry)],
      delivered: table.delivered(entry),
      bounced: table.bounced(entry),
      threshold: state.rule.deliveredThreshold,
      firstSeen: text(table.firstSeenMs(entry)),
      lastSeen: text(table.lastSeenMs(entry)),
      statusSince: text(table.statusSinceMs(entry)),
      overridden: state.overrideOf(entry) !== undefined,
    };
  }

  #stateOf(partition: number): PartitionState {
    let state = this.#states.get(partition);
    if (state === undefined) {
      state = this.createState(partition, (change) => this.#changed(statusChangeOf(change)));
      this.#states.set(partition, state);
    }
    return state;
  }

  /** As a partition is before its first entry. */
  createState(partition: number, onChange: (change: StateChange) => void): PartitionState {
    const { partitions, rule, windowMs } = this.#options;
    return new PartitionState({
      partition,
      table: new CounterTable({ partition, partitions, seed: [1, 2] }),
      window: new IdempotencyWindow(windowMs, this.#budget),
      rule,
      onChange,
    });
  }

  #changed(change: StatusChange): void {
    if (this.changes.has(change.id)) {
      this.#options.world.fail("I22", `Two status changes have the id ${change.id}`);
    }
    this.changes.set(change.id, change);
  }
}
