/**
 * Work that waits for an owner: tried again after a delay that doubles, or at once when the ownership has changed.
 * Invariant: an item is here at most once; one timer runs while something is held, none otherwise.
 * How many items there are is bounded by whoever holds them.
 */

import type { TimerHandle, Timers } from "../runtime/timers.ts";

/** Delays: 5, 10, 20, 40, 40 … ms. A planned move takes some 20 ms, a failover seconds. */
const STEP_MS = 5;
const DOUBLINGS_MAX = 3;

export class HeldWork<T extends object> {
  readonly #timers: Timers;
  readonly #retry: (item: T) => void;
  /** Steps left, by item, in the order in which they were held. */
  readonly #steps: Map<T, number> = new Map();
  #timer: TimerHandle | null = null;

  /** `retry` is called without the item being held; it may hold it again. */
  constructor(timers: Timers, retry: (item: T) => void) {
    this.#timers = timers;
    this.#retry = retry;
  }

  get count(): number {
    return this.#steps.size;
  }

  /** `tries`: how often it was tried since the ownership last changed, from 1. */
  hold(item: T, tries: number): void {
    this.#steps.set(item, 2 ** Math.min(tries - 1, DOUBLINGS_MAX));
    this.#timer ??= this.#timers.after(STEP_MS, () => this.#step());
  }

  drop(item: T): void {
    this.#steps.delete(item);
    if (this.#steps.size === 0) this.#stop();
  }

  /** Retries everything now. */
  releaseAll(): void {
    const items = [...this.#steps.keys()];
    this.#steps.clear();
    this.#stop();
    for (const item of items) this.#retry(item);
  }

  #step(): void {
    this.#timer = null;
    const due: T[] = [];
    for (const [item, steps] of this.#steps) {
      if (steps > 1) this.#steps.set(item, steps - 1);
      else due.push(item);
    }
    for (const item of due) this.#steps.delete(item);
    if (this.#steps.size > 0) this.#timer = this.#timers.after(STEP_MS, () => this.#step());
    for (const item of due) this.#retry(item);
  }

  #stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }
}
