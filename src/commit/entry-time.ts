/**
 * The time that an entry carries: the wall clock, but never back and never far ahead of the time that really passed.
 *
 * The wall clock may leap (a wrong time server, an operator's typing error). Going back would let times fall; leaping
 * ahead would let idempotency keys expire early. So entry time is at most WALL_LEAP_MS_MAX ahead of the monotonic clock,
 * counted from the start of this process; beyond that it goes on at the pace of the monotonic clock.
 * Must never refuse an event: only the time it carries is bounded (docs/adr/0011).
 */

import type { Clock } from "../runtime/clock.ts";

/** How far the wall clock may be ahead of the time that passed since the start: a step of a time server. */
export const WALL_LEAP_MS_MAX: number = 60_000;

export class EntryTime {
  readonly #clock: Clock;
  readonly #leapt: (aheadMs: number) => void;
  /** Entry time at the start, less the monotonic clock of that moment. */
  readonly #offsetMs: number;
  #lastMs: number;
  #isAhead = false;

  /**
   * `lastMs`: time of the last entry of an earlier life; the clock at the start is believed, since a leap during a
   * downtime cannot be told from a long downtime. `leapt`: told once when the wall clock is too far ahead, with by how
   * much, and once with 0 when it is back.
   */
  constructor(clock: Clock, lastMs: number, leapt: (aheadMs: number) => void) {
    this.#clock = clock;
    this.#leapt = leapt;
    this.#lastMs = lastMs;
    this.#offsetMs = Math.max(lastMs, clock.wallMs()) - clock.monotonicMs();
  }

  /** Time of an entry that is appended now, whole ms; never below an entry's that was `taken`. */
  nowMs(): number {
    const wallMs = this.#clock.wallMs();
    const limitMs = this.#limitMs();
    const aheadMs = Math.max(0, wallMs - limitMs);
    if (aheadMs > 0 !== this.#isAhead) {
      this.#isAhead = aheadMs > 0;
      this.#leapt(aheadMs);
    }
    return Math.max(this.#lastMs, Math.min(wallMs, limitMs));
  }

  /** An entry of this time is in the log. */
  taken(timeMs: number): void {
    this.#lastMs = Math.max(this.#lastMs, timeMs);
  }

  /** By how much the wall clock is ahead of what is believed, ms; 0 when it is not. */
  aheadMs(): number {
    return Math.max(0, this.#clock.wallMs() - this.#limitMs());
  }

  #limitMs(): number {
    return Math.floor(this.#offsetMs + this.#clock.monotonicMs()) + WALL_LEAP_MS_MAX;
  }
}
