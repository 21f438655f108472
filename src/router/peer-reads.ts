/**
 * Readings of domains, from whoever owns them: those of one turn for one owner travel in one question.
 * Invariant: every promise settles by its deadline; an owner that can't be reached is a 503, never an old reading.
 * What waits for an owner is told at once when the servers between the nodes are known to be away: waiting can't help.
 */

import type { DomainName } from "../model/domain-name.ts";
import { CatchallError } from "../model/errors.ts";
import { NOBODY } from "../model/ownership.ts";
import { partitionOf } from "../model/partition-id.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Timers } from "../runtime/timers.ts";
import { errorOfWire, isObject } from "../transport/message-codec.ts";
import { HeldWork } from "./held-work.ts";
import type { LocalAnswers } from "./local-answers.ts";
import type { OwnerReading } from "./owner-answers.ts";
import { type PeerLink, readReply } from "./peer-link.ts";
import { arrayOf, DOMAINS_PER_READ_MAX, parseReading } from "./peer-messages.ts";
import { answerOf, MAY_PASS } from "./refusals.ts";

/** Readings that wait for an owner elsewhere; over it they are refused. */
export const READS_PENDING_MAX = 100_000;
/** A reading is answered at the latest after this, ms; below the deadline of the HTTP request (10 s). */
export const READ_DEADLINE_MS = 8_000;
/** How long one owner is waited for before the question is put again, ms. */
const READ_ATTEMPT_MS = 1_000;

export interface PeerReadsOptions {
  readonly link: PeerLink;
  readonly local: LocalAnswers;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Null while this node may answer at all. */
  readonly refusal: () => CatchallError | null;
  /** What is told of partitions of others while no other node can be reached; null otherwise. */
  readonly outage: () => CatchallError | null;
}

interface Ask {
  readonly domain: DomainName;
  readonly partition: number;
  readonly deadlineMs: number;
  readonly resolve: (reading: OwnerReading) => void;
  readonly reject: (error: CatchallError) => void;
  tries: number;
  target: number;
}

export class PeerReads {
  readonly #options: PeerReadsOptions;
  readonly #held: HeldWork<Ask>;
  readonly #stopListening: () => void;
  #byOwner: Map<number, Ask[]> = new Map();
  #isFlushDue = false;
  #pending = 0;

  constructor(options: PeerReadsOptions) {
    this.#options = options;
    this.#held = new HeldWork(options.timers, (ask) => this.#route(ask));
    this.#stopListening = options.link.view.onChange(() => this.#held.releaseAll());
  }

  /** At once when the owner is here; else a promise that rejects with 503 when it can't answer in time. */
  read(domain: DomainName): OwnerReading | Promise<OwnerReading> {
    const { local, link, clock } = this.#options;
    const partition = partitionOf(local.host.hashOf(domain), local.host.partitions);
    const actor = local.host.actorAt(partition);
    if (actor !== undefined && actor.refusal() === null) return local.read(domain);
    if (this.#pending >= READS_PENDING_MAX) throw new CatchallError("overloaded");
    this.#pending++;
    const deadlineMs = clock.monotonicMs() + READ_DEADLINE_MS;
    return new Promise<OwnerReading>((resolve, reject) => {
      const target = link.view.ownerOf(partition);
      this.#route({ domain, partition, deadlineMs, resolve, reject, tries: 0, target });
    });
  }

  /** This incarnation has ended and `refusal` says so: what waits is told. */
  end(): void {
    this.#stopListening();
    this.#held.releaseAll();
  }

  #route(ask: Ask): void {
    const refusal = this.#options.refusal();
    if (refusal !== null) return this.#reject(ask, refusal);
    const { view } = this.#options.link;
    const owner = view.ownerOf(ask.partition);
    if (owner !== ask.target) ask.tries = 0;
    ask.target = owner;
    ask.tries++;
    if (owner === NOBODY) return this.#refused(ask, new CatchallError("no_owner"));
    if (owner === view.self) return this.#readHere(ask);
    const outage = this.#options.outage();
    if (outage !== null) return this.#reject(ask, outage);
    const asks = this.#byOwner.get(owner);
    if (asks === undefined) this.#byOwner.set(owner, [ask]);
    else asks.push(ask);
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    this.#options.timers.soon(() => this.#flush());
  }

  #readHere(ask: Ask): void {
    try {
      this.#resolve(ask, this.#options.local.read(ask.domain));
    } catch (error) {
      this.#refused(ask, asCatchall(error));
    }
  }

  #flush(): void {
    this.#isFlushDue = false;
    const byOwner = this.#byOwner;
    this.#byOwner = new Map();
    for (const [owner, asks] of byOwner) {
      for (let start = 0; start < asks.length; start += DOMAINS_PER_READ_MAX) {
        void this.#ask(owner, asks.slice(start, start + DOMAINS_PER_READ_MAX));
      }
    }
  }

  async #ask(owner: number, asks: readonly Ask[]): Promise<void> {
    const { link, clock } = this.#options;
    const question = { kind: "read", domains: asks.map(({ domain }) => domain) };
    let results: readonly (OwnerReading | CatchallError)[];
    try {
      const options = { deadlineMs: READ_ATTEMPT_MS, hasEffect: false };
      const answer = await link.ask(owner, question, options);
      const node = link.view.nodeIdOf(owner) ?? String(owner);
      const asOfMs = clock.wallMs();
      results = readReply(() => arrayOf(answer["results"], (one) => resultOf(one, node, asOfMs)));
    } catch (error) {
      for (const ask of asks) this.#refused(ask, asCatchall(error));
      return;
    }
    for (const [i, ask] of asks.entries()) {
      const result = results[i];
      // The answer had no room for it.
      if (result === undefined && results.length > 0) this.#route(ask);
      else if (result === undefined) this.#refused(ask, new CatchallError("outcome_unknown"));
      else if (result instanceof CatchallError) this.#refused(ask, result);
      else if (result.reading.domain !== ask.domain) {
        this.#refused(ask, new CatchallError("outcome_unknown"));
      } else this.#resolve(ask, result);
    }
  }

  #refused(ask: Ask, error: CatchallError): void {
    const isPassing = MAY_PASS.has(error.code) || error.effect === "unknown";
    if (!isPassing || this.#options.clock.monotonicMs() >= ask.deadlineMs) {
      return this.#reject(ask, answerOf(error));
    }
    const outage = this.#options.outage();
    if (outage === null) this.#held.hold(ask, ask.tries);
    else this.#reject(ask, outage);
  }

  #resolve(ask: Ask, reading: OwnerReading): void {
    this.#pending--;
    ask.resolve(reading);
  }

  #reject(ask: Ask, error: CatchallError): void {
    this.#pending--;
    ask.reject(error);
  }
}

function resultOf(one: unknown, node: string, asOfMs: number): OwnerReading | CatchallError {
  if (isObject(one) && one["error"] !== undefined) return errorOfWire(one["error"]);
  return { reading: parseReading(one), node, asOfMs };
}

function asCatchall(error: unknown): CatchallError {
  if (error instanceof CatchallError) return error;
  return new CatchallError("internal", String(error));
}
