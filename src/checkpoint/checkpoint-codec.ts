/**
 * The checkpoint file, little-endian: a header, page records, one manifest record, a trailer.
 *   header  0 magic "CATCHCKP" · 8 u32 version · 12 u32 store id · 16 f64 generation · 24 f64 generation it builds on
 *           (0: full) · 32 u32 that file's last crc · 36 u32 crc of 0..36
 *   record  0 u32 length · 4 u32 crc of 0..4 and 8..length · 8 u8 kind · 9 u8+u16 zero · 12 u32 partition · 16 f64 id
 *           24 f64 epoch · 32 f64 incarnation · 40 f64 sequence · 48 bytes
 * Every crc is seeded with the one before it, so that a record can be neither lost, moved nor repeated unnoticed.
 * What was read is parsed, never asserted.
 */

import { crc32c } from "../runtime/crc32c.ts";
import type {
  CheckpointPage,
  ManifestSet,
  PageKind,
  PartitionManifest,
  Position,
} from "./checkpoint-store.ts";

export const CHECKPOINT_VERSION = 1;
export const CHECKPOINT_HEADER_BYTES = 40;
export const RECORD_HEADER_BYTES = 48;
const MAGIC: Uint8Array = new TextEncoder().encode("CATCHCKP");
const PAGE_KINDS: readonly PageKind[] = ["counters", "keys", "meta"];
const KIND_MANIFEST = 250;
const KIND_TRAILER = 251;

export interface CheckpointHeader {
  readonly storeId: number;
  readonly generation: number;
  /** Generation that a delta builds on; 0 for a full checkpoint. */
  readonly previousGeneration: number;
  /** Last crc of that generation's file; 0 for a full checkpoint. */
  readonly previousCrc: number;
}

export type CheckpointRecord =
  | { readonly kind: "page"; readonly page: CheckpointPage }
  | { readonly kind: "manifest"; readonly set: ManifestSet }
  | { readonly kind: "trailer"; readonly pages: number };

export type RecordResult =
  | { readonly record: CheckpointRecord; readonly end: number; readonly crc: number }
  | { readonly damage: string };

/** Returns the header's bytes; their last four are its crc, which seeds the first record's. */
export function encodeHeader(header: CheckpointHeader): Uint8Array {
  const bytes = new Uint8Array(CHECKPOINT_HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC, 0);
  view.setUint32(8, CHECKPOINT_VERSION, true);
  view.setUint32(12, header.storeId, true);
  view.setFloat64(16, header.generation, true);
  view.setFloat64(24, header.previousGeneration, true);
  view.setUint32(32, header.previousCrc, true);
  view.setUint32(36, crc32c(bytes, 0, 36), true);
  return bytes;
}

/** Returns the header with its crc, or in words why there is none. */
export function decodeHeader(
  bytes: Uint8Array,
): (CheckpointHeader & { readonly crc: number }) | string {
  if (bytes.length < CHECKPOINT_HEADER_BYTES) return "the file is shorter than its header";
  const view = new DataView(bytes.buffer, bytes.byteOffset, CHECKPOINT_HEADER_BYTES);
  if (!MAGIC.every((byte, i) => bytes[i] === byte)) return "the header is not ours";
  const crc = view.getUint32(36, true);
  if (crc !== crc32c(bytes, 0, 36)) return "the header's checksum is wrong";
  const version = view.getUint32(8, true);
  if (version !== CHECKPOINT_VERSION) return `version ${version} is not known`;
  return {
    storeId: view.getUint32(12, true),
    generation: view.getFloat64(16, true),
    previousGeneration: view.getFloat64(24, true),
    previousCrc: view.getUint32(32, true),
    crc,
  };
}

/** Writes a page record at the start of `out`, which has room for it; returns its crc. */
export function encodePage(page: CheckpointPage, previousCrc: number, out: Uint8Array): number {
  const kind = PAGE_KINDS.indexOf(page.kind);
  return encodeRecord(kind, page.partition, page.id, page.position, page.bytes, previousCrc, out);
}

/** Returns the last two records of a file, and the file's last crc. */
export function encodeEnd(
  set: ManifestSet,
  pages: number,
  previousCrc: number,
): { readonly bytes: Uint8Array; readonly crc: number } {
  const body = new TextEncoder().encode(JSON.stringify(set));
  const manifestEnd = RECORD_HEADER_BYTES + body.length;
  const bytes = new Uint8Array(manifestEnd + RECORD_HEADER_BYTES);
  const none: Position = { epoch: 0, incarnation: 0, sequence: 0 };
  const crc = encodeRecord(KIND_MANIFEST, 0, 0, none, body, previousCrc, bytes);
  const trailer = bytes.subarray(manifestEnd);
  const end = encodeRecord(KIND_TRAILER, 0, pages, none, new Uint8Array(0), crc, trailer);
  return { bytes, crc: end };
}

/** Length of the record that begins at `offset`, as it stands there; its first eight bytes must be there. */
export function recordLength(bytes: Uint8Array, offset: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset + offset, 4).getUint32(0, true);
}

/** Reads the record at `offset`. The page's bytes are a view. */
export function decodeRecord(bytes: Uint8Array, offset: number, previousCrc: number): RecordResult {
  if (offset + RECORD_HEADER_BYTES > bytes.length) return { damage: "the file ends in a record" };
  const length = recordLength(bytes, offset);
  const end = offset + length;
  if (length < RECORD_HEADER_BYTES) return { damage: "a record's length is too small" };
  if (end > bytes.length) return { damage: "a record goes past the end" };
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, RECORD_HEADER_BYTES);
  const crc = view.getUint32(4, true);
  if (crc !== recordCrc(bytes, offset, end, previousCrc)) {
    return { damage: "a record's checksum is wrong" };
  }
  const body = bytes.subarray(offset + RECORD_HEADER_BYTES, end);
  const record = decodeBody(view, body);
  return record === null
    ? { damage: "a record has fields that make no sense" }
    : { record, end, crc };
}

function encodeRecord(
  kind: number,
  partition: number,
  id: number,
  position: Position,
  body: Uint8Array,
  previousCrc: number,
  out: Uint8Array,
): number {
  const length = RECORD_HEADER_BYTES + body.length;
  const view = new DataView(out.buffer, out.byteOffset, RECORD_HEADER_BYTES);
  view.setUint32(0, length, true);
  view.setUint32(8, kind, true);
  view.setUint32(12, partition, true);
  view.setFloat64(16, id, true);
  view.setFloat64(24, position.epoch, true);
  view.setFloat64(32, position.incarnation, true);
  view.setFloat64(40, position.sequence, true);
  out.set(body, RECORD_HEADER_BYTES);
  const crc = recordCrc(out, 0, length, previousCrc);
  view.setUint32(4, crc, true);
  return crc;
}

function recordCrc(bytes: Uint8Array, start: number, end: number, previousCrc: number): number {
  return crc32c(bytes, start + 8, end, crc32c(bytes, start, start + 4, previousCrc));
}

function decodeBody(view: DataView, body: Uint8Array): CheckpointRecord | null {
  const kind = view.getUint32(8, true);
  const id = view.getFloat64(16, true);
  if (!isCount(id)) return null;
  if (kind === KIND_TRAILER) return body.length === 0 ? { kind: "trailer", pages: id } : null;
  if (kind === KIND_MANIFEST) {
    const set = parseManifestSet(body);
    return set === null ? null : { kind: "manifest", set };
  }
  const pageKind = PAGE_KINDS[kind];
  const position: Position = {
    epoch: view.getFloat64(24, true),
    incarnation: view.getFloat64(32, true),
    sequence: view.getFloat64(40, true),
  };
  if (pageKind === undefined || !isPosition(position)) return null;
  const partition = view.getUint32(12, true);
  return { kind: "page", page: { partition, kind: pageKind, id, position, bytes: body } };
}

function parseManifestSet(body: Uint8Array): ManifestSet | null {
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    return null;
  }
  if (!isRecord(parsed)) return null;
  const { formatVersion, partitions, hashName, canonicalisationVersion, timeMs } = parsed;
  if (!isCount(formatVersion) || !isCount(partitions) || typeof timeMs !== "number") return null;
  if (typeof hashName !== "string" || typeof canonicalisationVersion !== "string") return null;
  if (!Array.isArray(parsed["manifests"])) return null;
  const manifests = parsed["manifests"].map(parseManifest);
  if (!manifests.every((manifest) => manifest !== null)) return null;
  return { formatVersion, partitions, hashName, canonicalisationVersion, timeMs, manifests };
}

function parseManifest(value: unknown): PartitionManifest | null {
  if (!isRecord(value)) return null;
  const { partition, watermark, keyBuckets, domainCount } = value;
  if (!isCount(partition) || !isRecord(watermark) || !isPosition(watermark)) return null;
  if (!Array.isArray(keyBuckets) || !keyBuckets.every(isCount)) return null;
  if (!isCount(domainCount)) return null;
  const { epoch, incarnation, sequence } = watermark;
  return { partition, watermark: { epoch, incarnation, sequence }, keyBuckets, domainCount };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function isPosition(value: object): value is Position {
  const { epoch, incarnation, sequence } = value as Partial<Record<keyof Position, unknown>>;
  return isCount(epoch) && isCount(incarnation) && isCount(sequence);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
