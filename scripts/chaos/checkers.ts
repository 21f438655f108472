/**
 * Judges a history, domain by domain. Every rule is a necessary condition of "acknowledged events count exactly once,
 * refused ones never, and reads are linearizable", so a violation is never a false alarm:
 *   range       a read shows all that was acknowledged before it began, nothing that was not sent before it ended
 *   monotonic   of two reads that do not overlap, the later one never shows less, whichever nodes answered
 *   increment   between two such reads a count grows by what was written between them, and by nothing else
 *   status      the status is the one of the counts; alone it is one of those that the range allows
 * What was answered "not applied" is in no upper bound, so it can't have been counted. Pure: no clock, no network.
 */

import type { DomainHistory, EventType, Read, Status, Write } from "./history.ts";

export type Rule =
  | "range"
  | "monotonic"
  | "increment"
  | "status"
  | "same everywhere"
  | "unanswered"
  | "key"
  | "audit"
  | "process"
  | "liveness"
  | "share"
  | "fault";

export interface Violation {
  readonly rule: Rule;
  /** "" when it is not about a domain. */
  readonly domain: string;
  readonly text: string;
}

/** The rule of classification that the nodes were started with: one bounce is enough, as by default. */
export interface StatusRule {
  readonly deliveredThreshold: number;
}

interface Bounds {
  readonly low: number;
  readonly high: number;
}

const TYPES: readonly EventType[] = ["delivered", "bounced"];
/** Of the domains of a run, in percent, that have no unknown event. */
export const SHARE_MIN = 95;
/** A run with fewer is too short: one fault at an unlucky moment decides about its share. */
export const JUDGED_DOMAINS_MIN = 5000;
/** Of one domain and rule: the first ones tell the story. */
const SHOWN_PER_RULE = 3;

export function checkDomain(history: DomainHistory, rule: StatusRule): readonly Violation[] {
  const violations: Violation[] = [];
  const { domain } = history;
  const add = (broken: Rule, text: string): void => {
    if (violations.filter((one) => one.rule === broken).length >= SHOWN_PER_RULE) return;
    violations.push({ rule: broken, domain, text });
  };
  for (const type of TYPES) {
    const writes = history.writes.filter((write) => write.type === type);
    const reads = history.reads.filter(({ counts }) => counts !== null);
    for (const read of reads) checkRange(read, type, writes, add);
    checkPairs(reads, type, writes, add);
  }
  for (const read of history.reads) checkStatus(read, history.writes, rule, add);
  return violations;
}

/** Whether the final count of the domain is known to the last event. */
export function isExact({ writes }: DomainHistory): boolean {
  return writes.every(({ outcome }) => outcome !== "unknown");
}

export interface DomainTotals {
  readonly domains: number;
  /** Of them without an unknown event, so that nothing but one count is right. */
  readonly exactDomains: number;
}

/** In percent; of no domains all are exact. */
export function shareOf({ domains, exactDomains }: DomainTotals): number {
  return domains === 0 ? 100 : (100 * exactDomains) / domains;
}

/** With too many unknown events a run would hide what it looks for. */
export function checkShare(totals: DomainTotals): readonly Violation[] {
  const share = shareOf(totals);
  if (totals.domains < JUDGED_DOMAINS_MIN || share >= SHARE_MIN) return [];
  const text = `only ${share.toFixed(2)} % of ${totals.domains} domains are exact, not ${SHARE_MIN} %`;
  return [{ rule: "share", domain: "", text }];
}

/** The status that the rule gives these counts. */
export function statusOf(delivered: number, bounced: number, rule: StatusRule): Status {
  if (bounced >= 1) return "not catch-all";
  return delivered > rule.deliveredThreshold ? "catch-all" : "unknown";
}

/** Final reads of one domain, one a node: all the same. */
export function checkSameEverywhere(domain: string, reads: readonly Read[]): readonly Violation[] {
  const answers = new Map(reads.map((read) => [answerOf(read), read]));
  if (answers.size <= 1) return [];
  const text = reads.map((read) => `${read.node} says ${answerOf(read)}`).join(", ");
  return [{ rule: "same everywhere", domain, text }];
}

/** The domain's whole history in the order of time, one line an operation. */
export function excerptOf({ writes, reads }: DomainHistory): readonly string[] {
  const rows = [
    ...writes.map((write) => ({ atMs: write.startMs, text: lineOfWrite(write) })),
    ...reads.map((read) => ({ atMs: read.startMs, text: lineOfRead(read) })),
  ];
  return rows.sort((a, b) => a.atMs - b.atMs).map(({ text }) => text);
}

type Add = (broken: Rule, text: string) => void;

function checkRange(read: Read, type: EventType, writes: readonly Write[], add: Add): void {
  const value = countIn(read, type);
  const { low, high } = boundsOf(read, writes);
  if (value >= low && value <= high) return;
  add("range", `${lineOfRead(read)}: ${type} must be ${low} to ${high}`);
}

function boundsOf({ startMs, endMs }: Read, writes: readonly Write[]): Bounds {
  let low = 0;
  let high = 0;
  for (const write of writes) {
    if (write.outcome === "none") continue;
    if (write.outcome === "acked" && write.endMs < startMs) low += write.count;
    if (write.startMs < endMs) high += write.count;
  }
  return { low, high };
}

function checkPairs(
  reads: readonly Read[],
  type: EventType,
  writes: readonly Write[],
  add: Add,
): void {
  const byEnd = [...reads].sort((a, b) => a.endMs - b.endMs);
  for (const later of reads) {
    for (const earlier of byEnd) {
      if (earlier.endMs >= later.startMs) break;
      const grown = countIn(later, type) - countIn(earlier, type);
      const pair = `${lineOfRead(earlier)}, then ${lineOfRead(later)}`;
      if (grown < 0) add("monotonic", `${pair}: ${type} went back`);
      const { low, high } = growthOf(earlier, later, writes);
      if (grown < low || grown > high) {
        add("increment", `${pair}: ${type} grew by ${grown}, must be ${low} to ${high}`);
      }
    }
  }
}

/** How much a count may have grown between two reads of which the first ended before the second began. */
function growthOf(earlier: Read, later: Read, writes: readonly Write[]): Bounds {
  let low = 0;
  let high = 0;
  for (const { outcome, startMs, endMs, count } of writes) {
    if (outcome === "none") continue;
    const isAcked = outcome === "acked";
    if (isAcked && startMs > earlier.endMs && endMs < later.startMs) low += count;
    const wasSeen = isAcked && endMs < earlier.startMs;
    if (!wasSeen && startMs < later.endMs) high += count;
  }
  return { low, high };
}

function checkStatus(read: Read, writes: readonly Write[], rule: StatusRule, add: Add): void {
  const { counts, status } = read;
  if (counts !== null) {
    const expected = statusOf(counts.delivered, counts.bounced, rule);
    if (status !== expected) add("status", `${lineOfRead(read)}: must be ${expected}`);
    return;
  }
  const delivered = boundsOf(
    read,
    writes.filter(({ type }) => type === "delivered"),
  );
  const bounced = boundsOf(
    read,
    writes.filter(({ type }) => type === "bounced"),
  );
  const legal = new Set<Status>([
    statusOf(delivered.low, bounced.low, rule),
    statusOf(delivered.high, bounced.low, rule),
    statusOf(delivered.low, bounced.high, rule),
  ]);
  if (!legal.has(status)) {
    add("status", `${lineOfRead(read)}: must be ${[...legal].join(" or ")}`);
  }
}

function countIn(read: Read, type: EventType): number {
  return read.counts?.[type] ?? Number.NaN;
}

function answerOf({ counts, status }: Read): string {
  return counts === null ? status : `${counts.delivered}/${counts.bounced} ${status}`;
}

function lineOfRead(read: Read): string {
  return `${timeOf(read.startMs)}–${timeOf(read.endMs)} ${read.node} reads ${answerOf(read)}`;
}

function lineOfWrite({ id, type, count, key, startMs, endMs, outcome, told }: Write): string {
  const end = endMs === Number.POSITIVE_INFINITY ? "…" : timeOf(endMs);
  const name = key === null ? `#${id}` : `#${id} key ${key}`;
  return `${timeOf(startMs)}–${end} ${name} ${type} ×${count} ${outcome} [${told.join("; ")}]`;
}

function timeOf(ms: number): string {
  return `${(ms / 1000).toFixed(3)}s`;
}
