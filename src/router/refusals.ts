/**
 * What a refusal by an owner means: whether it may pass, and what a client is told in the end.
 */

import { CatchallError, type ErrorCode } from "../model/errors.ts";

/** Refusals that another owner, or the same one a little later, may not repeat. */
export const MAY_PASS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "not_owner",
  "no_owner",
  "no_responder",
  "partition_closed",
  "not_ready",
  "lease_lost",
  "shutting_down",
  "log_failed",
  "frame_damaged",
]);

/** To a client these mean that nobody who owns the partition answers. */
const MEANS_NO_OWNER: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "not_owner",
  "no_responder",
  "partition_closed",
  "frame_damaged",
  "outcome_unknown",
]);

/** What a client is told when nothing was done and the last refusal was this one. */
export function answerOf(refusal: CatchallError | null): CatchallError {
  if (refusal === null) return new CatchallError("no_owner");
  return MEANS_NO_OWNER.has(refusal.code) ? new CatchallError("no_owner") : refusal;
}
