/**
 * Frames between incarnations: delay, loss, duplication (a frame is handled twice), reordering, one-way partitions,
 * replies after the deadline.
 * Invariant: `no_responder` is certain, as the port says: the frame reached nobody and never will. Everything else that
 * goes wrong looks like a passed deadline.
 */

import { CatchallError } from "../model/errors.ts";
import { assert } from "../runtime/assert.ts";
import { FRAME_BYTES_MAX, type FrameHandler, type Transport } from "../transport/transport.ts";
import type { SimLife } from "./sim-life.ts";
import type { SimRandom } from "./sim-random.ts";
import { IDLE, type SimWorld } from "./sim-world.ts";

/** Probabilities are per frame. */
export interface NetworkFaults {
  readonly delayMinMs: number;
  readonly delayMaxMs: number;
  /** A delay is this often up to `slowMaxMs`: frames overtake each other, replies come after the deadline. */
  readonly slow: number;
  readonly slowMaxMs: number;
  readonly lost: number;
  readonly duplicated: number;
}

export const NO_NETWORK_FAULTS: NetworkFaults = {
  delayMinMs: 0.1,
  delayMaxMs: 1,
  slow: 0,
  slowMaxMs: 0,
  lost: 0,
  duplicated: 0,
};

/** A crashed process is seen as gone after so long at most; until then frames vanish. */
const GONE_MAX_MS = 2000;
/** Share of requests that a process does not send since it knows that the server is away. */
const NOTICED = 0.7;
/** Share of what was sent to a server that stood still and that it passes on when it goes on. */
const HELD = 0.7;

interface Endpoint {
  readonly life: SimLife;
  readonly incarnation: number;
  readonly listeners: ((frame: Uint8Array) => void)[];
  handler: FrameHandler | null;
  isClosed: boolean;
}

type Replied = (reply: Uint8Array) => void;

export class SimNetwork {
  readonly world: SimWorld;
  faults: NetworkFaults;
  /** Of an outage: the server stands still, and afterwards passes on what it was sent meanwhile. */
  isFrozen = false;
  #isAway = false;
  #held: (() => void)[] = [];
  readonly #random: SimRandom;
  readonly #endpoints: Map<number, Endpoint> = new Map();
  /** "from>to" of machines whose frames are lost. */
  readonly #cuts: Set<string> = new Set();

  constructor(world: SimWorld, faults: NetworkFaults) {
    this.world = world;
    this.faults = faults;
    this.#random = world.random("network");
  }

  /** While true no frame passes, as when the server between the nodes is down. */
  get isAway(): boolean {
    return this.#isAway;
  }

  set isAway(isAway: boolean) {
    if (isAway === this.#isAway) return;
    this.#isAway = isAway;
    if (isAway) this.isFrozen = this.#random.chance(0.5);
    for (const work of this.#held.splice(0)) this.world.after(this.#delayMs(), work);
  }

  connect(life: SimLife, incarnation: number): Transport {
    const endpoint = { life, incarnation, listeners: [], handler: null, isClosed: false };
    this.#endpoints.set(incarnation, endpoint);
    // The server notices a broken connection in its own time.
    const forget = (): void => this.#forget(endpoint);
    life.onDeath.push(() => this.world.after(this.#random.unit() * GONE_MAX_MS, forget, true));
    return new SimTransport(this, endpoint);
  }

  /** Frames from one machine to another are lost from now on; the other way is another cut. */
  cut(from: number, to: number): void {
    this.#cuts.add(`${from}>${to}`);
    this.world.trace("cut", from, to);
  }

  mend(from: number, to: number): void {
    this.#cuts.delete(`${from}>${to}`);
    this.world.trace("mend", from, to);
  }

  heal(): void {
    this.faults = NO_NETWORK_FAULTS;
    this.isAway = false;
    this.#cuts.clear();
  }

  close(endpoint: Endpoint): void {
    endpoint.isClosed = true;
    endpoint.handler = null;
    this.#forget(endpoint);
  }

  broadcast(from: Endpoint, frame: Uint8Array): void {
    from.life.later(0, () => {
      for (const listener of from.listeners) listener(frame.slice());
    });
    for (const to of this.#endpoints.values()) {
      if (to === from) continue;
      this.#carry(from, to, () => {
        for (const listener of to.listeners) listener(frame.slice());
      });
    }
  }

  request(
    from: Endpoint,
    incarnation: number,
    frame: Uint8Array,
    deadlineMs: number,
  ): Promise<Uint8Array> {
    return new Promise<Uint8Array>((resolve, reject) => {
      const deadline = from.life.timers.after(deadlineMs, () => {
        reject(new CatchallError("outcome_unknown", "No reply within the deadline"));
      });
      const nobody = (): void => {
        deadline.cancel();
        reject(new CatchallError("no_responder", `Incarnation ${incarnation} is not there`));
      };
      const replied = (reply: Uint8Array): void => {
        deadline.cancel();
        resolve(reply);
      };
      if (incarnation === from.incarnation) return this.#requestSelf(from, frame, nobody, replied);
      // A process knows that its connection broke, unless it has not noticed yet or the server only stands still.
      const isKnown = this.isAway && !this.isFrozen;
      if (isKnown && this.#random.chance(NOTICED)) return nobody();
      const to = this.#endpoints.get(incarnation);
      if (to === undefined || to.handler === null) {
        return this.#refuse(from, deadlineMs, nobody);
      }
      this.#carry(from, to, () => this.#handle(from, to, frame.slice(), replied));
    });
  }

  /** Never leaves the process. */
  #requestSelf(self: Endpoint, frame: Uint8Array, nobody: () => void, replied: Replied): void {
    if (self.handler === null) return nobody();
    self.handler(frame.slice()).then(
      (reply) => self.life.later(0, () => replied(reply)),
      () => undefined,
    );
  }

  /** The server says that there is no responder, unless that is lost as well. */
  #refuse(from: Endpoint, deadlineMs: number, refused: () => void): void {
    const delayMs = this.#delayMs();
    if (this.isAway || this.#random.chance(this.faults.lost) || delayMs > deadlineMs) return;
    from.life.later(delayMs, refused);
  }

  #handle(from: Endpoint, to: Endpoint, frame: Uint8Array, replied: Replied): void {
    if (to.handler === null) return;
    this.world.trace("frame", from.incarnation, to.incarnation, frame.length);
    to.handler(frame).then(
      (reply) => {
        // The end that answers can't send it; to the one that asks that is no reply.
        if (reply.length > FRAME_BYTES_MAX) return;
        const bytes = reply.slice();
        this.#carry(to, from, () => replied(bytes), true);
      },
      () => undefined,
    );
  }

  /** Runs `arrive` at the other end, maybe late, maybe twice, maybe never. Replies reach an end that is closed, too. */
  #carry(from: Endpoint, to: Endpoint, arrive: () => void, isReply = false): void {
    const { faults } = this;
    const random = this.#random;
    if (random.chance(faults.lost) || this.#isCut(from, to)) return;
    this.world.after(this.#delayMs(), () => this.#deliver(from, to, isReply, arrive));
    if (!random.chance(faults.duplicated)) return;
    this.world.after(this.#delayMs(), () => this.#deliver(from, to, isReply, arrive));
  }

  #deliver(from: Endpoint, to: Endpoint, isReply: boolean, arrive: () => void): unknown {
    if (this.isAway) {
      const isHeld = this.isFrozen && this.#random.chance(HELD);
      if (isHeld) this.#held.push(() => this.#deliver(from, to, isReply, arrive));
      return IDLE;
    }
    if (this.#isCut(from, to) || (to.isClosed && !isReply)) return IDLE;
    return to.life.run(() => (to.isClosed && !isReply ? IDLE : arrive()));
  }

  #isCut(from: Endpoint, to: Endpoint): boolean {
    return (
      this.#cuts.size > 0 && this.#cuts.has(`${from.life.machine.index}>${to.life.machine.index}`)
    );
  }

  #delayMs(): number {
    const { delayMinMs, delayMaxMs, slow, slowMaxMs } = this.faults;
    const random = this.#random;
    if (random.chance(slow)) return random.between(delayMaxMs, slowMaxMs);
    return random.between(delayMinMs, delayMaxMs);
  }

  #forget(endpoint: Endpoint): void {
    if (this.#endpoints.get(endpoint.incarnation) !== endpoint) return;
    this.#endpoints.delete(endpoint.incarnation);
  }
}

class SimTransport implements Transport {
  readonly self: number;
  readonly #network: SimNetwork;
  readonly #endpoint: Endpoint;

  constructor(network: SimNetwork, endpoint: Endpoint) {
    this.self = endpoint.incarnation;
    this.#network = network;
    this.#endpoint = endpoint;
  }

  async request(incarnation: number, frame: Uint8Array, deadlineMs: number): Promise<Uint8Array> {
    assert(frame.length <= FRAME_BYTES_MAX, "a frame is at most FRAME_BYTES_MAX");
    if (this.#endpoint.isClosed) throw new CatchallError("no_responder", "This end is closed");
    // A late or second arrival must not see what the caller wrote over it.
    return this.#network.request(this.#endpoint, incarnation, frame.slice(), deadlineMs);
  }

  serve(handler: FrameHandler): void {
    this.#endpoint.handler = handler;
  }

  broadcast(frame: Uint8Array): void {
    assert(frame.length <= FRAME_BYTES_MAX, "a frame is at most FRAME_BYTES_MAX");
    if (!this.#endpoint.isClosed) this.#network.broadcast(this.#endpoint, frame.slice());
  }

  onBroadcast(listener: (frame: Uint8Array) => void): void {
    this.#endpoint.listeners.push(listener);
  }

  async close(): Promise<void> {
    this.#network.close(this.#endpoint);
  }
}
