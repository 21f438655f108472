/**
 * Makes this node's partitions what the control table says: opens what it owns, warms what is to move here, releases
 * what is to move away (design sections 6 and 7).
 *
 * Workflow of a move, here as target: checkpoint → the owner's log so far → ask for the release when close → the table
 * says that it is ours → the rest of the log → CLAIM → open. As owner: close in one tick → RELEASE → the table.
 * Safety: a partition is opened only after its whole lineage was replayed and CLAIM is durable; it is closed before
 * RELEASE is appended, and only RELEASE lets this node give it away in the table (I10, I11, I12).
 */

import type { ConfirmedCheckpoint } from "../checkpoint/checkpointer.ts";
import type { GroupCommit } from "../commit/group-commit.ts";
import {
  clearLineage,
  dropMove,
  type FinishedMove,
  finishMove,
} from "../control-plane/table-changes.ts";
import { pause } from "../control-plane/time-limit.ts";
import { CatchallError } from "../model/errors.ts";
import {
  type ControlTable,
  type LineageStretch,
  NOBODY,
  type PartitionAssignment,
} from "../model/ownership.ts";
import { appendMark } from "../partition/mark-section.ts";
import type { PartitionActor } from "../partition/partition-actor.ts";
import type { PartitionHost } from "../partition/partition-host.ts";
import type { PartitionState } from "../partition/partition-state.ts";
import type { RecoveryReport, RecoveryTask } from "../partition/recovery.ts";
import type { ReplayReport, ReplayTask } from "../partition/replay.ts";
import { SECTION_CLAIM, SECTION_RELEASE, SECTION_RULE } from "../partition/section-codec.ts";
import type { RuleChange } from "../router/local-answers.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Timers } from "../runtime/timers.ts";
import { assertKnown, IncomingMove } from "./incoming-move.ts";
import type { LogFloors } from "./log-floors.ts";
import type { MoveRequest, OwnershipPeers, TableSource } from "./ownership-ports.ts";
import { PartitionFailures } from "./partition-failures.ts";

/** Until a move that failed, or a rule that could not be given, is tried again. */
const RETRY_MS = 500;
/** Before a move begins, so that moves one after another leave room for the events of their nodes (docs/performance.md). */
const MOVE_REST_MS = 100;
/** Until the control store is asked again to give a released partition away. */
const TABLE_RETRY_MS = 200;

/** Who changed a rule is in the log of the node that was asked; partitions that follow later name the table. */
const RULE_AUTHOR = "control table";

export interface PartitionSupervisorOptions {
  readonly self: number;
  readonly host: PartitionHost;
  readonly commit: GroupCommit;
  readonly table: TableSource;
  readonly peers: OwnershipPeers;
  readonly floors: LogFloors;
  readonly createState: (partition: number) => PartitionState;
  readonly createActor: (state: PartitionState, epoch: number) => PartitionActor;
  readonly recover: (tasks: readonly RecoveryTask[]) => Promise<RecoveryReport>;
  readonly replay: (tasks: readonly ReplayTask[]) => Promise<ReplayReport>;
  /** Writes what an open partition has changed into the checkpoint store, as far as that can be had. */
  readonly checkpoint: (partition: number) => Promise<void>;
  /** Appends a rule to every open partition that does not have it. */
  readonly applyRule: (change: RuleChange) => Promise<unknown>;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly logger: Logger;
  readonly observer: { handoff(result: "done" | "dropped" | "failed"): void };
  /** The table says that another node owns what is open here: this incarnation is over. */
  readonly onFenced: (reason: string) => void;
}

interface OpenSlot {
  readonly kind: "open";
  readonly epoch: number;
  readonly actor: PartitionActor;
}

type Slot =
  | { readonly kind: "opening"; readonly epoch: number }
  | { readonly kind: "warming"; readonly epoch: number }
  | OpenSlot
  | { readonly kind: "releasing"; readonly epoch: number; readonly done: Promise<number> }
  /** RELEASE is durable as this entry; the table does not show it yet. */
  | {
      readonly kind: "released";
      readonly epoch: number;
      readonly state: PartitionState;
      readonly endSequence: number;
    };

export class PartitionSupervisor {
  readonly #options: PartitionSupervisorOptions;
  readonly #slots: Map<number, Slot> = new Map();
  /** Those that could not be opened with others. */
  readonly #openSingly: Set<number> = new Set();
  /** Epoch of the last claim that was handed to the commit, by partition. */
  readonly #claimed: Map<number, number> = new Map();
  #stopListening: () => void = () => undefined;
  #isEnded = false;
  #isRuleDue = false;
  readonly #openFailures: PartitionFailures;
  readonly #moveFailures: PartitionFailures;

  constructor(options: PartitionSupervisorOptions) {
    this.#options = options;
    const { clock, logger } = options;
    this.#openFailures = new PartitionFailures({
      clock,
      report: (fields) => logger.error(fields, "Partitions could not be opened"),
    });
    this.#moveFailures = new PartitionFailures({
      clock,
      report: (fields) => logger.warn(fields, "A move failed; it is tried again"),
    });
  }

  /** Why partitions of this node are not open, for `/readyz`; null when none fails. */
  get openFailure(): string | null {
    return this.#openFailures.reason;
  }

  start(): void {
    this.#stopListening = this.#options.table.onChange(() => this.step());
    this.step();
  }

  /** Nothing is opened or warmed any more. What is open stays open until the node ends. */
  end(): void {
    this.#isEnded = true;
    this.#stopListening();
  }

  /** Partitions by what this node does with them, for metrics and the operators' view. */
  stateOf(partition: number): Slot["kind"] | null {
    return this.#slots.get(partition)?.kind ?? null;
  }

  /** How many partitions are in each state. */
  countsByState(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>([["open", 0]]);
    for (const { kind } of this.#slots.values()) counts.set(kind, (counts.get(kind) ?? 0) + 1);
    return counts;
  }

  /** Looks at the newest table and starts what is due. */
  step(): void {
    const table = this.#options.table.current()?.table;
    if (this.#isEnded || table === undefined) return;
    const due: number[] = [];
    for (const [partition, assignment] of table.partitions.entries()) {
      if (assignment.owner === this.#options.self) {
        if (this.#isDueToOpen(partition, assignment)) due.push(partition);
      } else {
        this.#lookAtForeign(partition, assignment);
      }
    }
    const together = due.filter((partition) => !this.#openSingly.has(partition));
    if (together.length > 0) void this.#openAll(together, table);
    for (const partition of due) {
      if (this.#openSingly.has(partition)) void this.#openAll([partition], table);
    }
    this.#keepRule(table);
  }

  /** Shortens what the target of a move has to replay. Errors: `not_owner` when the table does not say so. */
  async prepare(request: MoveRequest): Promise<void> {
    // The target may have seen the newest table first.
    if (this.#slotToGive(request) === null) await this.#options.table.refresh();
    if (this.#slotToGive(request) === null) throw notToMove(request);
    await this.#options.checkpoint(request.partition);
  }

  /**
   * Gives a partition away, as the target asked; resolves to the sequence of RELEASE once that is durable. The table
   * follows. Errors: `not_owner` when the table does not say so.
   */
  async release(request: MoveRequest): Promise<number> {
    const { partition, epoch } = request;
    const slot = this.#slots.get(partition);
    if (slot?.kind === "releasing" && slot.epoch === epoch) return slot.done;
    if (slot?.kind === "released" && slot.epoch === epoch) return slot.endSequence;
    const open = this.#slotToGive(request);
    if (open === null) throw notToMove(request);
    const done = this.#release(partition, open);
    this.#slots.set(partition, { kind: "releasing", epoch, done });
    return done;
  }

  /** Null while the table, as far as it is known here, does not say that the partition moves there. */
  #slotToGive({ partition, epoch, to }: MoveRequest): OpenSlot | null {
    const slot = this.#slots.get(partition);
    const assignment = this.#assignmentOf(partition);
    const isAgreed =
      assignment?.owner === this.#options.self &&
      assignment.epoch === epoch &&
      assignment.moveTo === to;
    return slot?.kind === "open" && slot.epoch === epoch && isAgreed ? slot : null;
  }

  /** A checkpoint is durable: the table may forget the lineage behind it, the log what nobody needs. */
  async confirmed(checkpoint: ConfirmedCheckpoint): Promise<void> {
    const { self, table, floors } = this.#options;
    // A life that ended trims nothing: its log is its successors' now.
    if (this.#isEnded) return;
    const covered = checkpoint.manifests.map(({ partition, watermark }) => {
      floors.covered(partition, watermark.epoch, watermark.sequence);
      return { partition, from: self, epoch: watermark.epoch };
    });
    const now = table.current()?.table;
    if (now === undefined) return;
    try {
      if (clearLineage(now, covered) !== null) {
        await table.change((current) => clearLineage(current, covered));
      }
    } finally {
      // Also when the table can't be changed: where the store is full, nothing else makes room for that.
      const newest = table.current()?.table ?? now;
      if (!this.#isEnded) await floors.trim(newest, checkpoint);
    }
  }

  #isDueToOpen(partition: number, assignment: PartitionAssignment): boolean {
    const slot = this.#slots.get(partition);
    if (slot === undefined) return true;
    if (slot.kind === "released" && assignment.epoch > slot.epoch) {
      // It came back in a new epoch, and its state never left.
      this.#slots.set(partition, { kind: "opening", epoch: assignment.epoch });
      void this.#open(slot.state, assignment.epoch).catch((error) =>
        this.#openFailed([partition], error),
      );
    }
    return false;
  }

  #lookAtForeign(partition: number, assignment: PartitionAssignment): void {
    this.#openFailures.ended(partition);
    const slot = this.#slots.get(partition);
    if (slot === undefined) {
      const isMoving = assignment.moveTo === this.#options.self && assignment.owner !== NOBODY;
      if (isMoving) void this.#warm(partition, assignment);
      else this.#moveFailures.ended(partition);
    } else if (slot.kind === "released") {
      slot.state.window.discard();
      this.#slots.delete(partition);
    } else if (slot.kind === "open" && assignment.epoch > slot.epoch) {
      this.#options.onFenced(`Partition ${partition} was given to incarnation ${assignment.owner}`);
    }
  }

  async #openAll(partitions: readonly number[], table: ControlTable): Promise<void> {
    const tasks = partitions.map((partition) => {
      const { epoch, lineage } = table.partitions[partition] as PartitionAssignment;
      this.#slots.set(partition, { kind: "opening", epoch });
      const own = this.#ownStretch(partition, epoch);
      const state = this.#options.createState(partition);
      return { state, lineage: [...lineage, ...own], epoch };
    });
    try {
      const { lastTimeMs, entries, pages, targets } = await this.#options.recover(tasks);
      for (const [index, target] of targets.entries()) {
        assertKnown(target, (tasks[index] as { epoch: number }).epoch);
      }
      this.#options.commit.raiseTime(lastTimeMs);
      // All of them end before any is tried again: a second actor beside one that opens late would know too little.
      const opened = await Promise.allSettled(
        tasks.map(({ state, epoch }) => this.#open(state, epoch)),
      );
      for (const one of opened) if (one.status === "rejected") throw one.reason;
      const count = partitions.length;
      this.#options.logger.info({ partitions: count, entries, pages }, "Partitions opened");
    } catch (error) {
      for (const { state } of tasks) {
        if (this.#options.host.actorAt(state.partition)?.state !== state) state.window.discard();
      }
      this.#openFailed(partitions, error);
    }
  }

  /** `state` holds the whole history: claims it and serves. */
  async #open(state: PartitionState, epoch: number): Promise<void> {
    if (this.#isEnded) return;
    const { partition } = state;
    const { commit, host, floors, createActor } = this.#options;
    state.endRecovery();
    const actor = createActor(state, epoch);
    this.#claimed.set(partition, epoch);
    const claimed = appendMark(commit, state, epoch, SECTION_CLAIM);
    // Behind the claim in the same entry: nobody reads the statuses of a rule that has been replaced.
    let ruled = this.#giveRule(actor);
    floors.claimed(partition, epoch, await claimed);
    // The claim is there: whatever hinders the rule, a state that is recovered again would not have what follows it.
    while (!(await ruled) && !this.#isEnded) {
      await pause(this.#options.timers, RETRY_MS);
      ruled = this.#giveRule(actor);
    }
    if (this.#isEnded) return;
    this.#slots.set(partition, { kind: "open", epoch, actor });
    this.#openSingly.delete(partition);
    this.#openFailures.ended(partition);
    this.#moveFailures.ended(partition);
    host.open(actor);
  }

  /** What an earlier try to open it in this epoch has left in the own log: a claim, perhaps a rule. */
  #ownStretch(partition: number, epoch: number): readonly LineageStretch[] {
    if (this.#claimed.get(partition) !== epoch) return [];
    const { self, commit } = this.#options;
    return [{ epoch, incarnation: self, endSequence: commit.sequence }];
  }

  #openFailed(together: readonly number[], error: unknown): void {
    if (this.#isEnded) return;
    const partitions = together.filter((one) => this.#slots.get(one)?.kind === "opening");
    // One that is damaged must not keep the others closed.
    for (const partition of partitions) this.#openSingly.add(partition);
    this.#options.timers.after(this.#openFailures.failed(partitions, error), () => {
      for (const partition of partitions) {
        if (this.#slots.get(partition)?.kind === "opening") this.#slots.delete(partition);
      }
      this.step();
    });
  }

  async #warm(partition: number, assignment: PartitionAssignment): Promise<void> {
    const { epoch, owner } = assignment;
    const { self, table, commit, observer, createState } = this.#options;
    this.#slots.set(partition, { kind: "warming", epoch });
    await pause(this.#options.timers, MOVE_REST_MS);
    const state = createState(partition);
    const move = new IncomingMove({
      ...this.#options,
      ...{ state, owner, epoch },
      isEnded: () => this.#isEnded,
    });
    try {
      const end = await move.run();
      if (end !== null) {
        commit.raiseTime(end.lastTimeMs);
        await this.#open(state, end.epoch);
      }
      observer.handoff(end === null ? "dropped" : "done");
      if (end === null) {
        state.window.discard();
        this.#slots.delete(partition);
      }
    } catch (error) {
      state.window.discard();
      if (this.#isEnded) return;
      observer.handoff("failed");
      this.#moveFailures.failed([partition], error);
      // Its slot is kept meanwhile: what fails at once must not be tried again at once. No longer though: the table may
      // make this node the owner.
      await pause(this.#options.timers, RETRY_MS);
      this.#slots.delete(partition);
    }
    if (!this.#isEnded && move.isLate) {
      const late = { partition, from: owner, epoch, to: self };
      await table.change((current) => dropMove(current, late)).catch(() => undefined);
    }
    // Also when nothing was dropped: the table may have made this node the owner meanwhile.
    this.step();
  }

  async #release(partition: number, slot: OpenSlot): Promise<number> {
    const { self, host, commit } = this.#options;
    const { actor, epoch } = slot;
    const { state } = actor;
    actor.close();
    let endSequence: number;
    try {
      endSequence = await appendMark(commit, state, epoch, SECTION_RELEASE);
    } catch (error) {
      if (error instanceof CatchallError && error.code === "log_full") {
        actor.reopen();
        this.#slots.set(partition, slot);
      }
      throw error;
    }
    host.close(partition);
    this.#slots.set(partition, { kind: "released", epoch, state, endSequence });
    const { bytes } = state.table;
    // The target reads the last entries meanwhile.
    void this.#giveAway({ partition, from: self, epoch, endSequence, bytes });
    return endSequence;
  }

  async #giveAway(move: FinishedMove): Promise<void> {
    const { table, logger } = this.#options;
    while (!this.#isEnded) {
      try {
        await table.change((current) => finishMove(current, move));
        return this.step();
      } catch (error) {
        const { partition } = move;
        logger.warn({ err: error, partition }, "A release waits for the control store");
        await pause(this.#options.timers, TABLE_RETRY_MS);
      }
    }
  }

  /** Partitions that are open follow the table's rule; tried again until they do. */
  #keepRule(table: ControlTable): void {
    if (this.#isRuleDue || !this.#options.host.actors.some((actor) => isBehind(actor, table))) {
      return;
    }
    this.#isRuleDue = true;
    const { rule, ruleRevision: revision } = table;
    void this.#options
      .applyRule({ rule, revision, by: RULE_AUTHOR })
      .catch((error) => this.#options.logger.warn({ err: error }, "A rule waits to be applied"))
      .then(() => pause(this.#options.timers, RETRY_MS))
      .then(() => {
        // Not before the pause: each look at the table meanwhile would begin one more row of tries.
        this.#isRuleDue = false;
        if (!this.#isEnded) this.step();
      });
  }

  /** Resolves to whether the actor has the table's rule; never rejects, since it is awaited late. */
  async #giveRule(actor: PartitionActor): Promise<boolean> {
    const table = this.#options.table.current()?.table;
    if (table === undefined || !isBehind(actor, table)) return true;
    const { rule, ruleRevision: revision } = table;
    const change = actor.change({ kind: SECTION_RULE, rule, revision, by: RULE_AUTHOR });
    return change.then(
      () => true,
      () => false,
    );
  }

  #assignmentOf(partition: number): PartitionAssignment | undefined {
    return this.#options.table.current()?.table.partitions[partition];
  }
}

function isBehind(actor: PartitionActor, table: ControlTable): boolean {
  return actor.state.ruleRevision < table.ruleRevision;
}

function notToMove({ partition }: MoveRequest): CatchallError {
  return new CatchallError("not_owner", `Partition ${partition} is not to move from here`);
}
