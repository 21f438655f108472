/**
 * Events on their way to their partition: count into the open sub-batch, flush at the end of the tick (in a cluster
 * under load a little later), one sub-batch a partition in flight, the next after that has settled.
 * Invariant: at most `pendingEventsMax` events wait; over it an event is refused, with effect none.
 */

import type { DomainParser } from "../model/domain-name.ts";
import { CatchallError, type ErrorCode } from "../model/errors.ts";
import type { EventKind } from "../model/event.ts";
import { hashKey128 } from "../model/key-hash.ts";
import { partitionOf } from "../model/partition-id.ts";
import type { Clock } from "../runtime/clock.ts";
import type { TimerHandle, Timers } from "../runtime/timers.ts";
import type { ForwardBatch } from "./flight.ts";
import type { EventReply } from "./ingress.ts";
import { OpenBatch } from "./open-batch.ts";

/** A sub-batch is closed at this size; well under an entry, so that partitions share entries fairly. */
export const SUB_BATCH_BYTES_MAX: number = 128 * 1024;

/** An event is answered at the latest after this and one sweep, ms; below the deadline of the HTTP request (10 s). */
export const BATCH_DEADLINE_MS = 8_000;
const SWEEP_MS = 500;
/**
 * Seen for so many sweeps that the servers are away, so for 500 to 1,000 ms: what waits is answered. A connection that
 * is back by then costs nobody anything.
 */
const AWAY_SWEEPS = 2;

/**
 * Where others own partitions, events under load gather for as long as a round trip takes, at most this, so that frames
 * and entries are fuller. Three nodes, 512 connections, alternating runs on a busy machine: 38 events a frame instead of
 * 20, 53 to 60 an entry instead of 36, 66 to 107 µs of processor time an event instead of 110 to 122, P50 43 to 54 ms
 * instead of 62.
 */
const LINGER_MS_MAX = 10;
/** A flush of fewer events than this says that there is no load. */
const LINGER_EVENTS_MIN = 8;
/** So many events are enough for a frame: they leave at the end of the tick. */
const LINGER_EVENTS_MAX = 512;
const DEADLINE_SWEEPS: number = BATCH_DEADLINE_MS / SWEEP_MS;

export interface EventRouterOptions {
  readonly partitions: number;
  /** This incarnation, as producer. */
  readonly producer: number;
  readonly pendingEventsMax: number;
  readonly timers: Timers;
  /** Measures round trips; absent: all partitions are here, nothing is gained by waiting. */
  readonly clock?: Clock;
  /** Null while events are admitted. */
  readonly refusal: () => CatchallError | null;
  /** Hands a sub-batch to the owner of the partition; it will be settled once. */
  readonly deliver: (partition: number, batch: ForwardBatch) => void;
  /** Told that the deadline of the sub-batch in flight has come; absent: sub-batches have no deadline here. */
  readonly expire?: (partition: number) => void;
  /** True while neither the log nor another node can be reached; absent: never. */
  readonly isAway?: () => boolean;
  /** Events that ended with an error, for metrics. */
  readonly rejected: (code: ErrorCode, events: number) => void;
}

interface Lane {
  readonly partition: number;
  open: OpenBatch;
  /** Closed sub-batches that wait for the one in flight. */
  readonly closed: OpenBatch[];
  readonly free: OpenBatch[];
  inFlight: OpenBatch | null;
  isDirty: boolean;
  nextSequence: number;
}

export class EventRouter {
  pendingEvents = 0;
  readonly #options: EventRouterOptions;
  readonly #lanes: Lane[] = [];
  #dirty: Lane[] = [];
  #isSweepDue = false;
  #sweeps = 0;
  #awaySweeps = 0;
  #ended: CatchallError | null = null;
  readonly #key = new Uint32Array(4);
  #isFlushDue = false;
  /** Said since the flush that is due became so. */
  #isAdmitting = false;
  #lingering: TimerHandle | null = null;
  #gathered = 0;
  #lastFlushEvents = 0;
  #roundTripMs = 0;
  /** The sub-batch whose round trip is being measured. */
  #probe: OpenBatch | null = null;
  #probeSentMs = 0;
  readonly #flush = (): void => this.#flushDirty();

  constructor(options: EventRouterOptions) {
    this.#options = options;
    for (let partition = 0; partition < options.partitions; partition++) {
      const lane: Lane = {
        partition,
        open: this.#createBatch(partition),
        closed: [],
        free: [],
        inFlight: null,
        isDirty: false,
        nextSequence: 1,
      };
      this.#lanes.push(lane);
    }
  }

  submit(
    domain: DomainParser,
    kind: EventKind,
    count: number,
    eventId: string | null,
    reply: EventReply,
    index: number,
  ): void {
    const refusal = this.#refusal();
    if (refusal !== null) {
      this.#refuse(refusal, reply, index);
      return;
    }
    if (this.pendingEvents >= this.#options.pendingEventsMax) {
      this.#refuse(new CatchallError("overloaded"), reply, index);
      return;
    }
    this.pendingEvents++;
    const lane = this.#lanes[partitionOf(domain.hash, this.#options.partitions)] as Lane;
    const batch = lane.open;
    if (batch.eventCount === 0) batch.openedSweep = this.#sweeps;
    if (eventId === null) {
      batch.records.add(domain.bytes, domain.length, domain.hash, kind, count);
    } else {
      hashKey128(domain.bytes, domain.length, eventId, this.#key);
      const { bytes, length, hash } = domain;
      batch.records.addKeyed(bytes, length, hash, kind, count, this.#key);
    }
    batch.await(reply, index, eventId !== null);
    if (batch.records.length >= SUB_BATCH_BYTES_MAX) this.#close(lane);
    if (!lane.isDirty && lane.inFlight === null) this.#markDirty(lane);
    if (this.#lingering !== null && ++this.#gathered >= LINGER_EVENTS_MAX) this.#flushSoon();
  }

  /**
   * Asked once for all events that come before the same flush, since whoever owns the partition asks again: 0.3 µs an
   * event, of the 2.5 that a node needs for one in bulk.
   */
  #refusal(): CatchallError | null {
    if (this.#ended !== null) return this.#ended;
    if (this.#isFlushDue && this.#isAdmitting) return null;
    const refusal = this.#options.refusal();
    this.#isAdmitting = refusal === null;
    return refusal;
  }

  #refuse(error: CatchallError, reply: EventReply, index: number): void {
    this.#options.rejected(error.code, 1);
    reply.settled(index, error);
  }

  #markDirty(lane: Lane): void {
    lane.isDirty = true;
    this.#dirty.push(lane);
    this.#armSweep();
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    // Answers make flushes due as well: under load one after the other, and a node that stops would never refuse.
    this.#isAdmitting = false;
    const lingerMs = this.#lingerMs();
    if (lingerMs === 0) this.#options.timers.soon(this.#flush);
    else this.#lingering = this.#options.timers.after(lingerMs, this.#flush);
  }

  #lingerMs(): number {
    if (this.#lastFlushEvents < LINGER_EVENTS_MIN) return 0;
    return Math.min(LINGER_MS_MAX, this.#roundTripMs);
  }

  #flushSoon(): void {
    this.#lingering?.cancel();
    this.#lingering = null;
    this.#options.timers.soon(this.#flush);
  }

  #flushDirty(): void {
    this.#isFlushDue = false;
    this.#lingering = null;
    this.#gathered = 0;
    this.#lastFlushEvents = 0;
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const lane of dirty) {
      lane.isDirty = false;
      if (lane.inFlight === null) this.#sendNext(lane);
    }
  }

  #sendNext(lane: Lane): void {
    if (lane.closed.length === 0) {
      if (lane.open.eventCount === 0) return;
      this.#close(lane);
    }
    const batch = lane.closed.shift() as OpenBatch;
    batch.producerSequence = lane.nextSequence;
    lane.inFlight = batch;
    this.#lastFlushEvents += batch.eventCount;
    if (this.#probe === null && this.#options.clock !== undefined) {
      this.#probe = batch;
      this.#probeSentMs = this.#options.clock.monotonicMs();
    }
    this.#options.deliver(lane.partition, batch);
  }

  #close(lane: Lane): void {
    lane.closed.push(lane.open);
    lane.open = lane.free.pop() ?? this.#createBatch(lane.partition);
  }

  #createBatch(partition: number): OpenBatch {
    return new OpenBatch(this.#options.producer, {
      settled: (batch, isCommitted) => this.#settled(partition, batch, isCommitted),
      rejected: this.#options.rejected,
    });
  }

  #settled(partition: number, batch: OpenBatch, isCommitted: boolean): void {
    const lane = this.#lanes[partition] as Lane;
    if (batch === this.#probe) this.#measure();
    this.pendingEvents -= batch.eventCount;
    batch.clear();
    lane.free.push(batch);
    if (lane.inFlight !== batch) return;
    lane.inFlight = null;
    if (isCommitted) lane.nextSequence++;
    // A refused sub-batch must not spin; an open one leaves with what the answers of this one bring.
    if (isCommitted && lane.closed.length > 0) this.#sendNext(lane);
    else if (lane.open.eventCount > 0 || lane.closed.length > 0) this.#markDirty(lane);
  }

  #measure(): void {
    this.#probe = null;
    const ms = (this.#options.clock as Clock).monotonicMs() - this.#probeSentMs;
    this.#roundTripMs += (ms - this.#roundTripMs) / 4;
  }

  /**
   * This incarnation ends: what waits here fails with `error`, nothing more is taken. What is in flight is answered by
   * whoever has it.
   */
  end(error: CatchallError): void {
    this.#ended = error;
    for (const lane of this.#lanes) this.#failWaiting(lane, error, Number.POSITIVE_INFINITY);
  }

  #armSweep(): void {
    if (this.#isSweepDue || this.#options.expire === undefined) return;
    this.#isSweepDue = true;
    this.#options.timers.after(SWEEP_MS, () => this.#sweep());
  }

  #sweep(): void {
    this.#isSweepDue = false;
    this.#sweeps++;
    this.#awaySweeps = this.#options.isAway?.() === true ? this.#awaySweeps + 1 : 0;
    const isAway = this.#awaySweeps >= AWAY_SWEEPS;
    const due = isAway ? this.#sweeps : this.#sweeps - DEADLINE_SWEEPS - 1;
    const code = isAway ? "log_unavailable" : "no_owner";
    for (const lane of this.#lanes) {
      if (lane.inFlight !== null && lane.inFlight.openedSweep <= due) {
        this.#options.expire?.(lane.partition);
      }
      // An error costs its stack: made only when there is something to fail.
      if (isDue(lane, due)) this.#failWaiting(lane, new CatchallError(code), due);
    }
    if (this.pendingEvents > 0) this.#armSweep();
    else this.#awaySweeps = 0;
  }

  /** Fails what was opened up to sweep `due` and was never sent: certainly without effect. */
  #failWaiting(lane: Lane, error: CatchallError, due: number): void {
    if (lane.open.eventCount > 0 && lane.open.openedSweep <= due) this.#close(lane);
    for (;;) {
      const oldest = lane.closed[0];
      if (oldest === undefined || oldest.openedSweep > due) return;
      lane.closed.shift();
      oldest.failed(error);
    }
  }
}

/** Whether something in a lane that was never sent was opened up to sweep `due`. */
function isDue({ open, closed }: Lane, due: number): boolean {
  const oldest = closed[0];
  if (oldest !== undefined && oldest.openedSweep <= due) return true;
  return open.eventCount > 0 && open.openedSweep <= due;
}
