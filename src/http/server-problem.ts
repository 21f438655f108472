/**
 * What a server says by itself, without a handler: answers with the same body as those of the handlers, and why it can't
 * listen.
 */

import { PROBLEM_CONTENT_TYPE, problemOf } from "../api/problem.ts";
import { CatchallError, type ErrorCode } from "../model/errors.ts";
import { codeOf } from "../runtime/error-code.ts";
import type { HttpHeaders } from "./http-server.ts";

export const PROBLEM_HEADERS: HttpHeaders = [["Content-Type", PROBLEM_CONTENT_TYPE]];

/** The JSON text of a problem without a detail of its own. */
export function serverProblem(code: ErrorCode): string {
  return JSON.stringify(problemOf(new CatchallError(code)));
}

/** The rejection of `listen`. `cause` is the error of the system, which tells a taken port from a wrong address. */
export function cannotListen(host: string, port: number, cause: unknown): CatchallError {
  const reason = LISTEN_REASONS[codeOf(cause)] ?? "another process does; take another --port";
  return new CatchallError("conflict", `Can't listen on "${host}:${port}": ${reason}`, { cause });
}

const NO_SUCH_ADDRESS = "this machine has no such address; take another --host";
const LISTEN_REASONS: Readonly<Record<string, string>> = {
  EADDRNOTAVAIL: NO_SUCH_ADDRESS,
  EAFNOSUPPORT: NO_SUCH_ADDRESS,
  ENOTFOUND: NO_SUCH_ADDRESS,
  EAI_AGAIN: NO_SUCH_ADDRESS,
  EACCES: "this user may not listen there; take a --port from 1024",
};
