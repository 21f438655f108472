/**
 * JSON between nodes: questions, answers, and their parsers. What a parser does not know is `frame_damaged`.
 */

import { type DomainName, DomainParser } from "../model/domain-name.ts";
import { type ImportChunk, readImportChunk } from "../model/import-chunk.ts";
import { PAGES } from "../model/partition-id.ts";
import { type Rule, STATUS_NAMES, type StatusName } from "../model/status.ts";
import type { StatusChange } from "../model/status-change.ts";
import type { DomainReading, HostTotals, ListingPlace } from "../partition/partition-host.ts";
import type { Override } from "../partition/partition-state.ts";
import { decodeChange, SECTION_OVERRIDE, SECTION_RESET } from "../partition/section-codec.ts";
import { damagedFrame, isCount, isObject } from "../transport/message-codec.ts";
import type { RuleChange } from "./local-answers.ts";
import type { DomainChange } from "./owner-answers.ts";

export type Fields = Readonly<Record<string, unknown>>;

/** Domains in one question; their names fit a frame many times over. */
export const DOMAINS_PER_READ_MAX = 1_000;
/** Readings in one slice of a listing. */
export const READINGS_PER_SLICE_MAX = 500;

export interface ListQuestion {
  readonly status: StatusName | null;
  readonly after: ListingPlace | null;
  readonly limit: number;
  readonly pages: { readonly first: number; readonly end: number };
}

const parser = new DomainParser();

export function parseDomains(value: unknown): DomainName[] {
  const domains = arrayOf(value, parseDomain);
  if (domains.length === 0 || domains.length > DOMAINS_PER_READ_MAX) throw wrong("domains");
  return domains;
}

export function parseReading(value: unknown): DomainReading {
  const fields = object(value, "reading");
  return {
    domain: text(fields, "domain"),
    status: statusOf(fields["status"]),
    reason: text(fields, "reason"),
    delivered: count(fields, "delivered"),
    bounced: count(fields, "bounced"),
    threshold: count(fields, "threshold"),
    firstSeenMs: count(fields, "firstSeenMs"),
    lastSeenMs: count(fields, "lastSeenMs"),
    statusSinceMs: count(fields, "statusSinceMs"),
    override: fields["override"] === undefined ? undefined : overrideOf(fields["override"]),
  };
}

export function parseListQuestion(fields: Fields): ListQuestion {
  const first = count(fields, "first");
  const end = count(fields, "end");
  const limit = count(fields, "limit");
  if (end > PAGES || limit === 0) throw wrong("listing");
  const status = fields["status"] === null ? null : statusOf(fields["status"]);
  return { status, after: parsePlace(fields["after"]), limit, pages: { first, end } };
}

export function parsePlace(value: unknown): ListingPlace | null {
  if (value === null) return null;
  const fields = object(value, "place");
  return { page: count(fields, "page"), name: text(fields, "name") };
}

/** Partitions of a cluster that has `partitionCount` of them. */
export function parsePartitions(value: unknown, partitionCount: number): number[] {
  const partitions = arrayOf(value, (one) => {
    if (!isCount(one) || one >= partitionCount) throw wrong("partition");
    return one;
  });
  return partitions;
}

export function parseTotals(fields: Fields): HostTotals {
  const byStatus = arrayOf(fields["byStatus"], countOf);
  if (byStatus.length !== 4) throw wrong("byStatus");
  return {
    delivered: count(fields, "delivered"),
    bounced: count(fields, "bounced"),
    tableBytes: count(fields, "tableBytes"),
    byStatus: byStatus as [number, number, number, number],
  };
}

export function parseRule(value: unknown): Rule {
  const fields = object(value, "rule");
  const ratio = fields["maxBounceRatio"];
  if (ratio !== null && !(typeof ratio === "number" && ratio >= 0 && ratio <= 1)) {
    throw wrong("rule");
  }
  return {
    deliveredThreshold: count(fields, "deliveredThreshold"),
    bouncedThreshold: count(fields, "bouncedThreshold"),
    maxBounceRatio: ratio,
  };
}

export function parseRuleChange(fields: Fields): RuleChange {
  return {
    rule: parseRule(fields["rule"]),
    revision: count(fields, "revision"),
    by: text(fields, "by"),
  };
}

/** [from][to] counts. */
export function parseTransitions(value: unknown): number[][] {
  const rows = arrayOf(value, (row) => arrayOf(row, countOf));
  if (rows.length !== 4 || rows.some((row) => row.length !== 4)) throw wrong("transitions");
  return rows;
}

export function parseDomainChange(value: unknown): DomainChange {
  const { kind } = object(value, "change");
  if (kind !== SECTION_OVERRIDE && kind !== SECTION_RESET) throw wrong("change");
  const bytes = Buffer.from(JSON.stringify(value), "utf8");
  const section = { partition: 0, kind, epoch: 0, payloadStart: 0, payloadEnd: bytes.length };
  try {
    const change = decodeChange(bytes, section);
    if ("domain" in change) return change;
  } catch {
    // The reason speaks of a log; this is none.
  }
  throw wrong("change");
}

export function parseImportChunk(value: unknown): ImportChunk {
  const chunk = readImportChunk(value);
  if (typeof chunk === "string") throw wrong("chunk");
  return chunk;
}

export function parseStatusChange(value: unknown): StatusChange {
  const fields = object(value, "status change");
  return {
    id: text(fields, "id"),
    domain: text(fields, "domain"),
    from: statusOf(fields["from"]),
    to: statusOf(fields["to"]),
    delivered: count(fields, "delivered"),
    bounced: count(fields, "bounced"),
    at: text(fields, "at"),
  };
}

export function arrayOf<T>(value: unknown, parse: (one: unknown) => T): T[] {
  if (!Array.isArray(value)) throw wrong("list");
  return value.map(parse);
}

export function text(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== "string") throw wrong(name);
  return value;
}

export function count(fields: Fields, name: string): number {
  const value = fields[name];
  if (!isCount(value)) throw wrong(name);
  return value;
}

function countOf(value: unknown): number {
  if (!isCount(value)) throw wrong("count");
  return value;
}

function parseDomain(value: unknown): DomainName {
  if (typeof value !== "string" || parser.parseText(value, false) !== null) throw wrong("domain");
  if (parser.name() !== value) throw wrong("domain");
  return value as DomainName;
}

function overrideOf(value: unknown): Override {
  const fields = object(value, "override");
  return {
    status: statusOf(fields["status"]),
    reason: text(fields, "reason"),
    by: text(fields, "by"),
    atMs: count(fields, "atMs"),
  };
}

function statusOf(value: unknown): StatusName {
  const status = STATUS_NAMES.find((name) => name === value);
  if (status === undefined) throw wrong("status");
  return status;
}

function object(value: unknown, name: string): Fields {
  if (!isObject(value)) throw wrong(name);
  return value;
}

function wrong(name: string): Error {
  return damagedFrame(`"${name}" is wrong`);
}
