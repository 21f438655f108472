/**
 * A rule change on its way through one partition. The rule is in force from its entry on; statuses in the table follow in
 * slices, and a domain that is read, changed or checkpointed before its turn is brought up to date first. So no reader
 * ever sees a status of the old rule, and no tick visits every domain.
 * Invariant: what a domain becomes, and when, is decided by the position and time of the rule's entry alone, whenever
 * its turn comes: replay, which visits all at once, decides the same.
 */

import type { Position } from "../checkpoint/checkpoint-store.ts";
import type { StatusCode } from "../model/status.ts";

export class RuleSweep {
  readonly position: Position;
  /** Of the rule within its entry. */
  readonly ordinal: number;
  readonly timeMs: number;
  /** [from][to] counts of the domains that changed so far. */
  readonly transitions: number[][] = [0, 1, 2, 3].map(() => [0, 0, 0, 0]);
  readonly #end: number;
  #next = 0;

  /** `entryCount`: entries that were there at the rule's entry. Later ones are classified when they are made. */
  constructor(position: Position, ordinal: number, timeMs: number, entryCount: number) {
    this.position = position;
    this.ordinal = ordinal;
    this.timeMs = timeMs;
    this.#end = entryCount;
  }

  get isDone(): boolean {
    return this.#next >= this.#end;
  }

  /** Whether the turn of this entry has not come yet. */
  isDue(entry: number): boolean {
    return entry >= this.#next && entry < this.#end;
  }

  /** Visits up to `countMax` entries, each once; returns how many. */
  run(countMax: number, visit: (entry: number) => void): number {
    const start = this.#next;
    const end = Math.min(this.#end, start + countMax);
    for (let entry = start; entry < end; entry++) visit(entry);
    this.#next = end;
    return end - start;
  }

  count(from: StatusCode, to: StatusCode): void {
    const row = this.transitions[from] as number[];
    row[to] = (row[to] as number) + 1;
  }
}
