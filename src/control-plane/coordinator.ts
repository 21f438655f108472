/**
 * What keeps the cluster going: ends members that fell silent or gave up, gives out partitions, steps rebalances and
 * drains, cleans up. Every node runs one; only the live member with the lowest incarnation acts.
 * Safety never depends on there being just one: each step is a compare-and-set, and the order is always lease DEAD (or
 * LEFT) → log sealed → table. Must never end anybody while this node's own renewals do not go through.
 */

import { type ControlTable, type Member, memberOf, NOBODY } from "../model/ownership.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { TimerHandle, Timers } from "../runtime/timers.ts";
import type { NodeLog } from "../wal/node-log.ts";
import { ClusterCleaner } from "./cluster-cleaner.ts";
import { type ControlRecord, type ControlStore, leaseKey } from "./control-store.ts";
import { FailureDetector } from "./failure-detector.ts";
import type { LeaseKeeper } from "./lease-keeper.ts";
import { encodeLease, isFinal, type LeaseRecord, parseLease } from "./lease-record.ts";
import { calmKeyOf, isEnding, liveOf, type MemberView } from "./member-view.ts";
import { startRebalance, stepRebalances } from "./rebalance-changes.ts";
import { assignPartitions, dropMove, endMember } from "./table-changes.ts";
import { TableFacts } from "./table-facts.ts";
import type { TableKeeper } from "./table-keeper.ts";
import { withinLimit } from "./time-limit.ts";

/** Steps in one time to live. */
const STEPS_PER_TTL = 10;
const STEP_INTERVAL_MAX_MS = 500;
/** After a change of the table that may let something go on. */
const STEP_SOON_MS = 10;
/** Reading all leases, or ending one. */
const CALL_LIMIT_MS = 2000;
/** One try to seal a log; the next step tries again. */
const SEAL_LIMIT_MS = 20_000;
/** What has been due for so long is done by the node after the one whose turn it is. */
const TAKEOVER_MS = 10_000;
/** After the start of a node, while no live node owns anything. */
const COLD_START_MS = 3000;
/** How long the set of live members must have been the same before `--auto-rebalance` plans for it. */
const CALM_MS = 5000;

export interface CoordinatorOptions {
  readonly store: ControlStore;
  readonly keeper: TableKeeper;
  readonly lease: LeaseKeeper;
  /** `seal`, `list` and `delete` only. */
  readonly log: Pick<NodeLog, "seal" | "list" | "delete">;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly logger: Logger;
  /** First assignment: once so many are alive … */
  readonly expectNodes: number;
  /** … or when this much has passed with at least one. */
  readonly settleMs: number;
  readonly autoRebalance: boolean;
  /** A target that does not take over within this is dropped, and tried again later. */
  readonly moveLimitMs: number;
  readonly logRetentionMs: number;
  /** Rows are kept for this and an hour more: producers' sequences are, too. */
  readonly idempotencyWindowMs: number;
}

interface Seen {
  /** Null while there is no record, or none that can be read. */
  readonly lease: LeaseRecord | null;
  readonly isDamaged: boolean;
  /** Of the record that `lease` was read from. */
  readonly revision: number;
}

const NOTHING_SEEN: Seen = { lease: null, isDamaged: false, revision: 0 };

export class Coordinator {
  readonly #options: CoordinatorOptions;
  readonly #detector: FailureDetector = new FailureDetector();
  readonly #cleaner: ClusterCleaner;
  /** By incarnation: the sequence of its SEAL, once it is known. */
  readonly #sealed: Map<number, number> = new Map();
  readonly #seen: Map<number, Seen> = new Map();
  /** Those that had no record when it was last looked. */
  readonly #absent: Set<number> = new Set();
  readonly #reported: Set<string> = new Set();
  /** By "partition epoch target": since when this node sees that move. */
  #moveSince: Map<string, number> = new Map();
  /** The table whose ended members are forgotten: only another one can have more of them. */
  #rememberedFor: ControlTable | null = null;
  readonly #facts: TableFacts = new TableFacts();
  #calmKey = "";
  #calmSinceMs = 0;
  #waitingSinceMs: number | null = null;
  #firstStepMs: number | null = null;
  /** Since when something is to be done that nobody does. */
  #dueSinceMs: number | null = null;
  #timer: TimerHandle | null = null;
  #stepping: Promise<void> | null = null;
  #endListening: (() => void) | null = null;
  #isDueAgain = false;
  #isStopped = false;

  constructor(options: CoordinatorOptions) {
    this.#options = options;
    this.#cleaner = new ClusterCleaner(options);
  }

  start(): void {
    this.#endListening = this.#options.keeper.onChange(() => this.#schedule(STEP_SOON_MS));
    this.#schedule(0);
  }

  /** Resolves when the step that is under way has ended. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#endListening?.();
    this.#timer?.cancel();
    await this.#stepping;
  }

  /** The members that are alive in the table, as this node sees them. */
  views(): MemberView[] {
    const table = this.#options.keeper.current()?.table;
    if (table === undefined) return [];
    return this.#facts.alive(table).map((member) => this.#view(member));
  }

  /** True while this node is the one that acts. */
  isActing(views: readonly MemberView[] = this.views()): boolean {
    const { lease } = this.#options;
    const lowest = views.find(({ state }) => state === "live");
    return lease.isValid() && lowest?.incarnation === lease.incarnation;
  }

  /** One round; rounds never overlap. Never rejects. Public for tests. */
  step(): Promise<void> {
    this.#stepping ??= this.#round();
    return this.#stepping;
  }

  async #round(): Promise<void> {
    try {
      await this.#step();
      this.#reported.delete("step");
    } catch (error) {
      this.#report("step", `A round failed: ${String(error)}`);
    }
    this.#stepping = null;
  }

  #schedule(delayMs: number): void {
    if (this.#isStopped) return;
    this.#timer?.cancel();
    const intervalMs = Math.min(this.#options.lease.ttlMs / STEPS_PER_TTL, STEP_INTERVAL_MAX_MS);
    this.#timer = this.#options.timers.after(delayMs, () => {
      // A round that is under way has read the table before whatever this timer was set for.
      this.#isDueAgain = this.#stepping !== null;
      this.step().then(
        () => {
          this.#schedule(this.#isDueAgain ? STEP_SOON_MS : intervalMs);
          this.#isDueAgain = false;
        },
        () => undefined,
      );
    });
  }

  async #step(): Promise<void> {
    if (!(await this.#readLeases())) return;
    const table = this.#options.keeper.current()?.table;
    if (table === undefined) return;
    this.#reported.delete("leases");
    const views = this.views();
    this.#trackCalm(table, views);
    this.#trackDue(table, views);
    if (!this.#mayAct(views)) return;
    if (views.some(isEnding)) await this.#endMembers(table, views);
    await this.#assign();
    await this.#move();
    if (this.isActing()) await this.#cleaner.step();
  }

  /**
   * The lowest live incarnation acts; the next one does where something has been due for too long, since one that renews
   * its lease may still not reach the log. Two at a time do no harm: every step is a compare-and-set.
   */
  #mayAct(views: readonly MemberView[] = this.views()): boolean {
    if (this.isActing(views)) return true;
    const { lease, clock } = this.#options;
    if (this.#dueSinceMs === null || !lease.isValid()) return false;
    const rank = liveOf(views).indexOf(lease.incarnation);
    if (rank < 0) return false;
    return clock.monotonicMs() - this.#dueSinceMs >= rank * TAKEOVER_MS;
  }

  #trackDue(table: ControlTable, views: readonly MemberView[]): void {
    const isDue = views.some(isEnding) || this.#facts.isStepDue(table);
    if (!isDue) this.#dueSinceMs = null;
    else this.#dueSinceMs ??= this.#options.clock.monotonicMs();
  }

  /** False when this node has no say now. Each receipt counts from the moment the answer was here. */
  async #readLeases(): Promise<boolean> {
    const { store, timers, lease, keeper, clock } = this.#options;
    if (!lease.isValid()) return false;
    let records: readonly ControlRecord[];
    try {
      records = await withinLimit(timers, store.readLeases(), CALL_LIMIT_MS, () => {
        throw new Error("no answer in time");
      });
    } catch (error) {
      this.#report("leases", `The leases can't be read: ${String(error)}`);
      return false;
    }
    const table = keeper.current()?.table;
    if (this.#isStopped || table === undefined) return false;
    const byKey = new Map(records.map((record) => [record.key, record]));
    const nowMs = clock.monotonicMs();
    for (const [incarnation, key] of this.#facts.leaseKeys(table)) {
      const record = byKey.get(key);
      if (incarnation === lease.incarnation && record !== undefined) lease.notice(record);
      this.#observe(incarnation, record, nowMs);
    }
    this.#forgetEnded(table);
    this.#cleaner.observe(table, records);
    return lease.isValid();
  }

  #observe(incarnation: number, record: ControlRecord | undefined, nowMs: number): void {
    const { lease: own } = this.#options;
    const before = this.#seen.get(incarnation);
    this.#absent.delete(incarnation);
    if (record === undefined) {
      this.#absent.add(incarnation);
      // Whoever joined and never made its lease is given as long as anybody. A record that was there once is not gone.
      this.#detector.observe(incarnation, { revision: 0, ttlMs: own.ttlMs }, nowMs);
      if (before === undefined) this.#seen.set(incarnation, NOTHING_SEEN);
      return;
    }
    if (before?.lease != null && before.revision === record.revision) {
      const { ttlMs } = before.lease;
      this.#detector.observe(incarnation, { revision: record.revision, ttlMs }, nowMs);
      return;
    }
    const { ok: lease, damage } = parseLease(record.value, incarnation);
    if (lease === undefined) {
      this.#report(record.key, `The record "${record.key}" can't be read: ${damage}`);
      if (before?.lease == null) this.#seen.set(incarnation, { ...NOTHING_SEEN, isDamaged: true });
      return;
    }
    this.#detector.observe(incarnation, { revision: record.revision, ttlMs: lease.ttlMs }, nowMs);
    // Safety: final is for ever; an older copy that says `held` changes nothing.
    if (before?.lease == null || !isFinal(before.lease)) {
      this.#seen.set(incarnation, { lease, isDamaged: false, revision: record.revision });
    }
  }

  #forgetEnded(table: ControlTable): void {
    if (this.#rememberedFor === table) return;
    this.#rememberedFor = table;
    const alive = new Set(this.#facts.alive(table).map(({ incarnation }) => incarnation));
    this.#detector.keepOnly(alive);
    for (const map of [this.#seen, this.#sealed, this.#absent]) {
      for (const incarnation of [...map.keys()]) {
        if (!alive.has(incarnation)) map.delete(incarnation);
      }
    }
  }

  #view({ incarnation }: Member): MemberView {
    const { clock, lease: own } = this.#options;
    const seen = this.#seen.get(incarnation);
    if (incarnation === own.incarnation && own.lostReason() === null) {
      return { incarnation, state: "live", leaseRemainingMs: own.remainingMs() };
    }
    if (seen?.lease != null && isFinal(seen.lease)) {
      return { incarnation, state: "final", leaseRemainingMs: 0 };
    }
    const nowMs = clock.monotonicMs();
    const silentMs = this.#detector.silentMs(incarnation, nowMs, own.health());
    const ttlMs = seen?.lease?.ttlMs ?? own.ttlMs;
    const leaseRemainingMs = silentMs === null ? null : Math.max(0, ttlMs - silentMs);
    const isSuspect =
      seen?.isDamaged !== true && this.#detector.isSuspect(incarnation, nowMs, own.health());
    if (isSuspect) return { incarnation, state: "suspect", leaseRemainingMs };
    return { incarnation, state: seen?.lease == null ? "unknown" : "live", leaseRemainingMs };
  }

  async #endMembers(table: ControlTable, views: readonly MemberView[]): Promise<void> {
    const ending = views.filter(isEnding);
    if (this.#options.expectNodes > 1 && this.#isColdStart(table)) return;
    const avoid = new Set(
      views.flatMap(({ state, incarnation }) => (state === "live" ? [] : [incarnation])),
    );
    await Promise.all(
      ending.map(async ({ incarnation, state }) => {
        const member = memberOf(table, incarnation) as Member;
        if (state === "suspect" && !(await this.#declareDead(member))) return;
        await this.#sealAndEnd(member, avoid);
      }),
    );
  }

  /** Nobody who lives owns anything: the others that are starting as well get a moment to take their share. */
  #isColdStart(table: ControlTable): boolean {
    const nowMs = this.#options.clock.monotonicMs();
    this.#firstStepMs ??= nowMs;
    if (nowMs - this.#firstStepMs >= COLD_START_MS) return false;
    const live = new Set(this.#live());
    return !table.partitions.some(({ owner }) => live.has(owner));
  }

  /** True when the lease is final for certain. */
  async #declareDead(member: Member): Promise<boolean> {
    const { store, timers, lease: own, clock, logger } = this.#options;
    const { incarnation, nodeId } = member;
    const observed = this.#detector.observed(incarnation);
    const isSuspect = this.#detector.isSuspect(incarnation, clock.monotonicMs(), own.health());
    if (observed === null || !isSuspect || !own.isValid()) return false;
    const last = this.#seen.get(incarnation)?.lease ?? null;
    const { ttlMs } = observed;
    const renewal = last?.renewal ?? 0;
    const record: LeaseRecord = { incarnation, nodeId, state: "dead", renewal, ttlMs };
    // Safety: on the very revision that was silent for so long, or on there being none. A renewal in between, or the
    // making of a lease that was absent, refuses this. After an unknown outcome the next round reads what is there.
    const expectedRevision = this.#absent.has(incarnation) ? 0 : observed.revision;
    const outcome = await withinLimit(
      timers,
      store.put(leaseKey(incarnation), encodeLease(record), expectedRevision),
      CALL_LIMIT_MS,
      () => ({ kind: "unknown", reason: "no answer in time" }) as const,
    );
    if (outcome.kind !== "committed") return false;
    this.#seen.set(incarnation, { lease: record, isDamaged: false, revision: outcome.revision });
    logger.warn({ incarnation, nodeId }, "A silent node was declared dead");
    return true;
  }

  /** Only for a member whose lease is final. */
  async #sealAndEnd(member: Member, avoid: ReadonlySet<number>): Promise<void> {
    const { keeper, log, timers, clock, logger } = this.#options;
    const { incarnation, nodeId } = member;
    const lease = this.#seen.get(incarnation)?.lease ?? null;
    if (lease === null || !isFinal(lease)) return;
    try {
      let endSequence = this.#sealed.get(incarnation);
      if (endSequence === undefined) {
        endSequence = await withinLimit(timers, log.seal(incarnation), SEAL_LIMIT_MS, () => {
          throw new Error("no answer in time");
        });
        this.#sealed.set(incarnation, endSequence);
      }
      const state = lease.state === "left" ? "left" : "dead";
      const end = { incarnation, endSequence, state, endedAtMs: clock.wallMs(), avoid } as const;
      await keeper.change((table) => endMember(table, end));
      logger.info(
        { incarnation, nodeId, endSequence },
        "A node was ended, its partitions given on",
      );
    } catch (error) {
      this.#report(`end ${incarnation}`, `Node "${nodeId}" can't be ended yet: ${String(error)}`);
    }
  }

  async #assign(): Promise<void> {
    const { keeper, clock, expectNodes, settleMs, logger } = this.#options;
    const table = keeper.current()?.table;
    if (table === undefined || !table.partitions.some(({ owner }) => owner === NOBODY)) return;
    const live = this.#live();
    const nowMs = clock.monotonicMs();
    this.#waitingSinceMs ??= nowMs;
    const isSettled = nowMs - this.#waitingSinceMs >= settleMs;
    if (live.length < expectNodes && !isSettled) return;
    if (live.length < expectNodes) {
      logger.warn({ live: live.length, expectNodes }, "Fewer nodes than expected get partitions");
    }
    await keeper.change((newest) => assignPartitions(newest, live));
  }

  async #move(): Promise<void> {
    const { keeper, autoRebalance, clock } = this.#options;
    await this.#dropSlowMoves();
    const table = keeper.current()?.table;
    if (table === undefined || !this.#mayAct()) return;
    if (autoRebalance && this.#isBalanceDue(table)) {
      const id = `auto-${table.lastIncarnation}-${keeper.current()?.revision}`;
      const start = { id, startedAtMs: clock.wallMs() };
      await keeper.change((newest) =>
        this.#isBalanceDue(newest) ? startRebalance(newest, start) : null,
      );
    }
    const newest = keeper.current()?.table;
    if (newest === undefined || !this.#facts.isStepDue(newest)) return;
    await keeper.change(stepRebalances);
  }

  /** When everybody has been well for a while, nothing else is on, and there is something to gain. */
  #isBalanceDue(table: ControlTable): boolean {
    const isCalm = this.#options.clock.monotonicMs() - this.#calmSinceMs >= CALM_MS;
    const isBusy = table.rebalances.some(({ state }) => state === "running");
    const isAssigned = table.partitions.every(({ owner, moveTo }) => {
      return owner !== NOBODY && moveTo === NOBODY;
    });
    return isCalm && !isBusy && isAssigned && !this.#facts.isBalanced(table);
  }

  #trackCalm(table: ControlTable, views: readonly MemberView[]): void {
    const key = calmKeyOf(table, views);
    if (key === this.#calmKey) return;
    this.#calmKey = key;
    this.#calmSinceMs = this.#options.clock.monotonicMs();
  }

  async #dropSlowMoves(): Promise<void> {
    const { keeper, clock, moveLimitMs, logger } = this.#options;
    const table = keeper.current()?.table;
    if (table === undefined) return;
    const nowMs = clock.monotonicMs();
    const since = new Map<string, number>();
    for (const [partition, { owner, epoch, moveTo }] of table.partitions.entries()) {
      if (moveTo === NOBODY) continue;
      const key = `${partition} ${epoch} ${moveTo}`;
      const startedMs = this.#moveSince.get(key) ?? nowMs;
      since.set(key, startedMs);
      if (nowMs - startedMs < moveLimitMs) continue;
      since.delete(key);
      logger.warn({ partition, from: owner, to: moveTo }, "A move took too long and was dropped");
      const move = { partition, from: owner, epoch, to: moveTo };
      await keeper.change((newest) => dropMove(newest, move));
    }
    this.#moveSince = since;
  }

  #live(): number[] {
    return liveOf(this.views());
  }

  /** Once until something else happens under that key: a round comes every half second. */
  #report(key: string, message: string): void {
    if (this.#reported.has(key)) return;
    this.#reported.add(key);
    this.#options.logger.warn({ incarnation: this.#options.lease.incarnation }, message);
  }
}
