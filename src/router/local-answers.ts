/**
 * What this node answers about the partitions that are open here, to itself and to its peers.
 * Invariant: everything is taken from memory in one synchronous step after the check that this node may serve.
 * Errors: `not_owner` or `partition_closed` for a partition that is not open here.
 */

import type { DomainName } from "../model/domain-name.ts";
import { CatchallError } from "../model/errors.ts";
import type { ImportChunk } from "../model/import-chunk.ts";
import type { Rule, StatusName } from "../model/status.ts";
import type { PartitionActor } from "../partition/partition-actor.ts";
import {
  addTransitions,
  emptyTransitions,
  type HostTotals,
  type ListingPlace,
  type PartitionHost,
} from "../partition/partition-host.ts";
import { SECTION_RULE } from "../partition/section-codec.ts";
import type { Clock } from "../runtime/clock.ts";
import type {
  DomainChange,
  NodeTotals,
  OwnerAnswers,
  OwnerListing,
  OwnerReading,
} from "./owner-answers.ts";

/** Rule changes enqueued at once: they share an entry. */
const RULES_AT_ONCE = 1024;

export interface RuleChange {
  readonly rule: Rule;
  readonly revision: number;
  readonly by: string;
}

export class LocalAnswers implements OwnerAnswers {
  readonly host: PartitionHost;
  readonly #nodeId: string;
  readonly #clock: Clock;
  /** Rule changes one after the other: the second of two equal ones finds the first done. */
  #ruleTail: Promise<unknown> = Promise.resolve();

  constructor(options: {
    readonly host: PartitionHost;
    readonly nodeId: string;
    readonly clock: Clock;
  }) {
    this.host = options.host;
    this.#nodeId = options.nodeId;
    this.#clock = options.clock;
  }

  read(domain: DomainName): OwnerReading {
    const reading = this.host.read(domain);
    return { reading, node: this.#nodeId, asOfMs: this.#clock.wallMs() };
  }

  /** `pages`: those in [first, end) only; all of them must be of partitions that are open here. */
  async list(
    status: StatusName | null,
    after: ListingPlace | null,
    limit: number,
    pages?: { readonly first: number; readonly end: number },
  ): Promise<OwnerListing> {
    const { readings, next } = await this.host.list(status, after, limit, pages);
    const asOfMs = this.#clock.wallMs();
    const node = this.#nodeId;
    return { readings: readings.map((reading) => ({ reading, node, asOfMs })), next };
  }

  async totals(): Promise<readonly NodeTotals[]> {
    return [{ ...(await this.totalsOf(null)), node: this.#nodeId }];
  }

  /** Of these partitions, all of one tick; null: of all that are open here. */
  async totalsOf(partitions: readonly number[] | null): Promise<HostTotals> {
    await this.host.settleRule();
    const actors = this.#actorsOf(partitions);
    for (const actor of actors) actor.assertReadable();
    return this.host.totals(actors);
  }

  tryRule(rule: Rule): Promise<number[][]> {
    return this.tryRuleOn(rule, null);
  }

  async tryRuleOn(rule: Rule, partitions: readonly number[] | null): Promise<number[][]> {
    return this.host.tryRule(rule, this.#actorsOf(partitions));
  }

  /** Appends the rule to each of these partitions that does not have it; [from][to] counts of what it changed. */
  applyRuleOn(change: RuleChange, partitions: readonly number[] | null): Promise<number[][]> {
    const applied = this.#ruleTail.then(() => this.#applyRule(change, partitions));
    this.#ruleTail = applied.catch(() => undefined);
    return applied;
  }

  change(change: DomainChange): Promise<void> {
    return this.host.actorOf(change.domain).change(change);
  }

  async importChunk(chunk: ImportChunk, by: string): Promise<number> {
    const [first] = chunk.domains;
    if (first === undefined) throw new CatchallError("invalid_body");
    return this.host.actorOf(first.domain).importChunk(chunk, by);
  }

  async #applyRule(
    { rule, revision, by }: RuleChange,
    partitions: readonly number[] | null,
  ): Promise<number[][]> {
    const actors = this.#actorsOf(partitions);
    const due = actors.filter(({ state }) => state.ruleRevision < revision);
    for (let start = 0; start < due.length; start += RULES_AT_ONCE) {
      const some = due.slice(start, start + RULES_AT_ONCE);
      // All of them end before it is tried again: one that is refused at once must not let the others pile up.
      const ended = await Promise.allSettled(
        some.map((actor) => actor.change({ kind: SECTION_RULE, rule, revision, by })),
      );
      for (const one of ended) if (one.status === "rejected") throw one.reason;
    }
    await this.host.settleRule();
    const sum = emptyTransitions();
    for (const { state } of actors) {
      // Also of those that had it: the answer to an earlier try may have been lost.
      if (state.ruleRevision === revision) addTransitions(sum, state.ruleTransitions);
    }
    return sum;
  }

  #actorsOf(partitions: readonly number[] | null): readonly PartitionActor[] {
    if (partitions === null) return this.host.actors;
    return partitions.map((partition) => {
      const actor = this.host.actorAt(partition);
      if (actor === undefined) throw new CatchallError("not_owner");
      return actor;
    });
  }
}
