/**
 * A piece of another data directory on its way into this store: the domains of one page, or of a part of one, with all
 * that is known of them. The chunks of a source form one list, and each names the one before it, so that the owner of
 * a page can tell a chunk it has from one that is missing.
 * Pure shape; `readImportChunk` takes anything and throws nothing.
 */

import { type DomainName, DomainParser } from "./domain-name.ts";
import { pageOf } from "./partition-id.ts";
import { STATUS_NAMES, type StatusName } from "./status.ts";

/** Chunks are cut so by the sender: no more domains, and no more bytes of JSON unless one domain alone has them. */
export const IMPORT_CHUNK_DOMAINS_MAX = 1_000;
export const IMPORT_CHUNK_BYTES: number = 128 * 1024;
/** Larger ones are refused; leaves room for the domain that went over, and fits an entry and a frame. */
export const IMPORT_CHUNK_BYTES_MAX: number = 256 * 1024;
/** Parts of one page; a page of a thousand million domains has fewer. */
const PARTS_MAX = 2 ** 20;
const TEXT_LENGTH_MAX = 1_000;
/** As the counter table keeps times: 42 bits. */
const TIME_MS_MAX: number = 2 ** 42 - 1;

export interface ImportedDomain {
  readonly domain: DomainName;
  /** 0 to 2^53 - 1. */
  readonly delivered: number;
  readonly bounced: number;
  /** Wall ms, 0 for never. Both are 0, or neither is. */
  readonly firstSeenMs: number;
  readonly lastSeenMs: number;
  /** By the rule or the override of the source; the target decides anew. */
  readonly status: StatusName;
  readonly statusSinceMs: number;
  readonly override?: {
    readonly status: StatusName;
    readonly reason: string;
    readonly by: string;
    readonly atMs: number;
  };
}

/** Where a chunk stands in its source; they are sent by rising page, then part. */
export interface ImportPlace {
  readonly page: number;
  readonly part: number;
}

export interface ImportChunk {
  /** `storeId`: of the data directory; `digest`: of everything that is sent of it, hexadecimal. */
  readonly source: { readonly storeId: number; readonly digest: string };
  readonly place: ImportPlace;
  /** The chunk before this one in the source, whatever partition it is in; null for the first. */
  readonly previous: ImportPlace | null;
  /** All of the same page; one at least. */
  readonly domains: readonly ImportedDomain[];
}

/** Orders the chunks of a source. */
export function importOrder(place: ImportPlace): number {
  return place.page * PARTS_MAX + place.part;
}

const parser = new DomainParser();

/** The chunk, with nothing but its own fields; or what is wrong with it. */
export function readImportChunk(value: unknown): ImportChunk | string {
  try {
    return chunkOf(value);
  } catch (error) {
    if (error instanceof Wrong) return error.message;
    throw error;
  }
}

class Wrong extends Error {}

type Fields = Readonly<Record<string, unknown>>;

function chunkOf(value: unknown): ImportChunk {
  const fields = objectOf(value, "chunk");
  const source = objectOf(fields["source"], "source");
  const storeId = wholeOf(source, "storeId", 2 ** 32 - 1);
  const digest = textOf(source, "digest");
  if (!/^[0-9a-f]{32,64}$/.test(digest)) throw new Wrong('"digest" is wrong');
  const place = placeOf(fields["place"], "place");
  const previous = fields["previous"] === null ? null : placeOf(fields["previous"], "previous");
  if (previous !== null && importOrder(previous) >= importOrder(place)) {
    throw new Wrong('"previous" does not come before "place"');
  }
  const list = fields["domains"];
  if (!Array.isArray(list) || list.length === 0 || list.length > IMPORT_CHUNK_DOMAINS_MAX) {
    throw new Wrong(`"domains" must be a list of 1 to ${IMPORT_CHUNK_DOMAINS_MAX}`);
  }
  const names = new Set<string>();
  const domains = list.map((one) => domainOf(one, place.page, names));
  return { source: { storeId, digest }, place, previous, domains };
}

function domainOf(value: unknown, page: number, names: Set<string>): ImportedDomain {
  const fields = objectOf(value, "domain");
  const domain = textOf(fields, "domain");
  if (parser.parseText(domain, false) !== null || parser.name() !== domain) {
    throw new Wrong(`"${domain.slice(0, 64)}" is no domain in canonical form`);
  }
  if (pageOf(parser.hash) !== page) throw new Wrong(`"${domain}" is of another page`);
  if (names.has(domain)) throw new Wrong(`"${domain}" is there twice`);
  names.add(domain);
  const read: ImportedDomain = {
    domain: domain as DomainName,
    delivered: wholeOf(fields, "delivered", Number.MAX_SAFE_INTEGER),
    bounced: wholeOf(fields, "bounced", Number.MAX_SAFE_INTEGER),
    firstSeenMs: wholeOf(fields, "firstSeenMs", TIME_MS_MAX),
    lastSeenMs: wholeOf(fields, "lastSeenMs", TIME_MS_MAX),
    status: statusOf(fields),
    statusSinceMs: wholeOf(fields, "statusSinceMs", TIME_MS_MAX),
  };
  const isNeverSeen = read.firstSeenMs === 0;
  if (isNeverSeen !== (read.lastSeenMs === 0) || read.firstSeenMs > read.lastSeenMs) {
    throw new Wrong(`the times of "${domain}" do not fit each other`);
  }
  if (isNeverSeen && read.delivered + read.bounced > 0) {
    throw new Wrong(`"${domain}" has counts and was never seen`);
  }
  if (fields["override"] === undefined) {
    if (isNeverSeen) throw new Wrong(`"${domain}" has nothing to import`);
    return read;
  }
  const override = objectOf(fields["override"], "override");
  const [reason, by] = [textOf(override, "reason"), textOf(override, "by")];
  const atMs = wholeOf(override, "atMs", TIME_MS_MAX);
  return { ...read, override: { status: statusOf(override), reason, by, atMs } };
}

function placeOf(value: unknown, name: string): ImportPlace {
  const fields = objectOf(value, name);
  return { page: wholeOf(fields, "page", 65_535), part: wholeOf(fields, "part", PARTS_MAX - 1) };
}

function objectOf(value: unknown, name: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Wrong(`"${name}" must be an object`);
  }
  return value as Fields;
}

function textOf(fields: Fields, name: string): string {
  const value = Object.hasOwn(fields, name) ? fields[name] : undefined;
  if (typeof value !== "string" || value.length > TEXT_LENGTH_MAX) {
    throw new Wrong(`"${name}" must be text of at most ${TEXT_LENGTH_MAX} characters`);
  }
  return value;
}

function wholeOf(fields: Fields, name: string, maximum: number): number {
  const value = Object.hasOwn(fields, name) ? fields[name] : undefined;
  if (!Number.isSafeInteger(value) || (value as number) < 0 || (value as number) > maximum) {
    throw new Wrong(`"${name}" must be a whole number from 0 to ${maximum}`);
  }
  // Minus zero becomes 0.
  return (value as number) + 0;
}

function statusOf(fields: Fields): StatusName {
  const status = STATUS_NAMES.find((name) => name === fields["status"]);
  if (status === undefined) throw new Wrong('"status" is none');
  return status;
}
