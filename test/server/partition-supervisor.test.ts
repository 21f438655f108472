/** The supervisor over ports in memory: a table, a clock and a recovery that the test moves. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ConfirmedCheckpoint } from "../../src/checkpoint/checkpointer.ts";
import { GroupCommit } from "../../src/commit/group-commit.ts";
import { endMember, finishMove, startMove } from "../../src/control-plane/table-changes.ts";
import { CatchallError } from "../../src/model/errors.ts";
import { type ControlTable, NOBODY, type TableVersion } from "../../src/model/ownership.ts";
import { DEFAULT_RULE } from "../../src/model/status.ts";
import { KeyBudget } from "../../src/partition/idempotency-window.ts";
import { PartitionHost } from "../../src/partition/partition-host.ts";
import type { RecoveryReport, RecoveryTask } from "../../src/partition/recovery.ts";
import type { LogFields } from "../../src/runtime/logger.ts";
import { SILENT_LOGGER } from "../../src/runtime/logger.ts";
import { Counter } from "../../src/runtime/metrics.ts";
import { PartitionFactory } from "../../src/server/partition-factory.ts";
import {
  PartitionSupervisor,
  type PartitionSupervisorOptions,
} from "../../src/server/partition-supervisor.ts";
import { chainSeed } from "../../src/wal/entry-codec.ts";
import { MemoryNodeLog } from "../support/memory-node-log.ts";
import { assignedTable, must } from "../support/table-builder.ts";
import { VirtualTimers } from "../support/virtual-timers.ts";

const PARTITIONS = 4;
const SELF = 2;
const OTHER = 1;

class Bench {
  readonly timers: VirtualTimers = new VirtualTimers();
  readonly lines: { readonly fields: LogFields; readonly message: string }[] = [];
  readonly recovered: number[][] = [];
  /** Runs inside every recovery. */
  onRecover: () => void = () => undefined;
  onRefresh: () => unknown = () => undefined;
  committedSequence: () => Promise<number> = async () => 0;
  askCheckpoint: () => Promise<void> = async () => undefined;
  askRelease: () => Promise<number> = async () => 0;
  /** Ends of what was replayed, in order. */
  readonly replayedTo: number[] = [];
  /** Partitions that a checkpoint was written of. */
  readonly checkpointed: number[] = [];
  supervisor: PartitionSupervisor | null = null;
  /** True: the table can be read and not changed. */
  isTableStuck = false;
  /** Tables by which the log was trimmed. */
  readonly trimmedBehind: ControlTable[] = [];
  table: ControlTable;
  #revision = 1;
  readonly #listeners: Set<(version: TableVersion) => void> = new Set();

  constructor(table: ControlTable) {
    this.table = table;
  }

  get version(): TableVersion {
    return { revision: this.#revision, table: this.table };
  }

  become(table: ControlTable | null): TableVersion {
    if (table === null) return this.version;
    this.table = table;
    this.#revision++;
    for (const listener of [...this.#listeners]) listener(this.version);
    return this.version;
  }

  async start(): Promise<PartitionSupervisor> {
    const { timers } = this;
    const random = { uint32: () => 7 };
    const log = new MemoryNodeLog();
    await log.create(SELF);
    const commit = new GroupCommit({
      ...{ log, clock: timers, timers, random, incarnation: SELF, timeMsMin: 0 },
      chainSeed: chainSeed(SELF, log.storeId),
      observer: {
        appended: () => undefined,
        logFailed: (reason) => assert.fail(reason),
        clockLeapt: () => undefined,
      },
    });
    const counter = new Counter();
    const factory = new PartitionFactory({
      ...{ partitions: PARTITIONS, idempotencyWindowMs: 60_000, random },
      keyBudget: new KeyBudget(1000),
      eventCounters: [counter, counter],
      initialRule: () => DEFAULT_RULE,
      refusal: (): CatchallError | null => null,
      onChange: () => undefined,
    });
    this.supervisor = new PartitionSupervisor({
      ...{ self: SELF, host: new PartitionHost(PARTITIONS, timers), commit, timers, clock: timers },
      table: {
        current: () => this.version,
        change: async (change) => {
          if (this.isTableStuck) throw new CatchallError("control_unavailable");
          return this.become(change(this.table));
        },
        refresh: async () => this.onRefresh(),
        onChange: (listener) => {
          this.#listeners.add(listener);
          return () => this.#listeners.delete(listener);
        },
      },
      peers: {
        committedSequence: () => this.committedSequence(),
        askCheckpoint: () => this.askCheckpoint(),
        askRelease: () => this.askRelease(),
      },
      floors: {
        claimed: () => undefined,
        covered: () => undefined,
        trim: async (table: ControlTable) => {
          this.trimmedBehind.push(table);
        },
      } as unknown as PartitionSupervisorOptions["floors"],
      createState: (partition) => factory.createState(partition),
      createActor: (state, epoch) => factory.createActor(state, epoch, commit),
      recover: async (tasks) => this.#recover(tasks),
      replay: async (tasks) => {
        for (const { target, stretches } of tasks) {
          for (const { epoch, incarnation, endSequence } of stretches) {
            this.replayedTo.push(endSequence);
            target.covered = { epoch, incarnation, sequence: endSequence };
          }
        }
        return { lastTimeMs: 0, entries: 0, unclaimed: [] };
      },
      checkpoint: async (partition) => {
        this.checkpointed.push(partition);
      },
      applyRule: async () => undefined,
      logger: { ...SILENT_LOGGER, error: this.#log, warn: this.#log },
      observer: { handoff: () => undefined },
      onFenced: (reason) => assert.fail(reason),
    });
    this.supervisor.start();
    // A move begins after a rest.
    await timers.advance(100);
    return this.supervisor;
  }

  readonly #log = (fields: LogFields, message: string): void => {
    this.lines.push({ fields, message });
  };

  #recover(tasks: readonly RecoveryTask[]): RecoveryReport {
    this.recovered.push(tasks.map(({ state }) => state.partition));
    this.onRecover();
    const targets = tasks.map(({ state }) => {
      const epoch = this.table.partitions[state.partition]?.epoch ?? 0;
      return { state, covered: { epoch, incarnation: OTHER, sequence: 1 } };
    });
    return { pages: 0, entries: 0, lastTimeMs: 0, checkpoint: null, targets };
  }
}

/** A partition of the other node that is on its way here, where nothing else is. */
function movingTable(): ControlTable {
  const table = assignedTable(1, PARTITIONS);
  const joined = { ...table, ...assignedTable(2, PARTITIONS), partitions: table.partitions };
  return must(startMove(joined, { partition: 0, from: OTHER, epoch: 1, to: SELF }));
}

/** A partition of this node that is on its way to the other one. */
function leavingTable(): ControlTable {
  const table = assignedTable(2, PARTITIONS);
  const partitions = ownedBySelf(table).map((assignment) => ({ ...assignment, epoch: 1 }));
  const move = { partition: 0, from: SELF, epoch: 1, to: OTHER };
  return must(startMove({ ...table, partitions }, move));
}

describe("PartitionSupervisor", () => {
  it("trims the log behind a checkpoint also when the table can't be told of it", async () => {
    const bench = new Bench(movingTable());
    const end = { incarnation: OTHER, endSequence: 5, state: "dead", endedAtMs: 1 } as const;
    bench.table = must(endMember(bench.table, end));
    const supervisor = await bench.start();
    bench.isTableStuck = true;
    const manifests = bench.table.partitions.map(({ epoch }, partition) => ({
      partition,
      watermark: { epoch, incarnation: SELF, sequence: 9 },
    }));
    const checkpoint = { manifests, timeMs: 0 } as unknown as ConfirmedCheckpoint;
    await assert.rejects(supervisor.confirmed(checkpoint), { code: "control_unavailable" });
    assert.deepEqual(bench.trimmedBehind, [bench.table], "by the lineage that is still there");
    assert.equal(bench.table.partitions[0]?.lineage.length, 1);
  });

  it("opens what became its own while a move was failing beyond its deadline", async () => {
    const bench = new Bench(movingTable());
    let asked = 0;
    bench.committedSequence = async () => {
      asked++;
      bench.timers.nowMs += 200_000;
      const end = { incarnation: OTHER, endSequence: 1, state: "dead", endedAtMs: 1 } as const;
      bench.become(must(endMember(bench.table, end)));
      throw new Error("the owner is gone");
    };
    const supervisor = await bench.start();
    await bench.timers.advance(1000);
    assert.equal(asked, 1);
    assert.equal(bench.table.partitions[0]?.owner, SELF);
    assert.equal(supervisor.stateOf(0), "open");
  });

  it("moves a partition whose first recovery takes longer than a move may", async () => {
    const bench = new Bench(movingTable());
    bench.onRecover = () => {
      bench.timers.nowMs += 600_000;
    };
    let released = 0;
    bench.askRelease = async () => {
      released++;
      throw new Error("not yet");
    };
    await bench.start();
    assert.ok(released > 0, "it asks the owner");
    assert.equal(bench.table.partitions[0]?.moveTo, SELF);
  });

  it("drops a move that the owner does not release in time after the recovery", async () => {
    const bench = new Bench(movingTable());
    bench.askRelease = async () => {
      bench.timers.nowMs += 121_000;
      return 0;
    };
    const supervisor = await bench.start();
    await bench.timers.advance(100);
    assert.equal(bench.table.partitions[0]?.moveTo, NOBODY);
    assert.equal(supervisor.stateOf(0), null);
    assert.equal(bench.recovered.length, 1);
  });

  it("asks the owner for a checkpoint before it recovers, and does without when there is none", async () => {
    for (const hasCheckpoint of [true, false]) {
      const bench = new Bench(movingTable());
      const steps: string[] = [];
      bench.onRecover = () => steps.push("recovered");
      bench.askCheckpoint = async () => {
        steps.push("asked");
        if (!hasCheckpoint) throw new CatchallError("not_implemented");
      };
      await bench.start();
      assert.deepEqual(steps, ["asked", "recovered"]);
    }
  });

  it("reads the owner's last entries before the table says that the partition is its own", async () => {
    const bench = new Bench(movingTable());
    bench.committedSequence = async () => 7;
    bench.askRelease = async () => 9;
    const supervisor = await bench.start();
    assert.deepEqual(bench.replayedTo, [7, 9]);
    assert.equal(supervisor.stateOf(0), "warming");
    const move = { partition: 0, from: OTHER, epoch: 1, endSequence: 9, bytes: 0 };
    bench.become(must(finishMove(bench.table, move)));
    await bench.timers.settle();
    assert.deepEqual(bench.replayedTo, [7, 9, 9], "the table's end is the same");
    assert.equal(supervisor.stateOf(0), "open");
  });

  it("opens by the table's end of the log when the owner died after its release", async () => {
    const bench = new Bench(movingTable());
    bench.committedSequence = async () => 7;
    bench.askRelease = async () => 9;
    const supervisor = await bench.start();
    const end = { incarnation: OTHER, endSequence: 12, state: "dead", endedAtMs: 1 } as const;
    bench.become(must(endMember(bench.table, end)));
    await bench.timers.settle();
    assert.equal(bench.table.partitions[0]?.owner, SELF);
    assert.equal(bench.replayedTo.at(-1), 12);
    assert.equal(supervisor.stateOf(0), "open");
  });

  for (const question of ["askCheckpoint", "committedSequence", "askRelease"] as const) {
    it(`does not wait for the ${question} of an owner that died once the table gives the partition here`, async () => {
      const bench = new Bench(movingTable());
      Object.assign(bench, { [question]: () => new Promise(() => undefined) });
      const supervisor = await bench.start();
      assert.equal(supervisor.stateOf(0), "warming");
      const end = { incarnation: OTHER, endSequence: 12, state: "dead", endedAtMs: 1 } as const;
      bench.become(must(endMember(bench.table, end)));
      await bench.timers.settle();
      assert.equal(supervisor.stateOf(0), "open");
    });
  }

  it("recovers nothing for a move after this life has ended", async () => {
    const bench = new Bench(movingTable());
    bench.askCheckpoint = async () => {
      bench.supervisor?.end();
      throw new CatchallError("no_responder");
    };
    await bench.start();
    assert.deepEqual(bench.recovered, []);
  });

  it("tells where RELEASE lies before the table is changed, as often as it is asked, and then gives away", async () => {
    const bench = new Bench(leavingTable());
    const supervisor = await bench.start();
    bench.isTableStuck = true;
    const request = { partition: 0, epoch: 1, to: OTHER };
    const endSequence = await supervisor.release(request);
    assert.ok(endSequence > 0, `RELEASE is entry ${endSequence}`);
    assert.equal(supervisor.stateOf(0), "released");
    assert.equal(await supervisor.release(request), endSequence);
    assert.equal(bench.table.partitions[0]?.owner, SELF);
    bench.isTableStuck = false;
    await bench.timers.advance(500);
    assert.equal(bench.table.partitions[0]?.owner, OTHER);
    assert.equal(bench.table.partitions[0]?.lineage.at(-1)?.endSequence, endSequence);
    assert.equal(supervisor.stateOf(0), null);
  });

  it("writes a checkpoint of a partition for its target alone", async () => {
    const bench = new Bench(leavingTable());
    const supervisor = await bench.start();
    await supervisor.prepare({ partition: 0, epoch: 1, to: OTHER });
    assert.deepEqual(bench.checkpointed, [0]);
    for (const wrong of [{ partition: 1 }, { epoch: 2 }, { to: 77 }]) {
      const request = { partition: 0, epoch: 1, to: OTHER, ...wrong };
      await assert.rejects(supervisor.prepare(request), { code: "not_owner" });
      await assert.rejects(supervisor.release(request), { code: "not_owner" });
    }
    assert.deepEqual(bench.checkpointed, [0]);
  });

  it("looks at the newest table before it refuses a target that knows more", async () => {
    const before = { ...leavingTable(), partitions: ownedBySelf(leavingTable()) };
    const partitions = before.partitions.map((one) => ({ ...one, epoch: 1, moveTo: NOBODY }));
    const bench = new Bench({ ...before, partitions });
    const supervisor = await bench.start();
    bench.onRefresh = () => bench.become(leavingTable());
    await supervisor.prepare({ partition: 0, epoch: 1, to: OTHER });
    assert.deepEqual(bench.checkpointed, [0]);
  });

  it("tries again ever later what cannot be opened, and tells why once a minute", async () => {
    const bench = new Bench(assignedTable(2, PARTITIONS));
    const own = bench.table.partitions.filter(({ owner }) => owner === SELF).length;
    assert.ok(own > 0);
    bench.onRecover = () => {
      throw new Error("MongoDB is somebody else's");
    };
    const supervisor = await bench.start();
    await bench.timers.advance(59_000);
    assert.equal(supervisor.openFailure, "MongoDB is somebody else's");
    assert.ok(bench.recovered.length <= 1 + own * 15, `${bench.recovered.length} tries`);
    assert.ok(bench.recovered.length >= 1 + own * 10, `${bench.recovered.length} tries`);
    assert.deepEqual(
      bench.lines.map(({ message, fields }) => [message, fields["partitions"], fields["repeated"]]),
      [["Partitions could not be opened", own, undefined]],
    );
    await bench.timers.advance(6_000);
    assert.equal(bench.lines.length, 2);
    assert.equal(bench.lines[1]?.fields["repeated"], bench.recovered.length - 1 - own);
    bench.onRecover = () => undefined;
    await bench.timers.advance(5_000);
    assert.equal(supervisor.openFailure, null);
    assert.equal(supervisor.countsByState().get("open"), own);
  });

  it("says that some cannot be opened until each of them is open, and tells another reason at once", async () => {
    const bench = new Bench(assignedTable(1, PARTITIONS));
    bench.become({ ...bench.table, partitions: ownedBySelf(bench.table) });
    let damaged = "page 1 is damaged";
    bench.onRecover = () => {
      if (bench.recovered.at(-1)?.includes(2)) throw new Error(damaged);
    };
    const supervisor = await bench.start();
    await bench.timers.advance(3000);
    assert.equal(supervisor.countsByState().get("open"), PARTITIONS - 1);
    assert.equal(supervisor.openFailure, "page 1 is damaged");
    damaged = "page 2 is damaged";
    await bench.timers.advance(5000);
    assert.deepEqual(
      bench.lines.map(({ fields }) => (fields["err"] as Error).message),
      ["page 1 is damaged", "page 2 is damaged"],
    );
    assert.equal(supervisor.openFailure, "page 2 is damaged");
  });
});

function ownedBySelf(table: ControlTable): ControlTable["partitions"] {
  return table.partitions.map((assignment) => ({ ...assignment, owner: SELF }));
}
