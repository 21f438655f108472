/**
 * Parsers of all request bodies other than events, and of query strings. Strict: a wrong type, a missing field or a
 * number out of range is a CatchallError and nothing else is ever thrown. Unknown fields of operators' bodies are
 * refused, because a misspelt threshold must not pass for a default.
 */

import { CatchallError, type ErrorCode } from "../model/errors.ts";
import {
  IMPORT_CHUNK_BYTES_MAX,
  type ImportChunk,
  readImportChunk,
} from "../model/import-chunk.ts";
import type { Rule, StatusName } from "../model/status.ts";
import { isJsonObject, type JsonObject, ownField, parseJsonBytes } from "./json-body.ts";

export const LOOKUP_DOMAINS_MAX = 10_000;
export const THRESHOLD_MAX = 1_000_000_000;
export const REASON_LENGTH_MAX = 500;

export interface OverrideRequest {
  readonly status: StatusName;
  readonly reason: string;
}

/** `{"domains":[...]}`. Errors: `invalid_body`, `too_many_domains`. */
export function parseLookup(
  body: Uint8Array,
  domainsMax: number = LOOKUP_DOMAINS_MAX,
): readonly string[] {
  const value = parseJsonBytes(body);
  const domains = isJsonObject(value) ? ownField(value, "domains") : undefined;
  if (!Array.isArray(domains))
    throw new CatchallError("invalid_body", 'Body must be {"domains":["..."]}');
  if (domains.length > domainsMax) {
    throw new CatchallError(
      "too_many_domains",
      `At most ${domainsMax} domains in one lookup, got ${domains.length}`,
    );
  }
  if (!domains.every((domain) => typeof domain === "string")) {
    throw new CatchallError("invalid_body", "Every domain must be a string");
  }
  return domains as readonly string[];
}

/** `{"deliveredThreshold","bouncedThreshold","maxBounceRatio"?}`. Errors: `invalid_rule`, `invalid_json`. */
export function parseRule(body: Uint8Array): Rule {
  const value = parseObject(
    body,
    ["deliveredThreshold", "bouncedThreshold", "maxBounceRatio"],
    "invalid_rule",
  );
  const ratio = ownField(value, "maxBounceRatio") ?? null;
  if (ratio !== null && !(typeof ratio === "number" && ratio >= 0 && ratio <= 1)) {
    throw new CatchallError(
      "invalid_rule",
      '"maxBounceRatio" must be null or a number from 0 to 1',
    );
  }
  return {
    deliveredThreshold: wholeNumber(value, "deliveredThreshold", 0),
    bouncedThreshold: wholeNumber(value, "bouncedThreshold", 1),
    // Minus zero would be written as 0 and compare equal; it is made 0 here.
    maxBounceRatio: ratio === null ? null : ratio + 0,
  };
}

/** `{"status","reason"}`; the reason is 1 to 500 characters without control characters. Errors: `invalid_body`. */
export function parseOverride(body: Uint8Array): OverrideRequest {
  const value = parseObject(body, ["status", "reason"], "invalid_body");
  const status = ownField(value, "status");
  const reason = ownField(value, "reason");
  if (!isStatusName(status)) {
    throw new CatchallError(
      "invalid_body",
      '"status" must be "catch-all", "not catch-all" or "unknown"',
    );
  }
  if (!isReason(reason)) {
    throw new CatchallError(
      "invalid_body",
      `"reason" must be text of 1 to ${REASON_LENGTH_MAX} characters`,
    );
  }
  return { status, reason };
}

/** One chunk of `catchall import`. Errors: `body_too_large`, `invalid_body`, `invalid_json`. */
export function parseImportChunk(body: Uint8Array): ImportChunk {
  if (body.length > IMPORT_CHUNK_BYTES_MAX) throw new CatchallError("body_too_large");
  const chunk = readImportChunk(parseJsonBytes(body));
  if (typeof chunk === "string") {
    throw new CatchallError("invalid_body", `The chunk of the import is wrong: ${chunk}`);
  }
  return chunk;
}

export function isStatusName(value: unknown): value is StatusName {
  return value === "catch-all" || value === "not catch-all" || value === "unknown";
}

function isReason(value: unknown): value is string {
  if (typeof value !== "string" || value.trim() === "" || value.length > REASON_LENGTH_MAX)
    return false;
  return !/[\p{Cc}\p{Cs}]/u.test(value);
}

function parseObject(body: Uint8Array, keys: readonly string[], code: ErrorCode): JsonObject {
  const value = parseJsonBytes(body);
  if (!isJsonObject(value)) throw new CatchallError(code, "Body must be a JSON object");
  for (const key of Object.keys(value)) {
    if (!keys.includes(key)) throw new CatchallError(code, `Unknown field "${key.slice(0, 64)}"`);
  }
  return value;
}

function wholeNumber(value: JsonObject, key: string, minimum: number): number {
  const number = ownField(value, key);
  const isRight = typeof number === "number" && Number.isInteger(number) && !Object.is(number, -0);
  if (!isRight || number < minimum || number > THRESHOLD_MAX) {
    throw new CatchallError(
      "invalid_rule",
      `"${key}" must be a whole number from ${minimum} to ${THRESHOLD_MAX}`,
    );
  }
  return number;
}

/** The first value of `name` in a raw query, decoded; null when absent. Errors: `invalid_parameter`. */
export function queryParameter(query: string, name: string): string | null {
  if (query === "") return null;
  for (const pair of query.split("&")) {
    const equals = pair.indexOf("=");
    const key = equals < 0 ? pair : pair.slice(0, equals);
    if (key !== name) continue;
    const raw = equals < 0 ? "" : pair.slice(equals + 1);
    return decodeSegment(raw.replaceAll("+", " "), name);
  }
  return null;
}

/** Percent-decodes a path segment once. Errors: `invalid_parameter`. */
export function decodeSegment(raw: string, name: string): string {
  try {
    return decodeURIComponent(raw);
  } catch (cause) {
    const message = `"${name}" has broken percent-encoding`;
    throw new CatchallError("invalid_parameter", message, { cause });
  }
}

export function statusParameter(query: string): StatusName | null {
  const value = queryParameter(query, "status");
  if (value === null || value === "") return null;
  if (isStatusName(value)) return value;
  throw new CatchallError(
    "invalid_parameter",
    '"status" must be "catch-all", "not catch-all" or "unknown"',
  );
}

export function booleanParameter(query: string, name: string): boolean {
  const value = queryParameter(query, name);
  if (value === null || value === "false") return false;
  if (value === "" || value === "true") return true;
  throw new CatchallError("invalid_parameter", `"${name}" must be "true" or "false"`);
}

export function limitParameter(query: string, fallback: number, maximum: number): number {
  const value = queryParameter(query, "limit");
  if (value === null || value === "") return fallback;
  const limit = /^[0-9]{1,9}$/.test(value) ? Number(value) : 0;
  if (limit < 1 || limit > maximum) {
    throw new CatchallError(
      "invalid_parameter",
      `"limit" must be a whole number from 1 to ${maximum}`,
    );
  }
  return limit;
}
