/**
 * A ControlStore in memory. `MemoryControlRecords` is what all nodes share; each node has its own `MemoryControlStore`
 * over it, whose ways of failing the test chooses.
 */

import {
  type ControlRecord,
  type ControlStore,
  incarnationOfKey,
  leaseKey,
  type PutOutcome,
} from "../../src/control-plane/control-store.ts";
import { CatchallError } from "../../src/model/errors.ts";

/** `lost`: unknown, nothing written. `written`: unknown, and written. `silent`: written, and never answered. */
export type PutFault = "lost" | "written" | "silent";

export class MemoryControlRecords {
  readonly records: Map<string, ControlRecord> = new Map();
  readonly listeners: Set<(record: ControlRecord) => void> = new Set();
  /** Every put that got in, oldest first. */
  readonly history: ControlRecord[] = [];
  #revision = 0;

  put(key: string, value: Uint8Array, expectedRevision: number): PutOutcome {
    if ((this.records.get(key)?.revision ?? 0) !== expectedRevision) return { kind: "conflict" };
    const record = { key, revision: ++this.#revision, value: value.slice() };
    this.records.set(key, record);
    this.history.push(record);
    for (const listener of [...this.listeners]) listener(record);
    return { kind: "committed", revision: record.revision };
  }
}

export class MemoryControlStore implements ControlStore {
  readonly shared: MemoryControlRecords;
  /** Cut off: reads reject, puts are unknown and lost, watches are silent. */
  isAway = false;
  isWatchSilent = false;
  /** When set, reads answer from this copy of an earlier time. */
  stale: ReadonlyMap<string, ControlRecord> | null = null;
  /** What happens to the next puts, by kind of key; those beyond are well. */
  readonly faults: { readonly key: RegExp; readonly fault: PutFault }[] = [];
  /** Called before each put reaches the records: a test lets others go first here. */
  beforePut: ((key: string) => void) | null = null;
  puts = 0;
  readonly #ends: (() => void)[] = [];

  constructor(shared: MemoryControlRecords = new MemoryControlRecords()) {
    this.shared = shared;
  }

  async read(key: string): Promise<ControlRecord | null> {
    this.#checkHere();
    return (this.stale ?? this.shared.records).get(key) ?? null;
  }

  async readLeases(): Promise<readonly ControlRecord[]> {
    this.#checkHere();
    const records = [...(this.stale ?? this.shared.records).values()];
    return records.filter(({ key }) => incarnationOfKey(key) !== null);
  }

  async put(key: string, value: Uint8Array, expectedRevision: number): Promise<PutOutcome> {
    this.puts++;
    const unknown: PutOutcome = { kind: "unknown", reason: "cut off" };
    if (this.isAway) return unknown;
    this.beforePut?.(key);
    const index = this.faults.findIndex((planned) => planned.key.test(key));
    const fault = index < 0 ? null : this.faults.splice(index, 1)[0]?.fault;
    if (fault === "lost") return unknown;
    const outcome = this.shared.put(key, value, expectedRevision);
    if (fault === "silent") return new Promise(() => undefined);
    return fault === "written" ? unknown : outcome;
  }

  async deleteLease(incarnation: number): Promise<void> {
    this.#checkHere();
    this.shared.records.delete(leaseKey(incarnation));
  }

  watch(listener: (record: ControlRecord) => void): () => void {
    const forward = (record: ControlRecord): void => {
      if (!this.isAway && !this.isWatchSilent) listener(record);
    };
    this.shared.listeners.add(forward);
    const end = (): void => {
      this.shared.listeners.delete(forward);
    };
    this.#ends.push(end);
    return end;
  }

  async close(): Promise<void> {
    for (const end of this.#ends.splice(0)) end();
  }

  #checkHere(): void {
    if (this.isAway) throw new CatchallError("control_unavailable", "Cut off");
  }
}
