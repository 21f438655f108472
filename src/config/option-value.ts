/**
 * Text → value for one option, and back: whole numbers, durations, sizes, addresses. Input is untrusted: parsed to a
 * value or to a phrase that completes "--flag must be …", never asserted.
 */

import type { OptionKind } from "./options.ts";

export type OptionValue = string | number | boolean;
/** `expected` completes "must be …". */
export type ParsedOption = { readonly value: OptionValue } | { readonly expected: string };

const DURATION_UNITS: ReadonlyMap<string, number> = new Map([
  ["ms", 1],
  ["s", 1000],
  ["m", 60_000],
  ["h", 3_600_000],
]);
const SIZE_UNITS: ReadonlyMap<string, number> = new Map([
  ["", 1],
  ["B", 1],
  ["KiB", 1024],
  ["MiB", 1024 ** 2],
  ["GiB", 1024 ** 3],
]);

/** Parses the text of one option by its kind. Surrounding spaces are not part of the value. */
export function parseOption(kind: OptionKind, raw: string): ParsedOption {
  const text = raw.trim();
  const value = readValue(kind, text);
  return value === null ? { expected: expectedOf(kind) } : { value };
}

/** Milliseconds of "500ms", "5s", "10m", "1.5h", or "0"; null when it is none of these or no whole number. */
export function parseDurationMs(text: string): number | null {
  return text === "0" ? 0 : parseWithUnit(text, DURATION_UNITS);
}

/** Bytes of "100", "100B", "64KiB", "8MiB", "1.5GiB"; null when it is none of these or no whole number. */
export function parseSizeBytes(text: string): number | null {
  return parseWithUnit(text, SIZE_UNITS);
}

/** The largest unit that keeps the number whole: 600000 → "10m". */
export function formatDurationMs(ms: number): string {
  if (ms === 0) return "0s";
  return formatWithUnit(ms, DURATION_UNITS);
}

/** The largest unit that keeps the number whole: 8388608 → "8MiB". */
export function formatSizeBytes(bytes: number): string {
  return formatWithUnit(bytes, SIZE_UNITS);
}

function readValue(kind: OptionKind, text: string): OptionValue | null {
  switch (kind.type) {
    case "text":
      return text !== "" && (kind.pattern?.test(text) ?? true) ? text : null;
    case "path":
      return text === "" || text.includes("\0") ? null : text;
    case "boolean":
      return text === "true" ? true : text === "false" ? false : null;
    case "choice":
      return kind.choices.includes(text) ? text : null;
    case "integer":
      return inRange(parseInteger(text), kind);
    case "powerOfTwo": {
      const value = inRange(parseInteger(text), kind);
      return value !== null && Number.isInteger(Math.log2(value)) ? value : null;
    }
    case "durationMs":
      return inRange(parseDurationMs(text), kind);
    case "sizeBytes":
      return inRange(parseSizeBytes(text), kind);
    case "url":
      return isUrl(text, kind.schemes) ? text : null;
    case "urls":
      return parseServers(text, kind.schemes);
  }
}

function expectedOf(kind: OptionKind): string {
  switch (kind.type) {
    case "text":
      return kind.rule ?? "some text";
    case "path":
      return "a path";
    case "boolean":
      return "true or false";
    case "choice":
      return `one of ${kind.choices.join(", ")}`;
    case "url":
      return `a URL that starts with ${kind.schemes.map((scheme) => `${scheme}://`).join(" or ")}`;
    case "urls":
      return "servers such as nats://host:4222, separated by commas";
    default:
      return rangeOf(kind) ?? "";
  }
}

/** The range of an option in words, for mistakes, help and documents; null where the kind has none. */
export function rangeOf(kind: OptionKind): string | null {
  switch (kind.type) {
    case "integer":
      return `a whole number from ${kind.min} to ${kind.max}`;
    case "powerOfTwo":
      return `a power of two from ${kind.min} to ${kind.max}`;
    case "durationMs":
      return `a duration from ${formatDurationMs(kind.min)} to ${formatDurationMs(kind.max)} (units ms, s, m, h)`;
    case "sizeBytes":
      return `a size from ${formatSizeBytes(kind.min)} to ${formatSizeBytes(kind.max)} (units KiB, MiB, GiB)`;
    case "choice":
      return kind.choices.join(", ");
    default:
      return null;
  }
}

function inRange(
  value: number | null,
  range: { readonly min: number; readonly max: number },
): number | null {
  return value !== null && value >= range.min && value <= range.max ? value : null;
}

function parseInteger(text: string): number | null {
  // Sixteen digits at most: beyond, numbers lose their last digits silently.
  return /^\d{1,16}$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : null;
}

function parseWithUnit(text: string, units: ReadonlyMap<string, number>): number | null {
  const match = /^(\d{1,16}(?:\.\d{1,9})?)([A-Za-z]*)$/.exec(text);
  const factor = units.get(match?.[2] ?? "?");
  if (factor === undefined) return null;
  const value = Number(match?.[1]) * factor;
  return Number.isSafeInteger(value) ? value : null;
}

function formatWithUnit(value: number, units: ReadonlyMap<string, number>): string {
  let best = `${value}${units.has("") ? "B" : "ms"}`;
  for (const [unit, factor] of units) {
    if (unit !== "" && value % factor === 0) best = `${value / factor}${unit}`;
  }
  return best;
}

function isUrl(text: string, schemes: readonly string[]): boolean {
  const scheme = schemes.find((name) => text.toLowerCase().startsWith(`${name}://`));
  if (scheme === undefined) return false;
  // Not the URL class: a MongoDB address may list several hosts, which URL refuses.
  return /^[^/?#\s]+([/?#]\S*)?$/.test(text.slice(scheme.length + 3));
}

function parseServers(text: string, schemes: readonly string[]): string | null {
  const servers = text.split(",").map((server) => server.trim());
  const isServer = (server: string): boolean =>
    server.includes("://") ? isUrl(server, schemes) : /^[^\s/@]+$/.test(server);
  return servers.every(isServer) ? servers.join(",") : null;
}
