/**
 * How long one piece of work may hold the event loop. Work that can be long asks between its steps and yields when the
 * budget is spent, so that whoever sends expensive input waits for it alone.
 * Never yields by itself: only the owner of the work knows where it may stop.
 */

import type { Clock } from "./clock.ts";
import type { Timers } from "./timers.ts";

export class TurnBudget {
  readonly #clock: Clock;
  readonly #turnMs: number;
  #endMs = 0;

  constructor(clock: Clock, turnMs: number) {
    this.#clock = clock;
    this.#turnMs = turnMs;
    this.restart();
  }

  restart(): void {
    this.#endMs = this.#clock.monotonicMs() + this.#turnMs;
  }

  isSpent(): boolean {
    return this.#clock.monotonicMs() >= this.#endMs;
  }

  /** Lets other work run, then starts anew. */
  async nextTurn(timers: Timers): Promise<void> {
    await new Promise<void>((resolve) => timers.soon(resolve));
    this.restart();
  }
}
