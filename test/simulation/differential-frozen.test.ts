/**
 * A nats-server that stands still while it is asked: what the caller is told, and what turns out to be there afterwards.
 * The simulation must be able to show each such history that real servers show, under faults of its own choice.
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { type ControlStore, TABLE_KEY } from "../../src/control-plane/control-store.ts";
import { NatsKvControlStore } from "../../src/control-plane/nats-kv-control-store.ts";
import type { NatsRequests } from "../../src/runtime/nats-requests.ts";
import { NodeClock } from "../../src/runtime/node-clock.ts";
import { NodeRandom } from "../../src/runtime/node-random.ts";
import { SimControlStore } from "../../src/simulation/sim-control-store.ts";
import { SimNodeLogs } from "../../src/simulation/sim-node-logs.ts";
import { NO_SERVICE_FAULTS, type SimService } from "../../src/simulation/sim-service.ts";
import { NO_NETWORK_FAULTS, SimNetwork } from "../../src/simulation/sim-transport.ts";
import { historyOf } from "../../src/simulation/store-history.ts";
import { NatsTransport } from "../../src/transport/nats-transport.ts";
import type { Transport } from "../../src/transport/transport.ts";
import { JetStreamNodeLog } from "../../src/wal/jetstream-node-log.ts";
import type { NodeLog } from "../../src/wal/node-log.ts";
import { EntryChain } from "../conformance/node-log.ts";
import { TestNatsServer } from "../support/nats-server.ts";
import { outcomeOf, until } from "./differential.ts";
import { TestWorld } from "./test-world.ts";

/** Seeds of the simulation among which a history must be. */
const SEEDS = 40;
/** Shown at once by the real server. */
const HISTORIES = 3;
const ENDINGS = ["resumed", "killed"] as const;
type Ending = (typeof ENDINGS)[number];

/** The server stands still from `freeze` on; `thaw` ends that, one way or the other, and resolves when all is known. */
interface Freezer {
  settle(): Promise<void>;
  freeze(): Promise<void>;
  thaw(): Promise<void>;
}

type Play = <T>(work: () => Promise<T>) => Promise<T>;

/** Append while it stands still; then the last sequence, and the same append again. */
async function appendHistory(log: NodeLog, play: Play, freezer: Freezer): Promise<string> {
  const chain = new EntryChain(5, log.storeId);
  const [first, second] = [chain.next(10), chain.next(20)];
  await play(async () => {
    await log.create(5);
    await log.append(first, 0);
  });
  await freezer.freeze();
  const asked = (await play(() => log.append(second, 1))).kind;
  await freezer.thaw();
  const last = await play(() => log.lastSequence(5));
  const again = (await play(() => log.append(second, 1))).kind;
  return `${asked}, last ${last}, again ${again}`;
}

async function putHistory(store: ControlStore, play: Play, freezer: Freezer): Promise<string> {
  const put = (text: string, revision: number) =>
    play(() => store.put(TABLE_KEY, Buffer.from(text), revision));
  const first = await put("one", 0);
  const revision = first.kind === "committed" ? first.revision : -1;
  await freezer.freeze();
  const asked = (await put("two", revision)).kind;
  await freezer.thaw();
  const record = await play(() => store.read(TABLE_KEY));
  const again = (await put("three", revision)).kind;
  return `${asked}, then "${Buffer.from(record?.value ?? []).toString()}", again ${again}`;
}

async function requestHistory(
  asking: Transport,
  serving: Transport,
  play: Play,
  freezer: Freezer,
): Promise<string> {
  let handled = 0;
  serving.serve(async (frame) => {
    handled += 1;
    return frame;
  });
  await freezer.settle();
  await freezer.freeze();
  const asked = await play(() =>
    outcomeOf(async () => `reply ${(await asking.request(2, new Uint8Array(3), 300)).length}`),
  );
  await freezer.thaw();
  return `${asked}, handled ${handled}`;
}

let server: TestNatsServer;
let connections: NatsRequests[] = [];

before(async () => {
  server = await TestNatsServer.start();
});
after(async () => {
  await server?.dispose();
});

/** Resolves when every connection works again, and what lay in the server's sockets is dealt with. */
async function settled(): Promise<void> {
  await until(() => connections.every(({ isConnected }) => isConnected));
  for (const { connection } of [...connections, ...connections]) await connection.flush();
  const probe = new Uint8Array();
  const isUp = async (): Promise<boolean> => {
    const outcome = await (connections[0] as NatsRequests).request("$JS.API.INFO", probe, 1000);
    return outcome.kind === "reply";
  };
  await until(isUp);
}

const playReal: Play = (work) => work();

/** Runs `work` once all `count` callers are there, then lets them go on. */
function together(count: number, work: () => Promise<void>): () => Promise<void> {
  let left = count;
  let start: () => void = () => undefined;
  const done = new Promise<void>((resolve) => {
    start = resolve;
  }).then(work);
  return () => {
    left -= 1;
    if (left === 0) start();
    return done;
  };
}

function realFreezer(ending: Ending): Freezer {
  return {
    settle: settled,
    freeze: together(HISTORIES, async () => server.pause()),
    thaw: together(HISTORIES, async () => {
      if (ending === "resumed") server.resume();
      else {
        await server.kill();
        await server.restart();
      }
      await settled();
    }),
  };
}

/** What the real server shows of each history, all at once. */
async function realHistories(ending: Ending): Promise<Readonly<Record<string, string>>> {
  connections = [await server.connect("one"), await server.connect("two")];
  const [one, two] = connections as [NatsRequests, NatsRequests];
  const clusterName = `test-${ending}`;
  const clock = new NodeClock();
  const random = new NodeRandom();
  const freezer = realFreezer(ending);
  try {
    const options = { clusterName, replicas: 1, logBytesMax: null, clock, random };
    const log = await JetStreamNodeLog.open(one, options);
    const store = await NatsKvControlStore.open(one, options);
    const asking = new NatsTransport(one, { clusterName, self: 1 });
    const serving = new NatsTransport(two, { clusterName, self: 2 });
    const [append, put, request] = await Promise.all([
      appendHistory(log, playReal, freezer),
      putHistory(store, playReal, freezer),
      requestHistory(asking, serving, playReal, freezer),
    ]);
    return { append, put, request };
  } finally {
    for (const requests of connections) await requests.close();
  }
}

function simFreezer(world: TestWorld, outage: Pick<SimService, "isAway" | "isFrozen">): Freezer {
  const settle = (): Promise<void> => world.world.run(world.world.nowMs + 1000);
  return {
    settle,
    freeze: async () => {
      outage.isAway = true;
      outage.isFrozen = true;
    },
    thaw: async () => {
      outage.isAway = false;
      await settle();
    },
  };
}

async function simulatedHistories(
  history: (world: TestWorld) => Promise<string>,
): Promise<ReadonlySet<string>> {
  const seen = new Set<string>();
  for (let seed = 1; seed <= SEEDS; seed++) seen.add(await history(new TestWorld(seed)));
  return seen;
}

function appends(world: TestWorld): Promise<string> {
  const logs = new SimNodeLogs(world.world, NO_SERVICE_FAULTS, historyOf([]));
  const log = logs.connect(world.boot(0));
  return appendHistory(log, (work) => world.play(work), simFreezer(world, logs.service));
}

function puts(world: TestWorld): Promise<string> {
  const none = { staleRead: 0, staleMaxMs: 0, watchLost: 0, watchRepeated: 0, watchLate: 0 };
  const faults = { service: NO_SERVICE_FAULTS, ...none };
  const shared = new SimControlStore(world.world, faults, historyOf([]));
  const store = shared.connect(world.boot(0));
  return putHistory(store, (work) => world.play(work), simFreezer(world, shared.service));
}

function requests(world: TestWorld): Promise<string> {
  const network = new SimNetwork(world.world, NO_NETWORK_FAULTS);
  const one = network.connect(world.boot(1), 1);
  const two = network.connect(world.boot(2), 2);
  return requestHistory(one, two, (work) => world.play(work), simFreezer(world, network));
}

describe("Simulated servers that stand still", () => {
  it("show stored and not stored, handled and not handled", async () => {
    assert.deepEqual([...(await simulatedHistories(appends))].sort(), [
      "unknown, last 1, again committed",
      "unknown, last 2, again conflict",
    ]);
    assert.deepEqual([...(await simulatedHistories(puts))].sort(), [
      'unknown, then "one", again committed',
      'unknown, then "two", again conflict',
    ]);
    assert.deepEqual([...(await simulatedHistories(requests))].sort(), [
      "!outcome_unknown, handled 0",
      "!outcome_unknown, handled 1",
    ]);
  });

  for (const ending of ENDINGS) {
    it(`show what a real server shows that is ${ending}`, async () => {
      const simulated = { append: appends, put: puts, request: requests };
      const real = await realHistories(ending);
      for (const [name, history] of Object.entries(simulated)) {
        const seen = await simulatedHistories(history);
        const told = real[name] ?? "";
        assert.ok(seen.has(told), `${name}: "${told}" is none of ${[...seen].join("; ")}`);
      }
    });
  }
});
