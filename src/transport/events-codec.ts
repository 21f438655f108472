/**
 * Payloads of frames with events (little-endian).
 *   request: u32 count · count × { u16 partition · u16 0 · u32 events · f64 producer sequence · u32 records · u32 bytes ·
 *   records (model/event-records.ts) }
 *   reply: u32 count · count × { u8 outcome (0 committed, 1 error) · u8 has verdicts · u16 0 · u32 bytes · verdicts of the
 *   keyed records, or "code message" in UTF-8 }, in the order of the request.
 * The producer is the sender of the frame. Records are checked by `recordsError` before anything reads them.
 */

import type { CatchallError } from "../model/errors.ts";
import {
  isKeyed,
  type RecordWriter,
  readUint32,
  recordEnd,
  recordsError,
  writeUint32,
} from "../model/event-records.ts";
import {
  damagedFrame,
  errorOfCode,
  FRAME_EVENTS,
  FRAME_EVENTS_REPLY,
  FRAME_HEADER_BYTES,
  type FrameHeader,
  sealFrame,
} from "./message-codec.ts";

/** Bytes that one sub-batch adds to a frame besides its records. */
export const SUB_BATCH_HEADER_BYTES = 24;
const COUNT_BYTES = 4;
const OUTCOME_HEADER_BYTES = 8;
const COMMITTED = 0;
const ERROR = 1;
const MESSAGE_LENGTH_MAX = 500;

/** Bytes of an events frame without sub-batches. */
export const EVENTS_FRAME_BYTES_MIN: number = FRAME_HEADER_BYTES + COUNT_BYTES;

export interface OutgoingSubBatch {
  readonly partition: number;
  readonly producerSequence: number;
  readonly eventCount: number;
  readonly records: RecordWriter;
}

/** `bytes[start, end)` are records that were checked. */
export interface IncomingSubBatch {
  readonly partition: number;
  readonly producerSequence: number;
  readonly eventCount: number;
  readonly recordCount: number;
  readonly keyedCount: number;
  readonly start: number;
  readonly end: number;
}

/** `committed` with a verdict (KEY_…) for each keyed record, null without; or why not. */
export type SubBatchOutcome =
  | { readonly kind: "committed"; readonly keys: Uint8Array | null }
  | { readonly kind: "error"; readonly error: CatchallError };

// Without keyed records, what nearly all outcomes are: one object for them all.
const PLAINLY_COMMITTED: SubBatchOutcome = { kind: "committed", keys: null };
const NO_BYTES = new Uint8Array(0);

/** `keys`: a verdict for each keyed record; null without any. */
export function committedOutcome(keys: Uint8Array | null): SubBatchOutcome {
  return keys === null ? PLAINLY_COMMITTED : { kind: "committed", keys };
}

export function encodeEventsFrame(
  header: Omit<FrameHeader, "type">,
  batches: readonly OutgoingSubBatch[],
): Uint8Array {
  let length = EVENTS_FRAME_BYTES_MIN;
  for (const { records } of batches) length += SUB_BATCH_HEADER_BYTES + records.length;
  const frame = new Uint8Array(length);
  const view = new DataView(frame.buffer);
  view.setUint32(FRAME_HEADER_BYTES, batches.length, true);
  let at = EVENTS_FRAME_BYTES_MIN;
  for (const { partition, producerSequence, eventCount, records } of batches) {
    view.setUint16(at, partition, true);
    view.setUint32(at + 4, eventCount, true);
    view.setFloat64(at + 8, producerSequence, true);
    view.setUint32(at + 16, records.count, true);
    view.setUint32(at + 20, records.length, true);
    at += SUB_BATCH_HEADER_BYTES;
    records.copyInto(frame, at);
    at += records.length;
  }
  sealFrame(frame, { ...header, type: FRAME_EVENTS });
  return frame;
}

/** Sub-batches of a frame that `openFrame` took. Throws `frame_damaged`. */
export function decodeEventsFrame(frame: Uint8Array): IncomingSubBatch[] {
  if (frame.length < EVENTS_FRAME_BYTES_MIN) throw damagedFrame("it has no sub-batches");
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const count = view.getUint32(FRAME_HEADER_BYTES, true);
  const batches: IncomingSubBatch[] = [];
  let at = EVENTS_FRAME_BYTES_MIN;
  for (let i = 0; i < count; i++) {
    const start = at + SUB_BATCH_HEADER_BYTES;
    if (start > frame.length) throw damagedFrame("a sub-batch is cut short");
    const end = start + view.getUint32(at + 20, true);
    if (end > frame.length) throw damagedFrame("a sub-batch is cut short");
    const recordCount = view.getUint32(at + 16, true);
    const error = recordsError(frame, start, end, recordCount);
    if (error !== null) throw damagedFrame(error);
    const producerSequence = view.getFloat64(at + 8, true);
    if (!Number.isSafeInteger(producerSequence) || producerSequence < 1 || recordCount === 0) {
      throw damagedFrame("a sub-batch has a wrong header");
    }
    batches.push({
      partition: view.getUint16(at, true),
      eventCount: view.getUint32(at + 4, true),
      producerSequence,
      recordCount,
      keyedCount: keyedRecords(frame, start, end),
      start,
      end,
    });
    at = end;
  }
  if (at !== frame.length) throw damagedFrame("bytes are left over");
  return batches;
}

export function encodeEventsReply(
  header: Omit<FrameHeader, "type">,
  outcomes: readonly SubBatchOutcome[],
): Uint8Array {
  const bodies = outcomes.map(bodyOf);
  let length = FRAME_HEADER_BYTES + COUNT_BYTES;
  for (const body of bodies) length += OUTCOME_HEADER_BYTES + body.length;
  const frame = new Uint8Array(length);
  writeUint32(frame, FRAME_HEADER_BYTES, outcomes.length);
  let at = FRAME_HEADER_BYTES + COUNT_BYTES;
  for (let i = 0; i < outcomes.length; i++) {
    const outcome = outcomes[i] as SubBatchOutcome;
    const body = bodies[i] as Uint8Array;
    const isCommitted = outcome.kind === "committed";
    frame[at] = isCommitted ? COMMITTED : ERROR;
    frame[at + 1] = isCommitted && outcome.keys !== null ? 1 : 0;
    writeUint32(frame, at + 4, body.length);
    if (body.length > 0) frame.set(body, at + OUTCOME_HEADER_BYTES);
    at += OUTCOME_HEADER_BYTES + body.length;
  }
  sealFrame(frame, { ...header, type: FRAME_EVENTS_REPLY });
  return frame;
}

/** Outcomes of a frame that `openFrame` took. Throws `frame_damaged` unless there are exactly `count`. */
export function decodeEventsReply(frame: Uint8Array, count: number): SubBatchOutcome[] {
  const outcomes: SubBatchOutcome[] = [];
  let at = FRAME_HEADER_BYTES + COUNT_BYTES;
  if (frame.length < at || readUint32(frame, FRAME_HEADER_BYTES) !== count) {
    throw damagedFrame("it answers another number of sub-batches");
  }
  for (let i = 0; i < count; i++) {
    const start = at + OUTCOME_HEADER_BYTES;
    if (start > frame.length) throw damagedFrame("an outcome is cut short");
    const end = start + readUint32(frame, at + 4);
    if (end > frame.length) throw damagedFrame("an outcome is cut short");
    outcomes.push(outcomeOf(frame, at, start, end));
    at = end;
  }
  if (at !== frame.length) throw damagedFrame("bytes are left over");
  return outcomes;
}

function outcomeOf(frame: Uint8Array, at: number, start: number, end: number): SubBatchOutcome {
  if (frame[at] === COMMITTED) {
    return committedOutcome(frame[at + 1] === 1 ? frame.slice(start, end) : null);
  }
  if (frame[at] !== ERROR) throw damagedFrame("an outcome is not known here");
  const text = Buffer.from(frame.buffer, frame.byteOffset + start, end - start).toString("utf8");
  const space = text.indexOf(" ");
  if (space < 0) throw damagedFrame("an error has no code");
  return { kind: "error", error: errorOfCode(text.slice(0, space), text.slice(space + 1)) };
}

function bodyOf(outcome: SubBatchOutcome): Uint8Array {
  if (outcome.kind === "committed") return outcome.keys ?? NO_BYTES;
  const { code, message } = outcome.error;
  return Buffer.from(`${code} ${message.slice(0, MESSAGE_LENGTH_MAX)}`, "utf8");
}

function keyedRecords(bytes: Uint8Array, start: number, end: number): number {
  let keyed = 0;
  for (let at = start; at < end; at = recordEnd(bytes, at)) if (isKeyed(bytes, at)) keyed++;
  return keyed;
}
