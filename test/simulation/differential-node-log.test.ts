import { after, before, describe, it } from "node:test";
import type { NatsRequests } from "../../src/runtime/nats-requests.ts";
import { NodeClock } from "../../src/runtime/node-clock.ts";
import { NodeRandom } from "../../src/runtime/node-random.ts";
import { SimNodeLogs } from "../../src/simulation/sim-node-logs.ts";
import type { SimRandom } from "../../src/simulation/sim-random.ts";
import { NO_SERVICE_FAULTS } from "../../src/simulation/sim-service.ts";
import { historyOf } from "../../src/simulation/store-history.ts";
import {
  chainSeed,
  ENTRY_HEADER_BYTES,
  readEntryHeader,
  sealEnvelope,
} from "../../src/wal/entry-codec.ts";
import { JetStreamNodeLog } from "../../src/wal/jetstream-node-log.ts";
import { FIRST_KEPT, type NodeLog } from "../../src/wal/node-log.ts";
import { TestNatsServer } from "../support/nats-server.ts";
import { compareScripts, outcomeOf, type ScriptWorld, setNatsAway, until } from "./differential.ts";
import { TestWorld } from "./test-world.ts";

/** `log` is an incarnation; sequences are relative to what the script knows of that log. */
type Operation =
  | { readonly kind: "create" | "seal" | "last" | "delete" | "close" | "repeat"; log: number }
  | { readonly kind: "append"; log: number; ahead: number; count: number; bodyBytes: number }
  | { readonly kind: "appendTwice"; log: number }
  | { readonly kind: "trim"; log: number; at: number }
  | { readonly kind: "read"; log: number; from: number | null; to: number | null }
  | { readonly kind: "list" };

const LOGS = [1, 2];

function draw(random: SimRandom): Operation {
  const log = random.pick(LOGS);
  const dice = random.below(100);
  if (dice < 12) return { kind: "create", log };
  if (dice < 46) {
    const bodyBytes = random.below(300);
    return { kind: "append", log, ahead: 0, count: 1 + random.below(4), bodyBytes };
  }
  if (dice < 53) {
    return { kind: "append", log, ahead: random.pick([-2, -1, 1, 2]), count: 1, bodyBytes: 9 };
  }
  if (dice < 57) return { kind: "repeat", log };
  if (dice < 60) return { kind: "appendTwice", log };
  if (dice < 63) return { kind: "seal", log };
  if (dice < 67) return { kind: "last", log };
  if (dice < 77) return { kind: "trim", log, at: random.below(9) };
  if (dice < 79) return { kind: "delete", log };
  if (dice < 80) return { kind: "close", log };
  if (dice < 83) return { kind: "list" };
  const from = random.chance(0.4) ? null : random.below(9);
  return { kind: "read", log, from, to: random.chance(0.5) ? null : random.below(9) };
}

/** What the script knows of one log, by the outcomes in its world. */
interface Known {
  owner: NodeLog | null;
  last: number;
  crcs: number[];
  newest: Uint8Array | null;
  /** Another log of that name may come: its owner must not append there. */
  isDeleted: boolean;
}

interface LogsWorld {
  open(): Promise<NodeLog>;
  play<T>(work: () => Promise<T>): Promise<T>;
  setAway(isAway: boolean): Promise<void>;
  dispose(): Promise<void>;
}

/** The script's operations on either kind of log. */
class NodeLogScript implements ScriptWorld<Operation> {
  readonly #open: () => Promise<NodeLog>;
  readonly #play: <T>(work: () => Promise<T>) => Promise<T>;
  readonly #known = new Map<number, Known>();
  #other: NodeLog | null = null;
  readonly dispose: () => Promise<void>;
  readonly setAway: (isAway: boolean) => Promise<void>;

  constructor({ open, play, dispose, setAway }: LogsWorld) {
    this.#open = open;
    this.#play = play;
    this.dispose = dispose;
    this.setAway = setAway;
  }

  async run(operation: Operation): Promise<string> {
    this.#other ??= await this.#open();
    const other = this.#other;
    return this.#play(() => outcomeOf(() => this.#outcome(operation, other)));
  }

  async #outcome(operation: Operation, other: NodeLog): Promise<string> {
    if (operation.kind === "list") return `list ${(await other.list()).join()}`;
    const { log } = operation;
    const known = this.#knownOf(log);
    switch (operation.kind) {
      case "create":
        return this.#create(log, known);
      case "append":
        return this.#append(log, known, operation);
      case "repeat":
        if (known.newest === null) return "nothing";
        return (await (known.owner ?? other).append(known.newest, known.last - 1)).kind;
      case "appendTwice":
        return this.#appendTwice(log, known);
      case "seal": {
        const last = await other.seal(log);
        if (known.isDeleted) this.#known.delete(log);
        return `sealed ${last}`;
      }
      case "last":
        return `last ${await other.lastSequence(log)}`;
      case "trim":
        await other.trim(log, operation.at);
        return "trimmed";
      case "delete":
        await other.delete(log);
        known.isDeleted = true;
        return "deleted";
      case "close":
        await known.owner?.close();
        return "closed";
      case "read":
        return readOutcome(other, log, operation.from ?? FIRST_KEPT, operation.to ?? 1e6);
    }
  }

  #knownOf(log: number): Known {
    const fresh = { owner: null, last: 0, crcs: [], newest: null, isDeleted: false };
    const known = this.#known.get(log) ?? fresh;
    this.#known.set(log, known);
    return known;
  }

  async #create(log: number, known: Known): Promise<string> {
    const owner = await this.#open();
    await owner.create(log);
    Object.assign(known, { owner, last: 0, crcs: [], newest: null, isDeleted: false });
    return "created";
  }

  async #append(
    log: number,
    known: Known,
    operation: { ahead: number; count: number; bodyBytes: number },
  ): Promise<string> {
    const kinds: string[] = [];
    for (let i = 0; i < operation.count; i++) {
      kinds.push(await this.#appendOne(log, known, operation.ahead, operation.bodyBytes));
    }
    return kinds.join(" ");
  }

  async #appendOne(log: number, known: Known, ahead: number, bodyBytes: number): Promise<string> {
    const expected = Math.max(0, known.last + ahead);
    const writer = known.owner ?? this.#other;
    if (writer === null) return "nothing";
    const bytes = this.#entry(writer, log, known, expected + 1, bodyBytes);
    // The sequence of a SEAL that it never saw is no expectation that an owner can have.
    if (ahead > 0 && (await writer.lastSequence(log)) === expected) return "nothing";
    const outcome = await writer.append(bytes, expected);
    if (outcome.kind === "committed") this.#committed(known, bytes);
    return outcome.kind;
  }

  async #appendTwice(log: number, known: Known): Promise<string> {
    const writer = known.owner ?? this.#other;
    if (writer === null) return "nothing";
    const bytes = this.#entry(writer, log, known, known.last + 1, 20);
    const both = [writer.append(bytes, known.last), writer.append(bytes, known.last)];
    const [first, second] = await Promise.all(both);
    if (first?.kind === "committed") this.#committed(known, bytes);
    return `${first?.kind}, ${second?.kind}`;
  }

  #committed(known: Known, bytes: Uint8Array): void {
    known.last += 1;
    known.crcs.push(crcOf(bytes));
    known.newest = bytes;
  }

  #entry(
    { storeId }: NodeLog,
    log: number,
    known: Known,
    sequence: number,
    bodyBytes: number,
  ): Uint8Array {
    const bytes = new Uint8Array(ENTRY_HEADER_BYTES + bodyBytes).fill(sequence);
    const header = { kind: 0, nonce: 7, incarnation: log, sequence, timeMs: 1000 + sequence };
    sealEnvelope(bytes, header, known.crcs[sequence - 2] ?? chainSeed(log, storeId));
    return bytes;
  }
}

function crcOf(entry: Uint8Array): number {
  return new DataView(entry.buffer, entry.byteOffset).getUint32(4, true);
}

async function readOutcome(log: NodeLog, id: number, from: number, to: number): Promise<string> {
  const seen: string[] = [];
  const end = await outcomeOf(async () => {
    for await (const entry of log.read(id, from, to)) {
      const { kind, sequence, timeMs } = readEntryHeader(entry);
      const time = timeMs > 1e9 ? "now" : String(timeMs);
      seen.push(`${sequence}/${kind}/${entry.length}/${time}`);
    }
    return "end";
  });
  return `${end} ${seen.join(" ")}`;
}

let server: TestNatsServer;
let requests: NatsRequests;
let clusters = 0;

before(async () => {
  server = await TestNatsServer.start();
  requests = await server.connect();
});
after(async () => {
  await requests?.close();
  await server?.dispose();
});

async function real(logBytesMax: number | null = null): Promise<ScriptWorld<Operation>> {
  clusters += 1;
  const clusterName = `test-${clusters}`;
  const clock = new NodeClock();
  const random = new NodeRandom();
  const options = { clusterName, replicas: 1, logBytesMax, clock, random };
  const open = (): Promise<NodeLog> => JetStreamNodeLog.open(requests, options);
  return new NodeLogScript({
    open,
    play: (work) => work(),
    setAway: async (isAway) => {
      await setNatsAway(server, [requests], isAway);
      const isUp = async (): Promise<boolean> => (await open().catch(() => null)) !== null;
      if (!isAway) await until(isUp);
    },
    dispose: async () => {
      const log = await open();
      for (const incarnation of await log.list()) await log.delete(incarnation);
    },
  });
}

async function simulated(logBytesMax: number | null = null): Promise<ScriptWorld<Operation>> {
  const world = new TestWorld();
  const logs = new SimNodeLogs(world.world, NO_SERVICE_FAULTS, historyOf([]));
  if (logBytesMax !== null) logs.logBytesMax = logBytesMax;
  let lives = 0;
  return new NodeLogScript({
    open: async () => logs.connect(world.boot(lives++)),
    play: (work) => world.play(work),
    setAway: async (isAway) => {
      logs.service.isAway = isAway;
      logs.service.isFrozen = false;
    },
    dispose: async () => undefined,
  });
}

/** Three of these fit into a log of LARGE_LOG_BYTES, with room for a SEAL. */
function drawLarge(random: SimRandom): Operation {
  const operation = draw(random);
  return operation.kind === "append" ? { ...operation, bodyBytes: 30_000 } : operation;
}

const LARGE_LOG_BYTES = 100_000;
const UNLIMITED = { simulated: () => simulated(), real: () => real() };

describe("SimNodeLogs against JetStream", () => {
  it("has the outcomes of a real server", async () => {
    await compareScripts({ port: "node log", draw, ...UNLIMITED }, [
      "create: created",
      "create: !conflict",
      "append: committed",
      "append: conflict",
      "append: fenced",
      "append: unknown",
      "repeat: conflict",
      "appendTwice: committed,",
      "read: end",
      "read: !log_damaged",
    ]);
  });

  it("has them when a log is full", async () => {
    const port = "full node log";
    const worlds = {
      simulated: () => simulated(LARGE_LOG_BYTES),
      real: () => real(LARGE_LOG_BYTES),
    };
    const kinds = ["append: notApplied", "append: committed"];
    await compareScripts({ port, draw: drawLarge, ...worlds, share: 0.15 }, kinds);
  });

  it("has them through a kill and a restart of the server", async () => {
    const kinds = ["append: unknown", "append: committed", "away: away", "back: back"];
    await compareScripts({ port: "node log", draw, ...UNLIMITED, hasOutage: true }, kinds);
  });
});
