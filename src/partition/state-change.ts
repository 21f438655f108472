/** What a partition tells of a status change, and the counter of its events: values, shared with whoever listens. */

import type { Position } from "../checkpoint/checkpoint-store.ts";
import type { CounterTable } from "../counters/counter-table.ts";
import type { StatusCode } from "../model/status.ts";

/** A status change as it is decided, before anyone turns it into text. */
export interface StateChange {
  readonly position: Position;
  readonly partition: number;
  /** Which of the events and changes of its entry and partition it comes from, from 0. */
  readonly ordinal: number;
  /** A rule's: one of many with the same ordinal, each of another domain. */
  readonly isOfRule: boolean;
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
