import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DomainParser } from "../../src/model/domain-name.ts";
import { CatchallError, type ErrorCode } from "../../src/model/errors.ts";
import { DELIVERED } from "../../src/model/event.ts";
import { RecordWriter } from "../../src/model/event-records.ts";
import { NOBODY } from "../../src/model/ownership.ts";
import type { SubBatch } from "../../src/partition/partition-actor.ts";
import { BATCH_DEADLINE_MS, EventRouter } from "../../src/router/event-router.ts";
import type { EventOutcome } from "../../src/router/ingress.ts";
import { FRAMES_IN_FLIGHT_MAX } from "../../src/router/owner-frames.ts";
import { SoleOwner } from "../../src/router/ownership-view.ts";
import { PeerLink } from "../../src/router/peer-link.ts";
import { SubBatchForwarder } from "../../src/router/sub-batch-forwarder.ts";
import {
  decodeEventsFrame,
  encodeEventsReply,
  type IncomingSubBatch,
  type SubBatchOutcome,
} from "../../src/transport/events-codec.ts";
import { encodeJsonFrame, FRAME_REFUSED } from "../../src/transport/message-codec.ts";
import { FRAME_BYTES_MAX } from "../../src/transport/transport.ts";
import { FakeOwnership, FakeTransport, type HeldRequest } from "../support/fake-ownership.ts";
import { VirtualTimers } from "../support/virtual-timers.ts";

const SELF = 1;
const COMMITTED: SubBatchOutcome = { kind: "committed", keys: null };
const PARTITIONS = 4;
/** One domain of each partition. */
const DOMAINS: readonly string[] = domainsOf(PARTITIONS);

function domainsOf(partitions: number): string[] {
  const parser = new DomainParser();
  const found: string[] = [];
  for (let i = 0; found.filter((name) => name !== undefined).length < partitions; i++) {
    parser.parseText(`d${i}.example`, false);
    found[Math.floor((parser.hash / 2 ** 32) * partitions)] ??= `d${i}.example`;
  }
  return found;
}

function refused(code: ErrorCode): SubBatchOutcome {
  return { kind: "error", error: new CatchallError(code) };
}

/** Event router, forwarder and fake ends; time and answers by hand. */
class Bench {
  readonly timers = new VirtualTimers();
  readonly view: FakeOwnership;
  readonly transport = new FakeTransport(SELF);
  readonly outcomes: EventOutcome[][] = [];
  readonly here: SubBatch[] = [];
  readonly resyncs: number[] = [];
  isOpenHere = true;
  isAway = false;
  readonly forwarder: SubBatchForwarder;
  readonly router: EventRouter;
  readonly #parser = new DomainParser();

  constructor(owners: number[] = [2, 2, 2, 2], pendingEventsMax = 1000) {
    this.view = new FakeOwnership(SELF, owners);
    this.forwarder = new SubBatchForwarder({
      link: new PeerLink(this.view, this.transport),
      host: {
        actorAt: () =>
          this.isOpenHere ? { admit: (batch) => void this.here.push(batch) } : undefined,
        deliver: () => assert.fail("this node is not alone"),
      },
      timers: this.timers,
      observer: {
        frameSent: () => undefined,
        resync: (partition) => this.resyncs.push(partition),
      },
    });
    this.router = new EventRouter({
      partitions: PARTITIONS,
      producer: SELF,
      pendingEventsMax,
      timers: this.timers,
      refusal: () => null,
      deliver: (partition, batch) => this.forwarder.deliver(partition, batch),
      expire: (partition) => this.forwarder.expire(partition),
      isAway: () => this.isAway,
      rejected: () => undefined,
    });
  }

  submit(partition: number, id: string | null = null): number {
    this.#parser.parseText(DOMAINS[partition] as string, false);
    const index = this.outcomes.push([]) - 1;
    const settled = (at: number, outcome: EventOutcome) => this.outcomes[at]?.push(outcome);
    this.router.submit(this.#parser, DELIVERED, 1, id, { settled }, index);
    return index;
  }

  /** Submits and sends. */
  async send(...partitions: number[]): Promise<number[]> {
    const indexes = partitions.map((partition) => this.submit(partition));
    await this.timers.advance(0);
    return indexes;
  }

  told(index: number): unknown {
    const outcomes = this.outcomes[index] as EventOutcome[];
    assert.ok(outcomes.length <= 1, "answered twice");
    const [outcome] = outcomes;
    return outcome instanceof CatchallError ? `${outcome.code} ${outcome.effect}` : outcome;
  }

  request(at: number): HeldRequest {
    const request = this.transport.requests[at];
    assert.ok(request !== undefined, `request ${at} was not sent`);
    return request;
  }

  batchesOf(at: number): IncomingSubBatch[] {
    return decodeEventsFrame(this.request(at).frame);
  }

  async answer(at: number, ...outcomes: SubBatchOutcome[]): Promise<void> {
    this.request(at).reply(
      encodeEventsReply({ sender: this.request(at).incarnation, revision: 9, number: 0 }, outcomes),
    );
    await this.timers.settle();
  }

  async fail(at: number, code: ErrorCode): Promise<void> {
    this.request(at).fail(new CatchallError(code));
    await this.timers.settle();
  }

  get sent(): number {
    return this.transport.requests.length;
  }
}

/** Answers every request with this outcome, while time passes. */
async function passRefusing(bench: Bench, ms: number, outcome: SubBatchOutcome): Promise<void> {
  const answer = ({ frame, reply }: HeldRequest): void => {
    const outcomes = decodeEventsFrame(frame).map(() => outcome);
    reply(encodeEventsReply({ sender: 2, revision: 9, number: 0 }, outcomes));
  };
  bench.transport.requests.forEach(answer);
  bench.transport.onRequest = answer;
  await bench.timers.advance(ms);
  bench.transport.onRequest = null;
}

describe("SubBatchForwarder", () => {
  it("sends the sub-batches of one tick for one owner in one frame", async () => {
    const bench = new Bench([2, 3, 2, 1]);
    const indexes = await bench.send(0, 1, 2, 3);
    assert.deepEqual(
      bench.transport.requests.map(({ incarnation }) => incarnation),
      [2, 3],
    );
    assert.deepEqual(
      bench.batchesOf(0).map(({ partition, producerSequence }) => [partition, producerSequence]),
      [
        [0, 1],
        [2, 1],
      ],
    );
    assert.equal(bench.here.length, 1, "its own partition goes straight to the actor");
    await bench.answer(0, COMMITTED, COMMITTED);
    await bench.answer(1, COMMITTED);
    bench.here[0]?.committed(null);
    assert.deepEqual(
      indexes.map((index) => bench.told(index)),
      [0, 0, 0, 0],
    );
    assert.equal(bench.router.pendingEvents, 0);
    assert.deepEqual(bench.view.seenRevisions, [9, 9], "the owner's table revision is a hint");
  });

  it("flushes at once when idle, and gathers while a frame is under way", async () => {
    const bench = new Bench();
    await bench.send(0);
    assert.equal(bench.sent, 1);
    await bench.send(1);
    await bench.send(2, 3);
    assert.equal(bench.sent, 1, "waits for the frame under way");
    await bench.answer(0, COMMITTED);
    assert.deepEqual(
      bench.batchesOf(1).map(({ partition }) => partition),
      [1, 2, 3],
    );
  });

  it("never sends a frame over the limit, nor more frames than may be in flight", async () => {
    const partitions = 64;
    const view = new FakeOwnership(
      SELF,
      Array.from({ length: partitions }, () => 2),
    );
    const transport = new FakeTransport(SELF);
    const forwarder = new SubBatchForwarder({
      link: new PeerLink(view, transport),
      host: { actorAt: () => undefined, deliver: () => undefined },
      timers: new VirtualTimers(),
      observer: { frameSent: () => undefined, resync: () => undefined },
    });
    const records = new RecordWriter();
    const parser = new DomainParser();
    parser.parseText("a.example", false);
    const key = new Uint32Array(4);
    while (records.length < 128 * 1024) {
      records.addKeyed(parser.bytes, parser.length, parser.hash, DELIVERED, 1, key);
    }
    for (let partition = 0; partition < partitions; partition++) {
      forwarder.deliver(partition, {
        producer: SELF,
        producerSequence: 1,
        records,
        eventCount: records.count,
        committed: () => undefined,
        failed: () => undefined,
        expire: () => undefined,
      });
    }
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(transport.requests.length, FRAMES_IN_FLIGHT_MAX);
    for (const { frame } of transport.requests) assert.ok(frame.length <= FRAME_BYTES_MAX);
    assert.ok((transport.requests[0] as HeldRequest).frame.length > FRAME_BYTES_MAX / 2);
  });

  for (const code of ["not_owner", "partition_closed", "not_ready", "shutting_down"] as const) {
    it(`resends the same sequence after ${code}, to whoever owns the partition then`, async () => {
      const bench = new Bench();
      const [index] = (await bench.send(0)) as [number];
      await bench.answer(0, refused(code));
      assert.equal(bench.told(index), undefined, "held, not answered");
      bench.view.move(0, 3);
      await bench.timers.settle();
      assert.equal(bench.request(1).incarnation, 3);
      assert.deepEqual(bench.request(1).frame.slice(32), bench.request(0).frame.slice(32));
      await bench.answer(1, COMMITTED);
      assert.equal(bench.told(index), 0);
    });
  }

  it("resends after a bounded delay when the ownership does not change", async () => {
    const bench = new Bench();
    await bench.send(0);
    await bench.fail(0, "no_responder");
    assert.equal(bench.sent, 1);
    await bench.timers.advance(10);
    assert.equal(bench.sent, 2);
    for (let at = 1; at < 12; at++) {
      await bench.fail(at, "no_responder");
      await bench.timers.advance(200);
    }
    assert.equal(bench.sent, 13, "never more than 200 ms between tries");
    assert.ok(bench.timers.nowMs < 5_000);
  });

  it("turns to the new owner at once while the old one has not answered", async () => {
    const bench = new Bench();
    const [index] = (await bench.send(0)) as [number];
    bench.view.move(0, 3);
    await bench.timers.settle();
    assert.equal(bench.request(1).incarnation, 3);
    await bench.answer(1, COMMITTED);
    assert.equal(bench.told(index), 0);
    await bench.fail(0, "outcome_unknown");
    assert.equal(bench.told(index), 0);
    assert.equal(bench.router.pendingEvents, 0);
  });

  it("does not take a late answer to one sub-batch for an answer to the next", async () => {
    const bench = new Bench();
    await bench.send(0);
    bench.view.move(0, 3);
    await bench.timers.settle();
    await bench.answer(1, COMMITTED);
    const [next] = (await bench.send(0)) as [number];
    await bench.answer(0, COMMITTED);
    assert.equal(bench.told(next), undefined);
    await bench.answer(2, COMMITTED);
    assert.equal(bench.told(next), 0);
    assert.equal(bench.router.pendingEvents, 0);
  });

  it("takes a partition over while a sub-batch waits for its former owner", async () => {
    const bench = new Bench();
    const [index] = (await bench.send(0)) as [number];
    await bench.fail(0, "outcome_unknown");
    bench.view.move(0, SELF);
    await bench.timers.settle();
    assert.equal(bench.here[0]?.producerSequence, 1);
    bench.here[0]?.committed(null);
    assert.equal(bench.told(index), 0);
  });

  it("waits for a partition of its own that is not open yet", async () => {
    const bench = new Bench([SELF, 2, 2, 2]);
    bench.isOpenHere = false;
    const [index] = (await bench.send(0)) as [number];
    bench.isOpenHere = true;
    await bench.timers.advance(20);
    bench.here[0]?.committed(null);
    assert.equal(bench.told(index), 0);
  });

  it("fails with effect none at the deadline when every attempt was refused, and reuses the sequence", async () => {
    const bench = new Bench();
    const [index] = (await bench.send(0)) as [number];
    await passRefusing(bench, BATCH_DEADLINE_MS + 600, refused("not_owner"));
    assert.equal(bench.told(index), "no_owner none");
    assert.equal(bench.router.pendingEvents, 0);
    const before = bench.sent;
    await bench.send(0);
    assert.equal(bench.batchesOf(before)[0]?.producerSequence, 1);
  });

  it("fails with effect none at the deadline when nobody owns the partition", async () => {
    const bench = new Bench([NOBODY, 2, 2, 2]);
    const [index] = (await bench.send(0)) as [number];
    await bench.timers.advance(BATCH_DEADLINE_MS + 600);
    assert.equal(bench.told(index), "no_owner none");
    assert.equal(bench.sent, 0);
    assert.equal(bench.timers.count, 0, "no timer runs on");
  });

  it("answers unknown at the deadline after a lost answer, yet sends nothing else before that is resolved", async () => {
    const bench = new Bench();
    const first = bench.submit(0);
    await bench.timers.advance(0);
    await bench.fail(0, "outcome_unknown");
    const second = bench.submit(0);
    await passRefusing(bench, BATCH_DEADLINE_MS + 1_100, refused("partition_closed"));
    assert.equal(bench.told(first), "outcome_unknown unknown");
    assert.equal(bench.told(second), "no_owner none", "was never sent");
    assert.equal(bench.router.pendingEvents, 1, "the first still counts towards the limit");
    const third = bench.submit(0);
    for (let at = 1; at < bench.sent; at++) {
      assert.equal(bench.batchesOf(at)[0]?.producerSequence, 1);
      assert.deepEqual(bench.request(at).frame.slice(32), bench.request(0).frame.slice(32));
    }
    await bench.timers.advance(200);
    await bench.answer(bench.sent - 1, COMMITTED);
    assert.equal(bench.told(first), "outcome_unknown unknown", "answered once");
    await bench.timers.advance(0);
    assert.equal(bench.batchesOf(bench.sent - 1)[0]?.producerSequence, 2);
    await bench.answer(bench.sent - 1, COMMITTED);
    assert.equal(bench.told(third), 0);
    assert.equal(bench.router.pendingEvents, 0);
  });

  it("lets go of an expired sub-batch once its last attempt is refused for certain", async () => {
    const bench = new Bench();
    const [index] = (await bench.send(0)) as [number];
    await bench.timers.advance(BATCH_DEADLINE_MS + 600);
    assert.equal(bench.told(index), "outcome_unknown unknown", "the attempt is still out");
    await bench.answer(0, refused("not_owner"));
    assert.equal(bench.router.pendingEvents, 0);
    await bench.send(0);
    assert.equal(bench.batchesOf(1)[0]?.producerSequence, 1);
  });

  it("does not fail with effect none while an earlier attempt may have been applied", async () => {
    const bench = new Bench();
    const [index] = (await bench.send(0)) as [number];
    await bench.fail(0, "outcome_unknown");
    await bench.timers.advance(10);
    await bench.answer(1, refused("overloaded"));
    assert.equal(bench.told(index), undefined);
    await bench.timers.advance(20);
    await bench.answer(2, COMMITTED);
    assert.equal(bench.told(index), 0);
  });

  it("passes on at once what another owner would say as well", async () => {
    const bench = new Bench();
    const [index] = (await bench.send(0)) as [number];
    await bench.answer(0, refused("log_full"));
    assert.equal(bench.told(index), "log_full none");
  });

  it("raises an alarm for a gap in its sequences", async () => {
    const bench = new Bench();
    const [index] = (await bench.send(0)) as [number];
    await bench.answer(0, refused("resync"));
    assert.deepEqual(bench.resyncs, [0]);
    assert.equal(bench.told(index), "resync none");
  });

  it("takes an answer that cannot be read, or does not fit, for no answer", async () => {
    const bench = new Bench();
    const index = bench.submit(0, "k");
    await bench.timers.advance(0);
    bench.request(0).reply(Uint8Array.of(1, 2, 3));
    await bench.timers.advance(10);
    await bench.answer(1, COMMITTED);
    await bench.timers.advance(20);
    await bench.answer(2, { kind: "committed", keys: Uint8Array.of(0, 0) });
    await bench.timers.advance(40);
    assert.equal(bench.told(index), undefined);
    await bench.answer(3, { kind: "committed", keys: Uint8Array.of(1) });
    assert.equal(bench.told(index), 1, "replayed");
  });

  it("answers within a second what is in flight when the servers go away, and counts it once later", async () => {
    const bench = new Bench([2, NOBODY, SELF, 2]);
    const indexes = await bench.send(0, 1, 2);
    const behind = bench.submit(0);
    bench.isAway = true;
    await bench.fail(0, "outcome_unknown");
    await bench.timers.advance(1_000);
    assert.deepEqual(
      [...indexes, behind].map((index) => bench.told(index)),
      [
        "outcome_unknown unknown",
        "no_owner none",
        "outcome_unknown unknown",
        "log_unavailable none",
      ],
    );
    bench.isAway = false;
    await bench.timers.advance(200);
    const again = bench.sent - 1;
    assert.ok(again > 0, "what may have been applied is sent again");
    assert.deepEqual(
      bench.batchesOf(again).map(({ producerSequence }) => producerSequence),
      [1],
    );
    await bench.answer(again, COMMITTED);
    bench.here[0]?.committed(null);
    assert.equal(bench.router.pendingEvents, 0);
    const [next] = await bench.send(0);
    assert.equal(bench.batchesOf(again + 1)[0]?.producerSequence, 2);
    await bench.answer(again + 1, COMMITTED);
    assert.equal(bench.told(next as number), 0);
  });

  it("keeps what is in flight when the servers are back within half a second", async () => {
    const bench = new Bench();
    const [index] = (await bench.send(0)) as [number];
    await bench.fail(0, "outcome_unknown");
    for (let i = 0; i < 4; i++) {
      bench.isAway = true;
      await bench.timers.advance(450);
      bench.isAway = false;
      await bench.timers.advance(550);
    }
    assert.equal(bench.told(index), undefined);
    await bench.answer(bench.sent - 1, COMMITTED);
    assert.equal(bench.told(index), 0);
  });

  it("knows a frame that was refused as a whole for certain", async () => {
    const bench = new Bench();
    const [index] = (await bench.send(0)) as [number];
    const header = { type: FRAME_REFUSED, sender: 2, revision: 1, number: 0 };
    bench
      .request(0)
      .reply(encodeJsonFrame(header, { code: "internal", message: "another format" }));
    await bench.timers.settle();
    assert.equal(bench.told(index), "internal none");
  });

  it("keeps the sub-batches behind the first bounded by the limit of pending events", async () => {
    const bench = new Bench([2, 2, 2, 2], 3);
    await bench.send(0);
    await bench.fail(0, "outcome_unknown");
    bench.submit(0);
    bench.submit(0);
    assert.equal(bench.told(bench.submit(0)), "overloaded none");
    assert.equal(bench.router.pendingEvents, 3);
  });

  it("answers everything when the incarnation ends, and sends nothing after it", async () => {
    const bench = new Bench([2, 3, NOBODY, SELF]);
    const indexes = await bench.send(0, 1, 2, 3);
    await bench.fail(1, "outcome_unknown");
    const behind = bench.submit(0);
    const error = new CatchallError("lease_lost");
    bench.router.end(error);
    bench.forwarder.abandon(error);
    bench.here[0]?.failed(new CatchallError("outcome_unknown"));
    await bench.timers.advance(BATCH_DEADLINE_MS * 2);
    assert.deepEqual(
      [...indexes, behind].map((index) => bench.told(index)),
      [
        "outcome_unknown unknown",
        "outcome_unknown unknown",
        "lease_lost none",
        "outcome_unknown unknown",
        "lease_lost none",
      ],
    );
    assert.equal(bench.sent, 2);
    assert.equal(bench.router.pendingEvents, 0);
    assert.equal(bench.timers.count, 0);
  });

  it("hands everything straight to the host of a node that is alone", () => {
    const delivered: SubBatch[] = [];
    const forwarder = new SubBatchForwarder({
      link: new PeerLink(new SoleOwner(SELF, "n1"), new FakeTransport(SELF)),
      host: {
        actorAt: () => assert.fail("asked in vain"),
        deliver: (_partition, batch) => void delivered.push(batch),
      },
      timers: new VirtualTimers(),
      observer: { frameSent: () => undefined, resync: () => undefined },
    });
    const batch = { producer: SELF } as never;
    forwarder.deliver(0, batch);
    assert.equal(delivered[0], batch, "the same object, nothing around it");
  });
});
