/**
 * The only maker of DomainName: one function for every way in (path, bulk body, lookup, command line, webhooks).
 * Plain ASCII names take one table-driven pass; everything else is decoded, explained or mapped by the slow path, and
 * its result takes the same pass. Invariants: total (never throws), idempotent, and text and bytes agree.
 * The rules may not change without a new CANONICALISATION_VERSION: checkpoints are keyed by the result.
 */
import type { ErrorCode } from "./errors.ts";
import { hash32 } from "./hash32.ts";
import { hasALabel, hasIgnorable, mapToAscii } from "./idna-mapping.ts";

/** A canonical domain: lower-case ASCII, at least two labels, at most 253 bytes. Made only by DomainParser. */
export type DomainName = string & { readonly __brand: "DomainName" };

/** Version of these rules; kept in checkpoints, since a change of rules is a migration. */
export const CANONICALISATION_VERSION = "1-tr46-16.0";

/** Longest input that is looked at, in bytes as given (before percent-decoding). */
const INPUT_BYTES_MAX = 1024;
const NAME_BYTES_MAX = 253;
const LABEL_BYTES_MAX = 63;

const QUOTE = 0x22;
const DOT = 0x2e;
const HYPHEN = 0x2d;
const LOWER_A = 0x61;
const LOWER_Z = 0x7a;
const LOWER_XN: readonly number[] = [0x78, 0x6e, HYPHEN, HYPHEN];

/** Byte → its lower-case form where it may stand in a name (dot included), else 0. */
const NAME_BYTES: Uint8Array = (() => {
  const table = new Uint8Array(256);
  for (const char of "abcdefghijklmnopqrstuvwxyz0123456789-_.") {
    table[char.charCodeAt(0)] = char.charCodeAt(0);
    table[char.toUpperCase().charCodeAt(0)] = char.charCodeAt(0);
  }
  return table;
})();

const STRICT_UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const LONE_SURROGATE = /\p{Surrogate}/u;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it refuses
const NEVER_IN_NAME = /[\x00-\x20\x7f-\xa0%/\\?#@:<>[\]^|"*$,;(){}]/;
// The atext of RFC 5321 with dots, and anything beyond ASCII that is not a control or space. No quoted local parts.
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it refuses
const LOCAL_PART = /^[^\x00-\x20\x7f-\xa0\u2028\u2029"(),:;<>@[\\\]]+$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the range is "beyond ASCII"
const BEYOND_ASCII = /[^\x00-\x7f]/;
const PLAIN_NAME = /^[a-z0-9_.-]*$/i;
const IPV6_LITERAL = /^[0-9a-f.]*:[0-9a-f.]*:[0-9a-f:.]*$/i;
const IPV4_NUMBER = /^(?:0x[0-9a-f]*|[0-9]+)$/i;
const LETTERS = /^[a-z]+$/i;

/**
 * Reusable parser: holds the canonical bytes of the last name parsed. Never throws.
 *
 * Shape: after `null`, `bytes[0, length)` is the name and `hash` its hash32; after an error code, all three are
 * meaningless. One parser serves one caller at a time; nothing is kept between calls.
 */
export class DomainParser {
  readonly bytes: Uint8Array;
  length = 0;
  /** Names that did not take the fast path; each may cost some hundred times as much. */
  slowCount = 0;
  /** hash32 of the canonical bytes. */
  hash = 0;
  /** The same memory as `bytes`. */
  readonly #buffer: Buffer;
  #labelStart = 0;
  #lastLabelStart = 0;

  constructor() {
    this.#buffer = Buffer.alloc(256);
    this.bytes = new Uint8Array(this.#buffer.buffer, this.#buffer.byteOffset, 256);
  }

  /** Parses a name as text; `isPercentEncoded`: decode %XX once first (URL path segments). */
  parseText(text: string, isPercentEncoded: boolean): ErrorCode | null {
    if (this.#scanText(text)) return null;
    return this.#parseSlowly(text, isPercentEncoded);
  }

  /** Parses UTF-8 bytes[start, end), not percent-encoded. */
  parseBytes(bytes: Uint8Array, start: number, end: number): ErrorCode | null {
    if (this.#scanBytes(bytes, start, end) === end && this.#closeName(end - start)) return null;
    if (end - start > INPUT_BYTES_MAX) return "too_long";
    try {
      return this.#parseSlowly(STRICT_UTF8.decode(bytes.subarray(start, end)), false);
    } catch {
      return "bad_encoding";
    }
  }

  /**
   * Takes a plain name that a quote follows, in one pass; returns the place of the quote, or -1: then what stands there is
   * another kind of name or none, and nothing is decided.
   */
  takeQuoted(bytes: Uint8Array, start: number, end: number): number {
    const at = this.#scanBytes(bytes, start, end);
    return at >= 0 && at < end && bytes[at] === QUOTE && this.#closeName(at - start) ? at : -1;
  }

  /** The last parsed name as a string. */
  name(): DomainName {
    return this.#buffer.toString("latin1", 0, this.length) as DomainName;
  }

  /** The fast path over text: true when it is a plain name, now in `bytes`; false decides nothing. */
  #scanText(text: string): boolean {
    const length = text.length;
    if (length > NAME_BYTES_MAX + 1) return false;
    const into = this.bytes;
    this.#labelStart = 0;
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code > 0x7f) return false;
      const byte = NAME_BYTES[code] as number;
      if (byte === 0) return false;
      if (byte === DOT && !this.#closeLabel(i)) return false;
      into[i] = byte;
    }
    return this.#closeName(length);
  }

  /**
   * The same over bytes, up to the first that stands in no name: returns its place, or -1 when this is no plain name. Kept
   * in step with #scanText by the tests: both give equal answers.
   */
  #scanBytes(bytes: Uint8Array, start: number, end: number): number {
    const into = this.bytes;
    this.#labelStart = 0;
    let at = start;
    for (; at < end; at++) {
      const byte = NAME_BYTES[bytes[at] as number] as number;
      if (byte === 0) break;
      const i = at - start;
      if (i > NAME_BYTES_MAX || (byte === DOT && !this.#closeLabel(i))) return -1;
      into[i] = byte;
    }
    return at;
  }

  /** Checks the label that ends before `end`. `xn--` labels fail here (hyphens in 3 and 4): the slow path checks them. */
  #closeLabel(end: number, isMapped = false): boolean {
    const into = this.bytes;
    const start = this.#labelStart;
    const length = end - start;
    if (length === 0 || length > LABEL_BYTES_MAX) return false;
    if (into[start] === HYPHEN || into[end - 1] === HYPHEN) return false;
    if (length >= 4 && into[start + 3] === HYPHEN && into[start + 2] === HYPHEN) {
      if (!isMapped || !this.#isALabel(start)) return false;
    }
    this.#lastLabelStart = start;
    this.#labelStart = end + 1;
    return true;
  }

  #closeName(length: number, isMapped = false): boolean {
    // A trailing dot has closed the last label already.
    if (this.#labelStart < length && !this.#closeLabel(length, isMapped)) return false;
    const nameLength = this.#labelStart - 1;
    const last = this.#lastLabelStart;
    if (last === 0 || nameLength > NAME_BYTES_MAX) return false;
    if (!this.#isTopLabel(last, nameLength, isMapped)) return false;
    this.length = nameLength;
    this.hash = hash32(this.bytes, 0, nameLength);
    return true;
  }

  #isTopLabel(start: number, end: number, isMapped: boolean): boolean {
    const into = this.bytes;
    if (end - start < 2) return false;
    if (isMapped && this.#isALabel(start)) return true;
    for (let i = start; i < end; i++) {
      const byte = into[i] as number;
      if (byte < LOWER_A || byte > LOWER_Z) return false;
    }
    return true;
  }

  #isALabel(start: number): boolean {
    return LOWER_XN.every((byte, i) => this.bytes[start + i] === byte);
  }

  #parseSlowly(raw: string, isPercentEncoded: boolean): ErrorCode | null {
    this.slowCount++;
    // The length of the text bounds the work of measuring its bytes.
    if (raw.length > INPUT_BYTES_MAX || Buffer.byteLength(raw) > INPUT_BYTES_MAX) {
      return "too_long";
    }
    const text = isPercentEncoded ? percentDecode(raw) : raw;
    if (text === null || LONE_SURROGATE.test(text)) return "bad_encoding";
    const at = text.lastIndexOf("@");
    if (at >= 0 && !LOCAL_PART.test(text.slice(0, at))) return "bad_char";
    const name = text.slice(at + 1);
    if (this.#scanText(name)) return null;
    if (name === "") return "empty";
    if (name.startsWith("[") || IPV6_LITERAL.test(name)) return "literal";
    if (NEVER_IN_NAME.test(name) || hasIgnorable(name)) return "bad_char";
    const isAscii = !BEYOND_ASCII.test(name);
    // ASCII does not shrink when it is mapped, so that a name over the limit costs no mapping.
    if (isAscii && (name.length > NAME_BYTES_MAX + 1 || !hasALabel(name)))
      return explainPlain(name);
    return this.#parseIdna(name);
  }

  #parseIdna(name: string): ErrorCode | null {
    const mapped = mapToAscii(name);
    if (mapped.error !== null) return mapped.error;
    return this.#scanMapped(mapped.ascii) ? null : explainPlain(mapped.ascii);
  }

  /** Like #scanText for the result of the mapping, whose `xn--` labels are known to be valid. */
  #scanMapped(ascii: string): boolean {
    if (ascii.length > NAME_BYTES_MAX + 1 || !PLAIN_NAME.test(ascii)) return false;
    this.#buffer.write(ascii, 0, "latin1");
    this.#labelStart = 0;
    for (let i = 0; i < ascii.length; i++) {
      if (this.bytes[i] === DOT && !this.#closeLabel(i, true)) return false;
    }
    return this.#closeName(ascii.length, true);
  }
}

/** Decodes once, strictly: null for a stray `%`, overlong forms, surrogates and truncated sequences. */
function percentDecode(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

/** Names the rule that an ASCII name breaks. Called only with names that the scan refused. */
function explainPlain(text: string): ErrorCode {
  if (!PLAIN_NAME.test(text)) return "bad_char";
  const name = text.endsWith(".") ? text.slice(0, -1) : text;
  if (name.length > NAME_BYTES_MAX) return "too_long";
  const labels = name.split(".");
  if (labels.includes("")) return "empty_label";
  if (labels.every((label) => IPV4_NUMBER.test(label))) return "ip";
  if (labels.length === 1) return "single_label";
  for (const label of labels) {
    if (label.length > LABEL_BYTES_MAX) return "label_long";
    if (label.startsWith("-") || label.endsWith("-")) return "hyphen";
    if (label.slice(2, 4) === "--" && !/^xn--/i.test(label)) return "hyphen34";
  }
  const top = labels.at(-1) as string;
  return LETTERS.test(top) ? "tld_short" : "numeric_tld";
}
