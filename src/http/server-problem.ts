/** The answers that a server gives by itself, without a handler: same body as those of the handlers. */

import { PROBLEM_CONTENT_TYPE, problemOf } from "../api/problem.ts";
import { CatchallError, type ErrorCode } from "../model/errors.ts";
import type { HttpHeaders } from "./http-server.ts";

export const PROBLEM_HEADERS: HttpHeaders = [["Content-Type", PROBLEM_CONTENT_TYPE]];

/** The JSON text of a problem without a detail of its own. */
export function serverProblem(code: ErrorCode): string {
  return JSON.stringify(problemOf(new CatchallError(code)));
}
