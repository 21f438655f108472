/**
 * How one incarnation begins and ends: join = a row in the table (its number), its log, its lease, in this order; leave
 * = its lease ended, its log sealed, its row ended, in this order.
 * Invariant: no entry is appended before the lease was confirmed, and the older life of this node is never assumed to
 * be dead: it ends by its own lease, like everybody's.
 * Any step may be cut short: what is left over is suspected, sealed and ended by the coordinator.
 */

import { CatchallError } from "../model/errors.ts";
import { type ControlTable, type Member, memberOf } from "../model/ownership.ts";
import type { Rule } from "../model/status.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Random } from "../runtime/random.ts";
import type { Timers } from "../runtime/timers.ts";
import type { NodeLog } from "../wal/node-log.ts";
import { type ControlStore, leaseKey } from "./control-store.ts";
import { LeaseKeeper } from "./lease-keeper.ts";
import { isFinal, parseLease } from "./lease-record.ts";
import { createTable, endMember, joinMember, partitionsOf } from "./table-changes.ts";
import type { TableKeeper } from "./table-keeper.ts";
import { pause, withinLimit } from "./time-limit.ts";

/**
 * From the number to the confirmed lease. Rows and leases of the ended are kept for longer than this
 * (FORGET_AFTER_MS in coordinator.ts): a node that froze in between can't make a lease that was forgotten.
 */
export const JOIN_LIMIT_MS = 30_000;
/** Ending the lease, sealing and the last change of the table, each. */
const LEAVE_STEP_LIMIT_MS = 5000;

export interface MembershipOptions {
  readonly store: ControlStore;
  readonly keeper: TableKeeper;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly logger: Logger;
  /** `create` and `seal` only. */
  readonly log: Pick<NodeLog, "create" | "seal">;
  readonly nodeId: string;
  readonly leaseTtlMs: number;
  /** Both for the first start of the cluster; the first must fit a cluster that is there. */
  readonly partitionCount: number;
  readonly initialRule: Rule;
}

export interface Joined {
  readonly incarnation: number;
  /** Held, and renewed until it is ended or lost. */
  readonly lease: LeaseKeeper;
}

export class Membership {
  readonly #options: MembershipOptions;

  constructor(options: MembershipOptions) {
    this.#options = options;
  }

  /**
   * Starts a new life. Errors: `conflict` (another number of partitions, too many rows), `control_unavailable`,
   * `outcome_unknown`, `lease_lost` (it was ended before it began): the number, if any was handed out, is used up, and
   * the caller may try again. What `log.create` rejects with is passed on.
   */
  async join(): Promise<Joined> {
    const { clock, keeper, log, logger, nodeId, leaseTtlMs } = this.#options;
    const startMs = clock.monotonicMs();
    const startWallMs = clock.wallMs();
    const incarnation = await this.#allocate();
    await this.#withinStep(log.create(incarnation), JOIN_LIMIT_MS, "log_unavailable");
    const lease = new LeaseKeeper({ ...this.#options, incarnation, nodeId, ttlMs: leaseTtlMs });
    await lease.create(Math.max(0, JOIN_LIMIT_MS - (clock.monotonicMs() - startMs)));
    const tookMs = Math.max(clock.monotonicMs() - startMs, clock.wallMs() - startWallMs);
    if (tookMs > JOIN_LIMIT_MS) {
      lease.lose(`joining took ${tookMs} ms`);
      throw new CatchallError("lease_lost", `Joining took ${tookMs} ms`);
    }
    const check = (table: ControlTable): void => {
      const row = memberOf(table, incarnation);
      if (row?.state !== "alive") lease.lose(`the table says ${row?.state ?? "it is forgotten"}`);
    };
    // The row ends after the lease did: the table is one more way to hear of it.
    const endListening = keeper.onChange(({ table }) => check(table));
    lease.onLost(endListening);
    const known = keeper.current();
    if (known !== null) check(known.table);
    logger.info({ incarnation, nodeId }, "Joined the cluster");
    return { incarnation, lease };
  }

  /**
   * Waits half a time to live and resolves to another process that runs under this node's id, null when there is none:
   * an older life whose lease is still being renewed. Must be asked right after `join`.
   */
  async findTwin(incarnation: number): Promise<Member | null> {
    const { keeper, timers, nodeId, leaseTtlMs } = this.#options;
    const older = (keeper.current()?.table.members ?? []).filter(
      (member) =>
        member.nodeId === nodeId && member.state === "alive" && member.incarnation < incarnation,
    );
    if (older.length === 0) return null;
    const before = await Promise.all(older.map((member) => this.#heldRenewal(member)));
    await pause(timers, leaseTtlMs / 2);
    const after = await Promise.all(older.map((member) => this.#heldRenewal(member)));
    return older.find((_, index) => (after[index] ?? 0) > (before[index] ?? Infinity)) ?? null;
  }

  /**
   * Ends this life in good order. The caller has stopped admitting, committed what was pending and handed over what it
   * owned. If it still owns something (it is the last node), its lease is ended all the same, so that whoever comes next
   * need not wait for it. Resolves when done or given up; never rejects.
   */
  async leave({ incarnation, lease }: Joined): Promise<"left" | "lease ended" | "gone silent"> {
    const { clock, keeper, log, logger } = this.#options;
    if (!(await lease.end(LEAVE_STEP_LIMIT_MS))) return "gone silent";
    try {
      const version = await keeper.refresh();
      if (version === null || partitionsOf(version.table, incarnation).length > 0) {
        return "lease ended";
      }
      // Safety: the lease is final here; only then the seal, only then the row.
      const endSequence = await this.#withinStep(
        log.seal(incarnation),
        LEAVE_STEP_LIMIT_MS,
        "log_unavailable",
      );
      const end = { incarnation, endSequence, state: "left", endedAtMs: clock.wallMs() } as const;
      await keeper.change((table) => endMember(table, end), LEAVE_STEP_LIMIT_MS);
      return "left";
    } catch (error) {
      logger.warn({ incarnation, error: String(error) }, "Left without the last steps");
      return "lease ended";
    }
  }

  async #allocate(): Promise<number> {
    const { keeper, random, nodeId, partitionCount, initialRule: rule } = this.#options;
    const joinNonce = [random.uint32(), random.uint32(), random.uint32()].join("-");
    const version = await keeper.changeOrCreate((found) => {
      const table = found ?? createTable({ partitionCount, rule });
      if (table.partitionCount !== partitionCount) {
        throw new CatchallError(
          "conflict",
          `This cluster has ${table.partitionCount} partitions, this node was started with ` +
            `${partitionCount}: start it with --partitions ${table.partitionCount}`,
        );
      }
      return joinMember(table, { nodeId, joinNonce });
    });
    const row = version.table.members.find((member) => member.joinNonce === joinNonce);
    if (row?.state !== "alive") throw new CatchallError("lease_lost", "Ended while joining");
    return row.incarnation;
  }

  /** Which renewal of its holder the lease is at; null when it is final, absent or can't be read. */
  async #heldRenewal({ incarnation }: Member): Promise<number | null> {
    const { store, timers, leaseTtlMs } = this.#options;
    try {
      const key = leaseKey(incarnation);
      const record = await withinLimit(timers, store.read(key), leaseTtlMs, () => null);
      const lease = record === null ? undefined : parseLease(record.value, incarnation).ok;
      return lease === undefined || isFinal(lease) ? null : lease.renewal;
    } catch {
      return null;
    }
  }

  #withinStep<T>(work: Promise<T>, limitMs: number, code: "log_unavailable"): Promise<T> {
    return withinLimit(this.#options.timers, work, limitMs, () => {
      throw new CatchallError(code);
    });
  }
}
