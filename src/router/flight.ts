/**
 * One sub-batch on its way to whoever owns its partition, over as many attempts as that takes. One per partition, reused.
 * Invariant: `isCertain` only while no attempt can have been applied, nor can be: each had a definite refusal or was
 * never sent. An attempt without an answer makes it uncertain until some owner says "committed".
 */

import type { CatchallError } from "../model/errors.ts";
import type { RecordWriter } from "../model/event-records.ts";
import { NOBODY } from "../model/ownership.ts";
import type { SubBatch } from "../partition/partition-actor.ts";

/** A sub-batch whose replies can be answered before it has settled. */
export interface ForwardBatch extends SubBatch {
  /** Answers every reply with `error`; the records stay. `committed` and `failed` only settle it after this. */
  expire(error: CatchallError): void;
}

export class Flight {
  readonly partition: number;
  /** Null while nothing is on its way. */
  batch: ForwardBatch | null = null;
  /** Of the newest attempt; rises for ever, so that late answers to an earlier sub-batch are known as such. */
  attempt = 0;
  #firstAttempt = 0;
  /** Attempts that were sent and have not ended. */
  outstanding = 0;
  /** The local owner reads the records until it has answered. */
  isLocalPending = false;
  /** Committed elsewhere while the local owner had not answered. */
  isCommittedElsewhere = false;
  /** Some attempt ended without a definite answer. */
  isUncertain = false;
  /** The replies were told that the outcome is unknown. */
  isExpired = false;
  /** Attempts since the owner last changed. */
  tries = 0;
  /** Whom the newest attempt is for. */
  target: number = NOBODY;
  lastRefusal: CatchallError | null = null;

  constructor(partition: number) {
    this.partition = partition;
  }

  begin(batch: ForwardBatch): void {
    this.batch = batch;
    this.#firstAttempt = this.attempt + 1;
    this.outstanding = 0;
    this.isUncertain = false;
    this.isExpired = false;
    this.isCommittedElsewhere = false;
    this.tries = 0;
    this.target = NOBODY;
    this.lastRefusal = null;
  }

  /** Ends it; answers that are still under way are for nobody. */
  end(): ForwardBatch {
    const batch = this.batch as ForwardBatch;
    this.batch = null;
    this.attempt++;
    return batch;
  }

  get isCertain(): boolean {
    return !this.isUncertain && this.outstanding === 0;
  }

  /** True when this attempt belongs to the sub-batch that is on its way now. */
  isOfThis(attempt: number): boolean {
    return this.batch !== null && attempt >= this.#firstAttempt;
  }
}

/** What the local owner is given: an attempt, so that its answer can be told from others. */
export class LocalAttempt implements SubBatch {
  readonly flight: Flight;
  readonly attempt: number;
  readonly producer: number;
  readonly producerSequence: number;
  readonly records: RecordWriter;
  readonly eventCount: number;
  readonly #ended: LocalAttemptEnded;

  constructor(flight: Flight, ended: LocalAttemptEnded) {
    const batch = flight.batch as ForwardBatch;
    this.flight = flight;
    this.attempt = flight.attempt;
    this.producer = batch.producer;
    this.producerSequence = batch.producerSequence;
    this.records = batch.records;
    this.eventCount = batch.eventCount;
    this.#ended = ended;
  }

  committed(keys: Uint8Array | null): void {
    this.#ended(this, keys, null);
  }

  failed(error: CatchallError): void {
    this.#ended(this, null, error);
  }
}

export type LocalAttemptEnded = (
  attempt: LocalAttempt,
  keys: Uint8Array | null,
  error: CatchallError | null,
) => void;
