/**
 * Whose bulk is worked on now. A few bodies take turns, and share one budget a turn of the event loop, so that commits,
 * reads and probes get theirs however many bodies are there; the others wait, and have had no effect.
 * Overload is a queue that stays: when bodies have waited without a pause for `bulkStandingMs`, only as many may wait as
 * were finished in `bulkDelayMs` lately. More are refused, before a byte of them is read; of those that are here the
 * oldest. Not by their age: after a pause of the process all are old, and a node that refuses all of them does nothing.
 * Invariant: a body waits at most `bulkWaitMs`; each that entered is worked on until it leaves, or refused, once.
 */

import { CatchallError } from "../model/errors.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Timers } from "../runtime/timers.ts";
import { TurnBudget } from "../runtime/turn-budget.ts";
import type { HttpLimits } from "./http-deps.ts";

export interface BulkWork {
  /** Works until the budget is spent at most; then calls `soon` or `leave`, or does so later. Never throws. */
  takeTurn(budget: TurnBudget): void;
  /** Nothing of it was looked at. */
  refuse(error: CatchallError): void;
}

interface Waiting {
  readonly work: BulkWork;
  readonly sinceMs: number;
}

/** One for all: to take the stack costs more than the rest of a refusal. */
const OVERLOADED = new CatchallError("overloaded", "Too many bodies are waiting");

export class BulkTurns {
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #limits: HttpLimits;
  readonly #budget: TurnBudget;
  readonly #ready: BulkWork[] = [];
  readonly #waiting: Waiting[] = [];
  #active = 0;
  #isTurnOpen = false;
  #isSweepDue = false;
  /** Since when bodies wait without a pause; null: none does. */
  #standingSinceMs: number | null = null;
  /** Bodies finished in the window that is running, and in the one before. */
  #windowMs = 0;
  #finished = 0;
  #finishedBefore = 0;
  /** Bodies that may be let in while the queue stands. */
  #credit = 0;

  constructor(clock: Clock, timers: Timers, limits: HttpLimits) {
    this.#clock = clock;
    this.#timers = timers;
    this.#limits = limits;
    this.#budget = new TurnBudget(clock, limits.turnMs);
  }

  /** Null when a body may be read; asked once for each, before a byte of it is. */
  admit(): CatchallError | null {
    if (this.#waiting.length === 0) return null;
    const waitingMax = this.#waitingMax(this.#clock.monotonicMs());
    if (waitingMax === Number.POSITIVE_INFINITY) return null;
    // Those on their way are not seen yet, and hundreds may come in one turn: one is let in for each that finished.
    if (this.#waiting.length >= waitingMax || this.#credit === 0) return OVERLOADED;
    this.#credit--;
    return null;
  }

  /** A body that has arrived whole. */
  enter(work: BulkWork): void {
    const nowMs = this.#clock.monotonicMs();
    if (this.#active < this.#limits.bulkActiveMax) {
      this.#standingSinceMs = null;
      this.#active++;
      this.#ready.push(work);
      this.#openTurn();
      this.#takeTurns();
      return;
    }
    this.#standingSinceMs ??= nowMs;
    this.#waiting.push({ work, sinceMs: nowMs });
    this.#sweepLater();
  }

  /** Wants another turn, after other work has had its own. */
  soon(work: BulkWork): void {
    this.#ready.push(work);
    this.#openTurn();
  }

  /** Has submitted all it has. */
  leave(): void {
    const nowMs = this.#clock.monotonicMs();
    this.#countFinished(nowMs);
    this.#credit = Math.min(this.#limits.bulkActiveMax, this.#credit + 1);
    this.#active--;
    const waitingMax = this.#waitingMax(nowMs);
    const isTrimmed = this.#waiting.length > waitingMax;
    while (this.#waiting.length > waitingMax) this.#waiting.shift()?.work.refuse(OVERLOADED);
    const next = this.#waiting.shift();
    // A queue that is short because others were refused still stands.
    if (this.#waiting.length === 0 && !isTrimmed) this.#standingSinceMs = null;
    if (next === undefined) return;
    this.#active++;
    this.soon(next.work);
  }

  #openTurn(): void {
    if (this.#isTurnOpen) return;
    this.#isTurnOpen = true;
    this.#budget.restart();
    this.#timers.soon(() => {
      this.#isTurnOpen = false;
      if (this.#ready.length === 0) return;
      this.#openTurn();
      this.#takeTurns();
    });
  }

  #takeTurns(): void {
    for (let left = this.#ready.length; left > 0 && !this.#budget.isSpent(); left--) {
      this.#ready.shift()?.takeTurn(this.#budget);
    }
  }

  #waitingMax(nowMs: number): number {
    const { bulkActiveMax, bulkDelayMs, bulkStandingMs } = this.#limits;
    const standingMs = nowMs - (this.#standingSinceMs ?? nowMs);
    if (standingMs < bulkStandingMs) return Number.POSITIVE_INFINITY;
    const lately = Math.max(this.#finished, this.#finishedBefore);
    return Math.max(bulkActiveMax, (lately * bulkDelayMs) / bulkStandingMs);
  }

  #countFinished(nowMs: number): void {
    const passedMs = nowMs - this.#windowMs;
    const { bulkStandingMs } = this.#limits;
    if (passedMs >= bulkStandingMs) {
      this.#finishedBefore = passedMs < 2 * bulkStandingMs ? this.#finished : 0;
      this.#finished = 0;
      this.#windowMs = nowMs;
    }
    this.#finished++;
  }

  /** Those in front of the queue may not finish either. */
  #sweepLater(): void {
    if (this.#isSweepDue) return;
    this.#isSweepDue = true;
    this.#timers.after(this.#limits.bulkWaitMs, () => {
      this.#isSweepDue = false;
      const oldestMs = this.#clock.monotonicMs() - this.#limits.bulkWaitMs;
      while ((this.#waiting[0]?.sinceMs ?? Number.POSITIVE_INFINITY) <= oldestMs) {
        this.#waiting.shift()?.work.refuse(OVERLOADED);
      }
      if (this.#waiting.length > 0) this.#sweepLater();
    });
  }
}
