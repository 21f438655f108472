import { after, before, describe, it } from "node:test";
import type { NatsRequests } from "../../src/runtime/nats-requests.ts";
import type { SimRandom } from "../../src/simulation/sim-random.ts";
import { NO_NETWORK_FAULTS, SimNetwork } from "../../src/simulation/sim-transport.ts";
import { NatsTransport } from "../../src/transport/nats-transport.ts";
import {
  FRAME_BYTES_MAX,
  type FrameHandler,
  type Transport,
} from "../../src/transport/transport.ts";
import { TestNatsServer } from "../support/nats-server.ts";
import { compareScripts, outcomeOf, type ScriptWorld, setNatsAway } from "./differential.ts";
import { TestWorld } from "./test-world.ts";

const ENDS = 3;
const NOBODY = 99;
/** For requests that are answered, or refused, in time. */
const LONG_MS = 10_000;
/** For those that are not. */
const SHORT_MS = 25;

/** How an end handles requests; `late` answers after the deadline, `closing` closes its own end first. */
const MODES = ["echo", "echo", "echo", "rejects", "never", "late", "too long", "closing"] as const;
type Mode = (typeof MODES)[number];

type Operation =
  | { readonly kind: "serve"; end: number; mode: Mode }
  | { readonly kind: "request"; end: number; to: number; isOld: boolean; size: number }
  | { readonly kind: "closeAsking"; end: number; to: number }
  | { readonly kind: "broadcast"; end: number; size: number }
  | { readonly kind: "listen" | "heard" | "handled" | "close" | "restart"; end: number };

function draw(random: SimRandom): Operation {
  const end = random.below(ENDS);
  const dice = random.below(100);
  if (dice < 20) return { kind: "serve", end, mode: random.pick(MODES) };
  if (dice < 60) {
    const to = random.chance(0.1) ? NOBODY : random.below(ENDS);
    const sizes = [0, 1, 50, 5000, FRAME_BYTES_MAX, FRAME_BYTES_MAX + 1];
    return { kind: "request", end, to, isOld: random.chance(0.1), size: random.pick(sizes) };
  }
  if (dice < 64) return { kind: "closeAsking", end, to: random.below(ENDS) };
  if (dice < 72) {
    const size = random.pick([0, 1, 50, FRAME_BYTES_MAX, FRAME_BYTES_MAX + 1]);
    return { kind: "broadcast", end, size };
  }
  if (dice < 80) return { kind: "listen", end };
  if (dice < 86) return { kind: "heard", end };
  if (dice < 92) return { kind: "handled", end };
  return { kind: dice < 95 ? "close" : "restart", end };
}

interface NetworkWorld {
  connect(end: number, incarnation: number): Promise<Transport>;
  play<T>(work: () => Promise<T>): Promise<T>;
  setAway(isAway: boolean): Promise<void>;
  /** Resolves once what was done before is known everywhere. */
  settle(): Promise<void>;
  pause(ms: number): Promise<void>;
  dispose(): Promise<void>;
}

interface End {
  transport: Transport;
  mode: Mode | null;
  isClosed: boolean;
  handled: number;
  readonly heard: number[];
}

class TransportScript implements ScriptWorld<Operation> {
  readonly #world: NetworkWorld;
  readonly #ends: End[] = [];
  #isAway = false;

  constructor(world: NetworkWorld) {
    this.#world = world;
  }

  async dispose(): Promise<void> {
    for (const { transport } of this.#ends) await transport.close();
    await this.#world.dispose();
  }

  async setAway(isAway: boolean): Promise<void> {
    this.#isAway = isAway;
    await this.#world.setAway(isAway);
    if (!isAway) await this.#world.settle();
  }

  async run(operation: Operation): Promise<string> {
    while (this.#ends.length < ENDS) {
      this.#ends.push(await this.#newEnd(this.#ends.length, this.#ends.length + 1));
    }
    const end = this.#ends[operation.end] as End;
    const outcome = await outcomeOf(() => this.#outcome(operation, end));
    if (!this.#isAway) await this.#world.settle();
    // An end that has not noticed that the server is away waits for its reply.
    const isUnreached = outcome === "!no_responder" || outcome === "!outcome_unknown";
    return this.#isAway && isUnreached ? "!unreached" : outcome;
  }

  async #newEnd(index: number, incarnation: number): Promise<End> {
    const transport = await this.#world.connect(index, incarnation);
    return { transport, mode: null, isClosed: false, handled: 0, heard: [] };
  }

  async #outcome(operation: Operation, end: End): Promise<string> {
    switch (operation.kind) {
      case "serve":
        if (!end.isClosed) end.mode = operation.mode;
        end.transport.serve(this.#handler(end, operation.mode));
        return "serving";
      case "request":
        return this.#request(operation, end);
      case "closeAsking":
        return this.#closeAsking(operation.to, end);
      case "broadcast":
        end.transport.broadcast(new Uint8Array(operation.size));
        return "sent";
      case "listen":
        if (end.isClosed) return "nothing";
        end.transport.onBroadcast((frame) => end.heard.push(frame.length));
        return "listening";
      case "heard":
        return `heard ${end.heard.join()}`;
      case "handled":
        return `handled ${end.handled}`;
      case "close":
        await this.#close(end);
        return "closed";
      case "restart": {
        await this.#close(end);
        Object.assign(end, await this.#newEnd(operation.end, end.transport.self + ENDS));
        return "restarted";
      }
    }
  }

  async #close(end: End): Promise<void> {
    end.isClosed = true;
    end.mode = null;
    await end.transport.close();
  }

  async #request(
    { to, isOld, size }: { to: number; isOld: boolean; size: number },
    end: End,
  ): Promise<string> {
    const target = this.#ends[to];
    const incarnation = target === undefined ? NOBODY : target.transport.self - (isOld ? ENDS : 0);
    if (incarnation < 1) return "nothing";
    const deadlineMs = isOld ? LONG_MS : deadlineOf(target?.mode ?? null);
    const frame = new Uint8Array(size).fill(7);
    return this.#world.play(async () => {
      const asked = end.transport.request(incarnation, frame, deadlineMs);
      const reply = await asked;
      return `reply ${reply.length} ${reply[0] ?? ""}`;
    });
  }

  /** The end that asks is closed while it waits. */
  async #closeAsking(to: number, end: End): Promise<string> {
    const target = this.#ends[to] as End;
    if (target === end || target.mode === "closing") return "nothing";
    return this.#world.play(async () => {
      const incarnation = target.transport.self;
      const asked = end.transport.request(incarnation, new Uint8Array(3), deadlineOf(target.mode));
      asked.catch(() => undefined);
      await this.#close(end);
      return `reply ${(await asked).length}`;
    });
  }

  #handler(end: End, mode: Mode): FrameHandler {
    return async (frame) => {
      end.handled += 1;
      if (mode === "rejects") throw new Error("refused");
      if (mode === "never") return new Promise(() => undefined);
      if (mode === "late") await this.#world.pause(SHORT_MS * 2);
      if (mode === "closing") await this.#close(end);
      return mode === "too long" ? new Uint8Array(FRAME_BYTES_MAX + 1) : frame.slice();
    };
  }
}

/** Short only where no reply will come. */
function deadlineOf(mode: Mode | null): number {
  return mode === null || mode === "echo" || mode === "closing" ? LONG_MS : SHORT_MS;
}

let server: TestNatsServer;
const connections: NatsRequests[] = [];
let clusters = 0;

before(async () => {
  server = await TestNatsServer.start({ maxPayload: "1MB", jetStream: false });
  for (let i = 0; i < ENDS; i++) connections.push(await server.connect(`end-${i}`));
});
after(async () => {
  for (const requests of connections) await requests.close();
  await server?.dispose();
});

async function real(): Promise<ScriptWorld<Operation>> {
  clusters += 1;
  const clusterName = `test-${clusters}`;
  return new TransportScript({
    connect: async (end, self) => {
      return new NatsTransport(connections[end] as NatsRequests, { clusterName, self });
    },
    play: (work) => work(),
    setAway: (isAway) => setNatsAway(server, connections, isAway),
    // Twice: what the first round made the server route has arrived after the second.
    settle: async () => {
      for (const requests of [...connections, ...connections]) await requests.connection.flush();
    },
    pause: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    dispose: async () => undefined,
  });
}

async function simulated(): Promise<ScriptWorld<Operation>> {
  const world = new TestWorld();
  const network = new SimNetwork(world.world, NO_NETWORK_FAULTS);
  return new TransportScript({
    connect: async (_end, incarnation) => network.connect(world.boot(incarnation), incarnation),
    play: (work) => world.play(work),
    setAway: async (isAway) => {
      network.isAway = isAway;
      network.isFrozen = false;
    },
    settle: () => world.world.run(world.world.nowMs + 10),
    pause: (ms) => new Promise((resolve) => world.world.after(ms, () => resolve())),
    dispose: async () => undefined,
  });
}

describe("SimNetwork against NATS", () => {
  it("has the outcomes of a real server", async () => {
    await compareScripts({ port: "transport", draw, simulated, real }, [
      "request: reply",
      "request: !no_responder",
      "request: !outcome_unknown",
      "closeAsking: reply",
      "heard: heard",
    ]);
  });

  it("has them through a kill and a restart of the server", async () => {
    const kinds = ["request: reply", "request: !unreached", "away: away", "back: back"];
    await compareScripts({ port: "transport", draw, simulated, real, hasOutage: true }, kinds);
  });
});
