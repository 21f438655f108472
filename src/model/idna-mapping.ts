/**
 * The slow path of canonicalisation: names with non-ASCII characters or `xn--` labels, through UTS-46 (`tr46`, pinned
 * to Unicode 16). Total: it never throws, whatever the text. It does not look at lengths, label counts or the last
 * label: the caller checks those on the ASCII form, so that both paths obey one set of rules.
 */
import { type ToAsciiOptions, toASCII } from "tr46";
import type { ErrorCode } from "./errors.ts";

export type IdnaResult =
  | { readonly ascii: string; readonly error: null }
  | { readonly ascii: null; readonly error: ErrorCode };

const STRICT: ToAsciiOptions = {
  checkHyphens: true,
  checkBidi: true,
  checkJoiners: true,
  useSTD3ASCIIRules: true,
  verifyDNSLength: false, // The caller's, which names the rule that is broken.
  transitionalProcessing: false,
  ignoreInvalidPunycode: false,
};

// The characters that UTS-46 reads as the dot between labels.
const DOT = /[.\u3002\uff0e\uff61]/;
// ASCII by necessity: U+0000 is part of the range.
// biome-ignore lint/suspicious/noControlCharactersInRegex: the range is "all of ASCII"
const ASCII_ONLY = /^[\x00-\x7f]*$/;
const A_LABEL = /^xn--/i;
const UNDERSCORE_STAND_IN = "a";

/**
 * Default_Ignorable_Code_Point of Unicode 16, as ranges: the property of the running engine would change with it.
 * UTS-46 drops these, so that two texts which differ only in invisible characters would become one name; they are
 * refused instead. U+200C and U+200D are absent: some scripts need them, and UTS-46 checks their context.
 */
const IGNORABLE =
  // biome-ignore lint/suspicious/noMisleadingCharacterClass: single code points are meant
  /[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]/u;

/** True when the text holds a character that shows nothing or turns the reading direction. */
export function hasIgnorable(text: string): boolean {
  return IGNORABLE.test(text);
}

/** True when a label of the text asks for punycode, so that it must be validated. */
export function hasALabel(text: string): boolean {
  return text.split(DOT).some((label) => A_LABEL.test(label));
}

/**
 * Maps a name to its A-label form: lower-case ASCII with `xn--` labels.
 *
 * Shape: `text` is well-formed Unicode without `@`; labels may be empty or too long in the result.
 * Errors: bad_punycode, hyphen, hyphen34, bad_char.
 */
export function mapToAscii(text: string): IdnaResult {
  const labels = text.split(DOT);
  // STD3 knows no underscore, and the Bidi rule refuses labels that start with one. Such labels of plain ASCII stand
  // aside while the others are mapped: `_dmarc.bücher.de`.
  const isUnderscored = labels.map((label) => label.includes("_") && ASCII_ONLY.test(label));
  if (!isUnderscored.includes(true)) return runTr46(text);
  const standIns = labels.map((label, i) =>
    isUnderscored[i] && !A_LABEL.test(label) ? UNDERSCORE_STAND_IN : label,
  );
  const result = runTr46(standIns.join("."));
  if (result.error !== null) return result;
  const mapped = result.ascii.split(".");
  // A character such as U+2026 maps to dots, so that places no longer agree.
  if (mapped.length !== labels.length) return { ascii: null, error: "bad_char" };
  const ascii = mapped.map((label, i) =>
    isUnderscored[i] ? (labels[i] as string).toLowerCase() : label,
  );
  return { ascii: ascii.join("."), error: null };
}

function runTr46(text: string): IdnaResult {
  const ascii = toAsciiOrNull(text, STRICT);
  if (ascii !== null) return { ascii, error: null };
  return { ascii: null, error: explain(text) };
}

function explain(text: string): ErrorCode {
  for (const label of text.split(DOT)) {
    if (A_LABEL.test(label) && toAsciiOrNull(label, STRICT) === null) return "bad_punycode";
  }
  if (toAsciiOrNull(text, { ...STRICT, checkHyphens: false }) === null) return "bad_char";
  return text.split(DOT).some((label) => label.slice(2, 4) === "--") ? "hyphen34" : "hyphen";
}

function toAsciiOrNull(text: string, options: ToAsciiOptions): string | null {
  try {
    return toASCII(text, options);
  } catch {
    return null;
  }
}
