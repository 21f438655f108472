/**
 * What this node asks the owners, wherever they are: readings, listings, totals, rules, changes.
 *
 * Workflow of a question over many partitions: group them by owner → ask all owners at once → put it again for those
 * that were refused, to whoever owns them then, until the deadline → 503.
 * Safety: a change of a domain is put again only after a definite refusal; an unknown outcome is the caller's.
 */

import type { DomainName } from "../model/domain-name.ts";
import { CatchallError } from "../model/errors.ts";
import type { ImportChunk } from "../model/import-chunk.ts";
import { NOBODY } from "../model/ownership.ts";
import { firstPageOf, PAGES, pageOf, partitionOf } from "../model/partition-id.ts";
import type { Rule, StatusName } from "../model/status.ts";
import {
  addTransitions,
  emptyTransitions,
  type HostTotals,
  type ListingPlace,
} from "../partition/partition-host.ts";
import type { RuleChange } from "./local-answers.ts";
import type {
  DomainChange,
  NodeTotals,
  OwnerAnswers,
  OwnerListing,
  OwnerReading,
} from "./owner-answers.ts";
import { readReply } from "./peer-link.ts";
import {
  arrayOf,
  count,
  type Fields,
  parsePlace,
  parseReading,
  parseTotals,
  parseTransitions,
} from "./peer-messages.ts";
import { PeerReads, type PeerReadsOptions } from "./peer-reads.ts";
import { answerOf, MAY_PASS } from "./refusals.ts";

/** A question is answered at the latest after this, ms; below the deadline of the HTTP request (10 s). */
export const QUESTION_DEADLINE_MS = 8_000;
/** How long one owner is waited for, where asking again is cheap, ms. */
const QUESTION_ATTEMPT_MS = 2_000;
const PAUSE_MS = 5;
const PAUSE_DOUBLINGS_MAX = 5;

/** One question over many partitions. */
interface Question<T> {
  readonly body: Fields;
  readonly attemptMs: number;
  readonly here: (partitions: readonly number[]) => Promise<T>;
  readonly parse: (answer: Fields) => T;
  /** Takes the answer of one owner for some of its partitions. */
  readonly take: (value: T, owner: number) => void;
}

export class PeerRequests implements OwnerAnswers {
  readonly #options: PeerReadsOptions;
  readonly #reads: PeerReads;

  constructor(options: PeerReadsOptions) {
    this.#options = options;
    this.#reads = new PeerReads(options);
  }

  read(domain: DomainName): OwnerReading | Promise<OwnerReading> {
    return this.#reads.read(domain);
  }

  /** This incarnation has ended and `refusal` says so: what waits is told. */
  end(): void {
    this.#reads.end();
  }

  async list(
    status: StatusName | null,
    after: ListingPlace | null,
    limit: number,
  ): Promise<OwnerListing> {
    const { host } = this.#options.local;
    const readings: OwnerReading[] = [];
    let place = after;
    let page = after?.page ?? 0;
    // One more than asked for, to know whether there is a next page.
    while (page < PAGES && readings.length <= limit) {
      const slice = await this.#listSlice(status, place, page, limit + 1 - readings.length);
      readings.push(...slice.readings);
      place = slice.next;
      page = slice.next?.page ?? slice.endPage;
    }
    if (readings.length <= limit) return { readings, next: null };
    readings.length = limit;
    const last = readings[limit - 1] as OwnerReading;
    const name = last.reading.domain;
    return { readings, next: { page: pageOf(host.hashOf(name as DomainName)), name } };
  }

  async totals(): Promise<readonly NodeTotals[]> {
    const { link, local } = this.#options;
    const rows = new Map<number, HostTotals>();
    for (const { incarnation } of link.view.members()) rows.set(incarnation, NO_TOTALS);
    await this.#askAll({
      body: { kind: "totals" },
      attemptMs: QUESTION_ATTEMPT_MS,
      here: (partitions) => local.totalsOf(partitions),
      parse: parseTotals,
      take: (totals, owner) => rows.set(owner, addTotals(rows.get(owner) ?? NO_TOTALS, totals)),
    });
    return [...rows].map(([owner, totals]) => ({ ...totals, node: this.#nodeIdOf(owner) }));
  }

  async tryRule(rule: Rule): Promise<number[][]> {
    const sum = emptyTransitions();
    await this.#askAll({
      body: { kind: "tryRule", rule },
      attemptMs: QUESTION_DEADLINE_MS,
      here: (partitions) => this.#options.local.tryRuleOn(rule, partitions),
      parse: (answer) => parseTransitions(answer["transitions"]),
      take: (transitions) => addTransitions(sum, transitions),
    });
    return sum;
  }

  /**
   * Has every partition take a rule that the control table holds; [from][to] counts of what it changed. May be called
   * again: a partition that has this revision is left as it is.
   */
  async applyRule(change: RuleChange): Promise<number[][]> {
    const sum = emptyTransitions();
    await this.#askAll({
      body: { kind: "applyRule", ...change },
      attemptMs: QUESTION_DEADLINE_MS,
      here: (partitions) => this.#options.local.applyRuleOn(change, partitions),
      parse: (answer) => parseTransitions(answer["transitions"]),
      take: (transitions) => addTransitions(sum, transitions),
    });
    return sum;
  }

  async change(change: DomainChange): Promise<void> {
    const { link, local, clock } = this.#options;
    const partition = partitionOf(local.host.hashOf(change.domain), local.host.partitions);
    const endMs = clock.monotonicMs() + QUESTION_DEADLINE_MS;
    for (let tries = 1; ; tries++) {
      const owner = link.view.ownerOf(partition);
      try {
        if (owner === NOBODY) throw new CatchallError("no_owner");
        if (owner === link.view.self) return await local.change(change);
        const deadlineMs = Math.max(1, endMs - clock.monotonicMs());
        await this.#ask(owner, { kind: "change", change }, { deadlineMs, hasEffect: true });
        return;
      } catch (error) {
        await this.#pauseOrThrow(error, endMs, tries);
      }
    }
  }

  async importChunk(chunk: ImportChunk, by: string): Promise<number> {
    const { link, local, clock } = this.#options;
    const first = chunk.domains[0]?.domain;
    if (first === undefined) throw new CatchallError("invalid_body");
    const partition = partitionOf(local.host.hashOf(first), local.host.partitions);
    const endMs = clock.monotonicMs() + QUESTION_DEADLINE_MS;
    const body = { kind: "import", chunk, by };
    let isUnknown = false;
    for (let tries = 1; ; tries++) {
      const owner = link.view.ownerOf(partition);
      try {
        if (owner === NOBODY) throw new CatchallError("no_owner");
        if (owner === link.view.self) return await local.importChunk(chunk, by);
        const leftMs = Math.max(1, endMs - clock.monotonicMs());
        const deadlineMs = Math.min(QUESTION_ATTEMPT_MS, leftMs);
        const answer = await this.#ask(owner, body, { deadlineMs, hasEffect: true });
        return readReply(() => count(answer, "added"));
      } catch (error) {
        if (error instanceof CatchallError && error.effect === "unknown") isUnknown = true;
        try {
          await this.#pauseOrThrow(error, endMs, tries, true);
        } catch (last) {
          // A try that nobody has heard of since may have been the one.
          throw isUnknown ? new CatchallError("outcome_unknown", undefined, { cause: last }) : last;
        }
      }
    }
  }

  /**
   * Puts a question of an operator's command to one node, once; see `PeerHandlerOptions.queries`. Errors: what that node
   * says, `no_responder`, or `outcome_unknown`.
   */
  async query(
    incarnation: number,
    name: string,
    body: Fields,
    deadlineMs: number = QUESTION_DEADLINE_MS,
  ): Promise<unknown> {
    const question = { kind: "query", name, body };
    const options = { deadlineMs, hasEffect: true };
    return (await this.#options.link.ask(incarnation, question, options))["value"];
  }

  /** The readings of consecutive partitions of one owner, from `page` on. */
  async #listSlice(
    status: StatusName | null,
    after: ListingPlace | null,
    page: number,
    limit: number,
  ): Promise<OwnerListing & { readonly endPage: number }> {
    const { link, local, clock } = this.#options;
    const endMs = clock.monotonicMs() + QUESTION_DEADLINE_MS;
    for (let tries = 1; ; tries++) {
      const { owner, endPage } = this.#runFrom(page);
      try {
        if (owner === NOBODY) throw new CatchallError("no_owner");
        const pages = { first: page, end: endPage };
        if (owner === link.view.self) {
          return { ...(await local.list(status, after, limit, pages)), endPage };
        }
        const question = { kind: "list", status, after, limit, ...pages };
        const options = { deadlineMs: QUESTION_ATTEMPT_MS, hasEffect: false };
        const answer = await this.#ask(owner, question, options);
        return { ...readReply(() => this.#listingOf(answer, owner)), endPage };
      } catch (error) {
        await this.#pauseOrThrow(error, endMs, tries, true);
      }
    }
  }

  #listingOf(answer: Fields, owner: number): OwnerListing {
    const node = this.#nodeIdOf(owner);
    const asOfMs = this.#options.clock.wallMs();
    const readings = arrayOf(answer["readings"], (one) => {
      return { reading: parseReading(one), node, asOfMs };
    });
    return { readings, next: parsePlace(answer["next"]) };
  }

  /** Who owns the partition of a page, and where the run of his partitions ends. */
  #runFrom(page: number): { readonly owner: number; readonly endPage: number } {
    const { view } = this.#options.link;
    const { partitions } = this.#options.local.host;
    let partition = Math.floor(page / (PAGES / partitions));
    const owner = view.ownerOf(partition);
    while (partition < partitions && view.ownerOf(partition) === owner) partition++;
    return { owner, endPage: firstPageOf(partition, partitions) };
  }

  async #askAll<T>(question: Question<T>): Promise<void> {
    const { local, clock } = this.#options;
    const endMs = clock.monotonicMs() + QUESTION_DEADLINE_MS;
    let left = Array.from({ length: local.host.partitions }, (_, partition) => partition);
    for (let tries = 1; ; tries++) {
      const refused: number[] = [];
      const errors: unknown[] = [];
      await Promise.all(
        this.#groups(left).map(async ([owner, partitions]) => {
          try {
            question.take(await this.#askOwner(owner, partitions, question, endMs), owner);
          } catch (error) {
            refused.push(...partitions);
            errors.push(error);
          }
        }),
      );
      if (refused.length === 0) return;
      left = refused.sort((a, b) => a - b);
      for (const error of errors.slice(1)) if (!mayPass(error, true)) throw answered(error);
      await this.#pauseOrThrow(errors[0], endMs, tries, true);
    }
  }

  async #askOwner<T>(
    owner: number,
    partitions: readonly number[],
    question: Question<T>,
    endMs: number,
  ): Promise<T> {
    const { link, clock } = this.#options;
    if (owner === NOBODY) throw new CatchallError("no_owner");
    if (owner === link.view.self) return question.here(partitions);
    const deadlineMs = Math.max(1, Math.min(question.attemptMs, endMs - clock.monotonicMs()));
    const body = { ...question.body, partitions };
    const answer = await this.#ask(owner, body, { deadlineMs, hasEffect: false });
    return readReply(() => question.parse(answer));
  }

  /** Not put at all while no other node can be reached. */
  #ask(
    owner: number,
    body: Fields,
    options: { readonly deadlineMs: number; readonly hasEffect: boolean },
  ): Promise<Fields> {
    const outage = this.#options.outage();
    return outage === null ? this.#options.link.ask(owner, body, options) : Promise.reject(outage);
  }

  /** By owner, in the order of the owners. */
  #groups(partitions: readonly number[]): [number, number[]][] {
    const groups = new Map<number, number[]>();
    for (const partition of partitions) {
      const owner = this.#options.link.view.ownerOf(partition);
      const group = groups.get(owner);
      if (group === undefined) groups.set(owner, [partition]);
      else group.push(partition);
    }
    return [...groups].sort(([a], [b]) => a - b);
  }

  /** Waits before the next try, or throws what the caller is told. */
  async #pauseOrThrow(
    error: unknown,
    endMs: number,
    tries: number,
    isRepeatable = false,
  ): Promise<void> {
    const { clock, timers, refusal, outage } = this.#options;
    const own = refusal() ?? outage();
    const pauseMs = PAUSE_MS * 2 ** Math.min(tries - 1, PAUSE_DOUBLINGS_MAX);
    if (!mayPass(error, isRepeatable)) throw error;
    if (own !== null) throw own;
    if (clock.monotonicMs() + pauseMs >= endMs) throw answered(error);
    await new Promise<void>((resolve) => {
      timers.after(pauseMs, resolve);
    });
  }

  #nodeIdOf(incarnation: number): string {
    return this.#options.link.view.nodeIdOf(incarnation) ?? String(incarnation);
  }
}

const NO_TOTALS: HostTotals = { delivered: 0, bounced: 0, byStatus: [0, 0, 0, 0], tableBytes: 0 };

function addTotals(a: HostTotals, b: HostTotals): HostTotals {
  const byStatus: [number, number, number, number] = [0, 0, 0, 0];
  for (const code of [0, 1, 2, 3] as const) byStatus[code] = a.byStatus[code] + b.byStatus[code];
  return {
    delivered: a.delivered + b.delivered,
    bounced: a.bounced + b.bounced,
    tableBytes: a.tableBytes + b.tableBytes,
    byStatus,
  };
}

function mayPass(error: unknown, isRepeatable: boolean): boolean {
  if (!(error instanceof CatchallError)) return false;
  return MAY_PASS.has(error.code) || (isRepeatable && error.effect === "unknown");
}

/** What the caller is told: of a question that changes nothing, never "unknown". */
function answered(error: unknown): unknown {
  return error instanceof CatchallError ? answerOf(error) : error;
}
