/** What a partition tells of a status change, and the counter of its events: values, shared with whoever listens. */

import type { Position } from "../checkpoint/checkpoint-store.ts";
import type { CounterTable } from "../counters/counter-table.ts";
import type { StatusCode } from "../model/status.ts";

/** A status change as it is decided, before anyone turns it into text. */
export interface StateChange {
  readonly position: Position;
  readonly partition: number;
  /** Counts the changes of one entry; null for a rule's, which changes each domain at most once. */
  readonly index: number | null;
  /** Of the rule in force: one entry may hold two rules, and each may change the same domain. */
  readonly ruleRevision: number;
  /** Row of `table`; read in the same tick, by those who need its name and counts. */
  readonly entry: number;
  readonly table: CounterTable;
  readonly from: StatusCode;
  readonly to: StatusCode;
  readonly timeMs: number;
}

/** A plain number that a metric publishes. */
export interface EventCounter {
  value: number;
}
