/**
 * Sub-batches for one owner travel in one frame: flushed at once when no frame is under way, else when one returns, or
 * when there is enough to fill one.
 * Invariant: at most FRAMES_IN_FLIGHT_MAX frames are under way to an owner, each at most FRAME_BYTES_MAX; what waits is
 * at most one sub-batch a partition.
 */

import { CatchallError } from "../model/errors.ts";
import type { RecordWriter } from "../model/event-records.ts";
import {
  decodeEventsReply,
  EVENTS_FRAME_BYTES_MIN,
  encodeEventsFrame,
  type OutgoingSubBatch,
  SUB_BATCH_HEADER_BYTES,
  type SubBatchOutcome,
} from "../transport/events-codec.ts";
import { FRAME_EVENTS_REPLY } from "../transport/message-codec.ts";
import { FRAME_BYTES_MAX } from "../transport/transport.ts";
import type { Flight, ForwardBatch } from "./flight.ts";
import { type PeerLink, readReply } from "./peer-link.ts";

/** Frames to one owner that wait for their reply. */
export const FRAMES_IN_FLIGHT_MAX = 4;
/** How long a reply is waited for before the sub-batches are sent again, ms. */
export const FRAME_DEADLINE_MS = 2_000;

export interface OwnerFramesOptions {
  readonly link: PeerLink;
  readonly owner: number;
  readonly ended: (flight: Flight, attempt: number, outcome: SubBatchOutcome) => void;
  readonly frameSent: (events: number) => void;
}

/** One attempt of a flight, as it goes into a frame. */
class Attempt implements OutgoingSubBatch {
  readonly flight: Flight;
  readonly attempt: number;
  readonly batch: ForwardBatch;

  constructor(flight: Flight) {
    this.flight = flight;
    this.attempt = flight.attempt;
    this.batch = flight.batch as ForwardBatch;
  }

  get partition(): number {
    return this.flight.partition;
  }

  get producerSequence(): number {
    return this.batch.producerSequence;
  }

  get eventCount(): number {
    return this.batch.eventCount;
  }

  get records(): RecordWriter {
    return this.batch.records;
  }

  get frameBytes(): number {
    return SUB_BATCH_HEADER_BYTES + this.batch.records.length;
  }

  /** False once it was overtaken by another attempt, or its sub-batch has ended. */
  get isCurrent(): boolean {
    return this.flight.batch !== null && this.flight.attempt === this.attempt;
  }
}

export class OwnerFrames {
  readonly #options: OwnerFramesOptions;
  #queue: Attempt[] = [];
  #framesInFlight = 0;
  #isFlushDue = false;

  constructor(options: OwnerFramesOptions) {
    this.#options = options;
  }

  /** True when nothing waits and nothing is under way. */
  get isIdle(): boolean {
    return this.#queue.length === 0 && this.#framesInFlight === 0;
  }

  /** Takes the newest attempt of a flight; an attempt that is overtaken by another is not sent. */
  add(flight: Flight): void {
    this.#queue.push(new Attempt(flight));
    this.#flushSoon();
  }

  /** A microtask: what is delivered in the same tick shares the frame. */
  #flushSoon(): void {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    queueMicrotask(() => {
      this.#isFlushDue = false;
      this.#flush();
    });
  }

  #flush(): void {
    this.#queue = this.#queue.filter((attempt) => attempt.isCurrent);
    while (this.#queue.length > 0 && this.#framesInFlight < FRAMES_IN_FLIGHT_MAX) {
      if (this.#framesInFlight > 0 && !this.#isFrameFull()) return;
      const sent = this.#take();
      this.#framesInFlight++;
      void this.#send(sent).then((outcomes) => this.#returned(sent, outcomes));
    }
  }

  #isFrameFull(): boolean {
    let bytes = EVENTS_FRAME_BYTES_MIN;
    for (const attempt of this.#queue) bytes += attempt.frameBytes;
    return bytes > FRAME_BYTES_MAX;
  }

  #take(): Attempt[] {
    const sent: Attempt[] = [];
    let bytes = EVENTS_FRAME_BYTES_MIN;
    for (const attempt of this.#queue) {
      bytes += attempt.frameBytes;
      if (bytes > FRAME_BYTES_MAX && sent.length > 0) break;
      attempt.flight.outstanding++;
      sent.push(attempt);
    }
    this.#queue = this.#queue.slice(sent.length);
    return sent;
  }

  async #send(sent: readonly Attempt[]): Promise<readonly SubBatchOutcome[]> {
    const { link, owner, frameSent } = this.#options;
    try {
      let events = 0;
      for (const { eventCount } of sent) events += eventCount;
      const frame = encodeEventsFrame(link.header(true), sent);
      frameSent(events);
      const reply = await link.request(owner, frame, FRAME_DEADLINE_MS, FRAME_EVENTS_REPLY);
      return readReply(() => decodeEventsReply(reply, sent.length));
    } catch (cause) {
      const error =
        cause instanceof CatchallError
          ? cause
          : new CatchallError("outcome_unknown", "A frame was not answered", { cause });
      return sent.map(() => ({ kind: "error", error }));
    }
  }

  #returned(sent: readonly Attempt[], outcomes: readonly SubBatchOutcome[]): void {
    this.#framesInFlight--;
    for (let i = 0; i < sent.length; i++) {
      const { flight, attempt } = sent[i] as Attempt;
      this.#options.ended(flight, attempt, outcomes[i] as SubBatchOutcome);
    }
    if (this.#queue.length > 0) this.#flushSoon();
  }
}
