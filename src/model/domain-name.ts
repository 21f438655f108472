/**
 * PLACEHOLDER signature; the canonicaliser lands next.
 */
import type { ErrorCode } from "./errors.ts";
import { hash32 } from "./hash32.ts";

/** A canonical domain: lower-case ASCII, at least two labels, at most 253 bytes. Made only by DomainParser. */
export type DomainName = string & { readonly __brand: "DomainName" };

/** Version of these rules; kept in checkpoints, since a change of rules is a migration. */
export const CANONICALISATION_VERSION = "1-tr46-16.0";

/** Reusable parser: holds the canonical bytes of the last name parsed. Never throws. */
export class DomainParser {
  readonly bytes: Uint8Array = new Uint8Array(256);
  length = 0;
  /** hash32 of the canonical bytes. */
  hash = 0;
  /** Parses a name as text; `isPercentEncoded`: decode %XX once first (URL path segments). */
  parseText(text: string, _isPercentEncoded: boolean): ErrorCode | null {
    const lower = text.toLowerCase();
    for (let i = 0; i < lower.length; i++) this.bytes[i] = lower.charCodeAt(i);
    this.length = lower.length;
    this.hash = hash32(this.bytes, 0, this.length);
    return null;
  }
  /** Parses UTF-8 bytes[start, end), not percent-encoded. */
  parseBytes(bytes: Uint8Array, start: number, end: number): ErrorCode | null {
    return this.parseText(new TextDecoder().decode(bytes.subarray(start, end)), false);
  }
  /** The last parsed name as a string. */
  name(): DomainName {
    return String.fromCharCode(...this.bytes.subarray(0, this.length)) as DomainName;
  }
}
