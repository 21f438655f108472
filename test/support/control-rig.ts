/**
 * Several nodes' control planes over one control store and one set of logs, on virtual time: join, lease, coordinator.
 * No data plane: a test finishes moves by hand.
 */

import { Coordinator, type CoordinatorOptions } from "../../src/control-plane/coordinator.ts";
import { type Joined, Membership } from "../../src/control-plane/membership.ts";
import { finishMove, partitionsOf } from "../../src/control-plane/table-changes.ts";
import { TableKeeper } from "../../src/control-plane/table-keeper.ts";
import { type ControlTable, NOBODY } from "../../src/model/ownership.ts";
import { DEFAULT_RULE } from "../../src/model/status.ts";
import type { Clock } from "../../src/runtime/clock.ts";
import { SILENT_LOGGER } from "../../src/runtime/logger.ts";
import type { Random } from "../../src/runtime/random.ts";
import { MemoryControlRecords, MemoryControlStore } from "./memory-control-store.ts";
import { VirtualTimers } from "./virtual-timers.ts";

export const TEST_TTL_MS = 1000;

/** Logs as the control plane sees them: made, sealed, deleted. Notes what happened, in order. */
export class FakeLogs {
  readonly ends: Map<number, number> = new Map();
  readonly sealed: Set<number> = new Set();
  readonly notes: string[] = [];
  /** Sealing fails while this is set. */
  isAway = false;

  async create(incarnation: number): Promise<void> {
    if (this.ends.has(incarnation)) throw new Error("the log is there already");
    this.ends.set(incarnation, incarnation * 100);
  }

  async seal(incarnation: number): Promise<number> {
    if (this.isAway) throw new Error("log_unavailable");
    if (!this.sealed.has(incarnation)) this.notes.push(`seal ${incarnation}`);
    this.sealed.add(incarnation);
    const end = this.ends.get(incarnation) ?? 1;
    this.ends.set(incarnation, end);
    return end;
  }

  async list(): Promise<readonly number[]> {
    return [...this.ends.keys()].sort((a, b) => a - b);
  }

  async delete(incarnation: number): Promise<void> {
    this.ends.delete(incarnation);
    this.notes.push(`delete ${incarnation}`);
  }
}

export interface RigNode {
  readonly nodeId: string;
  readonly store: MemoryControlStore;
  readonly keeper: TableKeeper;
  readonly membership: Membership;
  readonly joined: Joined;
  readonly coordinator: Coordinator;
  /** Wall clock against the others'. */
  readonly skew: { ms: number };
}

export class ControlRig {
  readonly time: VirtualTimers = new VirtualTimers();
  readonly shared: MemoryControlRecords = new MemoryControlRecords();
  readonly logs: FakeLogs = new FakeLogs();
  readonly nodes: RigNode[] = [];
  #seed = 1;

  readonly random: Random = {
    uint32: () => {
      this.#seed = (Math.imul(this.#seed, 1_664_525) + 1_013_904_223) >>> 0;
      return this.#seed;
    },
  };

  /** Joins and starts the coordinator. */
  async start(nodeId: string, options: Partial<CoordinatorOptions> = {}): Promise<RigNode> {
    const parts = this.parts(nodeId);
    const { store, keeper, membership, clock } = parts;
    keeper.start();
    const joining = membership.join();
    await this.time.settle();
    const joined = await this.finish(joining);
    const coordinator = new Coordinator({
      store,
      keeper,
      lease: joined.lease,
      log: this.logs,
      clock,
      timers: this.time,
      logger: SILENT_LOGGER,
      expectNodes: 1,
      settleMs: 3000,
      autoRebalance: false,
      moveLimitMs: 60_000,
      logRetentionMs: 0,
      idempotencyWindowMs: 600_000,
      ...options,
    });
    coordinator.start();
    const node = { nodeId, store, keeper, membership, joined, coordinator, skew: parts.skew };
    this.nodes.push(node);
    return node;
  }

  parts(
    nodeId: string,
    partitionCount = 16,
  ): Pick<RigNode, "store" | "keeper" | "membership" | "skew"> & { readonly clock: Clock } {
    const { time, random } = this;
    const store = new MemoryControlStore(this.shared);
    const skew = { ms: 0 };
    const clock = {
      wallMs: () => time.wallMs() + skew.ms,
      monotonicMs: () => time.monotonicMs(),
    };
    const logger = SILENT_LOGGER;
    const keeper = new TableKeeper({ store, clock, timers: time, random, logger });
    const membership = new Membership({
      store,
      keeper,
      clock,
      timers: time,
      random,
      logger,
      log: this.logs,
      nodeId,
      leaseTtlMs: TEST_TTL_MS,
      partitionCount,
      initialRule: DEFAULT_RULE,
    });
    return { store, keeper, membership, skew, clock };
  }

  /** As if the process had been killed. */
  async kill(node: RigNode): Promise<void> {
    node.joined.lease.stop();
    node.keeper.stop();
    await this.finish(node.coordinator.stop());
    node.store.isAway = true;
  }

  /** Lets time pass until `work` is done. */
  async finish<T>(work: Promise<T>): Promise<T> {
    let isDone = false;
    const done = work.finally(() => {
      isDone = true;
    });
    done.catch(() => undefined);
    for (let i = 0; i < 4000 && !isDone; i++) await this.time.advance(10);
    if (!isDone) throw new Error("it does not end");
    return done;
  }

  /** Lets time pass, and owners hand over what is to move, until nothing is on its way. */
  async finishMoves(): Promise<void> {
    for (let round = 0; round < 400; round++) {
      await this.time.advance(50);
      const { table } = this.newest();
      const isMoving = table.partitions.some(({ moveTo }) => moveTo !== NOBODY);
      if (!isMoving && !table.rebalances.some(({ state }) => state === "running")) return;
      const keeper = this.nodes.find(({ store }) => !store.isAway)?.keeper as TableKeeper;
      for (const [partition, { owner, epoch, moveTo }] of table.partitions.entries()) {
        if (moveTo === NOBODY) continue;
        const move = { partition, from: owner, epoch, endSequence: round + 1, bytes: 100 };
        await this.finish(keeper.change((newest) => finishMove(newest, move)));
      }
    }
  }

  newest(): { readonly revision: number; readonly table: ControlTable } {
    const versions = this.nodes.flatMap(({ keeper }) => keeper.current() ?? []);
    const [first] = versions.sort((a, b) => b.revision - a.revision);
    if (first === undefined) throw new Error("nobody has a table");
    return first;
  }

  /** By node in the order of their start: how many partitions they own. */
  loads(): number[] {
    const { table } = this.newest();
    return this.nodes.map(({ joined }) => partitionsOf(table, joined.incarnation).length);
  }

  async stop(): Promise<void> {
    for (const node of this.nodes) await this.kill(node);
  }
}
