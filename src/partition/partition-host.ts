/**
 * The partitions of one node: routes a sub-batch or a read to its actor, and answers what spans all of them (totals,
 * listing, rule).
 * Invariant: every answer is taken from memory in one synchronous step, after the check that this node may serve.
 * Partitions open and close here as the control table says; whoever opens one has recovered it.
 */

import type { DomainName } from "../model/domain-name.ts";
import { DomainParser } from "../model/domain-name.ts";
import { CatchallError } from "../model/errors.ts";
import { PAGES, partitionOf } from "../model/partition-id.ts";
import { type Rule, reasonOf, STATUS_NAMES, type StatusName } from "../model/status.ts";
import type { Timers } from "../runtime/timers.ts";
import { ListingTurns, namesAfter } from "./domain-listing.ts";
import type { PartitionActor, SubBatch } from "./partition-actor.ts";
import type { Override } from "./partition-state.ts";

/** Domains that a rule is worked out for before other work runs: a few ms, also while every change is told. */
const ENTRIES_PER_SLICE = 1024;

/** A domain as the owner knows it. Times are ms, 0 when never. */
export interface DomainReading {
  readonly domain: string;
  readonly status: StatusName;
  readonly reason: string;
  readonly delivered: number;
  readonly bounced: number;
  readonly threshold: number;
  readonly firstSeenMs: number;
  readonly lastSeenMs: number;
  readonly statusSinceMs: number;
  readonly override: Override | undefined;
}

export interface HostTotals {
  readonly delivered: number;
  readonly bounced: number;
  /** By status code: unseen, unknown, catch-all, not catch-all. */
  readonly byStatus: readonly [number, number, number, number];
  readonly tableBytes: number;
}

/** Where a listing goes on: after `name` in `page`. */
export interface ListingPlace {
  readonly page: number;
  readonly name: string;
}

export class PartitionHost {
  /** Of the whole cluster; some of them are open here. */
  readonly partitions: number;
  readonly #byPartition: (PartitionActor | undefined)[];
  #actors: readonly PartitionActor[] = [];
  readonly #timers: Timers;
  readonly #parser = new DomainParser();

  constructor(partitions: number, timers: Timers) {
    this.partitions = partitions;
    this.#byPartition = new Array<PartitionActor | undefined>(partitions).fill(undefined);
    this.#timers = timers;
  }

  /** The open ones, by partition. */
  get actors(): readonly PartitionActor[] {
    return this.#actors;
  }

  /** Undefined when the partition is not open here. */
  actorAt(partition: number): PartitionActor | undefined {
    return this.#byPartition[partition];
  }

  open(actor: PartitionActor): void {
    this.#byPartition[actor.state.partition] = actor;
    this.#actors = this.#byPartition.filter((one) => one !== undefined);
  }

  close(partition: number): void {
    this.#byPartition[partition] = undefined;
    this.#actors = this.#byPartition.filter((one) => one !== undefined);
  }

  deliver(partition: number, batch: SubBatch): void {
    const actor = this.#byPartition[partition];
    if (actor === undefined) batch.failed(new CatchallError("not_owner"));
    else actor.admit(batch);
  }

  hashOf(domain: DomainName): number {
    this.#parser.parseText(domain, false);
    return this.#parser.hash;
  }

  /** The actor that owns a domain. Throws `not_owner` when that is not here. */
  actorOf(domain: DomainName): PartitionActor {
    const actor = this.#byPartition[partitionOf(this.hashOf(domain), this.partitions)];
    if (actor === undefined) throw new CatchallError("not_owner");
    return actor;
  }

  /** Throws CatchallError when this node may not answer now. */
  read(domain: DomainName): DomainReading {
    const actor = this.actorOf(domain);
    actor.assertReadable();
    const entry = actor.state.find(domain);
    return entry < 0 ? unseen(domain, actor.state.rule) : reading(actor, entry, domain);
  }

  /** Throws unless every partition may be read in this very tick. */
  assertReadable(): void {
    for (const actor of this.#actors) actor.assertReadable();
  }

  /** Sums over open partitions, all of them by default. */
  totals(actors: readonly PartitionActor[] = this.#actors): HostTotals {
    const byStatus: [number, number, number, number] = [0, 0, 0, 0];
    let delivered = 0;
    let bounced = 0;
    let tableBytes = 0;
    for (const { state } of actors) {
      const totals = state.table.totals;
      delivered += totals.delivered;
      bounced += totals.bounced;
      for (const code of [0, 1, 2, 3] as const) byStatus[code] += totals.byStatus[code];
      tableBytes += state.table.bytes;
    }
    return { delivered, bounced, byStatus, tableBytes };
  }

  /**
   * Domains in the order of page, then name. Stable under traffic: a domain never changes place.
   * Resolves to at most `limit` readings and the place to go on, null at the end. `pages`: those in [first, end) only.
   */
  async list(
    status: StatusName | null,
    after: ListingPlace | null,
    limit: number,
    pages: { readonly first: number; readonly end: number } = { first: 0, end: PAGES },
  ): Promise<{ readings: DomainReading[]; next: ListingPlace | null }> {
    const readings: DomainReading[] = [];
    const turns = new ListingTurns(this.#timers);
    let place = after;
    for (let page = Math.max(pages.first, after?.page ?? 0); page < pages.end; page++) {
      if (turns.isOver()) await turns.next();
      const actor = this.#actorOfPage(page);
      actor.assertReadable();
      if (actor.state.table.isPageEmpty(page)) continue;
      let afterName = place?.page === page ? place.name : "";
      for (let isMore = true; isMore; ) {
        const countMax = limit + 1 - readings.length;
        const found = await namesAfter(actor, page, { afterName, status, countMax }, turns);
        // Names may have been looked at in earlier turns; what is answered is of this one.
        actor.assertReadable();
        isMore = found.isMore;
        for (const { name, entry } of found.names) {
          afterName = name;
          const one = reading(actor, entry, name);
          if (status !== null && one.status !== status) continue;
          if (readings.length === limit) return { readings, next: place };
          readings.push(one);
          place = { page, name };
        }
      }
    }
    return { readings, next: null };
  }

  /** [from][to] counts of the domains that would change under `rule`, in slices. */
  async tryRule(rule: Rule, actors: readonly PartitionActor[] = this.#actors): Promise<number[][]> {
    const sum = emptyTransitions();
    let left = ENTRIES_PER_SLICE;
    for (const actor of actors) {
      const { state } = actor;
      let start = 0;
      do {
        actor.assertReadable();
        const end = Math.min(state.table.entryCount, start + left);
        addTransitions(sum, state.tryRule(rule, start, end));
        left -= Math.max(1, end - start);
        start = end;
        if (left <= 0) {
          await this.#nextTick();
          left = ENTRIES_PER_SLICE;
        }
      } while (start < state.table.entryCount);
    }
    return sum;
  }

  /** Works out every status of a changed rule, in slices; in the tick in which it resolves, totals are of one rule. */
  async settleRule(): Promise<void> {
    let left = ENTRIES_PER_SLICE;
    // Another rule may come while this waits, hence the passes.
    while (this.#actors.some((actor) => actor.state.isSweeping)) {
      for (const { state } of this.#actors) {
        while (state.isSweeping) {
          left -= Math.max(1, state.sweepRule(left));
          if (left > 0) continue;
          await this.#nextTick();
          left = ENTRIES_PER_SLICE;
        }
      }
    }
  }

  #actorOfPage(page: number): PartitionActor {
    const partition = Math.floor(page / (PAGES / this.partitions));
    const actor = this.#byPartition[partition];
    if (actor === undefined) throw new CatchallError("not_owner");
    return actor;
  }

  #nextTick(): Promise<void> {
    return new Promise((resolve) => this.#timers.soon(resolve));
  }
}

export function emptyTransitions(): number[][] {
  return [0, 1, 2, 3].map(() => [0, 0, 0, 0]);
}

export function addTransitions(sum: number[][], more: readonly (readonly number[])[]): void {
  for (const [from, row] of more.entries()) {
    const into = sum[from] as number[];
    for (const [to, count] of row.entries()) into[to] = (into[to] as number) + count;
  }
}

function reading(actor: PartitionActor, entry: number, domain: string): DomainReading {
  const { table, rule } = actor.state;
  actor.state.settle(entry);
  const delivered = table.delivered(entry);
  const bounced = table.bounced(entry);
  const override = actor.state.overrideOf(entry);
  return {
    domain,
    status: STATUS_NAMES[table.status(entry)],
    reason:
      override === undefined
        ? reasonOf(rule, delivered, bounced)
        : `override by ${override.by}: ${override.reason}`,
    delivered,
    bounced,
    threshold: rule.deliveredThreshold,
    firstSeenMs: table.firstSeenMs(entry),
    lastSeenMs: table.lastSeenMs(entry),
    statusSinceMs: table.statusSinceMs(entry),
    override,
  };
}

function unseen(domain: string, rule: Rule): DomainReading {
  return {
    domain,
    status: "unknown",
    reason: reasonOf(rule, 0, 0),
    delivered: 0,
    bounced: 0,
    threshold: rule.deliveredThreshold,
    firstSeenMs: 0,
    lastSeenMs: 0,
    statusSinceMs: 0,
    override: undefined,
  };
}
