import { after, before, describe, it } from "node:test";
import {
  type ControlRecord,
  type ControlStore,
  leaseKey,
  TABLE_KEY,
} from "../../src/control-plane/control-store.ts";
import { NatsKvControlStore } from "../../src/control-plane/nats-kv-control-store.ts";
import type { NatsRequests } from "../../src/runtime/nats-requests.ts";
import { SimControlStore } from "../../src/simulation/sim-control-store.ts";
import { SimRandom } from "../../src/simulation/sim-random.ts";
import { NO_SERVICE_FAULTS } from "../../src/simulation/sim-service.ts";
import { historyOf } from "../../src/simulation/store-history.ts";
import { TestNatsServer } from "../support/nats-server.ts";
import { compareScripts, outcomeOf, type ScriptWorld, setNatsAway, until } from "./differential.ts";
import { TestWorld } from "./test-world.ts";

const KEYS = [TABLE_KEY, leaseKey(1), leaseKey(2), leaseKey(13)];
const CLIENTS = 2;
/** More than the server takes, however it is packed. */
const NOISE: Uint8Array = noise(1_500_000);

/** What a put expects of its key: what its world has told of it so far. */
type Expected = "newest" | "none" | "stale" | "another key's" | "none yet";

type Operation =
  | { readonly kind: "put"; client: number; key: string; expected: Expected; size: number }
  | { readonly kind: "read"; client: number; key: string }
  | { readonly kind: "delete"; client: number; incarnation: number }
  | { readonly kind: "leases" | "watch" | "unwatch" | "heard" | "close"; client: number };

function noise(size: number): Uint8Array {
  const random = new SimRandom(1, "noise");
  const words = Uint32Array.from({ length: size / 4 }, () => random.uint32());
  return new Uint8Array(words.buffer);
}

function draw(random: SimRandom): Operation {
  const client = random.below(CLIENTS);
  const key = random.pick(KEYS);
  const dice = random.below(100);
  if (dice < 30) return { kind: "put", client, key, expected: "newest", size: random.below(50) };
  if (dice < 32) return { kind: "put", client, key, expected: "newest", size: NOISE.length };
  if (dice < 55) {
    const wrong = ["none", "stale", "another key's", "none yet"] as const;
    return { kind: "put", client, key, expected: random.pick(wrong), size: random.below(9) };
  }
  if (dice < 67) return { kind: "read", client, key };
  if (dice < 75) return { kind: "leases", client };
  if (dice < 85) return { kind: "delete", client, incarnation: random.pick([1, 2, 13, 99]) };
  if (dice < 91) return { kind: "watch", client };
  if (dice < 93) return { kind: "unwatch", client };
  if (dice < 94) return { kind: "close", client };
  return { kind: "heard", client };
}

interface Watch {
  end: () => void;
  readonly heard: Map<string, ControlRecord>;
  isEnded: boolean;
  /** After its end. */
  late: number;
}

interface StoreWorld {
  connect(): Promise<ControlStore>;
  play<T>(work: () => Promise<T>): Promise<T>;
  setAway(isAway: boolean): Promise<void>;
  /** Lets time pass until `isDone`, or for as long as a watch may take. */
  waitFor(isDone: () => boolean): Promise<void>;
  dispose(): Promise<void>;
}

class ControlScript implements ScriptWorld<Operation> {
  readonly #world: StoreWorld;
  readonly #clients: ControlStore[] = [];
  readonly #watches: Watch[][] = Array.from({ length: CLIENTS }, () => []);
  /** All revisions, in the order of their puts: an outcome names them by their place. */
  readonly #revisions: number[] = [];
  readonly #byKey = new Map<string, number[]>();
  #puts = 0;
  #isAway = false;

  constructor(world: StoreWorld) {
    this.#world = world;
  }

  dispose(): Promise<void> {
    return this.#world.dispose();
  }

  async setAway(isAway: boolean): Promise<void> {
    this.#isAway = isAway;
    await this.#world.setAway(isAway);
  }

  async run(operation: Operation): Promise<string> {
    while (this.#clients.length < CLIENTS) this.#clients.push(await this.#world.connect());
    const { client } = operation;
    const store = this.#clients[client] as ControlStore;
    if (operation.kind === "heard") return outcomeOf(() => this.#heard(client, store));
    return this.#world.play(() => outcomeOf(() => this.#outcome(operation, store)));
  }

  async #outcome(operation: Operation, store: ControlStore): Promise<string> {
    const watches = this.#watches[operation.client] as Watch[];
    switch (operation.kind) {
      case "put":
        return this.#put(store, operation);
      case "read":
        return this.#nameOf(await store.read(operation.key));
      case "leases": {
        // In no order that the port would promise.
        const records = await store.readLeases();
        return `leases ${records
          .map((record) => this.#nameOf(record))
          .sort()
          .join()}`;
      }
      case "delete":
        await store.deleteLease(operation.incarnation);
        this.#byKey.get(leaseKey(operation.incarnation))?.push(0);
        return "deleted";
      case "watch":
        // A simulated one may never say what there was when it began.
        if (this.#isAway) return "nothing";
        watches.push(watch(store));
        return "watching";
      case "unwatch":
        for (const each of watches) {
          each.end();
          each.isEnded = true;
        }
        return "ended";
      case "close":
        await store.close();
        for (const each of watches) each.isEnded = true;
        return "closed";
      default:
        return "nothing";
    }
  }

  async #put(
    store: ControlStore,
    { key, expected, size }: { key: string; expected: Expected; size: number },
  ): Promise<string> {
    this.#puts += 1;
    const value = size > NOISE.length / 2 ? NOISE : new Uint8Array(size).fill(this.#puts);
    const outcome = await store.put(key, value, this.#expectation(key, expected));
    if (outcome.kind !== "committed") return outcome.kind;
    const { revision } = outcome;
    const isRising = revision > Math.max(0, ...this.#revisions);
    this.#revisions.push(revision);
    const known = this.#byKey.get(key) ?? [];
    known.push(revision);
    this.#byKey.set(key, known);
    return `committed ${isRising ? "rising" : "falling"} ${this.#revisions.length}`;
  }

  #expectation(key: string, expected: Expected): number {
    const known = this.#byKey.get(key) ?? [];
    const newest = known.at(-1) ?? 0;
    if (expected === "newest") return newest;
    if (expected === "none") return 0;
    if (expected === "stale") return known.findLast((each) => each > 0 && each !== newest) ?? 0;
    if (expected === "none yet") return Math.max(0, ...this.#revisions) + 1;
    return this.#revisions.findLast((revision) => !known.includes(revision)) ?? 0;
  }

  #nameOf(record: ControlRecord | null): string {
    if (record === null) return "nothing";
    const place = this.#revisions.indexOf(record.revision) + 1;
    return `${record.key}@${place}:${record.value.length}:${record.value[0] ?? ""}`;
  }

  /** What each watch has heard last of the keys that exist: in the end that is what is there. */
  async #heard(client: number, store: ControlStore): Promise<string> {
    const there: ControlRecord[] = [];
    for (const key of KEYS) {
      const record = await this.#world.play(() => store.read(key));
      if (record !== null) there.push(record);
    }
    const watches = this.#watches[client] as Watch[];
    const hasAll = ({ heard, isEnded }: Watch): boolean =>
      isEnded || there.every(({ key, revision }) => heard.get(key)?.revision === revision);
    await this.#world.waitFor(() => watches.every(hasAll));
    const told = watches.map(({ heard, isEnded, late }) => {
      if (isEnded) return `ended ${late}`;
      return there.map(({ key }) => this.#nameOf(heard.get(key) ?? null)).join();
    });
    return `heard ${told.join(" | ")}`;
  }
}

function watch(store: ControlStore): Watch {
  const heard = new Map<string, ControlRecord>();
  const made: Watch = { end: () => undefined, heard, isEnded: false, late: 0 };
  made.end = store.watch((record) => {
    if (made.isEnded) made.late += 1;
    // A simulated watch may tell of an older one later.
    if ((heard.get(record.key)?.revision ?? 0) <= record.revision) heard.set(record.key, record);
  });
  return made;
}

let server: TestNatsServer;
let connections: NatsRequests[] = [];
let clusters = 0;

before(async () => {
  server = await TestNatsServer.start({ maxPayload: "1MB" });
  connections = [await server.connect("one"), await server.connect("two")];
});
after(async () => {
  for (const requests of connections) await requests.close();
  await server?.dispose();
});

async function real(): Promise<ScriptWorld<Operation>> {
  clusters += 1;
  const options = { clusterName: `test-${clusters}`, replicas: 1 };
  const stores: ControlStore[] = [];
  return new ControlScript({
    connect: async () => {
      const requests = connections[stores.length] as NatsRequests;
      const store = await NatsKvControlStore.open(requests, options);
      stores.push(store);
      return store;
    },
    play: (work) => work(),
    setAway: async (isAway) => {
      await setNatsAway(server, connections, isAway);
      const isUp = (): Promise<boolean> =>
        (stores[0] as ControlStore).read(TABLE_KEY).then(
          () => true,
          () => false,
        );
      if (!isAway) await until(isUp);
    },
    waitFor: async (isDone) => {
      const deadline = performance.now() + 5000;
      while (!isDone() && performance.now() < deadline) {
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    },
    dispose: async () => {
      for (const store of stores) await store.close();
    },
  });
}

async function simulated(): Promise<ScriptWorld<Operation>> {
  const world = new TestWorld();
  const faults = { staleRead: 0, staleMaxMs: 0, watchLost: 0, watchRepeated: 0.5, watchLate: 0 };
  const store = new SimControlStore(
    world.world,
    { service: NO_SERVICE_FAULTS, ...faults },
    historyOf([]),
  );
  let lives = 0;
  return new ControlScript({
    connect: async () => store.connect(world.boot(lives++)),
    play: (work) => world.play(work),
    setAway: async (isAway) => {
      store.service.isAway = isAway;
      store.service.isFrozen = false;
    },
    waitFor: () => world.world.run(world.world.nowMs + 5000),
    dispose: async () => undefined,
  });
}

describe("SimControlStore against NATS KV", () => {
  it("has the outcomes of a real server", async () => {
    await compareScripts({ port: "control store", draw, simulated, real }, [
      "put: committed",
      "put: conflict",
      "put: unknown",
      "read: nothing",
      "heard: heard",
    ]);
  });

  it("has them through a kill and a restart of the server", async () => {
    const kinds = ["put: unknown", "put: committed", "away: away", "back: back"];
    await compareScripts({ port: "control store", draw, simulated, real, hasOutage: true }, kinds);
  });
});
