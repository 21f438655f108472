/**
 * A piece of another data directory on its way into this store: some of its domains, with all that is known of them.
 * The domains of a source have one order, by page, then name; a chunk is a run of it and names the domain before, so
 * that the owner can tell what it has from what is missing, however the run was cut.
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

/** Where a domain stands in its source. */
export interface ImportPlace {
  /** hash32 of the domain >>> 16. */
  readonly page: number;
  readonly domain: DomainName;
}

export interface ImportChunk {
  /** `storeId`: of the data directory; `digest`: of everything that is sent of it, hexadecimal. */
  readonly source: { readonly storeId: number; readonly digest: string };
  /** The domain before the first in the source, whatever partition it is in; null before the very first. */
  readonly previous: ImportPlace | null;
  /** One at least, in order, all of one partition of the target. */
  readonly domains: readonly ImportedDomain[];
}

const parser = new DomainParser();

export function importPlaceOf(domain: DomainName): ImportPlace {
  parser.parseText(domain, false);
  return { page: pageOf(parser.hash), domain };
}

/** Whether `place` comes after `other` in a source; anything comes after null. */
export function isPlaceAfter(place: ImportPlace, other: ImportPlace | null): boolean {
  if (other === null || place.page !== other.page) return place.page > (other?.page ?? -1);
  return place.domain > other.domain;
}

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
  const previous = fields["previous"] === null ? null : previousOf(fields["previous"]);
  const list = fields["domains"];
  if (!Array.isArray(list) || list.length === 0 || list.length > IMPORT_CHUNK_DOMAINS_MAX) {
    throw new Wrong(`"domains" must be a list of 1 to ${IMPORT_CHUNK_DOMAINS_MAX}`);
  }
  let last = previous;
  const domains = list.map((one) => {
    const domain = domainOf(one);
    const place = { page: pageOf(parser.hash), domain: domain.domain };
    if (!isPlaceAfter(place, last)) throw new Wrong(`"${place.domain}" is not in its order`);
    last = place;
    return domain;
  });
  return { source: { storeId, digest }, previous, domains };
}

function previousOf(value: unknown): ImportPlace {
  const fields = objectOf(value, "previous");
  const domain = nameOf(fields);
  const page = wholeOf(fields, "page", 65_535);
  if (pageOf(parser.hash) !== page) throw new Wrong(`"${domain}" is of another page`);
  return { page, domain };
}

/** Leaves the parser at the name. */
function nameOf(fields: Fields): DomainName {
  const domain = textOf(fields, "domain");
  if (parser.parseText(domain, false) !== null || parser.name() !== domain) {
    throw new Wrong(`"${domain.slice(0, 64)}" is no domain in canonical form`);
  }
  return domain as DomainName;
}

/** Leaves the parser at the name. */
function domainOf(value: unknown): ImportedDomain {
  const fields = objectOf(value, "domain");
  const domain = nameOf(fields);
  const read: ImportedDomain = {
    domain,
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
