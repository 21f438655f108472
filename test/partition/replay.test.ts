import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Checkpointer } from "../../src/checkpoint/checkpointer.ts";
import { GroupCommit } from "../../src/commit/group-commit.ts";
import { DomainParser } from "../../src/model/domain-name.ts";
import { DELIVERED } from "../../src/model/event.ts";
import { RecordWriter } from "../../src/model/event-records.ts";
import { partitionOf } from "../../src/model/partition-id.ts";
import { DEFAULT_RULE } from "../../src/model/status.ts";
import { KeyBudget } from "../../src/partition/idempotency-window.ts";
import { appendMark } from "../../src/partition/mark-section.ts";
import type { PartitionActor } from "../../src/partition/partition-actor.ts";
import { recover, replayBehindCheckpoints } from "../../src/partition/recovery.ts";
import { SECTION_CLAIM } from "../../src/partition/section-codec.ts";
import { SILENT_LOGGER } from "../../src/runtime/logger.ts";
import { checkpointIdentity, checkpointSource } from "../../src/server/checkpoint-source.ts";
import { LogFloors } from "../../src/server/log-floors.ts";
import { PartitionFactory } from "../../src/server/partition-factory.ts";
import { chainSeed } from "../../src/wal/entry-codec.ts";
import { MemoryCheckpointStore } from "../support/memory-checkpoint-store.ts";
import { MemoryNodeLog } from "../support/memory-node-log.ts";
import { TEST_TIMERS, TestClock } from "../support/test-node.ts";

const PARTITIONS = 2;
const SELF = 1;
const EPOCH = 1;

/** An owner of two partitions: its log, its checkpoints, and the trimming behind them. */
class Owner {
  readonly log: MemoryNodeLog = new MemoryNodeLog();
  readonly store: MemoryCheckpointStore = new MemoryCheckpointStore();
  readonly clock: TestClock = new TestClock();
  readonly commit: GroupCommit;
  readonly factory: PartitionFactory;
  readonly floors: LogFloors;
  readonly checkpointer: Checkpointer;
  actors: PartitionActor[] = [];
  #sequence = 0;

  constructor() {
    const { log, clock, store } = this;
    const random = { uint32: () => 5 };
    const timers = TEST_TIMERS;
    this.commit = new GroupCommit({
      ...{ log, clock, timers, random, incarnation: SELF, timeMsMin: 0 },
      chainSeed: chainSeed(SELF, log.storeId),
      observer: { appended: () => undefined, logFailed: assert.fail },
    });
    this.factory = new PartitionFactory({
      ...{ partitions: PARTITIONS, idempotencyWindowMs: 600_000, random },
      keyBudget: new KeyBudget(1000),
      eventCounters: [{ value: 0 }, { value: 0 }],
      initialRule: () => DEFAULT_RULE,
      refusal: () => null,
      onChange: () => undefined,
    });
    const committedSequence = () => this.commit.sequence;
    const wallMs = () => clock.wallMs();
    this.floors = new LogFloors({ self: SELF, log, committedSequence, wallMs, logRetentionMs: 0 });
    const assignment = { owner: SELF, epoch: EPOCH, lineage: [], moveTo: 0 };
    const table = { partitions: [assignment, assignment] } as never;
    this.checkpointer = new Checkpointer({
      ...{ store, clock, timers, logger: SILENT_LOGGER, intervalMs: 60_000, incarnation: SELF },
      sources: () =>
        this.actors.map(({ state, epoch }) => checkpointSource(state, epoch, () => undefined)),
      appliedSequence: committedSequence,
      entryTimeMs: () => this.commit.nowMs(),
      identity: checkpointIdentity(PARTITIONS),
      observer: { checkpointed: () => undefined },
      confirmed: async (checkpoint) => {
        for (const { partition, watermark } of checkpoint.manifests) {
          this.floors.covered(partition, watermark.epoch, watermark.sequence);
        }
        await this.floors.trim(table, checkpoint);
      },
    });
  }

  async claim(): Promise<void> {
    await this.log.create(SELF);
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const state = this.factory.createState(partition);
      const actor = this.factory.createActor(state, EPOCH, this.commit);
      const sequence = await appendMark(this.commit, state, EPOCH, SECTION_CLAIM);
      this.floors.claimed(partition, EPOCH, sequence);
      this.actors.push(actor);
    }
  }

  /** Counts one event in a partition. */
  count(partition: number): Promise<void> {
    const parser = new DomainParser();
    for (let i = 0; i === 0 || partitionOf(parser.hash, PARTITIONS) !== partition; i++) {
      parser.parseText(`d${i}.example.com`, false);
    }
    const records = new RecordWriter();
    records.add(parser.bytes, parser.length, parser.hash, DELIVERED, 1);
    this.#sequence++;
    return new Promise((resolve, reject) => {
      this.actors[partition]?.admit({
        ...{ producer: 100 + this.#sequence, producerSequence: 1, records, eventCount: 1 },
        committed: () => resolve(),
        failed: reject,
      });
    });
  }

  recover(partition: number, lineage: Parameters<typeof recover>[0]["tasks"][0]["lineage"]) {
    const state = this.factory.createState(partition);
    const { store, log } = this;
    const expected = checkpointIdentity(PARTITIONS);
    return recover({ tasks: [{ state, lineage }], store, log, hasClaims: true, expected });
  }

  get options() {
    return { store: this.store, log: this.log, hasClaims: true };
  }
}

function stretch(epoch: number, endSequence: number) {
  return { epoch, incarnation: SELF, endSequence };
}

describe("Replay in a cluster", () => {
  it("starts over when the claim was trimmed behind a checkpoint that came meanwhile", async () => {
    const owner = new Owner();
    await owner.claim();
    for (let i = 0; i < 10; i++) await owner.count(0);
    const { targets } = await owner.recover(0, []);
    await owner.checkpointer.run();
    for (let i = 0; i < 3; i++) await owner.count(1);
    const [target] = targets;
    assert.ok(target !== undefined, "there is a target");
    const stretches = [stretch(EPOCH, owner.commit.sequence)];
    await assert.rejects(replayBehindCheckpoints(owner.options, [{ target, stretches }]), {
      code: "checkpoint_unavailable",
    });
    const again = await owner.recover(0, stretches);
    assert.equal(again.targets[0]?.state.table.totals.delivered, 10);
  });

  it("takes of one log each stretch's own sections, where a partition came back to its owner", async () => {
    const owner = new Owner();
    await owner.claim();
    await owner.count(0);
    const endSequence = owner.commit.sequence;
    const { state } = owner.actors[0] as PartitionActor;
    await appendMark(owner.commit, state, 2, SECTION_CLAIM);
    owner.actors[0] = owner.factory.createActor(state, 2, owner.commit);
    for (let i = 0; i < 2; i++) await owner.count(0);
    const lineage = [stretch(1, endSequence), stretch(2, owner.commit.sequence)];
    const { targets } = await owner.recover(0, lineage);
    assert.equal(targets[0]?.state.table.totals.delivered, 3);
  });

  it("takes a stretch that was never claimed for what it is", async () => {
    const owner = new Owner();
    await owner.claim();
    for (let i = 0; i < 5; i++) await owner.count(1);
    await owner.checkpointer.run();
    await owner.count(1);
    // Partition 0 was given to it again, in epoch 2, and it died before it claimed it.
    const lineage = [stretch(EPOCH, owner.commit.sequence), stretch(2, owner.commit.sequence)];
    const { targets } = await owner.recover(0, lineage);
    assert.equal(targets[0]?.covered.epoch, 2);
  });

  it("refuses a log that ends before the stretch does, or is gone", async () => {
    const owner = new Owner();
    await owner.claim();
    await owner.count(0);
    const end = owner.commit.sequence;
    await assert.rejects(owner.recover(0, [stretch(EPOCH, end + 1)]), { code: "log_damaged" });
    await owner.log.delete(SELF);
    await assert.rejects(owner.recover(0, [stretch(EPOCH, end)]), { code: "log_damaged" });
  });

  it("takes nothing that is covered of one partition, where another is read from further back", async () => {
    const owner = new Owner();
    await owner.claim();
    for (let i = 0; i < 5; i++) await owner.count(0);
    const covered = { epoch: EPOCH, incarnation: SELF, sequence: owner.commit.sequence };
    for (let i = 0; i < 3; i++) await owner.count(0);
    const { log, store } = owner;
    const [known, unknown] = [owner.factory.createState(0), owner.factory.createState(1)];
    const nothing = { epoch: 0, incarnation: 0, sequence: 0 };
    const stretches = [stretch(EPOCH, owner.commit.sequence)];
    await replayBehindCheckpoints({ store, log, hasClaims: true }, [
      { target: { state: known, covered }, stretches },
      { target: { state: unknown, covered: nothing }, stretches },
    ]);
    assert.equal(known.table.totals.delivered, 3);
  });

  it("refuses a hole of one partition also when another is read from the first kept entry", async () => {
    const owner = new Owner();
    await owner.claim();
    for (let i = 0; i < 10; i++) await owner.count(0);
    const { log, store } = owner;
    const end = owner.commit.sequence;
    const [known, unknown] = [owner.factory.createState(0), owner.factory.createState(1)];
    const covered = { epoch: EPOCH, incarnation: SELF, sequence: 4 };
    const nothing = { epoch: 0, incarnation: 0, sequence: 0 };
    await log.trim(SELF, 8);
    const stretches = [stretch(EPOCH, end)];
    const tasks = [
      { target: { state: known, covered }, stretches },
      { target: { state: unknown, covered: nothing }, stretches },
    ];
    await assert.rejects(replayBehindCheckpoints({ store, log, hasClaims: true }, tasks), {
      code: "log_damaged",
    });
  });

  it("refuses a history with an epoch that nobody accounts for", async () => {
    const owner = new Owner();
    await owner.claim();
    const lineage = [stretch(9, owner.commit.sequence)];
    await assert.rejects(owner.recover(0, lineage), { code: "log_damaged" });
  });

  it("goes on over epochs that are known to be empty, and over no others", async () => {
    const owner = new Owner();
    await owner.claim();
    await owner.count(0);
    const own = stretch(EPOCH, owner.commit.sequence);
    const last = { epoch: EPOCH + 40, incarnation: 31, endSequence: await owner.log.seal(31) };
    const { targets } = await owner.recover(0, [own, { ...last, emptySince: EPOCH + 1 }]);
    assert.equal(targets[0]?.covered.epoch, EPOCH + 40);
    assert.equal(targets[0]?.state.table.entryCount, 1);
    const short = [own, { ...last, emptySince: EPOCH + 2 }];
    await assert.rejects(owner.recover(0, short), { code: "log_damaged" });
  });
});
