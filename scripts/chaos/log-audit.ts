/**
 * Recounts what clients did from the logs alone, entry by entry, independent of nodes and checkpoints: every
 * acknowledged key lies in them exactly once, no key twice, nothing that was refused, and the sums are the counts that
 * the nodes answer. Needs logs that are never trimmed (`--log-retention`).
 */

import { BOUNCED } from "../../src/model/event.ts";
import {
  isKeyed,
  recordCount,
  recordEnd,
  recordKeyStart,
  recordKind,
  recordNameLength,
  recordNameStart,
} from "../../src/model/event-records.ts";
import { hashKey128 } from "../../src/model/key-hash.ts";
import { readEvents, readSections, SECTION_EVENTS } from "../../src/partition/section-codec.ts";
import { ENTRY_HEADER_BYTES, ENTRY_KIND_DATA, readEntryHeader } from "../../src/wal/entry-codec.ts";
import { FIRST_KEPT, type NodeLog } from "../../src/wal/node-log.ts";
import { isExact, type Violation } from "./checkers.ts";
import type { DomainHistory, EventType, Write } from "./history.ts";

/** What the logs say of one domain. */
export interface LoggedDomain {
  delivered: number;
  bounced: number;
  /** How often each key's record was stored, by the 16 bytes in hex. */
  readonly keys: Map<string, number>;
}

export type LoggedDomains = Map<string, LoggedDomain>;

export class LogAudit {
  /** Last sequence that was read, by incarnation. */
  readonly #read: Map<number, number> = new Map();

  /** What has been stored since the last call. Errors: those of the log. */
  async collect(log: Pick<NodeLog, "list" | "read" | "lastSequence">): Promise<LoggedDomains> {
    const domains: LoggedDomains = new Map();
    for (const incarnation of await log.list()) {
      const from = this.#read.get(incarnation) ?? 0;
      const last = await log.lastSequence(incarnation);
      if (last <= from) continue;
      const first = from === 0 ? FIRST_KEPT : from + 1;
      for await (const entry of log.read(incarnation, first, last)) addEntry(entry, domains);
      this.#read.set(incarnation, last);
    }
    return domains;
  }
}

/** Adds the events of one entry. Errors: CatchallError `log_damaged`. */
export function addEntry(entry: Uint8Array, domains: LoggedDomains): void {
  if (readEntryHeader(entry).kind !== ENTRY_KIND_DATA) return;
  for (const section of readSections(entry, ENTRY_HEADER_BYTES, entry.length)) {
    if (section.kind !== SECTION_EVENTS) continue;
    const { recordsStart, recordsEnd } = readEvents(entry, section);
    for (let at = recordsStart; at < recordsEnd; at = recordEnd(entry, at)) {
      addRecord(entry, at, domains);
    }
  }
}

export interface AuditExpectation {
  /** What the nodes answer in the end, by domain. */
  readonly final: ReadonlyMap<string, Readonly<Record<EventType, number>>>;
  /** Domains of an earlier time whose unknown events may have come since. */
  readonly mayComeLate: (domain: string) => boolean;
}

export function checkAudit(
  histories: Iterable<DomainHistory>,
  logged: LoggedDomains,
  { final, mayComeLate }: AuditExpectation,
): readonly Violation[] {
  const violations: Violation[] = [];
  const missing: LoggedDomain = { delivered: 0, bounced: 0, keys: new Map() };
  const known = new Set<string>();
  const add = (domain: string, text: string): void => {
    violations.push({ rule: "audit", domain, text });
  };
  for (const history of histories) {
    const { domain, writes } = history;
    known.add(domain);
    const stored = logged.get(domain) ?? missing;
    // What is unknown may be stored between the two looks.
    const answered = isExact(history) ? final.get(domain) : undefined;
    for (const type of ["delivered", "bounced"] as const) {
      if (answered !== undefined && answered[type] !== stored[type]) {
        add(domain, `the logs have ${stored[type]} ${type}, the nodes answer ${answered[type]}`);
      }
    }
    const unexpected = new Set(stored.keys.keys());
    for (const write of writes) {
      if (write.key === null) continue;
      const name = keyName(domain, write.key);
      unexpected.delete(name);
      const wrong = wrongTimes(write, stored.keys.get(name) ?? 0);
      if (wrong !== null) add(domain, `#${write.id}, key ${write.key}, ${wrong}`);
    }
    if (unexpected.size > 0) add(domain, `the logs have ${unexpected.size} keys that nobody sent`);
  }
  for (const domain of logged.keys()) {
    if (!known.has(domain) && !mayComeLate(domain))
      add(domain, "the logs have events that nobody sent now");
  }
  return violations;
}

/** The 16 bytes that stand for a key on a domain, in hex. */
export function keyName(domain: string, key: string): string {
  const name = Buffer.from(domain);
  const words = new Uint32Array(4);
  hashKey128(name, name.length, key, words);
  return Buffer.from(words.buffer).toString("hex");
}

function wrongTimes({ outcome }: Write, times: number): string | null {
  if (times > 1) return `lies in the logs ${times} times`;
  if (outcome === "acked" && times === 0) return "was acknowledged and lies in no log";
  return outcome === "none" && times === 1 ? "was refused and lies in a log" : null;
}

function addRecord(entry: Uint8Array, at: number, domains: LoggedDomains): void {
  const start = recordNameStart(entry, at);
  const domain = Buffer.from(
    entry.buffer,
    entry.byteOffset + start,
    recordNameLength(entry, at),
  ).toString();
  let logged = domains.get(domain);
  if (logged === undefined) {
    logged = { delivered: 0, bounced: 0, keys: new Map() };
    domains.set(domain, logged);
  }
  const type: EventType = recordKind(entry, at) === BOUNCED ? "bounced" : "delivered";
  logged[type] += recordCount(entry, at);
  if (!isKeyed(entry, at)) return;
  const key = recordKeyStart(at);
  const name = Buffer.from(entry.buffer, entry.byteOffset + key, 16).toString("hex");
  logged.keys.set(name, (logged.keys.get(name) ?? 0) + 1);
}
