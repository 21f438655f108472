/**
 * What a server says by itself, without a handler: answers with the same body as those of the handlers, and why it can't
 * listen.
 */

import { PROBLEM_CONTENT_TYPE, problemOf } from "../api/problem.ts";
import { CatchallError, type ErrorCode } from "../model/errors.ts";
import type { HttpHeaders } from "./http-server.ts";

export const PROBLEM_HEADERS: HttpHeaders = [["Content-Type", PROBLEM_CONTENT_TYPE]];

/** The JSON text of a problem without a detail of its own. */
export function serverProblem(code: ErrorCode): string {
  return JSON.stringify(problemOf(new CatchallError(code)));
}

/** The rejection of `listen`. */
export function cannotListen(host: string, port: number, cause?: unknown): CatchallError {
  const message = `Can't listen on "${host}:${port}": another process does; take another --port`;
  return new CatchallError("conflict", message, { cause });
}
