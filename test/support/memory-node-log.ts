/**
 * A NodeLog in memory whose appends end as the test says: for everything above the log.
 */

import { readEntryHeader } from "../../src/wal/entry-codec.ts";
import { type AppendOutcome, FIRST_KEPT, type NodeLog } from "../../src/wal/node-log.ts";

export class MemoryNodeLog implements NodeLog {
  readonly storeId = 7;
  canResend = false;
  readonly logs: Map<number, Uint8Array[]> = new Map();
  /** Sequence of the first entry kept, by incarnation. */
  readonly firstKept: Map<number, number> = new Map();
  /** Outcomes of the next appends; committed when empty. */
  readonly outcomes: AppendOutcome[] = [];
  /** When set, appends wait until it is called. */
  hold: Promise<void> | null = null;
  appends = 0;
  /** Appends that might use the reserve. */
  reserved = 0;
  #own = 0;

  async create(incarnation: number): Promise<void> {
    this.#own = incarnation;
    this.logs.set(incarnation, []);
  }

  async append(
    bytes: Uint8Array,
    expectedLast: number,
    usesReserve: boolean = false,
  ): Promise<AppendOutcome> {
    const entry = bytes.slice();
    this.appends++;
    if (usesReserve) this.reserved++;
    if (this.hold !== null) await this.hold;
    else await Promise.resolve();
    const outcome = this.outcomes.shift() ?? { kind: "committed" };
    const log = this.logs.get(this.#own) as Uint8Array[];
    if (outcome.kind === "committed" || outcome.kind === "unknown") {
      if (log.length !== expectedLast) {
        return this.canResend
          ? { kind: "conflict", reason: "sequence" }
          : { kind: "fenced", reason: "sequence" };
      }
      log.push(entry);
    }
    return outcome;
  }

  async *read(incarnation: number, from: number, to: number): AsyncIterable<Uint8Array> {
    for (const entry of this.logs.get(incarnation) ?? []) {
      const { sequence } = readEntryHeader(entry);
      const isTrimmed = sequence < (this.firstKept.get(incarnation) ?? 1);
      if (isTrimmed && from === FIRST_KEPT) continue;
      if (isTrimmed && sequence >= from) {
        throw new Error("a trimmed entry was read");
      }
      if (sequence >= from && sequence <= to) yield entry;
    }
  }

  async seal(incarnation: number): Promise<number> {
    return this.logs.get(incarnation)?.length ?? 0;
  }

  async lastSequence(incarnation: number): Promise<number> {
    return this.logs.get(incarnation)?.length ?? 0;
  }

  async list(): Promise<readonly number[]> {
    return [...this.logs.keys()].sort((a, b) => a - b);
  }

  async trim(incarnation: number, upTo: number): Promise<void> {
    this.firstKept.set(incarnation, upTo + 1);
  }

  async delete(incarnation: number): Promise<void> {
    this.logs.delete(incarnation);
  }

  get sizeBytes(): number {
    let sum = 0;
    for (const log of this.logs.values()) for (const entry of log) sum += entry.length;
    return sum;
  }

  async close(): Promise<void> {
    // Nothing is open.
  }
}
