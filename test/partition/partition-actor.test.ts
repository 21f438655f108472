import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DomainParser } from "../../src/model/domain-name.ts";
import type { CatchallError } from "../../src/model/errors.ts";
import { DELIVERED } from "../../src/model/event.ts";
import { RecordWriter } from "../../src/model/event-records.ts";
import { hashKey128 } from "../../src/model/key-hash.ts";
import { KEY_COUNTED, KEY_REPLAYED, type SubBatch } from "../../src/partition/partition-actor.ts";
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

  constructor(producer: number, producerSequence: number, id: string | null) {
    this.producer = producer;
    this.producerSequence = producerSequence;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    const parser = new DomainParser();
    parser.parseText(DOMAIN, false);
    const { bytes, length, hash } = parser;
    if (id === null) {
      this.records.add(bytes, length, hash, DELIVERED, 1);
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
  it("takes each producer's sub-batches in sequence, without gap or repetition", async () => {
    const node = await new TestWorld().start({ partitions: 1 });
    assert.deepEqual(await admit(node, 9, 1), []);
    assert.equal(await admit(node, 9, 1), "internal");
    assert.equal(await admit(node, 9, 3), "internal");
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

  it("refuses everything with the gate's refusal, and takes no sequence", async () => {
    const world = new TestWorld();
    const node = await world.start({ partitions: 1 });
    world.log.outcomes.push({ kind: "unknown", reason: "fsync failed" });
    assert.equal(await admit(node, 9, 1), "outcome_unknown");
    assert.equal(await admit(node, 9, 1), "log_failed");
    await assert.rejects(node.counts(DOMAIN), { code: "log_failed" });
    await assert.rejects(node.assembled.router.stats(), { code: "log_failed" });
  });
});
