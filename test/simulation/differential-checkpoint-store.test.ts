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
import { MongoConnection } from "../../src/runtime/mongo-connection.ts";
import { SimCheckpointStore } from "../../src/simulation/sim-checkpoint-store.ts";
import type { SimRandom } from "../../src/simulation/sim-random.ts";
import { NO_SERVICE_FAULTS } from "../../src/simulation/sim-service.ts";
import { historyOf } from "../../src/simulation/store-history.ts";
import { setOf } from "../conformance/checkpoint-store.ts";
import { TestMongod } from "../support/mongod.ts";
import { compareScripts, outcomeOf, type ScriptWorld } from "./differential.ts";
import { TestWorld } from "./test-world.ts";

const CLIENTS = 2;
const PARTITIONS = [0, 1, 2];
const BUCKETS = [60, 120, 180];

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

interface StoreWorld {
  connect(): Promise<CheckpointStore>;
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
}

/** The highest position of a page that was put and may be there or not, and who put it; null: several. */
interface Doubt {
  readonly position: Position;
  readonly life: number | null;
}

class CheckpointScript implements ScriptWorld<Operation> {
  readonly #world: StoreWorld;
  readonly #clients: Client[] = [];
  readonly #doubtful = new Map<string, Doubt>();
  #lives = 0;

  constructor(world: StoreWorld) {
    this.#world = world;
  }

  async dispose(): Promise<void> {
    await this.#world.play(async () => {
      for (const { writer } of this.#clients) await writer?.abandon();
    });
    await this.#world.dispose();
  }

  async run(operation: Operation): Promise<string> {
    while (this.#clients.length < CLIENTS) {
      this.#clients.push(await this.#newClient());
    }
    const client = this.#clients[operation.client] as Client;
    if (operation.kind === "reopen") {
      // A process that has died: what it had put and not committed is in doubt.
      Object.assign(client, await this.#newClient());
      return "reopened";
    }
    return this.#world.play(() => outcomeOf(() => this.#outcome(operation, client)));
  }

  async #newClient(): Promise<Client> {
    const store = await this.#world.connect();
    return { store, writer: null, life: ++this.#lives, put: [] };
  }

  async #outcome(operation: Operation, client: Client): Promise<string> {
    const { store, writer } = client;
    switch (operation.kind) {
      case "begin":
        if (writer !== null) return "nothing";
        await this.#begun(client, operation.full);
        return "begun";
      case "put":
        await this.#put(client, await this.#begun(client), operation.pages);
        return "put";
      case "commit":
        if (writer === null) return "nothing";
        return this.#commit(client, writer, operation.set);
      case "abandon":
        client.writer = null;
        await writer?.abandon();
        return "abandoned";
      case "wantsFull":
        return `full ${store.wantsFull}`;
      case "manifests": {
        const { partitions } = operation;
        const set = await store.readManifests(partitions === null ? null : new Set(partitions));
        return set === null ? "none" : `manifests ${JSON.stringify(sorted(set))}`;
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
    Object.assign(client, { writer, put: [], life: ++this.#lives });
    return writer;
  }

  async #put(client: Client, writer: CheckpointWriter, drawn: readonly DrawnPage[]): Promise<void> {
    const pages = drawn.map(({ partition, kind, id, epoch, sequence }) => {
      // One writer has one page for one position: requests of it arrive in any order.
      const fill = (client.life * 31 + partition * 17 + id + epoch * 7 + sequence * 13) & 255;
      const bytes = new Uint8Array(fill % 19 === 0 ? 70_000 : fill % 40).fill(fill);
      return { partition, kind, id, position: position(epoch, sequence), bytes };
    });
    for (const page of pages) {
      const before = this.#doubtful.get(keyOf(page));
      const life = before === undefined || before.life === client.life ? client.life : null;
      const isHigher = before === undefined || isBefore(before.position, page.position);
      this.#doubtful.set(keyOf(page), {
        position: isHigher ? page.position : before.position,
        life,
      });
    }
    client.put.push(...pages);
    await writer.putPages(pages);
  }

  async #commit(client: Client, writer: CheckpointWriter, set: ManifestSet): Promise<string> {
    client.writer = null;
    const bytes = await writer.commit(set);
    // A store that tidies up may know of a page of keys that is in doubt, or not: it stays in doubt.
    for (const page of client.put) {
      const doubt = this.#doubtful.get(keyOf(page));
      if (doubt === undefined || (page.kind === "keys" && doubt.life !== client.life)) continue;
      const isOwn = doubt.life === client.life && !isBefore(page.position, doubt.position);
      if (isOwn || isBefore(doubt.position, page.position)) this.#doubtful.delete(keyOf(page));
    }
    client.put = [];
    return `committed ${bytes >= 0}`;
  }

  async #pages(store: CheckpointStore, partitions: readonly number[]): Promise<string> {
    const seen: string[] = [];
    for await (const page of store.readPages(new Set(partitions))) {
      if (this.#doubtful.has(keyOf(page))) continue;
      const { epoch, incarnation, sequence } = page.position;
      const { length } = page.bytes;
      seen.push(`${keyOf(page)}@${epoch}.${incarnation}.${sequence}:${length}:${page.bytes[0]}`);
    }
    return seen.length === 0 ? "" : `pages ${seen.sort().join()}`;
  }
}

function keyOf({ partition, kind, id }: CheckpointPage): string {
  return `${partition}/${kind}/${id}`;
}

function isBefore(a: Position, b: Position): boolean {
  return a.epoch < b.epoch || (a.epoch === b.epoch && a.sequence < b.sequence);
}

function sorted(set: ManifestSet): unknown {
  const manifests = [...set.manifests].sort((a, b) => a.partition - b.partition);
  const { formatVersion, partitions, hashName, canonicalisationVersion, timeMs } = set;
  return [formatVersion, partitions, hashName, canonicalisationVersion, timeMs, manifests];
}

let mongod: TestMongod;
let connection: MongoConnection;

before(async () => {
  mongod = await TestMongod.start();
  connection = new MongoConnection({ mongoUrl: mongod.url, database: "test", name: "test" });
});
after(async () => {
  await connection?.close();
  await mongod?.dispose();
});

async function real(): Promise<ScriptWorld<Operation>> {
  return new CheckpointScript({
    connect: async () => new MongoCheckpointStore({ connection, storeId: 4711 }),
    play: (work) => work(),
    dispose: async () => {
      // Making a database anew takes longer than a whole script.
      for (const name of ["store", "manifests", "pages", "parts"]) {
        await connection.collection(name).deleteMany({});
      }
    },
  });
}

async function simulated(): Promise<ScriptWorld<Operation>> {
  const world = new TestWorld();
  const store = new SimCheckpointStore(world.world, NO_SERVICE_FAULTS, historyOf([]));
  let lives = 0;
  return new CheckpointScript({
    connect: async () => store.connect(world.boot(lives++)),
    play: (work) => world.play(work),
    dispose: async () => undefined,
  });
}

describe("SimCheckpointStore against MongoDB", () => {
  it("has the outcomes of a real server", async () => {
    await compareScripts({ port: "checkpoint store", draw, simulated, real, share: 0.5 }, [
      "begin: begun",
      "begin: !checkpoint_unavailable",
      "commit: committed",
      "commit: !checkpoint_damaged",
      "manifests: none",
      "manifests: manifests",
      "pages: pages",
    ]);
  });
});
