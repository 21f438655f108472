import { after, before, describe, it } from "node:test";
import type {
  CheckpointPage,
  CheckpointStore,
  CheckpointWriter,
  ManifestSet,
  PageKind,
  PartitionManifest,
  Position,
} from "../../src/checkpoint/checkpoint-store.ts";
import { MongoCheckpointStore } from "../../src/checkpoint/mongo-checkpoint-store.ts";
import { MONGO_CALL_TIMEOUT_MS, MongoConnection } from "../../src/runtime/mongo-connection.ts";
import { SimCheckpointStore } from "../../src/simulation/sim-checkpoint-store.ts";
import type { SimRandom } from "../../src/simulation/sim-random.ts";
import { NO_SERVICE_FAULTS } from "../../src/simulation/sim-service.ts";
import { historyOf } from "../../src/simulation/store-history.ts";
import { setOf } from "../conformance/checkpoint-store.ts";
import { TestMongod } from "../support/mongod.ts";
import { CheckpointDoubts, ImpossibleContent } from "./checkpoint-doubts.ts";
import { compareScripts, outcomeOf, type ScriptWorld, until } from "./differential.ts";
import { TestWorld } from "./test-world.ts";

const CLIENTS = 2;
const PARTITIONS = [0, 1, 2];
const BUCKETS = [60, 120, 180];
/** Of a call while mongod is away: long enough for one that is there, short enough for a script. */
const AWAY_TIMEOUT_MS = 300;
/** One outage of so many is a kill; the others close every connection that asks for something, which is quicker. */
const KILL_EVERY = 5;
const FALTER_SHARE = 0.08;
const FAULTY_SHARE = 0.2;
const FALTERING = { ...NO_SERVICE_FAULTS, requestLost: 0.3, answerLost: 0.4 };

interface DrawnPage {
  readonly partition: number;
  readonly kind: PageKind;
  readonly id: number;
  readonly epoch: number;
  readonly sequence: number;
}

type Operation =
  | { readonly kind: "begin"; client: number; full: boolean | null }
  | { readonly kind: "put"; client: number; pages: readonly DrawnPage[] }
  | { readonly kind: "commit"; client: number; set: ManifestSet }
  /** A commit while the store stores some of what it is sent, answers some of that, or none. */
  | { readonly kind: "falter"; client: number; set: ManifestSet; requests: number }
  | { readonly kind: "abandon" | "reopen" | "wantsFull"; client: number }
  | { readonly kind: "manifests"; client: number; partitions: readonly number[] | null }
  | { readonly kind: "pages"; client: number; partitions: readonly number[] };

function position(epoch: number, sequence: number): Position {
  return { epoch, incarnation: 10 + epoch, sequence };
}

function drawPage(random: SimRandom): DrawnPage {
  const partition = random.pick(PARTITIONS);
  const kind = random.pick(["counters", "counters", "keys", "meta"] as const);
  const id = kind === "meta" ? 0 : random.pick(kind === "keys" ? BUCKETS : [0, 1, 15, 16, 65_535]);
  const [epoch, sequence] = [1 + random.below(3), 1 + random.below(6)];
  return { partition, kind, id, epoch, sequence };
}

function drawSet(random: SimRandom): ManifestSet {
  const manifests: PartitionManifest[] = PARTITIONS.filter(() => random.chance(0.6)).map(
    (partition) => ({
      partition,
      watermark: position(1 + random.below(3), 1 + random.below(6)),
      keyBuckets: BUCKETS.filter(() => random.chance(0.6)),
      domainCount: random.below(5),
    }),
  );
  const set = { ...setOf(1), timeMs: 1_700_000_000_000 + random.below(1000), manifests };
  if (random.chance(0.05)) return { ...set, partitions: 8 };
  return random.chance(0.05) ? { ...set, hashName: "another" } : set;
}

function draw(random: SimRandom): Operation {
  const client = random.below(CLIENTS);
  const some = PARTITIONS.filter(() => random.chance(0.6));
  const dice = random.below(100);
  if (dice < 16) return { kind: "begin", client, full: random.pick([null, null, true, false]) };
  if (dice < 45) {
    const pages = Array.from({ length: 1 + random.below(6) }, () => drawPage(random));
    return { kind: "put", client, pages };
  }
  if (dice < 62) return { kind: "commit", client, set: drawSet(random) };
  if (dice < 66) return { kind: "abandon", client };
  if (dice < 70) return { kind: "reopen", client };
  if (dice < 74) return { kind: "wantsFull", client };
  if (dice < 88) {
    return { kind: "manifests", client, partitions: random.chance(0.4) ? null : some };
  }
  return { kind: "pages", client, partitions: some };
}

function drawFaulty(random: SimRandom): Operation {
  if (!random.chance(FALTER_SHARE)) return draw(random);
  const client = random.below(CLIENTS);
  return { kind: "falter", client, set: drawSet(random), requests: random.below(3) };
}

interface StoreWorld {
  connect(): Promise<CheckpointStore>;
  setAway(isAway: boolean): Promise<void>;
  /** `work` while the store falters; how many requests pass before is a hint. */
  falter<T>(requests: number, work: () => Promise<T>): Promise<T>;
  play<T>(work: () => Promise<T>): Promise<T>;
  dispose(): Promise<void>;
}

interface Client {
  store: CheckpointStore;
  writer: CheckpointWriter | null;
  /** Changes with every end of a writer: what an earlier one has sent may still arrive. */
  life: number;
  /** Put since `begin`: seen by others only perhaps. */
  put: CheckpointPage[];
  /** Something of this checkpoint was under way while the store was away: it may fail later, or not. */
  isHurt: boolean;
}

class CheckpointScript implements ScriptWorld<Operation> {
  readonly #world: StoreWorld;
  readonly #isFaulty: boolean;
  readonly #clients: Client[] = [];
  readonly #doubts = new CheckpointDoubts();
  #lives = 0;
  #isAway = false;

  /** Faulty: with a whole checkpoint before everything, so that nobody has to guess what the store is. */
  constructor(world: StoreWorld, isFaulty = false) {
    this.#world = world;
    this.#isFaulty = isFaulty;
  }

  async setAway(isAway: boolean): Promise<void> {
    this.#isAway = isAway;
    this.#doubts.hasFault = true;
    for (const client of this.#clients) if (client.put.length > 0) client.isHurt = true;
    await this.#world.setAway(isAway);
  }

  async dispose(): Promise<void> {
    await this.#world.play(async () => {
      for (const { writer } of this.#clients) await writer?.abandon();
    });
    await this.#world.dispose();
  }

  async run(operation: Operation): Promise<string> {
    if (this.#clients.length === 0) await this.#open();
    const client = this.#clients[operation.client] as Client;
    if (operation.kind === "reopen") {
      // A process that has died: what it had put and not committed is in doubt.
      Object.assign(client, await this.#newClient());
      return "reopened";
    }
    return this.#world.play(() =>
      outcomeOf(() => this.#outcome(operation, client).catch(toldImpossible)),
    );
  }

  async #open(): Promise<void> {
    while (this.#clients.length < CLIENTS) this.#clients.push(await this.#newClient());
    const [client] = this.#clients;
    if (!this.#isFaulty || client === undefined) return;
    const manifests = PARTITIONS.map((partition) => {
      return { partition, watermark: position(1, 1), keyBuckets: [], domainCount: 0 };
    });
    await this.#world.play(async () => {
      const writer = await this.#begun(client, true);
      await this.#commit(client, writer, { ...setOf(1), manifests });
    });
  }

  async #newClient(): Promise<Client> {
    const store = await this.#world.connect();
    return { store, writer: null, life: ++this.#lives, put: [], isHurt: false };
  }

  async #outcome(operation: Operation, client: Client): Promise<string> {
    const { store, writer } = client;
    switch (operation.kind) {
      case "begin":
        if (writer !== null) return "nothing";
        await this.#begun(client, operation.full);
        return "begun";
      case "put":
        return this.#put(client, await this.#begun(client), operation.pages);
      case "commit":
        if (writer === null) return "nothing";
        return this.#commit(client, writer, operation.set);
      case "falter": {
        if (writer === null) return "nothing";
        const { set, requests } = operation;
        this.#doubts.hasFault = true;
        // Away is away, whatever else it does.
        if (this.#isAway) return this.#commit(client, writer, set);
        client.isHurt = true;
        return this.#world.falter(requests, () => this.#commit(client, writer, set));
      }
      case "abandon":
        client.writer = null;
        await writer?.abandon();
        return "abandoned";
      case "wantsFull":
        return `full ${store.wantsFull}`;
      case "manifests": {
        const { partitions } = operation;
        const set = await store.readManifests(partitions === null ? null : new Set(partitions));
        return set === null ? "none" : `manifests ${this.#doubts.manifestsSeen(set)}`;
      }
      case "pages":
        return (await this.#pages(store, operation.partitions)) || "empty";
      default:
        return "nothing";
    }
  }

  async #begun(client: Client, isFull: boolean | null = null): Promise<CheckpointWriter> {
    if (client.writer !== null) return client.writer;
    const writer = await client.store.begin(isFull ?? client.store.wantsFull);
    Object.assign(client, { writer, put: [], life: ++this.#lives, isHurt: false });
    return writer;
  }

  async #put(
    client: Client,
    writer: CheckpointWriter,
    drawn: readonly DrawnPage[],
  ): Promise<string> {
    const pages = drawn.map(({ partition, kind, id, epoch, sequence }) => {
      // One writer has one page for one position: requests of it arrive in any order.
      const fill = (client.life * 31 + partition * 17 + id + epoch * 7 + sequence * 13) & 255;
      const bytes = new Uint8Array(fill % 19 === 0 ? 70_000 : fill % 40).fill(fill);
      return { partition, kind, id, position: position(epoch, sequence), bytes };
    });
    if (this.#isAway) client.isHurt = true;
    for (const page of pages) this.#doubts.put(page, client.life);
    client.put.push(...pages);
    const work = writer.putPages(pages).then(() => "put");
    // When a page is sent, and so when its failure shows, is a store's own affair; a commit would not get past it.
    return client.isHurt ? either(work, ["put", "!checkpoint_unavailable"]) : work;
  }

  async #commit(client: Client, writer: CheckpointWriter, set: ManifestSet): Promise<string> {
    const { put, life, isHurt } = client;
    Object.assign(client, { writer: null, put: [], isHurt: false });
    const work = writer.commit(set).then((bytes) => {
      this.#doubts.confirmed(set, put);
      return `committed ${bytes >= 0}`;
    });
    // Nothing gets through, so that this outcome is no doubt.
    if (!isHurt || this.#isAway) {
      const outcome = await work;
      this.#doubts.attempted(set, put);
      this.#doubts.settled(set, put, life);
      return outcome;
    }
    if (isForeign(set)) return either(work, ["!checkpoint_unavailable", "!checkpoint_damaged"]);
    this.#doubts.attempted(set, put);
    return either(work, ["committed true", "!checkpoint_unavailable"]);
  }

  async #pages(store: CheckpointStore, partitions: readonly number[]): Promise<string> {
    const pages: CheckpointPage[] = [];
    for await (const page of store.readPages(new Set(partitions))) {
      pages.push({ ...page, bytes: page.bytes.slice() });
    }
    const seen = this.#doubts.pagesSeen(partitions, pages);
    return seen === "" ? "" : `pages ${seen}`;
  }
}

/** As an outcome, with what is wrong: the other world will not say the same. */
function toldImpossible(error: unknown): string {
  if (error instanceof ImpossibleContent) return `impossible: ${error.message}`;
  throw error;
}

/** Another identity than all others: never stored. */
function isForeign({ partitions, hashName }: ManifestSet): boolean {
  const { partitions: known, hashName: knownName } = setOf(1);
  return partitions !== known || hashName !== knownName;
}

/** Where each of these outcomes is right. */
async function either(work: Promise<string>, outcomes: readonly string[]): Promise<string> {
  const outcome = await outcomeOf(() => work);
  return outcomes.includes(outcome) ? "either" : outcome;
}

let mongod: TestMongod;
let connection: MongoConnection;
let timeoutMs = MONGO_CALL_TIMEOUT_MS;

before(async () => {
  mongod = await TestMongod.start();
  connection = new MongoConnection({ mongoUrl: mongod.url, database: "test", name: "test" });
  Object.defineProperty(connection, "callTimeoutMs", { get: () => timeoutMs });
});
after(async () => {
  await connection?.close();
  await mongod?.dispose();
});

let outages = 0;

/** Connections that ask for one of these are closed, after so many requests. */
async function closeConnections(commands: readonly string[], skip: number): Promise<void> {
  const data = { failCommands: commands, appName: "test", closeConnection: true };
  const mode = skip === 0 ? "alwaysOn" : { skip };
  await mongod.command({ configureFailPoint: "failCommand", mode, data });
}

async function setMongoAway(isAway: boolean): Promise<void> {
  const isKill = outages % KILL_EVERY === 0;
  if (isAway) {
    timeoutMs = AWAY_TIMEOUT_MS;
    if (isKill) await mongod.kill();
    else await closeConnections(["find", "update", "insert", "delete", "aggregate"], 0);
    return;
  }
  if (isKill) await mongod.restart();
  else await mongod.command({ configureFailPoint: "failCommand", mode: "off" });
  outages++;
  timeoutMs = MONGO_CALL_TIMEOUT_MS;
  const ping = () => connection.call("answer", () => connection.db.command({ ping: 1 }));
  await until(() =>
    ping().then(
      () => true,
      () => false,
    ),
  );
}

/** Every other time what arrives is stored, and an error told all the same. */
async function faltering<T>(requests: number, work: () => Promise<T>): Promise<T> {
  const untold = { code: 64, errmsg: "waiting for replication timed out" };
  const data = { failCommands: ["update"], appName: "test", writeConcernError: untold };
  const mode = { skip: requests };
  if (requests % 2 === 0) await closeConnections(["update"], requests);
  else await mongod.command({ configureFailPoint: "failCommand", mode, data });
  try {
    return await work();
  } finally {
    await mongod.command({ configureFailPoint: "failCommand", mode: "off" });
  }
}

function real(isFaulty: boolean): ScriptWorld<Operation> {
  const store: StoreWorld = {
    connect: async () => new MongoCheckpointStore({ connection, storeId: 4711 }),
    play: (work) => work(),
    setAway: setMongoAway,
    falter: faltering,
    dispose: async () => {
      // Making a database anew takes longer than a whole script.
      for (const name of ["store", "manifests", "pages", "parts"]) {
        await connection.collection(name).deleteMany({});
      }
    },
  };
  return new CheckpointScript(store, isFaulty);
}

function simulated(isFaulty: boolean): ScriptWorld<Operation> {
  const world = new TestWorld();
  const store = new SimCheckpointStore(world.world, NO_SERVICE_FAULTS, historyOf([]));
  let lives = 0;
  const around: StoreWorld = {
    connect: async () => store.connect(world.boot(lives++)),
    play: (work) => world.play(work),
    setAway: async (isAway) => {
      store.service.isAway = isAway;
      store.service.isFrozen = false;
    },
    falter: async (_requests, work) => {
      store.service.faults = FALTERING;
      try {
        return await work();
      } finally {
        store.service.faults = NO_SERVICE_FAULTS;
      }
    },
    dispose: async () => undefined,
  };
  return new CheckpointScript(around, isFaulty);
}

describe("SimCheckpointStore against MongoDB", () => {
  it("has the outcomes of a real server", async () => {
    const worlds = {
      simulated: async () => simulated(false),
      real: async () => real(false),
    };
    await compareScripts({ port: "checkpoint store", draw, ...worlds, share: 0.5 }, [
      "begin: begun",
      "begin: !checkpoint_unavailable",
      "commit: committed",
      "commit: !checkpoint_damaged",
      "manifests: none",
      "manifests: manifests",
      "pages: pages",
    ]);
  });

  it("has them while the server is away, and may have stored half of a checkpoint", async () => {
    const worlds = {
      simulated: async () => simulated(true),
      real: async () => real(true),
    };
    const port = "faulty checkpoint store";
    await compareScripts(
      { port, draw: drawFaulty, ...worlds, hasOutage: true, share: FAULTY_SHARE },
      [
        "begin: !checkpoint_unavailable",
        "manifests: !checkpoint_unavailable",
        "commit: committed",
        "put: either",
        "falter: either",
        "away: away",
        "back: back",
      ],
    );
  });
});
