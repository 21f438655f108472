/**
 * Status changes on their way out: taken in the order in which they are applied, stored by every sink in that order,
 * at least once each. A sink that fails is asked again, ever more slowly, until it stores.
 *
 * No checkpoint may cover an entry whose changes are not stored, or a crash would lose them: whoever writes pages awaits
 * `flushed` first (checkpoint/changes-first-store.ts).
 * Bounded without dropping: `take` never refuses, since its entry is already committed; at the limit `isFull` asks those
 * who admit events, and those who sweep after a rule change, to stop. What is over the limit then is only what they had
 * under way. A sink that is not required never stops anybody: at the limit it loses its oldest changes and is told of
 * each (`skipped`), and a checkpoint waits for it only while it keeps up.
 */

import { CatchallError } from "../model/errors.ts";
import type { StatusChange } from "../model/status-change.ts";
import type { Logger } from "../runtime/logger.ts";
import type { TimerHandle, Timers } from "../runtime/timers.ts";

/** Changes that wait for one sink: about 60 MB. */
export const CHANGES_WAITING_MAX = 200_000;
/** Changes of one call of a sink. */
export const CHANGES_PER_STORE_MAX = 500;
/** A sink that is not required and has more than this to do does not keep up. */
const KEEPING_UP_WAITING_MAX: number = 4 * CHANGES_PER_STORE_MAX;
const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 10_000;
/** A checkpoint gives up after this long, and is tried again at its next turn. */
export const FLUSH_TIMEOUT_MS = 30_000;

export interface ChangeSink {
  readonly name: string;
  /** False: it may lose changes when it is away for long, instead of stopping the node. */
  readonly isRequired: boolean;
  /** Between two calls, unless a checkpoint waits or there is enough for a whole call, ms; absent: 0. */
  readonly pauseMs?: number;
  /** Resolves when all of them are durable; may be given again what it has. Rejects with any error. */
  store(changes: readonly StatusChange[]): Promise<void>;
  /** A change that it will not be given. */
  skipped?(change: StatusChange): void;
}

export interface ChangeOutboxOptions {
  readonly sinks: readonly ChangeSink[];
  readonly timers: Timers;
  readonly logger: Logger;
  /** For metrics: what became of so many changes at a sink. */
  readonly observer: (
    sink: string,
    result: "stored" | "failed" | "skipped",
    changes: number,
  ) => void;
  /** Default CHANGES_WAITING_MAX. */
  readonly waitingMax?: number;
}

export interface SinkState {
  readonly name: string;
  readonly isRequired: boolean;
  readonly waiting: number;
  readonly stored: number;
  readonly skipped: number;
  /** Failures since it stored last. */
  readonly failures: number;
}

interface Waiter {
  readonly settle: (error: CatchallError | null) => void;
}

export class ChangeOutbox {
  readonly #options: ChangeOutboxOptions;
  readonly #lanes: readonly SinkLane[];
  readonly #waiters: Set<Waiter> = new Set();
  #isClosed = false;

  constructor(options: ChangeOutboxOptions) {
    this.#options = options;
    const waitingMax = options.waitingMax ?? CHANGES_WAITING_MAX;
    this.#lanes = options.sinks.map((sink) => new SinkLane(sink, waitingMax, options));
  }

  /** Takes a change of a committed entry. Never throws, never waits. */
  take(change: StatusChange): void {
    if (this.#isClosed) return;
    for (const lane of this.#lanes) lane.take(change);
  }

  /** True while nothing that makes changes may be begun. */
  get isFull(): boolean {
    return this.#lanes.some((lane) => lane.isFull);
  }

  /** What the sinks have to do and have done, for metrics and `/readyz`. */
  states(): readonly SinkState[] {
    return this.#lanes.map((lane) => lane.state);
  }

  /**
   * Resolves when every sink that is required, or keeps up, has stored all that was taken before this call.
   * Errors: CatchallError `checkpoint_unavailable` after FLUSH_TIMEOUT_MS, or when the outbox is closed first.
   */
  flushed(): Promise<void> {
    if (this.#isClosed) return Promise.reject(notStored("the node is stopping"));
    const waits = this.#lanes.filter((lane) => lane.isWaitedFor).map((lane) => lane.reached());
    if (waits.length === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const seconds = FLUSH_TIMEOUT_MS / 1000;
      const timer = this.#options.timers.after(FLUSH_TIMEOUT_MS, () => {
        waiter.settle(notStored(`not within ${seconds} s by ${this.#late().join(", ")}`));
      });
      const waiter: Waiter = {
        settle: (error) => {
          if (!this.#waiters.delete(waiter)) return;
          timer.cancel();
          if (error === null) resolve();
          else reject(error);
        },
      };
      this.#waiters.add(waiter);
      void Promise.all(waits).then(() => waiter.settle(null));
    });
  }

  /** Takes and stores nothing more; what waits is found again by whoever replays the log. */
  close(): void {
    this.#isClosed = true;
    for (const lane of this.#lanes) lane.close();
    for (const waiter of [...this.#waiters]) waiter.settle(notStored("the node is stopping"));
  }

  #late(): readonly string[] {
    return this.#lanes.filter((lane) => lane.isWaitedFor).map((lane) => lane.state.name);
  }
}

/** The changes that one sink has still to store. */
class SinkLane {
  readonly #sink: ChangeSink;
  readonly #options: ChangeOutboxOptions;
  readonly #waitingMax: number;
  /** Skipped at once: dropping them one by one would move the whole queue each time. */
  readonly #skipRun: number;
  readonly #batchMax: number;
  /** From `#head` on. */
  #queue: StatusChange[] = [];
  #head = 0;
  #taken = 0;
  /** Stored or skipped, without a hole. */
  #done = 0;
  #skipped = 0;
  /** Skipped behind what is being stored. */
  #gap = 0;
  #failures = 0;
  /** Of the head of the queue: being stored now, so never skipped. */
  #storing = 0;
  #timer: TimerHandle | null = null;
  /** The timer is that of a pause, not of a retry. */
  #isResting = false;
  #isDue = false;
  #isClosed = false;
  /** By how much must be done. Ascending. */
  #reached: { readonly done: number; readonly resolve: () => void }[] = [];

  constructor(sink: ChangeSink, waitingMax: number, options: ChangeOutboxOptions) {
    this.#sink = sink;
    this.#waitingMax = waitingMax;
    this.#skipRun = Math.max(1, waitingMax >>> 3);
    this.#batchMax = Math.min(CHANGES_PER_STORE_MAX, this.#skipRun);
    this.#options = options;
  }

  get isFull(): boolean {
    return this.#sink.isRequired && this.#waiting >= this.#waitingMax;
  }

  /** By a checkpoint. */
  get isWaitedFor(): boolean {
    if (this.#sink.isRequired || this.isEmpty) return !this.isEmpty;
    return this.#failures === 0 && this.#waiting <= KEEPING_UP_WAITING_MAX;
  }

  get isEmpty(): boolean {
    return this.#waiting === 0;
  }

  get state(): SinkState {
    const { name, isRequired } = this.#sink;
    const stored = this.#done - this.#skipped;
    const counts = { stored, skipped: this.#skipped, failures: this.#failures };
    return { name, isRequired, waiting: this.#waiting, ...counts };
  }

  get #waiting(): number {
    return this.#taken - this.#done - this.#gap;
  }

  take(change: StatusChange): void {
    if (!this.#sink.isRequired && this.#waiting >= this.#waitingMax) this.#skipOldest();
    this.#queue.push(change);
    this.#taken++;
    this.#storeSoon();
  }

  /** Resolves when all that is here now is done, or the sink is not waited for any more. */
  reached(): Promise<void> {
    this.#endRest();
    return new Promise((resolve) => this.#reached.push({ done: this.#taken, resolve }));
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#queue = [];
  }

  /** At the end of this turn, so that the changes of one entry go together. */
  #storeSoon(): void {
    if (this.#isDue || this.#storing > 0 || this.#timer !== null) return;
    this.#isDue = true;
    this.#options.timers.soon(() => {
      this.#isDue = false;
      void this.#store();
    });
  }

  async #store(): Promise<void> {
    if (this.#isClosed || this.isEmpty) return;
    const changes = this.#queue.slice(this.#head, this.#head + this.#batchMax);
    this.#storing = changes.length;
    try {
      await this.#sink.store(changes);
      this.#storing = 0;
      if (this.#isClosed) return;
      if (this.#failures > 0) this.#tellBack();
      this.#failures = 0;
      this.#options.observer(this.#sink.name, "stored", changes.length);
      this.#advance(changes.length);
    } catch (error) {
      this.#storing = 0;
      this.#options.observer(this.#sink.name, "failed", changes.length);
      if (!this.#isClosed) this.#retryLater(error);
      return;
    }
    const pauseMs = this.#sink.pauseMs ?? 0;
    const isUrgent = this.#reached.length > 0 || this.#waiting >= this.#batchMax;
    if (pauseMs > 0 && !isUrgent) {
      this.#isResting = true;
      this.#storeAfter(pauseMs);
    } else if (!this.isEmpty) {
      this.#storeSoon();
    }
  }

  #storeAfter(delayMs: number): void {
    this.#timer = this.#options.timers.after(delayMs, () => {
      this.#timer = null;
      this.#isResting = false;
      void this.#store();
    });
  }

  #endRest(): void {
    if (!this.#isResting) return;
    this.#isResting = false;
    this.#timer?.cancel();
    this.#timer = null;
    this.#storeSoon();
  }

  #retryLater(error: unknown): void {
    const delayMs = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(this.#failures, 10));
    this.#failures++;
    if (!this.#sink.isRequired) for (const { resolve } of this.#reached.splice(0)) resolve();
    if (this.#failures === 1) {
      const fields = { err: error, sink: this.#sink.name };
      this.#options.logger.warn(fields, "Status changes can't be stored; they wait");
    }
    this.#storeAfter(delayMs);
  }

  #tellBack(): void {
    const { name: sink, waiting, skipped } = this.state;
    const fields = { sink, waiting, skipped };
    this.#options.logger.info(fields, "Status changes are stored again");
  }

  /** What is being stored may be stored, so it is not among them. */
  #skipOldest(): void {
    const skipped = this.#queue.splice(this.#head + this.#storing, this.#skipRun);
    this.#skipped += skipped.length;
    this.#gap += skipped.length;
    if (this.#storing === 0) this.#advance(0);
    this.#options.observer(this.#sink.name, "skipped", skipped.length);
    for (const change of skipped) this.#sink.skipped?.(change);
  }

  #advance(count: number): void {
    this.#head += count;
    this.#done += count + this.#gap;
    this.#gap = 0;
    if (this.#head > CHANGES_PER_STORE_MAX && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    while ((this.#reached[0]?.done ?? Number.POSITIVE_INFINITY) <= this.#done) {
      this.#reached.shift()?.resolve();
    }
  }
}

function notStored(why: string): CatchallError {
  const message = `Status changes are not stored: ${why}`;
  return new CatchallError("checkpoint_unavailable", message);
}
