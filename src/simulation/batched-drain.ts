/**
 * A drain that does not go round the event loop for each event: a batch of callbacks is queued at once, and each of them
 * takes the next step. Between two callbacks of a batch the host runs every continuation and looks for rejections that
 * nobody caught, exactly as between two rounds of its loop, but without asking the operating system for news.
 * Invariant: a step runs only after all continuations of the one before it, whatever they started in turn.
 */

import type { Drain } from "./sim-world.ts";

/** Callbacks queued at once: enough to forget the round of the loop, few enough to waste none at the end. */
const BATCH = 128;

/** `queue` is `setImmediate`: it must run continuations between the callbacks that it was given at once. */
export function batchedDrain(queue: (work: () => void) => void): Drain {
  let next: (() => void) | null = null;
  let left = 0;
  const take = (): void => {
    left--;
    const step = next;
    next = null;
    step?.();
    // The last of a batch, and somebody waits for a turn.
    if (left === 0 && next !== null) fill();
  };
  const fill = (): void => {
    left = BATCH;
    for (let i = 0; i < BATCH; i++) queue(take);
  };
  return (step) => {
    if (next !== null) throw new Error("A drain serves one world at a time");
    next = step;
    if (left === 0) fill();
  };
}
