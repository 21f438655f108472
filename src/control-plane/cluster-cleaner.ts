/**
 * Removes what nobody needs any more: logs and rows of members that ended, leases of rows that are gone.
 * Invariant: a log goes only when its member has ended and no lineage names it. Both stay true once they are, since a
 * member that ended owns nothing and is never named again; so an old table can't mislead this.
 */

import { type ControlTable, memberOf } from "../model/ownership.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Timers } from "../runtime/timers.ts";
import type { NodeLog } from "../wal/node-log.ts";
import { type ControlRecord, type ControlStore, incarnationOfKey } from "./control-store.ts";
import { isFinal, parseLease } from "./lease-record.ts";
import { forgetMembers } from "./table-changes.ts";
import { referencesOf } from "./table-check.ts";
import type { TableKeeper } from "./table-keeper.ts";
import { withinLimit } from "./time-limit.ts";

/** Between two rounds. */
const CLEAN_INTERVAL_MS = 10_000;
/** Rows and leases of the ended are kept for the idempotency window and this. */
export const FORGET_AFTER_MS = 3_600_000;
/** … and for this on our own monotonic clock (over JOIN_LIMIT_MS): a wall clock that leaps must not shorten it to nothing. */
const FORGET_OBSERVED_MS = 120_000;
/** One listing, one deletion. */
const CALL_LIMIT_MS = 5000;
/** Deletions in one round: the rest of a long absence waits for the next. */
const DELETIONS_PER_ROUND_MAX = 16;

export interface ClusterCleanerOptions {
  readonly store: ControlStore;
  readonly keeper: TableKeeper;
  readonly log: Pick<NodeLog, "list" | "delete">;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly logger: Logger;
  /** How long the log of an ended member is kept, for `verify` and audits. */
  readonly logRetentionMs: number;
  readonly idempotencyWindowMs: number;
}

export class ClusterCleaner {
  readonly #options: ClusterCleanerOptions;
  /** By incarnation: since when this node has seen it ended. */
  readonly #endedSinceMs: Map<number, number> = new Map();
  /** The table that was last looked at, and the incarnations of its rows. */
  #observed: ControlTable | null = null;
  #members: ReadonlySet<number> = new Set();
  /** Leases that are final and whose row is gone. */
  #orphans: readonly number[] = [];
  #lastMs: number | null = null;

  constructor(options: ClusterCleanerOptions) {
    this.#options = options;
  }

  /** Tells what was read; every node keeps count, only one cleans. */
  observe(table: ControlTable, leases: readonly ControlRecord[]): void {
    if (this.#observed !== table) this.#observeMembers(table);
    const orphans: number[] = [];
    for (const { key, value } of leases) {
      const incarnation = incarnationOfKey(key);
      if (incarnation === null || this.#members.has(incarnation)) continue;
      if (!isForgotten(table, incarnation)) continue;
      const { ok: lease } = parseLease(value, incarnation);
      if (lease !== undefined && isFinal(lease)) orphans.push(incarnation);
    }
    this.#orphans = orphans;
  }

  #observeMembers(table: ControlTable): void {
    const nowMs = this.#options.clock.monotonicMs();
    const ended = new Set<number>();
    for (const { incarnation, state } of table.members) {
      if (state === "alive") continue;
      ended.add(incarnation);
      if (!this.#endedSinceMs.has(incarnation)) this.#endedSinceMs.set(incarnation, nowMs);
    }
    for (const incarnation of [...this.#endedSinceMs.keys()]) {
      if (!ended.has(incarnation)) this.#endedSinceMs.delete(incarnation);
    }
    this.#observed = table;
    this.#members = new Set(table.members.map(({ incarnation }) => incarnation));
  }

  /** Errors of the stores are reported and tried again in a later round. */
  async step(): Promise<void> {
    const { clock, keeper, logger } = this.#options;
    const nowMs = clock.monotonicMs();
    this.#lastMs ??= nowMs;
    if (nowMs - this.#lastMs < CLEAN_INTERVAL_MS) return;
    this.#lastMs = nowMs;
    const table = keeper.current()?.table;
    if (table === undefined) return;
    try {
      await this.#deleteLogs(table);
      await this.#forgetMembers(table, nowMs);
      for (const incarnation of this.#orphans.slice(0, DELETIONS_PER_ROUND_MAX)) {
        await this.#limited(this.#options.store.deleteLease(incarnation));
      }
    } catch (error) {
      logger.warn({ error: String(error) }, "Cleaning up will be tried again");
    }
  }

  async #deleteLogs(table: ControlTable): Promise<void> {
    const { log, logger } = this.#options;
    const needed = referencesOf(table);
    const found = await this.#limited(log.list());
    const deletable = found.filter((incarnation) => {
      if (needed.has(incarnation)) return false;
      return isForgotten(table, incarnation) || this.#isPastRetention(table, incarnation);
    });
    for (const incarnation of deletable.slice(0, DELETIONS_PER_ROUND_MAX)) {
      await this.#limited(log.delete(incarnation));
      logger.info({ incarnation }, "The log of an ended node was deleted");
    }
  }

  #isPastRetention(table: ControlTable, incarnation: number): boolean {
    const endedAtMs = memberOf(table, incarnation)?.endedAtMs ?? null;
    if (endedAtMs === null) return false;
    return this.#options.clock.wallMs() >= endedAtMs + this.#options.logRetentionMs;
  }

  async #forgetMembers(table: ControlTable, nowMs: number): Promise<void> {
    const { clock, keeper, idempotencyWindowMs, logRetentionMs } = this.#options;
    const keptMs = Math.max(idempotencyWindowMs + FORGET_AFTER_MS, logRetentionMs);
    const forgettable = new Set<number>();
    for (const [incarnation, sinceMs] of this.#endedSinceMs) {
      if (nowMs - sinceMs >= FORGET_OBSERVED_MS) forgettable.add(incarnation);
    }
    const options = { endedBeforeMs: clock.wallMs() - keptMs, forgettable };
    if (forgetMembers(table, options) === null) return;
    await keeper.change((newest) => forgetMembers(newest, options));
  }

  #limited<T>(work: Promise<T>): Promise<T> {
    return withinLimit(this.#options.timers, work, CALL_LIMIT_MS, () => {
      throw new Error("no answer in time");
    });
  }
}

/** It was handed out and its row is gone; a number that this table does not know yet is not meant. */
function isForgotten(table: ControlTable, incarnation: number): boolean {
  return incarnation <= table.lastIncarnation && memberOf(table, incarnation) === undefined;
}
