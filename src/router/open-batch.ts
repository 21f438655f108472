/**
 * The open sub-batch of one partition at this ingress: records, and who waits for them. One per partition is in flight;
 * what arrives meanwhile gathers in the next. Reused, so that an event costs no allocation of its own.
 */

import { CatchallError, type ErrorCode } from "../model/errors.ts";
import { RecordWriter } from "../model/event-records.ts";
import { KEY_COUNTED, KEY_REPLAYED, KEY_REUSED } from "../partition/partition-actor.ts";
import type { ForwardBatch } from "./flight.ts";
import { COMMITTED, type EventOutcome, type EventReply, REPLAYED } from "./ingress.ts";

/** What an unusually large batch needed is given back. */
const KEPT_REPLIES_MAX = 4096;

export interface BatchOwner {
  /** Every reply of the batch was told. */
  settled(batch: OpenBatch, isCommitted: boolean): void;
  /** Events of a batch ended with an error, for metrics. */
  rejected(code: ErrorCode, events: number): void;
}

export class OpenBatch implements ForwardBatch {
  readonly producer: number;
  producerSequence = 0;
  /** When its first event came, in sweeps of the router. */
  openedSweep = 0;
  readonly records: RecordWriter = new RecordWriter();
  readonly #owner: BatchOwner;
  // All filled up to a count and kept at their length: an array that is cut to 0 gives its memory away and grows anew.
  /** Who waits, one for a run of events: all lines of a body have one reply. */
  #replies: (EventReply | null)[] = [];
  /** The place after the last event of each run. */
  #runEnds: number[] = [];
  #runs = 0;
  /** By event. */
  #indexes: number[] = [];
  #count = 0;
  /** The replies were answered before the outcome was known. */
  #isExpired = false;
  /** Places of the keyed events, in order. */
  #keyed: number[] = [];

  constructor(producer: number, owner: BatchOwner) {
    this.producer = producer;
    this.#owner = owner;
  }

  get eventCount(): number {
    return this.#count;
  }

  await(reply: EventReply, index: number, isKeyed: boolean): void {
    const place = this.#count++;
    if (isKeyed) this.#keyed.push(place);
    this.#indexes[place] = index;
    if (this.#runs === 0 || this.#replies[this.#runs - 1] !== reply) {
      this.#replies[this.#runs++] = reply;
    }
    this.#runEnds[this.#runs - 1] = this.#count;
  }

  committed(keys: Uint8Array | null): void {
    if (!this.#isExpired) this.#tellCommitted(keys);
    this.#owner.settled(this, true);
  }

  failed(error: CatchallError): void {
    if (!this.#isExpired) this.#tellFailed(error);
    this.#owner.settled(this, false);
  }

  expire(error: CatchallError): void {
    this.#isExpired = true;
    this.#tellFailed(error);
  }

  #tellCommitted(keys: Uint8Array | null): void {
    let keyed = 0;
    for (let run = 0, i = 0; run < this.#runs; run++) {
      const reply = this.#replies[run] as EventReply;
      for (const end = this.#runEnds[run] as number; i < end; i++) {
        let outcome: EventOutcome = COMMITTED;
        if (keys !== null && this.#keyed[keyed] === i) {
          outcome = outcomeOfKey(keys[keyed++] as number);
          if (outcome instanceof CatchallError) this.#owner.rejected(outcome.code, 1);
        }
        reply.settled(this.#indexes[i] as number, outcome);
      }
    }
  }

  #tellFailed(error: CatchallError): void {
    this.#owner.rejected(error.code, this.#count);
    for (let run = 0, i = 0; run < this.#runs; run++) {
      const reply = this.#replies[run] as EventReply;
      for (const end = this.#runEnds[run] as number; i < end; i++) {
        reply.settled(this.#indexes[i] as number, error);
      }
    }
  }

  clear(): void {
    this.records.clear();
    if (this.#count > KEPT_REPLIES_MAX) {
      this.#replies = [];
      this.#runEnds = [];
      this.#indexes = [];
    } else {
      this.#replies.fill(null, 0, this.#runs);
    }
    this.#runs = 0;
    this.#count = 0;
    this.#isExpired = false;
    if (this.#keyed.length > 0) this.#keyed = [];
  }
}

function outcomeOfKey(key: number): EventOutcome {
  if (key === KEY_COUNTED) return COMMITTED;
  if (key === KEY_REPLAYED) return REPLAYED;
  return new CatchallError(
    key === KEY_REUSED ? "idempotency_key_reused" : "idempotency_window_full",
  );
}
