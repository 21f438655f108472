/**
 * When a failed call is sent again, and after how long.
 * Invariant: a call that is not repeatable is sent again only when the node said that nothing happened.
 */

import type { CatchallClientError } from "./client-errors.ts";

export interface RetryOptions {
  /** Attempts after the first; 0 turns retries off. */
  readonly retryCountMax: number;
  readonly firstDelayMs: number;
  readonly delayMaxMs: number;
  /** A node that asks for a longer wait than this is not waited for: the error is thrown at once. */
  readonly retryAfterMaxMs: number;
}

export const DEFAULT_RETRY: RetryOptions = {
  retryCountMax: 4,
  firstDelayMs: 100,
  delayMaxMs: 5000,
  retryAfterMaxMs: 30_000,
};

/**
 * Milliseconds until the next attempt, or null when there must be none. `attempt` counts from 0; `isRepeatable`:
 * sending twice has the effect of sending once (reads, events with an id). `random` in [0, 1) spreads the clients.
 */
export function retryDelayMs(
  error: CatchallClientError,
  call: { readonly attempt: number; readonly isRepeatable: boolean; readonly random: number },
  options: RetryOptions,
): number | null {
  if (!error.retryable || call.attempt >= options.retryCountMax) return null;
  if (error.effect === "unknown" && !call.isRepeatable) return null;
  const ceiling = Math.min(options.delayMaxMs, options.firstDelayMs * 2 ** call.attempt);
  const backoffMs = ceiling / 2 + (call.random * ceiling) / 2;
  if (error.retryAfterMs === null) return backoffMs;
  if (error.retryAfterMs > options.retryAfterMaxMs) return null;
  return Math.max(error.retryAfterMs, backoffMs);
}
