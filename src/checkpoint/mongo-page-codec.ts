/**
 * Adapter: pages as documents of MongoDB. Neighbouring pages of counters share a document of 16 slots, since a document
 * costs the server about 0.2 ms whatever its size and a small table has only a few domains a page; each slot keeps its
 * own position, so that each page is put if newer by itself, in one atomic update.
 *
 *   pages  {_id: "12/c/0fff", s: {"3": slot, "f": slot}}   keys: "12/k/<id>", meta: "12/m/0", both with slot "0" only
 *   slot   {v: [epoch, sequence, incarnation], c: crc32c, b: bytes}   or, for a large page, {v, c, n: count of parts}
 *   parts  {_id: "12/c/0fff.3@epoch.sequence.incarnation.crc#0", b: bytes}   never changed once written
 *
 * The crc covers the name of the page and its position too, so that what lies in a wrong place is noticed.
 * What was read is parsed, never asserted; what makes no sense is `checkpoint_damaged`.
 */

import { Binary, type Document } from "mongodb";
import { CatchallError } from "../model/errors.ts";
import { crc32c } from "../runtime/crc32c.ts";
import type { CheckpointPage, PageKind, Position } from "./checkpoint-store.ts";

const SLOTS_PER_DOCUMENT = 16;
const LETTERS: Readonly<Record<PageKind, string>> = { counters: "c", keys: "k", meta: "m" };
const KINDS: Readonly<Record<string, PageKind>> = { c: "counters", k: "keys", m: "meta" };
const PAGE_ID = /^(0|[1-9]\d{0,9})\/([ckm])\/([0-9a-f]{1,16})$/;

/** A larger page lies in parts: a document has 16 slots at most, and MongoDB takes 16 MiB at most. */
export const INLINE_BYTES_MAX: number = 64 * 1024;
export const PART_BYTES_MAX: number = 1024 * 1024;

export interface PageDocument extends Document {
  readonly _id: string;
  readonly s?: unknown;
}

export interface PartDocument extends Document {
  readonly _id: string;
  /** Document and slot of its page, as in the first part of `_id`. */
  readonly page: string;
  readonly v: readonly number[];
  readonly b: unknown;
}

/** Compares as positions do, in expressions of the server: element by element; a missing one is below all. */
export function versionOf(position: Position): number[] {
  return [position.epoch, position.sequence, position.incarnation];
}

export interface PagePlace {
  readonly document: string;
  readonly slot: string;
}

export function placeOf(partition: number, kind: PageKind, id: number): PagePlace {
  if (kind !== "counters") return { document: `${partition}/${LETTERS[kind]}/${id}`, slot: "0" };
  const group = Math.floor(id / SLOTS_PER_DOCUMENT)
    .toString(16)
    .padStart(4, "0");
  const slot = (id % SLOTS_PER_DOCUMENT).toString(16);
  return { document: `${partition}/${LETTERS[kind]}/${group}`, slot };
}

/** Documents of a partition (and kind): a range of `_id`. */
export function rangeOf(partition: number, kind: PageKind | null = null): Document {
  const prefix = kind === null ? `${partition}` : `${partition}/${LETTERS[kind]}`;
  // "0" comes right after "/".
  return { $gte: `${prefix}/`, $lt: `${prefix}0` };
}

/** With the crc: what was put twice at one position need not be the same. */
export function partId(place: PagePlace, position: Position, crc: number, index: number): string {
  return `${partPage(place)}@${versionOf(position).join(".")}.${crc}#${index}`;
}

export function partPage(place: PagePlace): string {
  return `${place.document}.${place.slot}`;
}

/** All parts of a page, of whatever position: a range of `_id`. */
export function partRange(page: string): Document {
  // "A" comes right after "@".
  return { $gte: `${page}@`, $lt: `${page}A` };
}

/** `bytes` null: the page lies in `partCount` parts. */
export interface PageSlot {
  readonly partition: number;
  readonly kind: PageKind;
  readonly id: number;
  readonly position: Position;
  readonly crc: number;
  readonly bytes: Uint8Array | null;
  readonly partCount: number;
}

export function partCountOf(page: CheckpointPage): number {
  return page.bytes.length <= INLINE_BYTES_MAX ? 0 : Math.ceil(page.bytes.length / PART_BYTES_MAX);
}

/** The value of a slot; `c` is the page's crc. The bytes are copied. */
export function encodeSlot(page: CheckpointPage): Document & { readonly c: number } {
  const v = versionOf(page.position);
  const c = crcOf(page, page.bytes);
  const n = partCountOf(page);
  return n === 0 ? { v, c, b: new Binary(page.bytes.slice()) } : { v, c, n };
}

/** Errors: CatchallError `checkpoint_damaged`. Inline bytes are checked; parts are the caller's. */
export function decodeDocument(document: PageDocument): PageSlot[] {
  const match = PAGE_ID.exec(document._id);
  if (match === null || !isRecord(document.s)) throw damagedPage(document._id, "it is not a page");
  const partition = Number(match[1]);
  const kind = KINDS[match[2] as string] as PageKind;
  const name = match[3] as string;
  return Object.entries(document.s).map(([slot, value]) => {
    if (!/^[0-9a-f]$/.test(slot)) throw damagedPage(document._id, `it has a slot "${slot}"`);
    const number = Number.parseInt(slot, 16);
    const id =
      kind === "counters" ? Number.parseInt(name, 16) * SLOTS_PER_DOCUMENT + number : Number(name);
    return decodeSlot(document._id, { partition, kind, id }, value);
  });
}

/** Errors: CatchallError `checkpoint_damaged` when the bytes are not those of the page. */
export function checkBytes(slot: PageSlot, bytes: Uint8Array): CheckpointPage {
  const { partition, kind, id, position } = slot;
  if (crcOf(slot, bytes) !== slot.crc) {
    throw damagedPage(`${partition}/${kind}/${id}`, "its checksum is wrong");
  }
  return { partition, kind, id, position, bytes };
}

export function damagedPage(name: string, reason: string): CatchallError {
  return new CatchallError("checkpoint_damaged", `Page "${name}" in MongoDB is damaged: ${reason}`);
}

/** Null when it is not binary. */
export function bytesOf(value: unknown): Uint8Array | null {
  if (value instanceof Binary) return value.buffer.subarray(0, value.position);
  return value instanceof Uint8Array ? value : null;
}

/** Null when it is not [epoch, sequence, incarnation]. */
export function positionOf(version: unknown): Position | null {
  if (!Array.isArray(version) || version.length !== 3 || !version.every(isCount)) return null;
  const [epoch, sequence, incarnation] = version as [number, number, number];
  return { epoch, incarnation, sequence };
}

export function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function decodeSlot(
  document: string,
  page: { readonly partition: number; readonly kind: PageKind; readonly id: number },
  value: unknown,
): PageSlot {
  const fields = isRecord(value) ? value : {};
  const position = positionOf(fields["v"]);
  const bytes = bytesOf(fields["b"]);
  const { c: crc, n: partCount } = fields;
  if (position === null || !isCount(crc) || !isCount(page.id)) {
    throw damagedPage(document, "it has fields that make no sense");
  }
  if (bytes === null) {
    if (!isCount(partCount) || partCount === 0) throw damagedPage(document, "it has no bytes");
    return { ...page, position, crc, bytes, partCount };
  }
  const slot: PageSlot = { ...page, position, crc, bytes, partCount: 0 };
  checkBytes(slot, bytes);
  return slot;
}

type PageName = Pick<CheckpointPage, "partition" | "kind" | "id" | "position">;

function crcOf({ partition, kind, id, position }: PageName, bytes: Uint8Array): number {
  const name = Buffer.from(`${partition}/${kind}/${id}@${versionOf(position).join(".")}`);
  return crc32c(bytes, 0, bytes.length, crc32c(name, 0, name.length));
}
