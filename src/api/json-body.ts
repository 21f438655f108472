/**
 * Bytes from outside to JSON values, and the few checks that all bodies share. Throws nothing but CatchallError.
 * Invariant: nesting is measured before JSON.parse sees the bytes, so that a body of brackets costs a scan and no
 * memory; keys are read with `Object.hasOwn`, so `__proto__` and `constructor` mean nothing.
 */

import { CatchallError } from "../model/errors.ts";

export const JSON_DEPTH_MAX = 32;

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Errors: `invalid_utf8`, `invalid_json` (broken, or nested deeper than JSON_DEPTH_MAX). A leading BOM is dropped. */
export function parseJsonBytes(bytes: Uint8Array): unknown {
  const body = withoutBom(bytes);
  if (isTooDeep(body, 0, body.length)) {
    throw new CatchallError("invalid_json", `Body is nested deeper than ${JSON_DEPTH_MAX} levels`);
  }
  let text: string;
  try {
    text = UTF8.decode(body);
  } catch (cause) {
    throw new CatchallError("invalid_utf8", undefined, { cause });
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new CatchallError("invalid_json", undefined, { cause });
  }
}

/** Decodes `bytes[start, end)` strictly; null when it is not UTF-8. A BOM is kept. */
export function decodeUtf8(bytes: Uint8Array, start: number, end: number): string | null {
  try {
    return UTF8.decode(bytes.subarray(start, end));
  } catch {
    return null;
  }
}

export function withoutBom(bytes: Uint8Array): Uint8Array {
  const hasBom = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  return hasBom ? bytes.subarray(3) : bytes;
}

/** True when brackets outside strings nest deeper than JSON_DEPTH_MAX in `bytes[start, end)`. */
export function isTooDeep(bytes: Uint8Array, start: number, end: number): boolean {
  let depth = 0;
  let isInString = false;
  for (let i = start; i < end; i++) {
    const byte = bytes[i] as number;
    if (isInString) {
      if (byte === 0x5c) i++;
      else if (byte === 0x22) isInString = false;
    } else if (byte === 0x22) {
      isInString = true;
    } else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > JSON_DEPTH_MAX) return true;
    } else if (byte === 0x7d || byte === 0x5d) {
      depth--;
    }
  }
  return false;
}

export type JsonObject = Readonly<Record<string, unknown>>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The own property, or undefined. */
export function ownField(object: JsonObject, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}
