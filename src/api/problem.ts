/**
 * The body of every error: RFC 9457 problem details with the stable `code` and with what the caller may believe.
 * Invariant: an unexpected error is answered as `internal` with nothing of its text, since that may hold secrets.
 */

import { CatchallError, type Effect, ERROR_CODES, type ErrorCode } from "../model/errors.ts";

export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  /** `none`: nothing was counted or changed; `unknown`: it may have been. */
  readonly effect: Effect;
  readonly retryable: boolean;
  readonly node?: string;
}

export const PROBLEM_CONTENT_TYPE = "application/problem+json";

/** Seconds to wait, where waiting a second is too little to help. */
const RETRY_AFTER_SECONDS: Partial<Readonly<Record<ErrorCode, number>>> = {
  idempotency_window_full: 10,
  table_full: 60,
  shutting_down: 2,
  not_ready: 2,
  log_failed: 30,
  log_damaged: 60,
  checkpoint_damaged: 60,
  data_dir_locked: 60,
  log_full: 30,
};

/** Translates anything thrown; what is not a CatchallError becomes `internal`. */
export function toCatchallError(error: unknown): CatchallError {
  return error instanceof CatchallError
    ? error
    : new CatchallError("internal", undefined, { cause: error });
}

export function problemOf(error: CatchallError, node?: string): Problem {
  const problem: Problem = {
    type: `urn:catchall:problem:${error.code}`,
    title: ERROR_CODES[error.code].title,
    status: error.status,
    detail: error.message,
    code: error.code,
    effect: error.effect,
    retryable: error.retryable,
  };
  return node === undefined ? problem : { ...problem, node };
}

/** The `Retry-After` header in seconds: with 429 and 503 always, else null. */
export function retryAfterOf(error: CatchallError): string | null {
  if (error.status !== 429 && error.status !== 503) return null;
  return String(RETRY_AFTER_SECONDS[error.code] ?? 1);
}
