import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { appendUntilKnown } from "../../src/commit/append-until-known.ts";
import { type NatsRequests, natsHeaders } from "../../src/runtime/nats-requests.ts";
import { NodeClock } from "../../src/runtime/node-clock.ts";
import { NodeRandom } from "../../src/runtime/node-random.ts";
import { NodeTimers } from "../../src/runtime/node-timers.ts";
import { JetStreamNodeLog } from "../../src/wal/jetstream-node-log.ts";
import type { AppendOutcome } from "../../src/wal/node-log.ts";
import {
  describeNodeLog,
  describeSharedNodeLog,
  EntryChain,
  type NodeLogWorld,
  readAll,
} from "../conformance/node-log.ts";
import { TestNatsServer } from "../support/nats-server.ts";

let server: TestNatsServer;
let clusters = 0;

before(async () => {
  server = await TestNatsServer.start();
});
after(async () => {
  await server.dispose();
});

function openLog(
  requests: NatsRequests,
  clusterName: string,
  logBytesMax: number | null = null,
): Promise<JetStreamNodeLog> {
  const clock = new NodeClock();
  const random = new NodeRandom();
  return JetStreamNodeLog.open(requests, { clusterName, replicas: 1, logBytesMax, clock, random });
}

/** A cluster of its own on the shared server. */
async function makeWorld(): Promise<NodeLogWorld> {
  clusters += 1;
  const clusterName = `test-${clusters}`;
  const connections: NatsRequests[] = [];
  return {
    sealsByEntry: true,
    open: async () => {
      const requests = await server.connect();
      connections.push(requests);
      return openLog(requests, clusterName);
    },
    dispose: async () => {
      for (const requests of connections) await requests.close();
    },
  };
}

describeNodeLog("JetStream", makeWorld);
describeSharedNodeLog("JetStream", makeWorld);

describe("JetStreamNodeLog", () => {
  let requests: NatsRequests;
  let cluster: string;
  let log: JetStreamNodeLog;
  let chain: EntryChain;

  /** Fresh names, so tests do not meet. */
  async function open(logBytesMax: number | null = null): Promise<void> {
    clusters += 1;
    cluster = `test-${clusters}`;
    requests = await server.connect();
    log = await openLog(requests, cluster, logBytesMax);
    chain = new EntryChain(5, log.storeId);
  }

  async function fill(count: number, bodyBytes = 100): Promise<Uint8Array[]> {
    const entries: Uint8Array[] = [];
    for (let i = 0; i < count; i += 1) {
      entries.push(chain.next(bodyBytes));
      const outcome = await log.append(entries.at(-1) as Uint8Array, chain.sequence - 1);
      assert.deepEqual(outcome, { kind: "committed" });
    }
    return entries;
  }

  function publish(subject: string, data: Uint8Array, headers: Record<string, string>) {
    return requests.request(subject, data, 2000, natsHeaders(headers));
  }

  async function api(call: string, body: unknown): Promise<string> {
    const bytes = Buffer.from(JSON.stringify(body));
    const outcome = await requests.request(`$JS.API.${call}`, bytes, 2000);
    assert.equal(outcome.kind, "reply");
    return outcome.kind === "reply" ? outcome.message.string() : "";
  }

  it("lets other work run while a long range is put to use", async () => {
    await open();
    await log.create(5);
    await fill(200);
    let turns = 0;
    let isOver = false;
    const count = (): void => {
      turns += 1;
      if (!isOver) setImmediate(count);
    };
    setImmediate(count);
    let entries = 0;
    let turnsBefore = 0;
    for await (const _ of log.read(5, 1, 200)) {
      if (entries === 0) turnsBefore = turns;
      entries += 1;
      // What a replay costs, made plain.
      for (const endMs = performance.now() + 1; performance.now() < endMs; );
    }
    isOver = true;
    assert.equal(entries, 200);
    assert.ok(turns - turnsBefore >= 15, `${turns - turnsBefore} turns in 200 ms of work`);
    await requests.close();
  });

  it("lets exactly one of two racing writers have each sequence", async () => {
    await open();
    await log.create(5);
    const rival = await server.connect("rival");
    const subject = `${cluster}.log.5`;
    for (let last = 0; last < 150; last += 1) {
      const headers = natsHeaders({ "Nats-Expected-Last-Sequence": String(last) });
      const outcomes = await Promise.all(
        [requests, rival, requests].map((writer) =>
          writer.request(subject, Buffer.from("x"), 2000, headers),
        ),
      );
      const replies = outcomes.map((outcome) =>
        outcome.kind === "reply" ? outcome.message.string() : outcome.kind,
      );
      assert.equal(replies.filter((reply) => !reply.includes("error")).length, 1, String(replies));
      assert.equal(replies.filter((reply) => reply.includes("10071")).length, 2, String(replies));
    }
    assert.equal(await log.lastSequence(5), 150);
    await rival.close();
    await requests.close();
  });

  it("answers unknown while the server is away, and the resent append is there once", async () => {
    await open();
    await log.create(5);
    const entries = await fill(3);
    await server.kill();
    const last = chain.next(100);
    const startedMs = performance.now();
    assert.equal((await log.append(last, 3)).kind, "unknown");
    assert.ok(performance.now() - startedMs < 1000);
    await assert.rejects(log.seal(5), { code: "log_unavailable" });
    await assert.rejects(log.lastSequence(5), { code: "log_unavailable" });
    await assert.rejects(readAll(log, 5), { code: "log_unavailable" });
    const settled = appendUntilKnown({
      log,
      timers: new NodeTimers(),
      incarnation: 5,
      bytes: last,
      expectedLast: 3,
      isStopped: () => false,
    });
    await server.restart();
    assert.deepEqual(await settled, { kind: "committed" });
    assert.deepEqual(await readAll(log, 5), [...entries, last]);
    await requests.close();
  });

  it("loses nothing acknowledged when the server is killed under appends", async () => {
    await open();
    await log.create(5);
    const entries: Uint8Array[] = [];
    const appending = (async () => {
      while (entries.length < 300) {
        const bytes = chain.next(500);
        const append = { log, timers: new NodeTimers(), incarnation: 5, bytes };
        const expectedLast = chain.sequence - 1;
        const isStopped = (): boolean => false;
        const outcome = await appendUntilKnown({ ...append, expectedLast, isStopped });
        assert.deepEqual(outcome, { kind: "committed" });
        entries.push(bytes);
      }
    })();
    for (const at of [30, 100, 200]) {
      while (entries.length < at) await new Promise((resolve) => setImmediate(resolve));
      await server.kill();
      await server.restart();
    }
    await appending;
    assert.deepEqual(await readAll(log, 5), entries);
    await requests.close();
  });

  it("says log_full, and takes entries again after a trim", async () => {
    await open(20_000);
    await log.create(5);
    await fill(9, 2000);
    const next = chain.next(3000);
    const outcome = await log.append(next, 9);
    assert.equal(outcome.kind === "notApplied" ? outcome.code : outcome.kind, "log_full");
    await log.trim(5, 5);
    assert.deepEqual(await log.append(next, 9), { kind: "committed" });
    await requests.close();
  });

  it("takes a claim into its reserve when it is full", async () => {
    await open(20_000);
    await log.create(5);
    await fill(9, 2000);
    const next = chain.next(3000);
    assert.equal((await log.append(next, 9)).kind, "notApplied");
    assert.deepEqual(await log.append(next, 9, true), { kind: "committed" });
    await requests.close();
  });

  it("seals a log that takes no more entries, so that its ranges find a new owner", async () => {
    await open(20_000);
    await log.create(5);
    await fill(9, 2000);
    const outcome = await log.append(chain.next(3000), 9);
    assert.equal(outcome.kind, "notApplied");
    const other = await server.connect();
    const sealer = await openLog(other, cluster, 20_000);
    assert.equal(await sealer.seal(5), 10);
    await other.close();
    await requests.close();
  });

  it("says log_full when the server may store no more, and takes entries again after a trim", async () => {
    const small = await TestNatsServer.start({ storeMax: "2MB" });
    try {
      requests = await small.connect();
      log = await openLog(requests, "small");
      chain = new EntryChain(5, log.storeId);
      await log.create(5);
      let outcome: AppendOutcome = { kind: "committed" };
      let next = chain.next(1);
      for (let last = 0; outcome.kind === "committed" && last < 100; last++) {
        if (last > 0) next = chain.next(100_000);
        outcome = await log.append(next, last);
      }
      assert.equal(outcome.kind === "notApplied" ? outcome.code : outcome.kind, "log_full");
      await log.trim(5, 5);
      assert.deepEqual(await log.append(next, chain.sequence - 1), { kind: "committed" });
      await requests.close();
    } finally {
      await small.dispose();
    }
  });

  it("refuses entries whose seed was trimmed, and reads on from the first kept one", async () => {
    await open();
    await log.create(5);
    const entries = await fill(30);
    await log.trim(5, 12);
    await assert.rejects(readAll(log, 5, 12), { code: "log_damaged", message: /begins at 13/ });
    assert.deepEqual(await readAll(log, 5, 13), entries.slice(12));
    assert.deepEqual(await readAll(log, 5, 0), entries.slice(12));
    await log.trim(5, 99);
    assert.deepEqual(await readAll(log, 5, 0), []);
    assert.equal(await log.lastSequence(5), 30);
    await requests.close();
  });

  it("reads megabytes in order, in several batches", async () => {
    await open();
    await log.create(5);
    const entries = await fill(60, 200_000);
    assert.deepEqual(await readAll(log, 5), entries);
    assert.deepEqual(await readAll(log, 5, 8, 55), entries.slice(7, 55));
    await requests.close();
  });

  it("names the entry that does not fit the chain", async () => {
    await open();
    await log.create(5);
    await fill(20);
    await publish(`${cluster}.log.5`, Buffer.from("foreign bytes"), {});
    const error = { code: "log_damaged", message: /TEST-\d+_LOG_5, entry 21: / };
    await assert.rejects(readAll(log, 5), error);
    await assert.rejects(log.seal(5), error);
    await requests.close();
  });

  it("names a hole, and never skips it", async () => {
    await open();
    const stream = `${cluster.toUpperCase()}_LOG_6`;
    await api(`STREAM.CREATE.${stream}`, { name: stream, subjects: [`${cluster}.log.6`] });
    const holed = new EntryChain(6, log.storeId);
    for (let i = 0; i < 20; i += 1) await publish(`${cluster}.log.6`, holed.next(10), {});
    assert.equal((await readAll(log, 6)).length, 20);
    await api(`STREAM.MSG.DELETE.${stream}`, { seq: 11 });
    for (const [from, to] of [
      [1, 20],
      [10, 12],
      [12, 20],
    ] as const) {
      await assert.rejects(readAll(log, 6, from, to), { code: "log_damaged", message: /entry 11/ });
    }
    assert.equal((await readAll(log, 6, 13)).length, 8);
    await requests.close();
  });

  it("has one identity when all nodes of a new cluster start at once", async () => {
    clusters += 1;
    const connections = await Promise.all([1, 2, 3, 4, 5].map(() => server.connect()));
    const logs = await Promise.all(connections.map((own) => openLog(own, `test-${clusters}`)));
    assert.equal(new Set(logs.map(({ storeId }) => storeId)).size, 1);
    for (const own of connections) await own.close();
  });

  it("refuses the names of a cluster that differs in case only", async () => {
    await open();
    await assert.rejects(openLog(requests, cluster.replace("test", "Test")), { code: "conflict" });
    const again = await openLog(requests, cluster);
    assert.equal(again.storeId, log.storeId);
    await requests.close();
  });
});
