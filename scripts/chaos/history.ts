/**
 * What the clients of a chaos run did and were told, on one monotonic clock. Every attempt is written down before it is
 * sent and again when it ends, one JSON line each, so that what was under way when the run ended is known to be unknown.
 * Invariant: `outcome` is `none` only when every attempt was certainly not applied, `acked` once one was acknowledged.
 */

import { createWriteStream, type WriteStream } from "node:fs";

export type EventType = "delivered" | "bounced";
export type Status = "catch-all" | "not catch-all" | "unknown";
/** What the sender of one attempt, or of all attempts of one write, may believe. */
export type Outcome = "acked" | "none" | "unknown";

/** One event, counted `count` times at once, in all its attempts. */
export interface Write {
  readonly id: number;
  readonly domain: string;
  readonly type: EventType;
  readonly count: number;
  readonly key: string | null;
  /** Of the first attempt that may have been applied. */
  startMs: number;
  /** Of the first acknowledgement; Infinity while there is none. */
  endMs: number;
  outcome: Outcome;
  /** What was answered, attempt by attempt: "n2 504 outcome_unknown". */
  readonly told: string[];
}

/** A proper answer of a node about one domain. */
export interface Read {
  readonly domain: string;
  readonly node: string;
  readonly startMs: number;
  readonly endMs: number;
  /** Null: the answer was the status alone. */
  readonly counts: Readonly<Record<EventType, number>> | null;
  readonly status: Status;
}

/** All of one domain. */
export interface DomainHistory {
  readonly domain: string;
  readonly writes: Write[];
  readonly reads: Read[];
}

export class History {
  readonly #domains: Map<string, DomainHistory> = new Map();
  readonly #lines: WriteStream | null;
  #nextId = 1;

  /** `file`: where the lines go; null keeps them in memory only. */
  constructor(file: string | null) {
    this.#lines = file === null ? null : createWriteStream(file, { flags: "a" });
  }

  get domains(): Iterable<DomainHistory> {
    return this.#domains.values();
  }

  get domainCount(): number {
    return this.#domains.size;
  }

  of(domain: string): DomainHistory {
    let history = this.#domains.get(domain);
    if (history === undefined) {
      history = { domain, writes: [], reads: [] };
      this.#domains.set(domain, history);
    }
    return history;
  }

  /** A write of which nothing has been sent yet. */
  write(event: Pick<Write, "domain" | "type" | "count" | "key">): Write {
    const { domain, type, count, key } = event;
    const id = this.#nextId++;
    const write: Write = {
      ...{ id, domain, type, count, key },
      ...{ startMs: 0, endMs: Number.POSITIVE_INFINITY, outcome: "none", told: [] },
    };
    this.of(domain).writes.push(write);
    return write;
  }

  /** To be called before the first byte of the attempt can leave. */
  attempt(write: Write, node: string, nowMs: number): void {
    // What was certainly not applied before can't have been: only from here on it may.
    if (write.outcome === "none") {
      write.startMs = nowMs;
      write.outcome = "unknown";
      write.told.push("");
    } else {
      write.told.push("again: ");
    }
    const { id, domain, type, count, key } = write;
    this.#line({ at: nowMs, send: id, node, domain, type, count, key });
  }

  /** The end of the attempt that began last. A refusal is one of the write only when no attempt before it is in doubt. */
  settle(write: Write, outcome: Outcome, nowMs: number, told: string): void {
    const last = write.told.length - 1;
    const isFirst = write.told[last] === "";
    write.told[last] = `${write.told[last]}${told}`;
    if (outcome === "acked" && write.outcome !== "acked") {
      write.outcome = "acked";
      write.endMs = nowMs;
    } else if (outcome === "none" && isFirst) {
      write.outcome = "none";
    }
    this.#line({ at: nowMs, end: write.id, outcome, told });
  }

  read(read: Read): void {
    this.of(read.domain).reads.push(read);
    const { domain, node, startMs, endMs, counts, status } = read;
    this.#line({ at: endMs, read: domain, node, from: startMs, counts, status });
  }

  /** A line for the reader of the history: a fault, a round. */
  remark(nowMs: number, text: string): void {
    this.#line({ at: nowMs, remark: text });
  }

  /** Forgets what has been judged, to bound memory; the lines stay. */
  clear(): void {
    this.#domains.clear();
  }

  async close(): Promise<void> {
    const lines = this.#lines;
    if (lines !== null) await new Promise<void>((resolve) => lines.end(resolve));
  }

  #line(value: Readonly<Record<string, unknown>>): void {
    this.#lines?.write(`${JSON.stringify(value)}\n`);
  }
}
