import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { type ControlRecord, TABLE_KEY } from "../../src/control-plane/control-store.ts";
import { encodeTable, parseTable } from "../../src/control-plane/control-table-codec.ts";
import { NatsKvControlStore } from "../../src/control-plane/nats-kv-control-store.ts";
import {
  assignPartitions,
  createTable,
  endMember,
  joinMember,
} from "../../src/control-plane/table-changes.ts";
import { DEFAULT_RULE } from "../../src/model/status.ts";
import { type NatsRequests, natsHeaders } from "../../src/runtime/nats-requests.ts";
import { describeControlStore } from "../conformance/control-store.ts";
import { TestNatsServer } from "../support/nats-server.ts";
import { must } from "../support/table-builder.ts";

let server: TestNatsServer;
let clusters = 0;

before(async () => {
  server = await TestNatsServer.start();
});
after(async () => {
  await server.dispose();
});

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

async function until(condition: () => boolean, limitMs = 10_000): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!condition()) {
    assert.ok(performance.now() < deadline, "the wait took too long");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describeControlStore("NATS KV", async () => {
  clusters += 1;
  const options = { clusterName: `test-${clusters}`, replicas: 1 };
  const connections: NatsRequests[] = [];
  return {
    connect: async () => {
      const requests = await server.connect();
      connections.push(requests);
      return NatsKvControlStore.open(requests, options);
    },
    dispose: async () => {
      for (const requests of connections) await requests.close();
    },
  };
});

describe("NatsKvControlStore", () => {
  let requests: NatsRequests;
  let rivalRequests: NatsRequests;
  let store: NatsKvControlStore;
  let rival: NatsKvControlStore;
  let bucket: string;

  beforeEach(async () => {
    clusters += 1;
    const options = { clusterName: `test-${clusters}`, replicas: 1 };
    bucket = `${options.clusterName}-control`;
    requests = await server.connect("one");
    rivalRequests = await server.connect("two");
    store = await NatsKvControlStore.open(requests, options);
    rival = await NatsKvControlStore.open(rivalRequests, options);
  });
  afterEach(async () => {
    await store.close();
    await rival.close();
    await requests.close();
    await rivalRequests.close();
  });

  /** Puts that must succeed. */
  async function put(key: string, text: string, expected: number): Promise<number> {
    const outcome = await store.put(key, bytes(text), expected);
    assert.equal(outcome.kind, "committed");
    return outcome.kind === "committed" ? outcome.revision : 0;
  }

  function textOf(record: ControlRecord | null): string | null {
    return record === null ? null : new TextDecoder().decode(record.value);
  }

  it("keeps the largest table that may be: 64 partitions, a thousand lives without a checkpoint", async () => {
    let table = createTable({ partitionCount: 64, rule: DEFAULT_RULE });
    for (let incarnation = 1; incarnation <= 1000; incarnation++) {
      table = must(joinMember(table, { nodeId: "n1", joinNonce: `${incarnation}` }));
      if (incarnation === 1) table = must(assignPartitions(table, [1]));
      const end = { incarnation: incarnation - 1, endSequence: incarnation * 97, endedAtMs: 5 };
      table = endMember(table, { ...end, state: "dead" }) ?? table;
    }
    const value = encodeTable(table);
    assert.ok(value.length > 3_000_000, `it has ${value.length} bytes`);
    const seen: ControlRecord[] = [];
    const end = rival.watch((record) => seen.push(record));
    assert.equal((await store.put(TABLE_KEY, value, 0)).kind, "committed");
    assert.deepEqual(parseTable((await rival.read(TABLE_KEY))?.value ?? value).ok, table);
    await until(() => seen.length > 0);
    assert.deepEqual(parseTable(seen[0]?.value ?? new Uint8Array()).ok, table);
    end();
  });

  it("gives what only says that it is deflated as it is", async () => {
    const headers = natsHeaders({ "Catchall-Encoding": "deflate-raw" });
    await requests.request(`$KV.${bucket}.${TABLE_KEY}`, bytes("{}"), 2000, headers);
    assert.deepEqual(Buffer.from((await store.read(TABLE_KEY))?.value ?? []), Buffer.from("{}"));
  });

  it("writes on the revision that was read only", async () => {
    assert.equal(await store.read("table"), null);
    const first = await put("table", "a", 0);
    assert.deepEqual(await rival.put("table", bytes("b"), 0), { kind: "conflict" });
    const second = await put("table", "b", first);
    assert.ok(second > first);
    assert.deepEqual(await rival.put("table", bytes("c"), first), { kind: "conflict" });
    assert.deepEqual(await rival.put("table", bytes("c"), second + 1), { kind: "conflict" });
    const record = await rival.read("table");
    assert.deepEqual([textOf(record), record?.revision], ["b", second]);
  });

  it("lets exactly one of many racing writers through", async () => {
    let revision = 0;
    for (let round = 0; round < 50; round += 1) {
      const outcomes = await Promise.all(
        [store, rival, store, rival].map((writer, i) =>
          writer.put("table", bytes(`${round}-${i}`), revision),
        ),
      );
      const committed = outcomes.filter((outcome) => outcome.kind === "committed");
      assert.equal(committed.length, 1);
      assert.equal(outcomes.filter((outcome) => outcome.kind === "conflict").length, 3);
      revision = committed[0]?.kind === "committed" ? committed[0].revision : 0;
    }
  });

  it("keeps the revisions of keys apart and reads all leases in order", async () => {
    await put("table", "t", 0);
    for (const incarnation of [10, 9, 2]) await put(`lease.${incarnation}`, `L${incarnation}`, 0);
    const leases = await rival.readLeases();
    assert.deepEqual(
      leases.map((lease) => lease.key),
      ["lease.2", "lease.9", "lease.10"],
    );
    assert.deepEqual(leases.map(textOf), ["L2", "L9", "L10"]);
    const nine = leases[1] as ControlRecord;
    await put("lease.9", "again", nine.revision);
    assert.equal(textOf(await rival.read("table")), "t");
  });

  it("forgets a lease, repeatably, and no other", async () => {
    await put("lease.1", "x", 0);
    await put("lease.10", "y", 0);
    await store.deleteLease(1);
    await store.deleteLease(1);
    assert.equal(await rival.read("lease.1"), null);
    assert.deepEqual(
      (await rival.readLeases()).map((lease) => lease.key),
      ["lease.10"],
    );
    await put("lease.1", "z", 0);
  });

  it("takes a marker that a tool left for what it means: nothing is there", async () => {
    const revision = await put("table", "x", 0);
    const headers = natsHeaders({ "KV-Operation": "DEL" });
    await requests.request(`$KV.${bucket}.table`, new Uint8Array(), 2000, headers);
    assert.equal(await store.read("table"), null);
    assert.deepEqual(await store.put("table", bytes("y"), revision), { kind: "conflict" });
    await put("table", "z", 0);
    assert.equal(textOf(await rival.read("table")), "z");
  });

  it("tells a watcher what is there and what changes", async () => {
    const first = await put("table", "a", 0);
    const seen: string[] = [];
    const end = rival.watch((record) => seen.push(`${record.key}@${record.revision}`));
    await until(() => seen.length === 1);
    const second = await put("table", "b", first);
    const lease = await put("lease.3", "c", 0);
    await until(() => seen.length === 3);
    assert.deepEqual(seen, [`table@${first}`, `table@${second}`, `lease.3@${lease}`]);
    end();
    await put("table", "c", second);
    await store.read("table");
    assert.equal(seen.length, 3);
  });

  it("says unavailable while the server is away, and watches on after its kill", async () => {
    const first = await put("table", "a", 0);
    const seen: number[] = [];
    rival.watch((record) => seen.push(record.revision));
    await until(() => seen.length === 1);
    await server.kill();
    const startedMs = performance.now();
    assert.equal((await store.put("table", bytes("b"), first)).kind, "unknown");
    await assert.rejects(store.read("table"), { code: "control_unavailable" });
    await assert.rejects(store.readLeases(), { code: "control_unavailable" });
    await assert.rejects(store.deleteLease(1), { code: "control_unavailable" });
    assert.ok(performance.now() - startedMs < 1000);
    await server.restart();
    await until(() => requests.isConnected && rivalRequests.isConnected);
    const record = await store.read("table");
    assert.ok(record !== null);
    const second = await put("table", "c", record.revision);
    await until(() => seen.includes(second));
    assert.deepEqual(
      [...seen],
      [...seen].sort((left, right) => left - right),
    );
  });

  it("ends a put in flight as unknown when the connection breaks", async () => {
    const first = await put("table", "a", 0);
    server.pause();
    const pending = store.put("table", bytes("b"), first);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await server.kill();
    assert.equal((await pending).kind, "unknown");
    await server.restart();
    await until(() => requests.isConnected);
    const text = textOf(await store.read("table"));
    assert.ok(text === "a" || text === "b");
  });

  it("watches on when its consumer is taken away", async () => {
    const seen: string[] = [];
    rival.watch((record) => seen.push(Buffer.from(record.value).toString()));
    const revision = await put("table", "a", 0);
    await until(() => seen.length === 1);
    const names = await requests.request(
      `$JS.API.CONSUMER.NAMES.KV_${bucket}`,
      new Uint8Array(),
      2000,
    );
    assert.equal(names.kind, "reply");
    const { consumers } = JSON.parse(names.kind === "reply" ? names.message.string() : "{}");
    assert.equal(consumers.length, 1);
    const call = `$JS.API.CONSUMER.DELETE.KV_${bucket}.${consumers[0]}`;
    await requests.request(call, new Uint8Array(), 2000);
    await put("table", "b", revision);
    await until(() => seen.includes("b"));
    assert.deepEqual(seen, ["a", "b"]);
  });
});
