/**
 * What an answer means for the events of its request. Bodies are untrusted: what cannot be understood counts as
 * "may have been counted", never as counted and never as lost.
 */
import { ERROR_CODES, type ErrorCode } from "../../model/errors.ts";
import type { ResponseParser } from "./response-parser.ts";

export type Verdict = "counted" | "not counted" | "unknown" | "try again";

export interface Failure {
  readonly code: string;
  readonly verdict: Exclude<Verdict, "counted">;
  readonly retryAfterMs: number;
}

const RETRY_AFTER_DEFAULT_MS = 100;
const RETRY_AFTER_MAX_MS = 5000;

/** Reads a problem document (RFC 9457) or, without one, judges by the HTTP status. */
export function failureOf(parser: ResponseParser): Failure {
  const { status } = parser;
  const problem = parseObject(parser.body);
  const code = typeof problem?.["code"] === "string" ? problem["code"] : `http_${status}`;
  const isUnknown =
    problem?.["effect"] === "none" ? false : problem?.["effect"] === "unknown" || status >= 500;
  if (status === 503 || status === 429) {
    // Without a word on the effect a refusal is taken for what the statuses mean: nothing was done.
    if (problem?.["effect"] !== "unknown") {
      return { code, verdict: "try again", retryAfterMs: retryAfterMs(parser) };
    }
  }
  return { code, verdict: isUnknown ? "unknown" : "not counted", retryAfterMs: 0 };
}

/** The same for one rejected line of a bulk request. */
export function verdictOfCode(code: string): Exclude<Verdict, "counted"> {
  if (!Object.hasOwn(ERROR_CODES, code)) return "unknown";
  const row = ERROR_CODES[code as ErrorCode];
  if (row.effect === "unknown") return "unknown";
  return row.status === 503 || row.status === 429 ? "try again" : "not counted";
}

export interface BulkAnswer {
  readonly accepted: number;
  readonly replayed: number;
  readonly rejected: readonly { readonly index: number; readonly code: string }[];
}

/** Null when the answer makes no sense for a request of `lineCount` lines. */
export function bulkAnswerOf(body: Buffer, lineCount: number): BulkAnswer | null {
  const answer = parseObject(body);
  const { accepted, replayed, rejected } = answer ?? {};
  if (typeof accepted !== "number" || !Array.isArray(rejected)) return null;
  const lines: { index: number; code: string }[] = [];
  for (const line of rejected as unknown[]) {
    const { index, code } = (line ?? {}) as { index?: unknown; code?: unknown };
    if (!Number.isInteger(index) || typeof code !== "string") return null;
    if ((index as number) < 0 || (index as number) >= lineCount) return null;
    lines.push({ index: index as number, code });
  }
  const replayedCount = typeof replayed === "number" ? replayed : 0;
  const answered = accepted + lines.length;
  const isWhole = answered === lineCount || answered + replayedCount === lineCount;
  return isWhole ? { accepted, replayed: replayedCount, rejected: lines } : null;
}

/** Whether it answers a read: a domain, or a problem that says that there is none. */
export function isReadAnswer({ status, body }: ResponseParser): boolean {
  const answer = parseObject(body);
  if (status === 404) return answer !== null;
  const { delivered, bounced, status: name } = answer ?? {};
  return typeof delivered === "number" && typeof bounced === "number" && typeof name === "string";
}

function retryAfterMs(parser: ResponseParser): number {
  const seconds = Number(parser.header("retry-after") || Number.NaN);
  if (!Number.isFinite(seconds) || seconds < 0) return RETRY_AFTER_DEFAULT_MS;
  return Math.min(RETRY_AFTER_MAX_MS, Math.max(RETRY_AFTER_DEFAULT_MS, seconds * 1000));
}

function parseObject(body: Buffer): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(body.toString("utf8"));
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
