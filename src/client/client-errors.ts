/**
 * Every failure of the client: a problem document of the node, or that no answer came. `effect` says what may be
 * believed: "none" = nothing was counted or changed, "unknown" = it may have been.
 */

import type { Effect } from "../model/errors.ts";

export interface ClientErrorDetails {
  /** A code of the node, or `unreachable`, `timeout`, `aborted`, `connection_lost`, `invalid_response`. */
  readonly code: string;
  /** HTTP status; null when no answer came. */
  readonly status: number | null;
  readonly effect: Effect;
  readonly retryable: boolean;
  /** From Retry-After; null when the node gave none. */
  readonly retryAfterMs: number | null;
  /** The problem document as the node sent it, or null. */
  readonly problem: Readonly<Record<string, unknown>> | null;
  readonly cause?: unknown;
}

export class CatchallClientError extends Error {
  override readonly name: string = "CatchallClientError";
  readonly code: string;
  readonly status: number | null;
  readonly effect: Effect;
  readonly retryable: boolean;
  readonly retryAfterMs: number | null;
  readonly problem: Readonly<Record<string, unknown>> | null;

  constructor(message: string, details: ClientErrorDetails) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = details.code;
    this.status = details.status;
    this.effect = details.effect;
    this.retryable = details.retryable;
    this.retryAfterMs = details.retryAfterMs;
    this.problem = details.problem;
  }
}

/** An id that no node would take; nothing was sent. */
export function badEventId(): CatchallClientError {
  return new CatchallClientError("An event id is 1 to 255 visible ASCII characters", {
    code: "invalid_event_id",
    status: null,
    effect: "none",
    retryable: false,
    retryAfterMs: null,
    problem: null,
  });
}

const RETRYABLE_STATUSES: readonly number[] = [408, 429, 502, 503, 504];

/** Reads the problem document of a failed response. A body that is none (a proxy's page) still gives an error. */
export async function errorOfResponse(response: Response): Promise<CatchallClientError> {
  const problem = parseProblem(await response.text().catch(() => ""));
  const { status } = response;
  const isKnown = typeof problem?.["code"] === "string";
  const title = textField(problem, "detail") ?? textField(problem, "title");
  // Without a problem document the answer is not the node's: a proxy's 5xx says nothing about what the node did.
  const effect = problem?.["effect"] === "none" || (!isKnown && status < 500) ? "none" : "unknown";
  return new CatchallClientError(title ?? `The server answered ${status} without saying why`, {
    code: isKnown ? String(problem["code"]) : `http_${status}`,
    status,
    effect,
    retryable:
      typeof problem?.["retryable"] === "boolean"
        ? problem["retryable"]
        : RETRYABLE_STATUSES.includes(status),
    retryAfterMs: retryAfterMsOf(response.headers.get("retry-after")),
    problem,
  });
}

/** A fetch that rejected: refused, reset, timed out or aborted by the caller. */
export function errorOfRejection(
  cause: unknown,
  address: string,
  signal: AbortSignal | undefined,
): CatchallClientError {
  const nothing = { status: null, retryAfterMs: null, problem: null, cause };
  if (signal?.aborted === true) {
    return new CatchallClientError("The call was aborted", {
      ...nothing,
      code: "aborted",
      effect: "unknown",
      retryable: false,
    });
  }
  if (cause instanceof Error && cause.name === "TimeoutError") {
    return new CatchallClientError(`No answer from ${address} in time`, {
      ...nothing,
      code: "timeout",
      effect: "unknown",
      retryable: true,
    });
  }
  const systemCode = systemCodeOf(cause);
  // These codes say that no connection was made, so nothing was sent.
  const isUnsent = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH"].includes(systemCode);
  return new CatchallClientError(
    `${isUnsent ? "Can't reach" : "Lost the connection to"} ${address}${systemCode === "" ? "" : ` (${systemCode})`}`,
    {
      ...nothing,
      code: isUnsent ? "unreachable" : "connection_lost",
      effect: isUnsent ? "none" : "unknown",
      retryable: true,
    },
  );
}

/** An answer with a good status and a body that is not what was asked for. */
export function invalidResponse(address: string, cause?: unknown): CatchallClientError {
  return new CatchallClientError(`The answer of ${address} is not what a catchall node sends`, {
    code: "invalid_response",
    status: 200,
    effect: "unknown",
    retryable: false,
    retryAfterMs: null,
    problem: null,
    cause,
  });
}

function systemCodeOf(error: unknown): string {
  for (let at = error, depth = 0; at instanceof Error && depth < 4; at = at.cause, depth++) {
    if ("code" in at && typeof at.code === "string") return at.code;
  }
  return "";
}

function parseProblem(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

function textField(problem: Readonly<Record<string, unknown>> | null, name: string): string | null {
  const value = problem?.[name];
  return typeof value === "string" && value !== "" ? value : null;
}

/** Seconds or a date (RFC 9110), as milliseconds from now. */
function retryAfterMsOf(header: string | null): number | null {
  if (header === null) return null;
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? null : Math.max(0, date - Date.now());
}
