/**
 * Hot path: events of an NDJSON body, read from its bytes. Lines of the common shape (the four known keys in any order,
 * each at most once, plain ASCII strings, a plain whole count) are taken without JSON.parse and without a string per
 * line; every other line goes through JSON.parse and `readEventObject`.
 * Invariant: both ways give the same answer for every line; when in doubt, the scanner gives up and JSON decides.
 */

import type { DomainParser } from "../model/domain-name.ts";
import type { ErrorCode } from "../model/errors.ts";
import {
  BOUNCED,
  DELIVERED,
  EVENT_COUNT_MAX,
  EVENT_ID_LENGTH_MAX,
  type EventKind,
} from "../model/event.ts";
import { type EventFields, type EventReader, readEventObject } from "./event-object.ts";
import { decodeUtf8, isTooDeep, withoutBom } from "./json-body.ts";

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const BRACE_OPEN = 0x7b;
const BRACE_CLOSE = 0x7d;
const NEWLINE = 0x0a;

const KEY_DOMAIN = 1;
const KEY_TYPE = 2;
const KEY_COUNT = 4;
const KEY_ID = 8;

const GIVE_UP = -1;

export class EventLineReader implements EventReader, EventFields {
  kind: EventKind = DELIVERED;
  count = 1;
  eventId: string | null = null;
  error: ErrorCode | null = null;
  index = -1;
  readonly #bytes: Buffer;
  readonly #end: number;
  readonly #domain: DomainParser;
  #at = 0;
  /** Where a name stands that is not parsed yet; 0 when it is. */
  #domainStart = 0;
  #domainEnd = 0;

  /** `body` must not change while it is read. Domains are parsed into `domain`. */
  constructor(body: Uint8Array, domain: DomainParser) {
    const bytes = withoutBom(body);
    // A view, not a copy: Buffer has the quick conversion of ids to strings.
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#end = this.#bytes.length;
    this.#domain = domain;
  }

  next(): boolean {
    const at = this.#skipEmptyLines();
    if (at >= this.#end) return false;
    this.index++;
    this.error = null;
    const after = this.#scanLine(at);
    if (after === GIVE_UP) {
      this.#parseLine(at);
    } else {
      this.#at = after;
      const start = this.#domainStart;
      if (start > 0) this.error = this.#domain.parseBytes(this.#bytes, start, this.#domainEnd);
    }
    return true;
  }

  #skipEmptyLines(): number {
    const bytes = this.#bytes;
    let at = this.#at;
    while (at < this.#end && isSpaceOrNewline(bytes[at] as number)) at++;
    this.#at = at;
    return at;
  }

  /** Returns where the next line starts, or GIVE_UP. */
  #scanLine(start: number): number {
    const bytes = this.#bytes;
    if (bytes[start] !== BRACE_OPEN) return GIVE_UP;
    this.count = 1;
    this.eventId = null;
    let at = start + 1;
    let seen = 0;
    for (;;) {
      at = skipSpace(bytes, at, this.#end);
      const key = this.#scanKey(at);
      if (key === 0 || (seen & key) !== 0) return GIVE_UP;
      seen |= key;
      at = skipSpace(bytes, at + keyLength(key), this.#end);
      if (at >= this.#end || bytes[at] !== COLON) return GIVE_UP;
      at = this.#scanValue(key, skipSpace(bytes, at + 1, this.#end));
      if (at === GIVE_UP) return GIVE_UP;
      at = skipSpace(bytes, at, this.#end);
      if (at >= this.#end) return GIVE_UP;
      const byte = bytes[at++];
      if (byte === BRACE_CLOSE) break;
      if (byte !== COMMA) return GIVE_UP;
    }
    if ((seen & (KEY_DOMAIN | KEY_TYPE)) !== (KEY_DOMAIN | KEY_TYPE)) return GIVE_UP;
    at = skipSpace(bytes, at, this.#end);
    if (at >= this.#end) return this.#end;
    return bytes[at] === NEWLINE ? at + 1 : GIVE_UP;
  }

  /** The key whose opening quote is at `at`, or 0. */
  #scanKey(at: number): number {
    const bytes = this.#bytes;
    // The shortest rest of a line with a whole key in it is longer than this.
    if (at + 8 > this.#end || bytes[at] !== QUOTE) return 0;
    switch (bytes[at + 1]) {
      case 0x64:
        return isDomainKey(bytes, at + 2) ? KEY_DOMAIN : 0;
      case 0x74:
        return isTypeKey(bytes, at + 2) ? KEY_TYPE : 0;
      case 0x63:
        return isCountKey(bytes, at + 2) ? KEY_COUNT : 0;
      case 0x69:
        return bytes[at + 2] === 0x64 && bytes[at + 3] === QUOTE ? KEY_ID : 0;
      default:
        return 0;
    }
  }

  /** Takes the value at `at`; returns the place after it or GIVE_UP. */
  #scanValue(key: number, at: number): number {
    if (at >= this.#end) return GIVE_UP;
    if (key === KEY_COUNT) return this.#scanCount(at);
    const bytes = this.#bytes;
    if (bytes[at] !== QUOTE) return GIVE_UP;
    const start = at + 1;
    if (key === KEY_TYPE) return this.#scanType(start);
    if (key === KEY_DOMAIN) return this.#scanDomain(start);
    const end = endOfPlainString(bytes, start, this.#end);
    if (end === GIVE_UP) return GIVE_UP;
    if (!isPlainEventId(bytes, start, end)) return GIVE_UP;
    this.eventId = this.#bytes.toString("latin1", start, end);
    return end + 1;
  }

  #scanDomain(start: number): number {
    const quote = this.#domain.takeQuoted(this.#bytes, start, this.#end);
    if (quote >= 0) {
      this.#domainStart = 0;
      return quote + 1;
    }
    const end = endOfPlainString(this.#bytes, start, this.#end);
    if (end === GIVE_UP) return GIVE_UP;
    this.#domainStart = start;
    this.#domainEnd = end;
    return end + 1;
  }

  #scanType(start: number): number {
    const bytes = this.#bytes;
    if (start + 10 <= this.#end && isDelivered(bytes, start)) {
      this.kind = DELIVERED;
      return start + 10;
    }
    if (start + 8 <= this.#end && isBounced(bytes, start)) {
      this.kind = BOUNCED;
      return start + 8;
    }
    return GIVE_UP;
  }

  #scanCount(start: number): number {
    let at = start;
    let count = 0;
    while (at < this.#end && at - start < 8) {
      const digit = (this.#bytes[at] as number) - 0x30;
      if (digit < 0 || digit > 9) break;
      count = count * 10 + digit;
      at++;
    }
    if (at === start || this.#bytes[start] === 0x30 || count > EVENT_COUNT_MAX) return GIVE_UP;
    this.count = count;
    // What follows must be space, comma or brace; "1.5" and "1e3" give up in the caller.
    return at;
  }

  #parseLine(start: number): void {
    const newline = this.#bytes.indexOf(NEWLINE, start);
    const end = newline < 0 ? this.#end : newline;
    this.#at = newline < 0 ? this.#end : newline + 1;
    this.error = this.#parseText(start, end);
  }

  #parseText(start: number, end: number): ErrorCode | null {
    if (isTooDeep(this.#bytes, start, end)) return "invalid_json";
    const text = decodeUtf8(this.#bytes, start, end);
    if (text === null) return "invalid_utf8";
    let value: unknown;
    try {
      value = JSON.parse(text) as unknown;
    } catch {
      return "invalid_json";
    }
    readEventObject(value, this, this.#domain);
    return this.error;
  }
}

function keyLength(key: number): number {
  if (key === KEY_DOMAIN) return 8;
  if (key === KEY_TYPE) return 6;
  return key === KEY_COUNT ? 7 : 4;
}

function skipSpace(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end) {
    const byte = bytes[at] as number;
    if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0d) break;
    at++;
  }
  return at;
}

function isSpaceOrNewline(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** The closing quote of a string of printable ASCII without escapes, or GIVE_UP. */
function endOfPlainString(bytes: Uint8Array, start: number, end: number): number {
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    if (byte === QUOTE) return at;
    if (byte < 0x20 || byte > 0x7e || byte === BACKSLASH) return GIVE_UP;
  }
  return GIVE_UP;
}

function isPlainEventId(bytes: Uint8Array, start: number, end: number): boolean {
  if (end === start || end - start > EVENT_ID_LENGTH_MAX) return false;
  for (let at = start; at < end; at++) if (bytes[at] === 0x20) return false;
  return true;
}

/** `omain"` */
function isDomainKey(b: Uint8Array, i: number): boolean {
  return (
    b[i] === 0x6f &&
    b[i + 1] === 0x6d &&
    b[i + 2] === 0x61 &&
    b[i + 3] === 0x69 &&
    b[i + 4] === 0x6e &&
    b[i + 5] === QUOTE
  );
}

/** `ype"` */
function isTypeKey(b: Uint8Array, i: number): boolean {
  return b[i] === 0x79 && b[i + 1] === 0x70 && b[i + 2] === 0x65 && b[i + 3] === QUOTE;
}

/** `ount"` */
function isCountKey(b: Uint8Array, i: number): boolean {
  return (
    b[i] === 0x6f &&
    b[i + 1] === 0x75 &&
    b[i + 2] === 0x6e &&
    b[i + 3] === 0x74 &&
    b[i + 4] === QUOTE
  );
}

/** `delivered"` */
function isDelivered(b: Uint8Array, i: number): boolean {
  return (
    b[i] === 0x64 &&
    b[i + 1] === 0x65 &&
    b[i + 2] === 0x6c &&
    b[i + 3] === 0x69 &&
    b[i + 4] === 0x76 &&
    b[i + 5] === 0x65 &&
    b[i + 6] === 0x72 &&
    b[i + 7] === 0x65 &&
    b[i + 8] === 0x64 &&
    b[i + 9] === QUOTE
  );
}

/** `bounced"` */
function isBounced(b: Uint8Array, i: number): boolean {
  return (
    b[i] === 0x62 &&
    b[i + 1] === 0x6f &&
    b[i + 2] === 0x75 &&
    b[i + 3] === 0x6e &&
    b[i + 4] === 0x63 &&
    b[i + 5] === 0x65 &&
    b[i + 6] === 0x64 &&
    b[i + 7] === QUOTE
  );
}
