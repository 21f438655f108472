import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { WALL_LEAP_MS_MAX } from "../../src/commit/entry-time.ts";
import { DomainParser } from "../../src/model/domain-name.ts";
import type { CatchallError } from "../../src/model/errors.ts";
import { BOUNCED, DELIVERED, type EventKind } from "../../src/model/event.ts";
import { RecordWriter } from "../../src/model/event-records.ts";
import { hashKey128 } from "../../src/model/key-hash.ts";
import { DEFAULT_RULE } from "../../src/model/status.ts";
import { KEY_COUNTED, KEY_REPLAYED, type SubBatch } from "../../src/partition/partition-actor.ts";
import { SECTION_RULE } from "../../src/partition/section-codec.ts";
import { type TestNode, TestWorld } from "../support/test-node.ts";

const DOMAIN = "a.com";

/** A sub-batch with one event, and what became of it. */
class Batch implements SubBatch {
  readonly records: RecordWriter = new RecordWriter();
  readonly eventCount = 1;
  readonly producer: number;
  readonly producerSequence: number;
  readonly ended: Promise<number[] | string>;
  #end: (outcome: number[] | string) => void = () => undefined;

  constructor(
    producer: number,
    producerSequence: number,
    id: string | null,
    kind: EventKind = DELIVERED,
  ) {
    this.producer = producer;
    this.producerSequence = producerSequence;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    const parser = new DomainParser();
    parser.parseText(DOMAIN, false);
    const { bytes, length, hash } = parser;
    if (id === null) {
      this.records.add(bytes, length, hash, kind, 1);
      return;
    }
    const key = new Uint32Array(4);
    hashKey128(bytes, length, id, key);
    this.records.addKeyed(bytes, length, hash, DELIVERED, 1, key);
  }

  committed(keys: Uint8Array | null): void {
    this.#end(keys === null ? [] : [...keys]);
  }

  failed(error: CatchallError): void {
    this.#end(error.code);
  }
}

function admit(node: TestNode, producer: number, sequence: number, id: string | null = null) {
  const batch = new Batch(producer, sequence, id);
  node.assembled.host.deliver(0, batch);
  return batch.ended;
}

describe("PartitionActor", () => {
  it("takes each producer's sub-batches in sequence, a repeat once, a gap never", async () => {
    const node = await new TestWorld().start({ partitions: 1 });
    assert.deepEqual(await admit(node, 9, 1), []);
    assert.deepEqual(await admit(node, 9, 1), []);
    assert.equal(await admit(node, 9, 3), "resync");
    assert.deepEqual(await admit(node, 9, 2), []);
    assert.deepEqual(await admit(node, 8, 1), []);
    assert.deepEqual(await node.counts(DOMAIN), [3, 0, "unknown"]);
  });

  it("answers a key of another producer in flight no earlier than the first", async () => {
    const node = await new TestWorld().start({ partitions: 1 });
    const order: number[] = [];
    const both = [admit(node, 8, 1, "k"), admit(node, 9, 1, "k")];
    both.forEach((ended, i) => void ended.then(() => order.push(i)));
    assert.deepEqual(await Promise.all(both), [[KEY_COUNTED], [KEY_REPLAYED]]);
    assert.deepEqual(order, [0, 1]);
    assert.deepEqual(await node.counts(DOMAIN), [1, 0, "unknown"]);
  });

  it("tells a repeat what became of the first, in flight, after it and after a restart", async () => {
    const world = new TestWorld();
    const node = await world.start({ partitions: 1 });
    const both = [admit(node, 8, 1, "k"), admit(node, 8, 1, "k")];
    assert.deepEqual(await Promise.all(both), [[KEY_COUNTED], [KEY_COUNTED]]);
    assert.deepEqual(await admit(node, 9, 1, "k"), [KEY_REPLAYED]);
    assert.deepEqual(await admit(node, 9, 1, "k"), [KEY_REPLAYED]);
    assert.deepEqual(await node.counts(DOMAIN), [1, 0, "unknown"]);
    const next = await world.start({ partitions: 1 });
    assert.deepEqual(await admit(next, 8, 1, "k"), [KEY_COUNTED]);
    assert.deepEqual(await admit(next, 8, 3), "resync");
    assert.deepEqual(await next.counts(DOMAIN), [1, 0, "unknown"]);
  });

  it("admits and reads nothing once closed, and commits what it had admitted", async () => {
    const world = new TestWorld();
    const node = await world.start({ partitions: 1 });
    const actor = node.assembled.host.actors[0];
    assert.ok(actor !== undefined);
    const before = admit(node, 8, 1);
    actor.close();
    assert.equal(await admit(node, 8, 2), "partition_closed");
    assert.throws(() => actor.assertReadable(), { code: "partition_closed" });
    assert.deepEqual(await before, []);
    actor.reopen();
    assert.deepEqual(await admit(node, 8, 2), []);
    assert.deepEqual(await node.counts(DOMAIN), [2, 0, "unknown"]);
  });

  it("acknowledges nothing that was committed after it lost the right to serve", async () => {
    const world = new TestWorld();
    const node = await world.start({ partitions: 1 });
    const first = admit(node, 8, 1);
    node.gate.moveTo("failed", "lease lost");
    assert.equal(await first, "outcome_unknown");
  });

  it("never answers replayed for a key whose first event a full log refused", async () => {
    const world = new TestWorld();
    const node = await world.start({ partitions: 1 });
    let release: () => void = () => undefined;
    world.log.hold = new Promise((resolve) => {
      release = resolve;
    });
    world.log.outcomes.push({ kind: "notApplied", code: "log_full", reason: "full" });
    const first = admit(node, 8, 1, "k");
    await new Promise((resolve) => setImmediate(resolve));
    const second = admit(node, 9, 1, "k");
    world.log.hold = null;
    release();
    assert.equal(await first, "log_full");
    assert.equal(await second, "log_full");
    assert.deepEqual(await admit(node, 9, 1, "k"), [KEY_COUNTED]);
    assert.deepEqual(await node.counts(DOMAIN), [1, 0, "unknown"]);
  });

  it("tells a duplicate of a key whose outcome is unknown no more than that", async () => {
    const world = new TestWorld();
    const node = await world.start({ partitions: 1 });
    let release: () => void = () => undefined;
    world.log.hold = new Promise((resolve) => {
      release = resolve;
    });
    world.log.outcomes.push({ kind: "unknown", reason: "fsync failed" });
    const first = admit(node, 8, 1, "k");
    await new Promise((resolve) => setImmediate(resolve));
    const duplicate = admit(node, 9, 1, "k");
    const other = admit(node, 7, 1, "another");
    world.log.hold = null;
    release();
    assert.equal(await first, "outcome_unknown");
    assert.equal(await duplicate, "outcome_unknown");
    assert.equal(await other, "log_failed");
  });

  it("counts on with bounded times while the wall clock is ahead, and forgets no key early", async () => {
    const world = new TestWorld();
    const node = await world.start({ partitions: 1, idempotencyWindowMs: 600_000 });
    assert.deepEqual(await admit(node, 9, 1, "k"), [KEY_COUNTED]);
    const startMs = world.clock.nowMs;
    world.clock.leapMs = 365 * 86_400_000;
    world.clock.nowMs += 599_000;
    assert.deepEqual(await admit(node, 9, 2, "k"), [KEY_REPLAYED]);
    assert.deepEqual(await admit(node, 9, 3), []);
    const { lastSeen } = await node.assembled.router.status(DOMAIN as never);
    const lastSeenMs = Date.parse(lastSeen as string);
    assert.ok(lastSeenMs <= startMs + 599_000 + WALL_LEAP_MS_MAX, String(lastSeen));
    world.clock.leapMs = 0;
    world.clock.nowMs += 121_000;
    assert.deepEqual(await admit(node, 9, 4, "k"), [KEY_COUNTED]);
  });

  it("drops a producer's row once its life is over and its window has passed", async () => {
    const world = new TestWorld();
    const producersOf = (node: TestNode) => [
      ...(node.assembled.host.actors[0]?.state.producers.keys() ?? []),
    ];
    const live = async (waitMs: number) => {
      const node = await world.start({ partitions: 1, idempotencyWindowMs: 600_000 });
      assert.deepEqual(await admit(node, world.incarnation, 1), []);
      await node.assembled.checkpointer.run();
      world.clock.nowMs += waitMs;
      return node;
    };
    await live(400_000);
    assert.deepEqual(producersOf(await live(400_000)), [1, 2]);
    assert.deepEqual(producersOf(await live(400_000)), [2, 3], "the first is 800 s old");
    for (let life = 0; life < 20; life++) await live(400_000);
    assert.deepEqual(producersOf(await world.start({ partitions: 1 })), [22, 23]);
  });

  it("refuses everything with the gate's refusal, and takes no sequence", async () => {
    const world = new TestWorld();
    const node = await world.start({ partitions: 1 });
    world.log.outcomes.push({ kind: "unknown", reason: "fsync failed" });
    assert.equal(await admit(node, 9, 1), "outcome_unknown");
    assert.equal(await admit(node, 9, 1), "log_failed");
    await assert.rejects(node.counts(DOMAIN), { code: "log_failed" });
    await assert.rejects(node.assembled.router.stats(), { code: "log_failed" });
  });

  it("gives every status change of one entry an id of its own", async () => {
    const world = new TestWorld();
    const node = await world.start({ partitions: 1 });
    const ids: string[] = [];
    node.assembled.router.onStatusChange(({ id }) => ids.push(id));
    const rule = { ...DEFAULT_RULE, deliveredThreshold: 0 };
    const actor = node.assembled.host.actors[0];
    await actor?.change({ kind: SECTION_RULE, rule, revision: 1, by: "test" });
    // Two producers in one tick: two sections of this partition in one entry.
    await Promise.all([admit(node, 8, 1), admitBounce(node, 9, 1)]);
    assert.equal(ids.length, 2);
    assert.equal(new Set(ids).size, 2, String(ids));
  });

  it("gives the changes of two rules in one entry ids of their own", async () => {
    const world = new TestWorld();
    const node = await world.start({ partitions: 1 });
    await admit(node, 8, 1);
    const ids: string[] = [];
    node.assembled.router.onStatusChange(({ id }) => ids.push(id));
    const actor = node.assembled.host.actors[0];
    const strict = { ...DEFAULT_RULE, deliveredThreshold: 0 };
    await Promise.all([
      actor?.change({ kind: SECTION_RULE, rule: strict, revision: 1, by: "test" }),
      actor?.change({ kind: SECTION_RULE, rule: DEFAULT_RULE, revision: 2, by: "test" }),
    ]);
    await node.assembled.host.settleRule();
    assert.equal(ids.length, 2, String(ids));
    // Asked for twice, or late: a rule comes into force once, and never over a later one.
    await actor?.change({ kind: SECTION_RULE, rule: strict, revision: 1, by: "test" });
    await actor?.change({ kind: SECTION_RULE, rule: strict, revision: 2, by: "test" });
    assert.deepEqual(actor?.state.rule, DEFAULT_RULE);
    assert.equal(actor?.state.ruleRevision, 2);
    assert.equal(ids.length, 2, String(ids));
    assert.equal(new Set(ids).size, 2, String(ids));
  });
});

function admitBounce(node: TestNode, producer: number, sequence: number) {
  const batch = new Batch(producer, sequence, null, BOUNCED);
  node.assembled.host.deliver(0, batch);
  return batch.ended;
}
