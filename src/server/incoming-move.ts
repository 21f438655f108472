/**
 * A planned move as its target sees it: the owner's checkpoint → its log so far → the release, when close → the last
 * entries → the table says that the partition is ours.
 *
 * Safety: nothing here changes the table or the owner; what comes out is the whole history up to RELEASE, or an error,
 * or nothing (I11, I12). The owner serves until it has closed: only what comes after that does anybody wait for.
 */

import { pause } from "../control-plane/time-limit.ts";
import { CatchallError } from "../model/errors.ts";
import type { LineageStretch, PartitionAssignment } from "../model/ownership.ts";
import type { PartitionState } from "../partition/partition-state.ts";
import type { RecoveryReport, RecoveryTask } from "../partition/recovery.ts";
import type { ReplayReport, ReplayTarget, ReplayTask } from "../partition/replay.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Timers } from "../runtime/timers.ts";
import type { OwnershipPeers, TableSource } from "./ownership-ports.ts";

/** The release is asked for once a round of catching up takes no longer than this, doubled with each round. */
const WARM_GAP_MS = 10;
const WARM_GAP_MS_MAX = 1000;
/** Between two rounds of a move that waits for its owner. */
const WARM_PAUSE_MS = 50;
/** A move that is not done so long after its first recovery, which ends or fails by itself, is dropped by its target. */
const WARM_MS_MAX = 120_000;

export interface IncomingMoveOptions {
  readonly self: number;
  /** Empty; of no use when the move does not end here. */
  readonly state: PartitionState;
  /** Incarnation that owns the partition, and since which epoch. */
  readonly owner: number;
  readonly epoch: number;
  readonly table: TableSource;
  readonly peers: OwnershipPeers;
  readonly recover: (tasks: readonly RecoveryTask[]) => Promise<RecoveryReport>;
  readonly replay: (tasks: readonly ReplayTask[]) => Promise<ReplayReport>;
  readonly clock: Clock;
  readonly timers: Timers;
  /** This life of the node is over. */
  readonly isEnded: () => boolean;
}

/** The state holds the whole history before this epoch; `lastTimeMs` is the time of its youngest entry. */
export interface MoveEnd {
  readonly epoch: number;
  readonly lastTimeMs: number;
}

export class IncomingMove {
  readonly #options: IncomingMoveOptions;
  #deadlineMs: number = Number.POSITIVE_INFINITY;
  #lastTimeMs = 0;

  constructor(options: IncomingMoveOptions) {
    this.#options = options;
  }

  /** It took longer than a move may. */
  get isLate(): boolean {
    return this.#options.clock.monotonicMs() >= this.#deadlineMs;
  }

  /** Resolves to null when the table wants something else by now, or it is late. Errors: those of recovery and replay. */
  async run(): Promise<MoveEnd | null> {
    const { self, owner, epoch, state, peers, recover, clock, isEnded } = this.#options;
    // A courtesy: without it the recovery replays all that the owner has logged since its last checkpoint.
    await this.#whileOnItsWay(() => peers.askCheckpoint(owner, this.#request)).catch(
      () => undefined,
    );
    const lineage = this.#assignment?.lineage ?? [];
    const isOurs = this.#isOnItsWay || this.#assignment?.owner === self;
    if (!isOurs || isEnded()) return null;
    const recovered = await recover([{ state, lineage }]);
    const target = recovered.targets[0];
    if (target === undefined) throw new CatchallError("internal");
    this.#lastTimeMs = recovered.lastTimeMs;
    this.#deadlineMs = clock.monotonicMs() + WARM_MS_MAX;
    assertKnown(target, epoch);
    await this.#follow(target);
    const now = this.#assignment;
    if (now?.owner !== self || isEnded()) return null;
    await this.#replay(target, now.lineage);
    assertKnown(target, now.epoch);
    return { epoch: now.epoch, lastTimeMs: this.#lastTimeMs };
  }

  get #request() {
    const { state, epoch, self } = this.#options;
    return { partition: state.partition, epoch, to: self };
  }

  get #assignment(): PartitionAssignment | undefined {
    const { table, state } = this.#options;
    return table.current()?.table.partitions[state.partition];
  }

  get #isOnItsWay(): boolean {
    const { self, owner, epoch } = this.#options;
    const now = this.#assignment;
    return now?.owner === owner && now.epoch === epoch && now.moveTo === self;
  }

  /** Catches up with the owner until the table has changed. */
  async #follow(target: ReplayTarget): Promise<void> {
    const { owner, epoch, peers, table, clock, isEnded } = this.#options;
    let gapMs = WARM_GAP_MS;
    while (this.#isOnItsWay && !this.isLate && !isEnded()) {
      const startedMs = clock.monotonicMs();
      const endSequence = await this.#whileOnItsWay(() => peers.committedSequence(owner));
      if (endSequence === null) return;
      await this.#replay(target, [{ epoch, incarnation: owner, endSequence }]);
      // A log that answers slowly is never closer: then the pause is as long as one round takes.
      gapMs = Math.min(2 * gapMs, WARM_GAP_MS_MAX);
      if (clock.monotonicMs() - startedMs <= gapMs) await this.#takeRelease(target);
      if (this.#isOnItsWay) await table.refresh();
    }
  }

  /** Asks for the release, and reads the last entries while the owner changes the table. */
  async #takeRelease(target: ReplayTarget): Promise<void> {
    const { owner, epoch, peers, timers } = this.#options;
    const endSequence = await this.#whileOnItsWay(() =>
      peers.askRelease(owner, this.#request),
    ).catch(() => null);
    if (endSequence !== null) {
      await this.#replay(target, [{ epoch, incarnation: owner, endSequence }]);
    }
    await this.#whileOnItsWay(() => pause(timers, WARM_PAUSE_MS));
  }

  /** Settles as `work` does; null as soon as the table has changed, since an owner that died answers late or never. */
  #whileOnItsWay<T>(work: () => Promise<T>): Promise<T | null> {
    if (!this.#isOnItsWay) return Promise.resolve(null);
    return new Promise<T | null>((resolve, reject) => {
      const stopListening = this.#options.table.onChange(() => {
        if (this.#isOnItsWay) return;
        stopListening();
        resolve(null);
      });
      work().finally(stopListening).then(resolve, reject);
    });
  }

  async #replay(target: ReplayTarget, stretches: readonly LineageStretch[]): Promise<void> {
    const { lastTimeMs } = await this.#options.replay([{ target, stretches }]);
    this.#lastTimeMs = Math.max(this.#lastTimeMs, lastTimeMs);
  }
}

/** Every epoch before this one must be accounted for; else its checkpoint is lost, and counts with it. */
export function assertKnown({ state, covered }: ReplayTarget, epoch: number): void {
  if (covered.epoch >= epoch - 1) return;
  throw new CatchallError(
    "checkpoint_damaged",
    `Partition ${state.partition} is known up to epoch ${covered.epoch}, it is in epoch ${epoch}: ` +
      "a checkpoint is missing",
  );
}
