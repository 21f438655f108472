/**
 * Frames between incarnations (little-endian):
 *   u16 magic · u8 version · u8 type · u32 crc32c of all that follows · f64 sender incarnation · f64 control table
 *   revision · f64 frame number · payload.
 * A frame number other than 0 is given once by its sender: such a frame has an effect and is handled once
 * (router/frame-window.ts).
 * Safety: bytes from the network are parsed here, never trusted: what is unknown, cut short or damaged is a
 * CatchallError `frame_damaged`, never an assertion.
 */

import { CatchallError, ERROR_CODES, type ErrorCode } from "../model/errors.ts";
import { crc32c } from "../runtime/crc32c.ts";

export const FRAME_HEADER_BYTES = 32;
const MAGIC = 0xca71;
const VERSION = 1;
const CRC_START = 4;
const CRC_FROM = 8;

/** Sub-batches for one owner (events-codec.ts), and what became of them. */
export const FRAME_EVENTS = 1;
export const FRAME_EVENTS_REPLY = 2;
/** JSON: a question or change, its answer, and what is told to everybody. */
export const FRAME_REQUEST = 3;
export const FRAME_REPLY = 4;
export const FRAME_NOTICE = 5;
/** JSON `{code, message}`: the frame as a whole was refused, nothing of it was done. */
export const FRAME_REFUSED = 6;
const TYPE_LAST = FRAME_REFUSED;

export interface FrameHeader {
  readonly type: number;
  readonly sender: number;
  /** Newest control table that the sender has seen. */
  readonly revision: number;
  /** 0 for frames without effect. */
  readonly number: number;
}

/** Writes the header, checksum included, in front of a payload that is complete. */
export function sealFrame(frame: Uint8Array, header: FrameHeader): void {
  const view = new DataView(frame.buffer, frame.byteOffset, FRAME_HEADER_BYTES);
  view.setUint16(0, MAGIC, true);
  view.setUint8(2, VERSION);
  view.setUint8(3, header.type);
  view.setFloat64(8, header.sender, true);
  view.setFloat64(16, header.revision, true);
  view.setFloat64(24, header.number, true);
  view.setUint32(CRC_START, crc32c(frame, CRC_FROM, frame.length, header.type), true);
}

/** Throws `frame_damaged` unless the frame is whole and of a known version and type. */
export function openFrame(frame: Uint8Array): FrameHeader {
  if (frame.length < FRAME_HEADER_BYTES) throw damagedFrame("it is cut short");
  const view = new DataView(frame.buffer, frame.byteOffset, FRAME_HEADER_BYTES);
  if (view.getUint16(0, true) !== MAGIC) throw damagedFrame("it is none of ours");
  const version = view.getUint8(2);
  if (version !== VERSION) throw damagedFrame(`version ${version} is not known here`);
  const type = view.getUint8(3);
  if (type < FRAME_EVENTS || type > TYPE_LAST) throw damagedFrame(`type ${type} is not known here`);
  if (crc32c(frame, CRC_FROM, frame.length, type) !== view.getUint32(CRC_START, true)) {
    throw damagedFrame("its checksum is wrong");
  }
  const header: FrameHeader = {
    type,
    sender: view.getFloat64(8, true),
    revision: view.getFloat64(16, true),
    number: view.getFloat64(24, true),
  };
  if (!isCount(header.sender) || !isCount(header.revision) || !isCount(header.number)) {
    throw damagedFrame("its header is wrong");
  }
  return header;
}

/** A whole frame with a JSON payload. */
export function encodeJsonFrame(header: FrameHeader, body: unknown): Uint8Array {
  const text = Buffer.from(JSON.stringify(body), "utf8");
  const frame = new Uint8Array(FRAME_HEADER_BYTES + text.length);
  frame.set(text, FRAME_HEADER_BYTES);
  sealFrame(frame, header);
  return frame;
}

/** The payload of a frame that `openFrame` took. Throws `frame_damaged` unless it is a JSON object. */
export function decodeJsonPayload(frame: Uint8Array): Readonly<Record<string, unknown>> {
  let body: unknown;
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(
      frame.subarray(FRAME_HEADER_BYTES),
    );
    body = JSON.parse(text);
  } catch (cause) {
    throw new CatchallError("frame_damaged", "A message between nodes is not JSON", { cause });
  }
  if (!isObject(body)) throw damagedFrame("it holds no object");
  return body;
}

export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
}

export function wireError(error: unknown): WireError {
  if (error instanceof CatchallError) return { code: error.code, message: error.message };
  return { code: "internal", message: String(error).slice(0, 500) };
}

/** Throws `frame_damaged` unless `value` is an error as `wireError` makes it; a code of a newer node is `internal`. */
export function errorOfWire(value: unknown): CatchallError {
  if (!isObject(value)) throw damagedFrame("an error is not an object");
  const { code, message } = value;
  if (typeof code !== "string" || typeof message !== "string") {
    throw damagedFrame("an error has no code");
  }
  return errorOfCode(code, message);
}

export function errorOfCode(code: string, message: string): CatchallError {
  if (Object.hasOwn(ERROR_CODES, code)) return new CatchallError(code as ErrorCode, message);
  return new CatchallError("internal", `${code}: ${message}`);
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

export function damagedFrame(reason: string): CatchallError {
  return new CatchallError("frame_damaged", `A message between nodes is damaged: ${reason}`);
}
