/**
 * The newest control table that this node knows, and the way to change it: read, compute, compare-and-set, again.
 * Invariant: revisions only rise; what an older copy says is ignored. A change whose outcome was not seen is looked for
 * (its nonce) and, where a later change hides it, applied again: every change looks at content, so that is harmless.
 * Must never adopt a table that goes back on epochs or incarnations: that is another cluster's, or a restored one.
 */

import { CatchallError } from "../model/errors.ts";
import type { ControlTable, TableVersion } from "../model/ownership.ts";
import { assert } from "../runtime/assert.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Random } from "../runtime/random.ts";
import type { TimerHandle, Timers } from "../runtime/timers.ts";
import {
  type ControlRecord,
  type ControlStore,
  type PutOutcome,
  TABLE_KEY,
} from "./control-store.ts";
import { encodeTable, parseTable } from "./control-table-codec.ts";
import { changeBreach, successionBreach, tableBreach } from "./table-check.ts";
import { pause, withinLimit } from "./time-limit.ts";

/** Between two reads when nothing else tells of a change. */
export const TABLE_POLL_MS = 1000;
/** One read or one write. */
const CALL_LIMIT_MS = 2000;
/** One change with all its tries, waiting for its turn included. */
export const CHANGE_LIMIT_MS = 10_000;
/** Changes that may wait for their turn. */
const CHANGES_WAITING_MAX = 4096;
const RETRY_MIN_MS = 10;
const RETRY_MAX_MS = 500;

export interface TableKeeperOptions {
  readonly store: ControlStore;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly logger: Logger;
}

/** The table after, or null when there is nothing to do. May throw CatchallError to give up. */
export type TableChange = (table: ControlTable) => ControlTable | null;
/** Null stands for "there is no table yet". */
export type FirstTableChange = (table: ControlTable | null) => ControlTable | null;

export type TableListener = (now: TableVersion, before: TableVersion | null) => void;

export class TableKeeper {
  readonly #options: TableKeeperOptions;
  readonly #listeners: Set<TableListener> = new Set();
  #version: TableVersion | null = null;
  #damage: string | null = null;
  #turn: Promise<void> = Promise.resolve();
  #waiting = 0;
  #poll: TimerHandle | null = null;
  #polling: Promise<void> | null = null;
  /** Somebody saw a newer table while a poll was under way. */
  #isPollDue = false;
  #endWatch: (() => void) | null = null;
  #isStopped = false;

  constructor(options: TableKeeperOptions) {
    this.#options = options;
  }

  /** Follows the table from now on. */
  start(): void {
    this.#endWatch = this.#options.store.watch((record) => {
      if (record.key === TABLE_KEY) this.#adoptRecord(record);
    });
    this.#schedulePoll(0);
  }

  stop(): void {
    this.#isStopped = true;
    this.#endWatch?.();
    this.#poll?.cancel();
    this.#listeners.clear();
  }

  /** The newest that is known; null before the first read, or while there is none. */
  current(): TableVersion | null {
    return this.#version;
  }

  /** Why the last record was refused; null when it was not. */
  damage(): string | null {
    return this.#damage;
  }

  /** Called after each newer table; returns the end of it. */
  onChange(listener: TableListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Somebody has seen this revision: reads at once when it is newer than ours. */
  hint(revision: number): void {
    if (revision <= (this.#version?.revision ?? 0)) return;
    if (this.#polling === null) this.#schedulePoll(0);
    else this.#isPollDue = true;
  }

  /** Reads the table once. Errors: `control_unavailable`, `checkpoint_damaged`. */
  async refresh(): Promise<TableVersion | null> {
    const { store, timers } = this.#options;
    const record = await withinLimit(timers, store.read(TABLE_KEY), CALL_LIMIT_MS, () => {
      throw new CatchallError("control_unavailable");
    });
    if (record !== null) this.#adoptRecord(record);
    if (this.#damage !== null) throw new CatchallError("checkpoint_damaged", this.#damage);
    return this.#version;
  }

  /**
   * Applies `change` to the newest table until it is in, or has nothing to do there. Resolves to a table that has it.
   * Errors: what `change` throws; `control_unavailable` (nothing was changed), `outcome_unknown` (it may be in, or come
   * in late), `checkpoint_damaged` (the table can't be read).
   */
  change(change: TableChange, limitMs: number = CHANGE_LIMIT_MS): Promise<TableVersion> {
    return this.changeOrCreate((table) => {
      if (table === null) throw new CatchallError("control_unavailable", "There is no table yet");
      return change(table);
    }, limitMs);
  }

  /** Like `change`, for the one that may have to make the table. */
  changeOrCreate(
    change: FirstTableChange,
    limitMs: number = CHANGE_LIMIT_MS,
  ): Promise<TableVersion> {
    if (this.#waiting >= CHANGES_WAITING_MAX) {
      return Promise.reject(new CatchallError("control_unavailable", "Too many changes wait"));
    }
    this.#waiting++;
    const deadlineMs = this.#options.clock.monotonicMs() + limitMs;
    // One after the other: they would only refuse each other.
    const result = this.#turn.then(() => this.#compareAndSet(change, deadlineMs));
    this.#turn = result.then(
      () => undefined,
      () => undefined,
    );
    return result.finally(() => {
      this.#waiting--;
    });
  }

  async #compareAndSet(change: FirstTableChange, deadlineMs: number): Promise<TableVersion> {
    const { clock, random, timers } = this.#options;
    const nonce = [random.uint32(), random.uint32(), random.uint32()].join("-");
    const task = { nonce, isUnknown: false, isFresh: false, reason: "" };
    for (let tries = 0; ; tries++) {
      const done = await this.#tryOnce(change, task);
      if (done !== null) return done;
      const spread = 0.5 + random.uint32() / 2 ** 33;
      const delayMs = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** Math.min(tries, 10)) * spread;
      if (clock.monotonicMs() + delayMs >= deadlineMs || this.#isStopped) break;
      // The first conflict is the common one, and the newest table is known by now.
      if (tries > 0 || !task.isFresh) await pause(timers, delayMs);
    }
    const why = task.reason === "" ? "" : `: ${task.reason}`;
    if (task.isUnknown) {
      throw new CatchallError("outcome_unknown", `The control table may be changed${why}`);
    }
    throw new CatchallError(
      "control_unavailable",
      `The control table could not be changed in time${why}`,
    );
  }

  /** One read (where needed) and one write; null to go on. */
  async #tryOnce(change: FirstTableChange, task: ChangeTask): Promise<TableVersion | null> {
    if (!task.isFresh && (this.#version === null || task.isUnknown) && !(await this.#look(task))) {
      return null;
    }
    let base = this.#version;
    if (task.isUnknown && base?.table.changeNonce === task.nonce) return base;
    let next = change(base?.table ?? null);
    if (next === null && !task.isFresh) {
      // "Nothing to do" is an answer only if it comes from a table that was read just now.
      if (!(await this.#look(task))) return null;
      base = this.#version;
      next = change(base?.table ?? null);
    }
    if (next === null) {
      if (base !== null) return base;
      throw new CatchallError("control_unavailable", "There is no table yet");
    }
    const table = { ...next, changeNonce: task.nonce };
    const breach = base === null ? tableBreach(table) : changeBreach(base.table, table);
    assert(breach === null, `a change of the control table breaks it: ${breach}`);
    const outcome = await this.#put(table, base?.revision ?? 0);
    if (outcome.kind === "committed") {
      const version = { revision: outcome.revision, table };
      this.#adopt(version);
      return version;
    }
    if (outcome.kind === "unknown") {
      task.isUnknown = true;
      task.reason = outcome.reason;
    }
    task.isFresh = false;
    const isRead = await this.#look(task);
    return isRead && this.#version?.table.changeNonce === task.nonce ? this.#version : null;
  }

  /** False when the store does not answer. */
  async #look(task: ChangeTask): Promise<boolean> {
    try {
      await this.refresh();
    } catch (error) {
      if (error instanceof CatchallError && error.code === "checkpoint_damaged") throw error;
      return false;
    }
    task.isFresh = true;
    return true;
  }

  #put(table: ControlTable, expectedRevision: number): Promise<PutOutcome> {
    const { store, timers } = this.#options;
    return withinLimit<PutOutcome>(
      timers,
      store.put(TABLE_KEY, encodeTable(table), expectedRevision),
      CALL_LIMIT_MS,
      () => ({ kind: "unknown", reason: "no answer in time" }),
    );
  }

  #adoptRecord(record: ControlRecord): void {
    if (record.revision <= (this.#version?.revision ?? 0)) return;
    const parsed = parseTable(record.value);
    if (parsed.ok === undefined) {
      this.#refuse(record.revision, parsed.damage);
      return;
    }
    this.#adopt({ revision: record.revision, table: parsed.ok });
  }

  #adopt(version: TableVersion): void {
    const before = this.#version;
    if (version.revision <= (before?.revision ?? 0)) return;
    const breach = before === null ? null : successionBreach(before.table, version.table);
    if (breach !== null) {
      this.#refuse(version.revision, breach);
      return;
    }
    this.#damage = null;
    this.#version = version;
    for (const listener of [...this.#listeners]) listener(version, before);
  }

  #refuse(revision: number, reason: string): void {
    const message = `The control table of revision ${revision} can't be used: ${reason}`;
    if (this.#damage !== message) this.#options.logger.error({ revision, reason }, message);
    this.#damage = message;
  }

  #schedulePoll(delayMs: number): void {
    if (this.#isStopped) return;
    this.#poll?.cancel();
    this.#poll = this.#options.timers.after(delayMs, () => {
      this.#polling ??= this.#pollOnce();
    });
  }

  async #pollOnce(): Promise<void> {
    try {
      await this.refresh();
    } catch {
      // The next poll tries again; whether the store answers is the lease's business.
    }
    this.#polling = null;
    // Once only: a peer that names a revision that nobody has must not make us ask without end.
    this.#schedulePoll(this.#isPollDue ? RETRY_MIN_MS : TABLE_POLL_MS);
    this.#isPollDue = false;
  }
}

interface ChangeTask {
  readonly nonce: string;
  /** A write may be in. */
  isUnknown: boolean;
  /** Why the last such write is unknown; empty when there was none. */
  reason: string;
  /** `#version` was read after the last write. */
  isFresh: boolean;
}
