/** Delayed work. Handles are opaque; cancelling twice is harmless. */
export interface Timers {
  /** Runs `work` once after `delayMs`. */
  after(delayMs: number, work: () => void): TimerHandle;
  /** Runs `work` once after the events that are ready now (setImmediate). */
  soon(work: () => void): void;
}

export interface TimerHandle {
  cancel(): void;
}
