/**
 * Makes log fields safe to write: no secrets, no raw bodies, no endless structures. Secrets are known by their key
 * (`authorization`, `token`, …) and by their place in a text (user-info of a URI, credentials after `Bearer`). Total:
 * whatever is logged, the result is plain values of bounded size. When in doubt it takes out too much.
 */
import { CatchallError } from "../model/errors.ts";
import type { LogFields } from "./logger.ts";

export const REDACTED = "[redacted]";

const DEPTH_MAX = 6;
const ITEMS_MAX = 100;
const TEXT_LENGTH_MAX = 8192;

const SECRET_KEY =
  /(?:authorization|cookie|token|password|passwd|passphrase|secret|jwt|creds|credentials|privatekey|apikey|signingkey)$/;
// From the scheme to the last `@` before the next scheme: passwords may hold any character, a comma or slash too.
const USER_INFO = /\b([a-z][a-z0-9+.-]{0,20}:\/\/)(?:(?!:\/\/)[^\s"'<>])*@/gi;
const CREDENTIALS = /\b(bearer|basic)\s+[^\s"',;]+/gi;
// NATS key seeds and JSON Web Tokens are known by their form.
const SEED_OR_JWT = /\bS[ACNOUX][A-Z2-7]{56}\b|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*/g;
// What a terminal may obey. The rest of the control characters is escaped by JSON.
const TERMINAL_CONTROL = /[\u007f-\u009f]/g;

/** Error properties that vendors fill with connection options. */
const UNSAFE_ERROR_KEYS: ReadonlySet<string> = new Set([
  "config",
  "options",
  "request",
  "response",
]);

/** Errors of ours, not of the world: where they came from matters even below a CatchallError, which says what happened. */
const MISTAKES: ReadonlySet<string> = new Set([
  ...["TypeError", "RangeError", "ReferenceError", "SyntaxError", "AssertionError"],
]);

/** The fields without secrets; never throws. */
export function redactFields(fields: LogFields): Record<string, unknown> {
  try {
    return redactObject(fields, 0);
  } catch {
    return { unloggable: true };
  }
}

/** A text without credentials, cut at 8192 characters. */
export function redactText(text: string): string {
  const safe = text
    .replace(USER_INFO, `$1${REDACTED}@`)
    .replace(CREDENTIALS, `$1 ${REDACTED}`)
    .replace(SEED_OR_JWT, REDACTED)
    .replace(TERMINAL_CONTROL, "");
  return safe.length <= TEXT_LENGTH_MAX ? safe : `${safe.slice(0, TEXT_LENGTH_MAX)}…`;
}

function redactObject(source: object, depth: number): Record<string, unknown> {
  const safe: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(source).slice(0, ITEMS_MAX)) {
    // Own property whatever the key: assigning "__proto__" would set the prototype.
    Object.defineProperty(safe, key, {
      value: isSecret(key, value) ? REDACTED : redactValue(value, depth + 1),
      enumerable: true,
    });
  }
  return safe;
}

function isSecret(key: string, value: unknown): boolean {
  if (value === null || value === undefined || typeof value === "boolean") return false;
  return SECRET_KEY.test(key.toLowerCase().replace(/[-_]/g, ""));
}

function redactValue(value: unknown, depth: number): unknown {
  if (typeof value === "string") return redactText(value);
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "function" || typeof value === "symbol") return undefined;
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Error) return redactError(value, depth);
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (depth >= DEPTH_MAX) return "[deeper]";
  // Dates and URLs say themselves how they are written.
  if ("toJSON" in value && typeof value.toJSON === "function") {
    return redactValue(value.toJSON(), depth + 1);
  }
  if (Array.isArray(value)) {
    return value.slice(0, ITEMS_MAX).map((item) => redactValue(item, depth + 1));
  }
  if (value instanceof Map || value instanceof Set) return `[${value.size} entries]`;
  return redactObject(value, depth);
}

function redactError(error: Error, depth: number, isExplained = false): Record<string, unknown> {
  const safe: Record<string, unknown> = { type: error.name, message: redactText(error.message) };
  const explains = isExplained || error instanceof CatchallError;
  if (!explains || MISTAKES.has(error.name)) safe["stack"] = redactText(String(error.stack));
  if (depth >= DEPTH_MAX) return safe;
  const { cause } = error;
  if (cause instanceof Error) safe["cause"] = redactError(cause, depth + 1, explains);
  else if (cause !== undefined) safe["cause"] = redactValue(cause, depth + 1);
  const rest = Object.entries(error).filter(([key]) => !UNSAFE_ERROR_KEYS.has(key));
  return { ...redactObject(Object.fromEntries(rest), depth), ...safe };
}
