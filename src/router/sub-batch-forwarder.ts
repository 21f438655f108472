/**
 * Sub-batches to the owner of their partition, here or elsewhere.
 *
 * Workflow: whose is it now? here → the actor; elsewhere → the owner's next frame; nobody's or refused for now → held,
 * then the same (producer, sequence) again to whoever owns it then, until it is committed or given up.
 * Safety: a sub-batch is given up, and its sequence left to the next one, only when no attempt can have been applied.
 * Otherwise it stays in flight and is sent again until an owner says what became of it, whatever its replies were told.
 */

import { CatchallError } from "../model/errors.ts";
import { NOBODY } from "../model/ownership.ts";
import type { SubBatch } from "../partition/partition-actor.ts";
import type { Timers } from "../runtime/timers.ts";
import { committedOutcome, type SubBatchOutcome } from "../transport/events-codec.ts";
import { Flight, type ForwardBatch, LocalAttempt, type LocalAttemptEnded } from "./flight.ts";
import { HeldWork } from "./held-work.ts";
import { OwnerFrames } from "./owner-frames.ts";
import type { PeerLink } from "./peer-link.ts";
import { answerOf, MAY_PASS } from "./refusals.ts";

export interface LocalOwner {
  /** Undefined while the partition is not open here. */
  actorAt(partition: number): { admit(batch: SubBatch): void } | undefined;
  deliver(partition: number, batch: SubBatch): void;
}

export interface ForwarderObserver {
  /** A frame with so many events is sent. */
  frameSent(events: number): void;
  /** An owner refused a sequence as a gap: state was lost somewhere, the partition can't take events from here. */
  resync(partition: number): void;
}

export interface SubBatchForwarderOptions {
  readonly link: PeerLink;
  readonly host: LocalOwner;
  readonly timers: Timers;
  readonly observer: ForwarderObserver;
}

export class SubBatchForwarder {
  readonly #options: SubBatchForwarderOptions;
  readonly #self: number;
  readonly #isAlone: boolean;
  /** By partition, made when first needed. */
  readonly #flights: (Flight | undefined)[] = [];
  readonly #owners: Map<number, OwnerFrames> = new Map();
  readonly #held: HeldWork<Flight>;
  readonly #stopListening: () => void;
  #abandoned: CatchallError | null = null;
  readonly #localEnded: LocalAttemptEnded = ({ flight, attempt }, keys, error) => {
    flight.isLocalPending = false;
    const isCommitted = error === null || flight.isCommittedElsewhere;
    this.#ended(flight, attempt, isCommitted ? committedOutcome(keys) : failure(error));
  };

  constructor(options: SubBatchForwarderOptions) {
    this.#options = options;
    const { view } = options.link;
    this.#self = view.self;
    this.#isAlone = view.isAlone;
    this.#held = new HeldWork(options.timers, (flight) => this.#send(flight));
    this.#stopListening = view.onChange(() => this.#ownershipChanged());
  }

  /** Sends a sub-batch; the one before it for this partition has settled. It will be settled once. */
  deliver(partition: number, batch: ForwardBatch): void {
    if (this.#isAlone) return this.#options.host.deliver(partition, batch);
    if (this.#abandoned !== null) return batch.failed(this.#abandoned);
    let flight = this.#flights[partition];
    if (flight === undefined) {
      flight = new Flight(partition);
      this.#flights[partition] = flight;
    }
    flight.begin(batch);
    this.#send(flight);
  }

  /** The deadline of the sub-batch in flight has come: its replies are answered now. */
  expire(partition: number): void {
    const flight = this.#flights[partition];
    if (flight === undefined || flight.batch === null || flight.isExpired) return;
    if (flight.isCertain) this.#giveUp(flight, answerOf(flight.lastRefusal));
    else this.#expire(flight);
  }

  /** This incarnation ends: nothing is sent or resent any more, everything under way is answered. */
  abandon(error: CatchallError): void {
    this.#abandoned = error;
    this.#stopListening();
    for (const flight of this.#flights) {
      // The local owner answers by itself, and reads the records until then.
      if (flight === undefined || flight.batch === null || flight.isLocalPending) continue;
      this.#endAbandoned(flight, error);
    }
  }

  #send(flight: Flight): void {
    const owner = this.#options.link.view.ownerOf(flight.partition);
    if (flight.target !== owner) flight.tries = 0;
    flight.target = owner;
    flight.attempt++;
    flight.tries++;
    if (owner === NOBODY) this.#refused(flight, flight.attempt, new CatchallError("no_owner"));
    else if (owner === this.#self) this.#sendHere(flight);
    else this.#framesOf(owner).add(flight);
  }

  #sendHere(flight: Flight): void {
    const actor = this.#options.host.actorAt(flight.partition);
    if (actor === undefined) {
      return this.#refused(flight, flight.attempt, new CatchallError("partition_closed"));
    }
    flight.outstanding++;
    flight.isLocalPending = true;
    actor.admit(new LocalAttempt(flight, this.#localEnded));
  }

  #framesOf(owner: number): OwnerFrames {
    let frames = this.#owners.get(owner);
    if (frames === undefined) {
      frames = new OwnerFrames({
        link: this.#options.link,
        owner,
        ended: (flight, attempt, outcome) => this.#ended(flight, attempt, outcome),
        frameSent: (events) => this.#options.observer.frameSent(events),
      });
      this.#owners.set(owner, frames);
    }
    return frames;
  }

  #ended(flight: Flight, attempt: number, outcome: SubBatchOutcome): void {
    if (!flight.isOfThis(attempt)) return;
    flight.outstanding--;
    const told = checked(flight.batch as ForwardBatch, outcome);
    if (told.kind === "error") {
      if (told.error.effect === "unknown") flight.isUncertain = true;
      this.#refused(flight, attempt, told.error);
      return;
    }
    if (flight.isLocalPending) {
      // The records are still read here; whatever the local owner says, it is committed.
      flight.isCommittedElsewhere = true;
      return;
    }
    this.#held.drop(flight);
    flight.end().committed(told.keys);
  }

  /** An attempt ended without the sub-batch being committed by it. */
  #refused(flight: Flight, attempt: number, error: CatchallError): void {
    if (attempt !== flight.attempt) return;
    const isNewGap = error.code === "resync" && flight.lastRefusal?.code !== "resync";
    flight.lastRefusal = error;
    if (this.#abandoned !== null) return this.#endAbandoned(flight, this.#abandoned);
    if (isNewGap) this.#options.observer.resync(flight.partition);
    if (flight.isCertain && (flight.isExpired || !MAY_PASS.has(error.code))) {
      this.#giveUp(flight, error);
    } else {
      this.#held.hold(flight, flight.tries);
    }
  }

  #giveUp(flight: Flight, error: CatchallError): void {
    this.#held.drop(flight);
    flight.end().failed(error);
  }

  #expire(flight: Flight): void {
    flight.isExpired = true;
    (flight.batch as ForwardBatch).expire(new CatchallError("outcome_unknown"));
  }

  #endAbandoned(flight: Flight, error: CatchallError): void {
    if (!flight.isCertain && !flight.isExpired) this.#expire(flight);
    this.#giveUp(flight, error);
  }

  #ownershipChanged(): void {
    for (const [owner, frames] of this.#owners) {
      if (frames.isIdle) this.#owners.delete(owner);
    }
    const { view } = this.#options.link;
    for (const flight of this.#flights) {
      if (flight === undefined || flight.batch === null || flight.isLocalPending) continue;
      if (view.ownerOf(flight.partition) === flight.target) continue;
      // Also while an attempt waits for an owner that has lost the partition: it may never answer.
      this.#held.drop(flight);
      this.#send(flight);
    }
    this.#held.releaseAll();
  }
}

function failure(error: CatchallError | null): SubBatchOutcome {
  return { kind: "error", error: error ?? new CatchallError("outcome_unknown") };
}

/** An answer that does not fit the sub-batch says nothing about it. */
function checked(batch: SubBatch, outcome: SubBatchOutcome): SubBatchOutcome {
  if (outcome.kind === "error") return outcome;
  const { keyedCount } = batch.records;
  if (outcome.keys === null ? keyedCount === 0 : outcome.keys.length === keyedCount) return outcome;
  return failure(null);
}
