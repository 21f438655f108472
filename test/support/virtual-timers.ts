/**
 * Timers and a clock that the test moves. `soon` runs at the next `tick`; microtasks run in between, as in a process.
 */

import type { Clock } from "../../src/runtime/clock.ts";
import type { TimerHandle, Timers } from "../../src/runtime/timers.ts";

export class VirtualTimers implements Timers, Clock {
  nowMs = 1_000;
  #next = 0;
  readonly #due: Map<number, { readonly atMs: number; readonly work: () => void }> = new Map();

  wallMs(): number {
    return 1_790_000_000_000 + this.nowMs;
  }

  monotonicMs(): number {
    return this.nowMs;
  }

  after(delayMs: number, work: () => void): TimerHandle {
    const id = this.#next++;
    this.#due.set(id, { atMs: this.nowMs + delayMs, work });
    return { cancel: () => this.#due.delete(id) };
  }

  soon(work: () => void): void {
    this.after(0, work);
  }

  get count(): number {
    return this.#due.size;
  }

  /** Lets promises settle. */
  async settle(): Promise<void> {
    for (let i = 0; i < 4; i++) await new Promise<void>((resolve) => setImmediate(resolve));
  }

  /** Runs everything due within `ms`, in order, letting promises settle after each. */
  async advance(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    await this.settle();
    for (;;) {
      let first: readonly [number, { readonly atMs: number; readonly work: () => void }] | null =
        null;
      for (const entry of this.#due) {
        if (entry[1].atMs <= endMs && (first === null || entry[1].atMs < first[1].atMs)) {
          first = entry;
        }
      }
      if (first === null) break;
      this.#due.delete(first[0]);
      // Work may have moved the clock itself; it never goes back.
      this.nowMs = Math.max(this.nowMs, first[1].atMs);
      first[1].work();
      await this.settle();
    }
    this.nowMs = Math.max(this.nowMs, endMs);
  }
}
