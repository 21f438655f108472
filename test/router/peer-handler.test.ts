import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DomainParser } from "../../src/model/domain-name.ts";
import { DELIVERED } from "../../src/model/event.ts";
import { RecordWriter } from "../../src/model/event-records.ts";
import { hashKey128 } from "../../src/model/key-hash.ts";
import { KEY_COUNTED, KEY_REPLAYED } from "../../src/partition/partition-actor.ts";
import { LocalAnswers } from "../../src/router/local-answers.ts";
import { PEER_HELD_BYTES_MAX, PeerHandler } from "../../src/router/peer-handler.ts";
import { PeerLink } from "../../src/router/peer-link.ts";
import { decodeEventsReply, encodeEventsFrame } from "../../src/transport/events-codec.ts";
import {
  decodeJsonPayload,
  encodeJsonFrame,
  FRAME_EVENTS_REPLY,
  FRAME_NOTICE,
  FRAME_REFUSED,
  FRAME_REPLY,
  FRAME_REQUEST,
  openFrame,
} from "../../src/transport/message-codec.ts";
import { FakeOwnership, FakeTransport } from "../support/fake-ownership.ts";
import { type TestNode, TestWorld } from "../support/test-node.ts";

const PEER = 9;
const DOMAIN = "a.com";

/** The owner, incarnation 1, of the first two of four partitions, as a peer sees it. */
class Bench {
  readonly world = new TestWorld();
  readonly node: TestNode;
  readonly view = new FakeOwnership(1, [1, 1, PEER, PEER]);
  readonly handler: PeerHandler;
  #number = 0;

  constructor(world: TestWorld, node: TestNode) {
    this.world = world;
    this.node = node;
    const { host } = node.assembled;
    host.close(2);
    host.close(3);
    const link = new PeerLink(this.view, new FakeTransport(1));
    const local = new LocalAnswers({ host, nodeId: "n1", clock: world.clock });
    this.handler = new PeerHandler({ link, local, queries: new Map() });
  }

  static async open(): Promise<Bench> {
    const world = new TestWorld();
    return new Bench(world, await world.start({ partitions: 4 }));
  }

  /** A frame with one sub-batch for each of these. */
  frame(
    batches: readonly { sequence: number; domain?: string; id?: string; partition?: number }[],
    number: number = ++this.#number,
  ): Uint8Array {
    const parser = new DomainParser();
    return encodeEventsFrame(
      { sender: PEER, revision: 44, number },
      batches.map(({ sequence, domain = DOMAIN, id, partition }) => {
        parser.parseText(domain, false);
        const { bytes, length, hash } = parser;
        const records = new RecordWriter();
        if (id === undefined) records.add(bytes, length, hash, DELIVERED, 1);
        else {
          const key = new Uint32Array(4);
          hashKey128(bytes, length, id, key);
          records.addKeyed(bytes, length, hash, DELIVERED, 1, key);
        }
        const own = Math.floor((hash / 2 ** 32) * 4);
        return {
          partition: partition ?? own,
          producerSequence: sequence,
          eventCount: 1,
          records,
        };
      }),
    );
  }

  /** What became of each sub-batch: verdicts, or a code. */
  async send(frame: Uint8Array, count = 1): Promise<unknown[]> {
    const reply = await this.handler.handle(frame);
    assert.equal(openFrame(reply).type, FRAME_EVENTS_REPLY);
    return decodeEventsReply(reply, count).map((outcome) =>
      outcome.kind === "committed" ? [...(outcome.keys ?? [])] : outcome.error.code,
    );
  }

  async refusal(frame: Uint8Array): Promise<unknown> {
    const reply = await this.handler.handle(frame);
    assert.equal(openFrame(reply).type, FRAME_REFUSED);
    return decodeJsonPayload(reply)["code"];
  }

  async ask(body: unknown): Promise<Readonly<Record<string, unknown>>> {
    const header = { type: FRAME_REQUEST, sender: PEER, revision: 1, number: 0 };
    const reply = await this.handler.handle(encodeJsonFrame(header, body));
    assert.equal(openFrame(reply).type, FRAME_REPLY);
    return decodeJsonPayload(reply);
  }

  async delivered(): Promise<number> {
    return (await this.node.counts(DOMAIN))[0];
  }
}

/** Domains by the partition, of four, that they lie in. */
function domainIn(partition: number): string {
  const parser = new DomainParser();
  for (let i = 0; ; i++) {
    parser.parseText(`p${i}.example`, false);
    if (Math.floor((parser.hash / 2 ** 32) * 4) === partition) return `p${i}.example`;
  }
}

describe("PeerHandler", () => {
  it("commits the sub-batches of a frame and answers each, with the verdicts of its keys", async () => {
    const bench = await Bench.open();
    const home = domainIn(0);
    assert.deepEqual(await bench.send(bench.frame([{ sequence: 1, domain: home, id: "k" }])), [
      [KEY_COUNTED],
    ]);
    const frame = bench.frame([
      { sequence: 2, domain: home, id: "k" },
      { sequence: 1, domain: domainIn(1) },
    ]);
    assert.deepEqual(await bench.send(frame, 2), [[KEY_REPLAYED], []]);
    assert.deepEqual(bench.view.seenRevisions, [44, 44]);
    assert.equal((await bench.node.counts(home))[0], 1);
  });

  it("refuses the sub-batches it cannot take, one by one", async () => {
    const bench = await Bench.open();
    bench.node.assembled.host.close(1);
    const frame = bench.frame([
      { sequence: 1, domain: domainIn(0) },
      { sequence: 1, domain: domainIn(1) },
      { sequence: 1, domain: domainIn(2) },
    ]);
    assert.deepEqual(await bench.send(frame, 3), [[], "partition_closed", "not_owner"]);
    const gap = bench.frame([{ sequence: 5, domain: domainIn(0) }]);
    assert.deepEqual(await bench.send(gap), ["resync"]);
    bench.node.gate.moveTo("failed", "disk");
    const late = bench.frame([{ sequence: 2, domain: domainIn(0) }]);
    assert.deepEqual(await bench.send(late), ["log_failed"]);
  });

  it("says committed again for the same sequence in another frame, and counts it once", async () => {
    const bench = await Bench.open();
    const home = domainIn(0);
    assert.deepEqual(await bench.send(bench.frame([{ sequence: 1, domain: home }])), [[]]);
    assert.deepEqual(await bench.send(bench.frame([{ sequence: 1, domain: home }])), [[]]);
    assert.equal((await bench.node.counts(home))[0], 1);
  });

  it("handles a frame once: its repeat gets no answer, and applies nothing that was refused", async () => {
    const bench = await Bench.open();
    const home = domainIn(0);
    const { host } = bench.node.assembled;
    const actor = host.actorAt(0);
    assert.ok(actor !== undefined);
    host.close(0);
    const frame = bench.frame([{ sequence: 1, domain: home }]);
    assert.deepEqual(await bench.send(frame), ["partition_closed"]);
    host.open(actor);
    await assert.rejects(bench.handler.handle(frame), { code: "frame_damaged" });
    assert.equal((await bench.node.counts(home))[0], 0);
  });

  it("keeps nothing of a frame once it was answered", async () => {
    const bench = await Bench.open();
    const home = domainIn(0);
    let release: () => void = () => undefined;
    bench.world.log.hold = new Promise((resolve) => {
      release = resolve;
    });
    const first = bench.frame([{ sequence: 1, domain: home }]);
    const firstSent = bench.send(first);
    await new Promise((resolve) => setImmediate(resolve));
    const second = bench.frame([{ sequence: 1, domain: domainIn(1) }]);
    const secondSent = bench.send(second);
    bench.world.log.hold = null;
    release();
    assert.deepEqual([await firstSent, await secondSent], [[[]], [[]]]);
    first.fill(0);
    second.fill(0);
    assert.equal((await bench.node.counts(home))[0], 1);
    assert.equal((await bench.node.counts(domainIn(1)))[0], 1);
  });

  it("refuses a frame as a whole when a record is not of its partition, before anything is admitted", async () => {
    const bench = await Bench.open();
    const home = domainIn(0);
    const astray = bench.frame([
      { sequence: 1, domain: home },
      { sequence: 1, domain: domainIn(2), partition: 1 },
    ]);
    assert.equal(await bench.refusal(astray), "frame_damaged");
    assert.equal((await bench.node.counts(home))[0], 0);
    const parser = new DomainParser();
    parser.parseText(home, false);
    const records = new RecordWriter();
    records.add(parser.bytes, parser.length, parser.hash ^ 1, DELIVERED, 1);
    const batch = { partition: 0, producerSequence: 1, eventCount: 1, records };
    const forged = encodeEventsFrame({ sender: PEER, revision: 1, number: 77 }, [batch]);
    assert.equal(await bench.refusal(forged), "frame_damaged");
    const far = bench.frame([{ sequence: 1, domain: home, partition: 60_000 }]);
    assert.equal(await bench.refusal(far), "frame_damaged");
  });

  it("gives no answer to bytes it cannot read", async () => {
    const bench = await Bench.open();
    const frame = bench.frame([{ sequence: 1, domain: domainIn(0) }]);
    frame[40] = (frame[40] as number) ^ 1;
    await assert.rejects(bench.handler.handle(frame), { code: "frame_damaged" });
    await assert.rejects(bench.handler.handle(new Uint8Array(0)), { code: "frame_damaged" });
    const notice = { type: FRAME_NOTICE, sender: PEER, revision: 1, number: 0 };
    assert.equal(await bench.refusal(encodeJsonFrame(notice, {})), "frame_damaged");
  });

  it("holds a bounded number of bytes that wait for the log", async () => {
    const bench = await Bench.open();
    let release: () => void = () => undefined;
    bench.world.log.hold = new Promise((resolve) => {
      release = resolve;
    });
    const parser = new DomainParser();
    const name = domainIn(0);
    parser.parseText(name, false);
    const records = new RecordWriter();
    const key = new Uint32Array(4);
    while (records.length < 500 * 1024) {
      records.addKeyed(parser.bytes, parser.length, parser.hash, DELIVERED, 1, key);
    }
    const batch = { partition: 0, producerSequence: 1, eventCount: 1, records };
    const frames = Math.floor(PEER_HELD_BYTES_MAX / (500 * 1024)) + 4;
    const waiting: Promise<Uint8Array>[] = [];
    for (let number = 1; number <= frames; number++) {
      const frame = encodeEventsFrame({ sender: PEER, revision: 1, number }, [batch]);
      waiting.push(bench.handler.handle(frame));
    }
    const last = await (waiting.at(-1) as Promise<Uint8Array>);
    assert.equal(decodeJsonPayload(last)["code"], "overloaded");
    bench.world.log.hold = null;
    release();
    const replies = await Promise.all(waiting);
    assert.equal(openFrame(replies[0] as Uint8Array).type, FRAME_EVENTS_REPLY);
    assert.deepEqual(await bench.send(bench.frame([{ sequence: 2, domain: name }], 9_999)), [[]]);
  });

  it("reads each domain or says why not, in the order asked", async () => {
    const bench = await Bench.open();
    await bench.send(bench.frame([{ sequence: 1, domain: domainIn(1) }]));
    const domains = [domainIn(2), domainIn(1), domainIn(0)];
    const { results } = await bench.ask({ kind: "read", domains });
    const told = (
      results as { domain?: string; delivered?: number; error?: { code: string } }[]
    ).map(({ domain, delivered, error }) => error?.code ?? [domain, delivered]);
    assert.deepEqual(told, ["not_owner", [domainIn(1), 1], [domainIn(0), 0]]);
  });

  it("answers an error to questions it does not know or cannot read", async () => {
    const bench = await Bench.open();
    const code = async (body: unknown): Promise<unknown> =>
      ((await bench.ask(body))["error"] as { code: string }).code;
    assert.equal(await code({ kind: "what" }), "not_implemented");
    const reset = { kind: 3, domain: "a.com", by: "me" };
    for (const body of [
      { kind: "read" },
      { kind: "read", domains: [] },
      { kind: "read", domains: ["A.com"] },
      { kind: "read", domains: ["no"] },
      { kind: "read", domains: Array.from({ length: 1_001 }, () => "a.com") },
      { kind: "totals", partitions: [4] },
      { kind: "totals", partitions: ["0"] },
      { kind: "tryRule", partitions: [0], rule: { deliveredThreshold: -1 } },
      { kind: "list", first: 0, end: 70_000, status: null, after: null, limit: 5 },
      { kind: "list", first: 0, end: 5, status: "none", after: null, limit: 5 },
      { kind: "change", change: { ...reset, domain: "no" } },
      { kind: "change", change: { ...reset, kind: 4 } },
      { kind: "change", change: { ...reset, by: 1 } },
      { kind: "change" },
      { kind: "query", name: 1 },
    ]) {
      assert.equal(await code(body), "frame_damaged", JSON.stringify(body).slice(0, 80));
    }
    assert.equal(await code({ kind: "totals", partitions: [0, 2] }), "not_owner");
    assert.equal(
      await code({ kind: "change", change: { ...reset, domain: domainIn(3) } }),
      "not_owner",
    );
    assert.equal(await bench.delivered(), 0);
  });
});
