/**
 * Goal: the promises of the log hold on three replicas, also while the servers die one after another. Method: three
 * real servers; the conformance suites with three replicas; appends in a loop while each server in turn is killed and
 * started again; then everything acknowledged must be there, once, in order.
 */

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { appendUntilKnown } from "../../src/commit/append-until-known.ts";
import {
  controlStream,
  NatsKvControlStore,
} from "../../src/control-plane/nats-kv-control-store.ts";
import type { NatsRequests } from "../../src/runtime/nats-requests.ts";
import { NodeClock } from "../../src/runtime/node-clock.ts";
import { NodeRandom } from "../../src/runtime/node-random.ts";
import { NodeTimers } from "../../src/runtime/node-timers.ts";
import { JetStreamNodeLog } from "../../src/wal/jetstream-node-log.ts";
import { checkServers, checkStream } from "../../src/wal/jetstream-server-check.ts";
import { logNames } from "../../src/wal/jetstream-stream-names.ts";
import {
  describeSharedNodeLog,
  EntryChain,
  type NodeLogWorld,
  readAll,
} from "../conformance/node-log.ts";
import { startNatsCluster, type TestNatsServer } from "../support/nats-server.ts";

let servers: readonly TestNatsServer[];
let clusters = 0;
const connections: NatsRequests[] = [];

async function hasJetStream(requests: NatsRequests): Promise<boolean> {
  const report = await checkServers(requests, { monitorUrls: [] }).catch(() => null);
  return report?.hasJetStream === true;
}

before(async () => {
  servers = await startNatsCluster(3);
  const requests = await connect();
  const limitMs = performance.now() + 30_000;
  while (!(await hasJetStream(requests))) {
    assert.ok(performance.now() < limitMs, "the servers elected no leader");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
});
after(async () => {
  for (const requests of connections) await requests.close();
  for (const server of servers) await server.dispose();
});

async function connect(): Promise<NatsRequests> {
  const natsUrl = servers.map((server) => server.url).join(",");
  const requests = await (servers[0] as TestNatsServer).connect("test", { natsUrl });
  connections.push(requests);
  return requests;
}

function openLog(requests: NatsRequests, clusterName: string): Promise<JetStreamNodeLog> {
  const options = { clock: new NodeClock(), random: new NodeRandom(), logBytesMax: null };
  return JetStreamNodeLog.open(requests, { clusterName, replicas: 3, ...options });
}

async function makeWorld(): Promise<NodeLogWorld> {
  clusters += 1;
  const clusterName = `test-${clusters}`;
  return {
    sealsByEntry: true,
    open: async () => openLog(await connect(), clusterName),
    dispose: async () => undefined,
  };
}

describeSharedNodeLog("JetStream with three replicas", makeWorld);

describe("JetStream with three replicas", () => {
  it("stores on three synced servers, and says so", async () => {
    const requests = await connect();
    await openLog(requests, "checked");
    await NatsKvControlStore.open(requests, { clusterName: "checked", replicas: 3 });
    const monitorUrls = servers.map((server) => server.monitorUrl);
    const report = await checkServers(requests, { monitorUrls });
    assert.deepEqual([report.logSync, report.problems], ["always", []]);
    for (const stream of [logNames("checked").storeStream, controlStream("checked")]) {
      assert.deepEqual(await checkStream(requests, stream, 3), []);
    }
  });

  it("loses and doubles nothing while each server dies in turn", async () => {
    const requests = await connect();
    const log = await openLog(requests, "killed");
    await log.create(5);
    const chain = new EntryChain(5, log.storeId);
    const entries: Uint8Array[] = [];
    let isOver = false;
    const appending = (async () => {
      while (!isOver) {
        const bytes = chain.next(300);
        const outcome = await appendUntilKnown({
          log,
          timers: new NodeTimers(),
          incarnation: 5,
          bytes,
          expectedLast: chain.sequence - 1,
          isStopped: () => false,
        });
        assert.deepEqual(outcome, { kind: "committed" });
        entries.push(bytes);
      }
    })();
    const progress = async (): Promise<void> => {
      const from = entries.length;
      while (entries.length < from + 30) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    for (const server of servers) {
      await progress();
      await server.kill();
      await progress();
      await server.restart();
    }
    isOver = true;
    await appending;
    const other = await connect();
    const reader = await openLog(other, "killed");
    assert.equal(await reader.seal(5), entries.length + 1);
    assert.deepEqual((await readAll(reader, 5)).slice(0, -1), entries);
  });
});
