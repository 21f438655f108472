/**
 * Waiting with an end. What was waited for may still happen later: callers treat an exceeded limit as an unknown
 * outcome, never as a failure.
 */

import type { Timers } from "../runtime/timers.ts";

/** Settles as `work` does, or with what `onLimit` returns or throws once `limitMs` have passed. */
export function withinLimit<T>(
  timers: Timers,
  work: Promise<T>,
  limitMs: number,
  onLimit: () => T,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = timers.after(limitMs, () => {
      try {
        resolve(onLimit());
      } catch (error) {
        reject(error);
      }
    });
    work.then(
      (value) => {
        timer.cancel();
        resolve(value);
      },
      (error: unknown) => {
        timer.cancel();
        reject(error);
      },
    );
  });
}

export function pause(timers: Timers, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    timers.after(delayMs, resolve);
  });
}
