/**
 * Sections: what one log entry says about one partition (little-endian):
 *   u16 partition · u8 kind · u8 0 · u32 epoch · u32 payload bytes · payload.
 * An `events` payload is f64 producer incarnation · f64 producer sequence · u32 record count · u32 0 · records
 * (model/event-records.ts). Every other payload is JSON, since those are rare and read by people.
 * Safety: bytes from a log or a peer are parsed here, never trusted; damage is an error, not an assertion.
 */

import { type DomainName, DomainParser } from "../model/domain-name.ts";
import { CatchallError } from "../model/errors.ts";
import { readUint32, recordsError, writeUint32 } from "../model/event-records.ts";
import { type ImportChunk, readImportChunk } from "../model/import-chunk.ts";
import { type Rule, STATUS_NAMES, type StatusName } from "../model/status.ts";

export const SECTION_HEADER_BYTES = 12;
export const EVENTS_HEADER_BYTES = 24;

export const SECTION_EVENTS = 1;
export const SECTION_OVERRIDE = 2;
export const SECTION_RESET = 3;
export const SECTION_RULE = 4;
/** An owner opens a partition: the first section of its epoch. No payload. */
export const SECTION_CLAIM = 5;
/** An owner gives a partition away: the last section of its epoch. No payload. */
export const SECTION_RELEASE = 6;
/** Domains of another store are added. */
export const SECTION_IMPORT = 7;

const parser = new DomainParser();
let entryView: DataView<ArrayBufferLike> = new DataView(new ArrayBuffer(0));

/** A change that an operator made, as it is written and replayed. */
export type Change =
  | {
      readonly kind: typeof SECTION_OVERRIDE;
      readonly domain: DomainName;
      /** Null removes the override. */
      readonly override: { readonly status: StatusName; readonly reason: string } | null;
      readonly by: string;
    }
  | { readonly kind: typeof SECTION_RESET; readonly domain: DomainName; readonly by: string }
  | {
      readonly kind: typeof SECTION_RULE;
      readonly rule: Rule;
      readonly revision: number;
      readonly by: string;
    }
  | { readonly kind: typeof SECTION_IMPORT; readonly chunk: ImportChunk; readonly by: string };

export interface SectionView {
  readonly partition: number;
  readonly kind: number;
  readonly epoch: number;
  readonly payloadStart: number;
  readonly payloadEnd: number;
}

export interface EventsView {
  readonly producer: number;
  readonly producerSequence: number;
  readonly recordCount: number;
  readonly recordsStart: number;
  readonly recordsEnd: number;
}

export function writeSectionHeader(
  bytes: Uint8Array,
  at: number,
  section: { partition: number; kind: number; epoch: number; payloadBytes: number },
): void {
  bytes[at] = section.partition;
  bytes[at + 1] = section.partition >>> 8;
  bytes[at + 2] = section.kind;
  bytes[at + 3] = 0;
  writeUint32(bytes, at + 4, section.epoch);
  writeUint32(bytes, at + 8, section.payloadBytes);
}

/** Sections of an entry's body, in order. Throws `log_damaged` when the body is not whole sections. */
export function* readSections(
  bytes: Uint8Array,
  start: number,
  end: number,
): Generator<SectionView> {
  let at = start;
  while (at < end) {
    if (at + SECTION_HEADER_BYTES > end) throw damaged("a section header is cut short");
    const payloadStart = at + SECTION_HEADER_BYTES;
    const payloadEnd = payloadStart + readUint32(bytes, at + 8);
    if (payloadEnd > end) throw damaged("a section is cut short");
    yield {
      partition: (bytes[at] as number) | ((bytes[at + 1] as number) << 8),
      kind: bytes[at + 2] as number,
      epoch: readUint32(bytes, at + 4),
      payloadStart,
      payloadEnd,
    };
    at = payloadEnd;
  }
}

export function writeEventsHeader(
  bytes: Uint8Array,
  at: number,
  events: { producer: number; producerSequence: number; recordCount: number },
): void {
  // Nearly all sections go to the one buffer of the commit: a view for each costs more than what it writes.
  if (entryView.buffer !== bytes.buffer) entryView = new DataView(bytes.buffer);
  const start = bytes.byteOffset + at;
  entryView.setFloat64(start, events.producer, true);
  entryView.setFloat64(start + 8, events.producerSequence, true);
  entryView.setUint32(start + 16, events.recordCount, true);
  entryView.setUint32(start + 20, 0, true);
}

/** Throws `log_damaged` unless the payload is a header and exactly its records. */
export function readEvents(bytes: Uint8Array, section: SectionView): EventsView {
  if (section.payloadEnd - section.payloadStart < EVENTS_HEADER_BYTES) {
    throw damaged("an events section is cut short");
  }
  const view = new DataView(
    bytes.buffer,
    bytes.byteOffset + section.payloadStart,
    EVENTS_HEADER_BYTES,
  );
  const recordsStart = section.payloadStart + EVENTS_HEADER_BYTES;
  const recordCount = view.getUint32(16, true);
  const error = recordsError(bytes, recordsStart, section.payloadEnd, recordCount);
  if (error !== null) throw damaged(error);
  return {
    producer: view.getFloat64(0, true),
    producerSequence: view.getFloat64(8, true),
    recordCount,
    recordsStart,
    recordsEnd: section.payloadEnd,
  };
}

export function encodeChange(change: Change): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(change));
}

export function decodeChange(bytes: Uint8Array, section: SectionView): Change {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(
      bytes.subarray(section.payloadStart, section.payloadEnd),
    );
    const change = JSON.parse(text) as Change;
    if (change.kind !== section.kind) throw damaged("a change has another kind than its section");
    if (!isChange(change)) throw damaged("a change does not have its shape");
    return change;
  } catch (cause) {
    if (cause instanceof CatchallError) throw cause;
    throw new CatchallError("log_damaged", "A change in the log cannot be read", { cause });
  }
}

/** What `encodeChange` wrote; anything else may not reach the state, nor be skipped in silence. */
function isChange(change: Change): boolean {
  if (typeof change.by !== "string") return false;
  if (change.kind === SECTION_RULE) return isRule(change.rule) && isCount(change.revision);
  if (change.kind === SECTION_IMPORT) return typeof readImportChunk(change.chunk) !== "string";
  if (change.kind !== SECTION_OVERRIDE && change.kind !== SECTION_RESET) return false;
  const { domain } = change;
  if (typeof domain !== "string" || parser.parseText(domain, false) !== null) return false;
  if (change.kind === SECTION_RESET || change.override === null) return true;
  const { status, reason } = change.override;
  return STATUS_NAMES.includes(status) && typeof reason === "string";
}

function isRule(rule: Rule): boolean {
  const { deliveredThreshold, bouncedThreshold, maxBounceRatio } = rule;
  if (!isCount(deliveredThreshold) || !isCount(bouncedThreshold)) return false;
  return maxBounceRatio === null || typeof maxBounceRatio === "number";
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function damaged(reason: string): CatchallError {
  return new CatchallError("log_damaged", `An entry of the log is damaged: ${reason}`);
}
