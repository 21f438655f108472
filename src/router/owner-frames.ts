/**
 * Sub-batches for one owner travel in one frame: flushed at once when no frame is under way, else when one returns, or
 * when there is enough to fill one.
 * Invariant: at most FRAMES_IN_FLIGHT_MAX frames are under way to an owner, each at most FRAME_BYTES_MAX; what waits is
 * at most one sub-batch a partition.
 */

import { CatchallError } from "../model/errors.ts";
import {
  decodeEventsReply,
  EVENTS_FRAME_BYTES_MIN,
  encodeEventsFrame,
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

interface Entry {
  readonly flight: Flight;
  readonly attempt: number;
}

interface Sent extends Entry {
  readonly batch: ForwardBatch;
}

export class OwnerFrames {
  readonly #options: OwnerFramesOptions;
  #queue: Entry[] = [];
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
    this.#queue.push({ flight, attempt: flight.attempt });
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
    this.#queue = this.#queue.filter(({ flight, attempt }) => isCurrent(flight, attempt));
    while (this.#queue.length > 0 && this.#framesInFlight < FRAMES_IN_FLIGHT_MAX) {
      if (this.#framesInFlight > 0 && !this.#isFrameFull()) return;
      const sent = this.#take();
      this.#framesInFlight++;
      void this.#send(sent).then((outcomes) => this.#returned(sent, outcomes));
    }
  }

  #isFrameFull(): boolean {
    let bytes = EVENTS_FRAME_BYTES_MIN;
    for (const { flight } of this.#queue) bytes += bytesOf(flight);
    return bytes > FRAME_BYTES_MAX;
  }

  #take(): Sent[] {
    const sent: Sent[] = [];
    let bytes = EVENTS_FRAME_BYTES_MIN;
    for (const { flight, attempt } of this.#queue) {
      bytes += bytesOf(flight);
      if (bytes > FRAME_BYTES_MAX && sent.length > 0) break;
      flight.outstanding++;
      sent.push({ flight, attempt, batch: flight.batch as ForwardBatch });
    }
    this.#queue = this.#queue.slice(sent.length);
    return sent;
  }

  async #send(sent: readonly Sent[]): Promise<readonly SubBatchOutcome[]> {
    const { link, owner, frameSent } = this.#options;
    try {
      let events = 0;
      const batches = sent.map(({ flight, batch }) => {
        const { producerSequence, eventCount, records } = batch;
        events += eventCount;
        return { partition: flight.partition, producerSequence, eventCount, records };
      });
      const frame = encodeEventsFrame(link.header(true), batches);
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

  #returned(sent: readonly Sent[], outcomes: readonly SubBatchOutcome[]): void {
    this.#framesInFlight--;
    for (const [i, { flight, attempt }] of sent.entries()) {
      this.#options.ended(flight, attempt, outcomes[i] as SubBatchOutcome);
    }
    if (this.#queue.length > 0) this.#flushSoon();
  }
}

function isCurrent(flight: Flight, attempt: number): boolean {
  return flight.batch !== null && flight.attempt === attempt;
}

function bytesOf(flight: Flight): number {
  return SUB_BATCH_HEADER_BYTES + (flight.batch as ForwardBatch).records.length;
}
