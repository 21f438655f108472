import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { CatchallError } from "../../src/model/errors.ts";
import type { StatusChange } from "../../src/model/status-change.ts";
import {
  CHANGES_AGE_DAYS_MAX,
  CHANGES_BYTES_MAX,
  NatsChangesSink,
} from "../../src/notifications/nats-changes-sink.ts";
import type { NatsRequests } from "../../src/runtime/nats-requests.ts";
import { TestNatsServer } from "../support/nats-server.ts";
import { changeOf } from "./changes.ts";

describe("NatsChangesSink", () => {
  let server: TestNatsServer;
  let requests: NatsRequests;
  before(async () => {
    server = await TestNatsServer.start();
    requests = await server.connect();
  });
  after(async () => {
    await requests?.close();
    await server?.dispose();
  });

  async function storedIn(stream: string): Promise<StatusChange[]> {
    const manager = await requests.connection.jetstreamManager();
    const { state } = await manager.streams.info(stream);
    const changes: StatusChange[] = [];
    for (let seq = state.first_seq; seq <= state.last_seq && state.messages > 0; seq++) {
      const text = (await manager.streams.getMessage(stream, { seq })).string();
      changes.push(...text.split("\n").map((line) => JSON.parse(line) as StatusChange));
    }
    return changes;
  }

  it("stores a repeated message once, on one subject without a domain, in a bounded stream", async () => {
    const sink = new NatsChangesSink({ requests, clusterName: "one", replicas: 1 });
    const changes = [changeOf(1), changeOf(1, 1), changeOf(2)];
    await sink.store(changes);
    await sink.store(changes);
    await sink.store([changeOf(2, 7)]);
    const successor = new NatsChangesSink({ requests, clusterName: "one", replicas: 1 });
    await successor.store([changeOf(2, 7)]);
    await successor.store([changeOf(3)]);
    const want = [...changes, changeOf(2, 7), changeOf(3)];
    assert.deepEqual(await storedIn("ONE_CHANGES"), want);
    const { config } = await (await requests.connection.jetstreamManager()).streams.info(
      "ONE_CHANGES",
    );
    assert.deepEqual(config.subjects, ["one.changes"]);
    assert.equal(config.max_age, CHANGES_AGE_DAYS_MAX * 24 * 3600 * 1e9);
    assert.equal(config.max_bytes, CHANGES_BYTES_MAX);
    assert.equal(config.discard, "old");
    assert.equal(config.storage, "file");
  });

  it("keeps a stream that somebody made with other limits, and forgets the oldest", async () => {
    const small = { requests, clusterName: "small", replicas: 1, bytesMax: 4000 };
    const first = new NatsChangesSink(small);
    for (let i = 0; i < 40; i++) await first.store([changeOf(i)]);
    await new NatsChangesSink({ ...small, bytesMax: 1_000_000 }).store([changeOf(40)]);
    const kept = await storedIn("SMALL_CHANGES");
    assert.ok(kept.length < 40 && kept.length > 1, `${kept.length} kept`);
    assert.deepEqual(kept.at(-1), changeOf(40));
  });

  it("makes the stream again when somebody deleted it", async () => {
    const sink = new NatsChangesSink({ requests, clusterName: "gone", replicas: 1 });
    await sink.store([changeOf(1)]);
    await (await requests.connection.jetstreamManager()).streams.delete("GONE_CHANGES");
    await assert.rejects(sink.store([changeOf(2)]), CatchallError);
    await sink.store([changeOf(2)]);
    assert.deepEqual(await storedIn("GONE_CHANGES"), [changeOf(2)]);
  });

  it("rejects while NATS is away, and a repeat stores what is missing and nothing twice", async () => {
    const sink = new NatsChangesSink({ requests, clusterName: "away", replicas: 1 });
    await sink.store([changeOf(1)]);
    await server.kill();
    await assert.rejects(sink.store([changeOf(2), changeOf(3)]), CatchallError);
    await server.restart();
    const deadlineMs = Date.now() + 10_000;
    for (;;) {
      try {
        await sink.store([changeOf(2), changeOf(3)]);
        await sink.store([changeOf(2), changeOf(3)]);
        break;
      } catch (error) {
        if (Date.now() > deadlineMs) throw error;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
    assert.deepEqual(await storedIn("AWAY_CHANGES"), [changeOf(1), changeOf(2), changeOf(3)]);
  });
});
