/**
 * Totals of a table, kept while it changes so that asking is O(1).
 * Invariant: equal to a recount of all entries at any time. Sums of many counts near 2^53 stay exact, since they are
 * kept in two limbs; what is shown stops at Number.MAX_SAFE_INTEGER.
 */
import { BOUNCED, DELIVERED, type EventKind } from "../model/event.ts";
import type { StatusCode } from "../model/status.ts";
import { PAGE_ROW_NUMBERS, ROW_BOUNCED, ROW_DELIVERED, ROW_STATUS } from "./page-rows.ts";

/** Live view. `byStatus`: number of entries by status code: unseen, unknown, catch-all, not catch-all. */
export interface CounterTotalsView {
  readonly delivered: number;
  readonly bounced: number;
  readonly byStatus: readonly [number, number, number, number];
}

const LIMB = 2 ** 32;

export class CounterTotals implements CounterTotalsView {
  readonly byStatus: [number, number, number, number] = [0, 0, 0, 0];
  // By kind; low limb in [0, 2^32).
  readonly #low: Float64Array = new Float64Array(2);
  readonly #high: Float64Array = new Float64Array(2);

  get delivered(): number {
    return this.#total(0);
  }

  get bounced(): number {
    return this.#total(1);
  }

  #total(kind: EventKind): number {
    const total = (this.#high[kind] as number) * LIMB + (this.#low[kind] as number);
    return Math.min(total, Number.MAX_SAFE_INTEGER);
  }

  /** `change` may be negative; its size is at most 2^53 - 1. */
  addCount(kind: EventKind, change: number): void {
    const high = Math.floor(change / LIMB);
    const low = (this.#low[kind] as number) + (change - high * LIMB);
    const carry = low >= LIMB ? 1 : 0;
    this.#low[kind] = low - carry * LIMB;
    this.#high[kind] = (this.#high[kind] as number) + high + carry;
  }

  /** Counts the first `count` of `rows` (page-rows.ts) as new entries. */
  addRows(rows: Float64Array, count: number): void {
    for (let i = 0, row = 0; i < count; i++, row += PAGE_ROW_NUMBERS) {
      this.byStatus[rows[row + ROW_STATUS] as StatusCode]++;
    }
    this.#addColumn(rows, count, DELIVERED, ROW_DELIVERED);
    this.#addColumn(rows, count, BOUNCED, ROW_BOUNCED);
  }

  #addColumn(rows: Float64Array, count: number, kind: EventKind, column: number): void {
    let sum = 0;
    for (let i = 0, at = column; i < count; i++, at += PAGE_ROW_NUMBERS) {
      const value = rows[at] as number;
      if (sum + value > Number.MAX_SAFE_INTEGER) {
        this.addCount(kind, sum);
        sum = 0;
      }
      sum += value;
    }
    this.addCount(kind, sum);
  }

  addEntry(): void {
    this.byStatus[0]++;
  }

  moveStatus(from: StatusCode, to: StatusCode): void {
    this.byStatus[from]--;
    this.byStatus[to]++;
  }
}
