/**
 * Reading JSON that came from a store: every field is checked, nothing is trusted. Problems are sentences, gathered by
 * the caller as `damage`; nothing here throws but `Damage`, which never leaves the codecs.
 */

/** Thrown inside a codec and turned into its result. */
export class Damage extends Error {
  override readonly name: string = "Damage";
}

export type Parsed<T> =
  | { readonly ok: T; readonly damage?: never }
  | { readonly damage: string; readonly ok?: never };

export type JsonObject = Readonly<Record<string, unknown>>;

/** Making one costs more than a record. */
const DECODER = new TextDecoder("utf-8", { fatal: true });
const ENCODER = new TextEncoder();

const NONCE_LENGTH_MAX = 64;
const TEXT_LENGTH_MAX = 255;

/** Runs a parser over bytes; whatever is wrong with them becomes `damage`. */
export function parseJson<T>(bytes: Uint8Array, parse: (value: unknown) => T): Parsed<T> {
  let value: unknown;
  try {
    value = JSON.parse(DECODER.decode(bytes));
  } catch {
    return { damage: "it is not JSON" };
  }
  try {
    return { ok: parse(value) };
  } catch (cause) {
    if (cause instanceof Damage) return { damage: cause.message };
    throw cause;
  }
}

export function toJsonBytes(value: unknown): Uint8Array {
  return ENCODER.encode(JSON.stringify(value));
}

export function objectOf(value: unknown, name: string): JsonObject {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Damage(`"${name}" is not an object`);
  }
  return value as JsonObject;
}

export function arrayOf(value: unknown, name: string, lengthMax: number): readonly unknown[] {
  if (!Array.isArray(value)) throw new Damage(`"${name}" is not an array`);
  if (value.length > lengthMax) throw new Damage(`"${name}" has more than ${lengthMax} items`);
  return value;
}

/** A whole number from `min` up. */
export function countOf(value: unknown, name: string, min = 0): number {
  if (!Number.isSafeInteger(value) || (value as number) < min) {
    throw new Damage(`"${name}" is not a whole number from ${min}`);
  }
  return value as number;
}

export function textOf(value: unknown, name: string): string {
  if (typeof value !== "string" || value.length === 0 || value.length > TEXT_LENGTH_MAX) {
    throw new Damage(`"${name}" is not a text of 1 to ${TEXT_LENGTH_MAX} characters`);
  }
  return value;
}

export function nonceOf(value: unknown, name: string): string {
  if (typeof value !== "string" || value.length > NONCE_LENGTH_MAX) {
    throw new Damage(`"${name}" is not a nonce`);
  }
  return value;
}

export function flagOf(value: unknown, name: string): boolean {
  if (typeof value !== "boolean") throw new Damage(`"${name}" is not true or false`);
  return value;
}

export function oneOf<T extends string>(value: unknown, name: string, among: readonly T[]): T {
  const found = among.find((candidate) => candidate === value);
  if (found === undefined) throw new Damage(`"${name}" is none of ${among.join(", ")}`);
  return found;
}
