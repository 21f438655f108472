/**
 * Frames between incarnations: delay, loss, duplication (a frame is handled twice), reordering, one-way partitions,
 * replies after the deadline.
 * Invariant: `no_responder` is certain, as the port says: the frame reached nobody and never will. Everything else that
 * goes wrong looks like a passed deadline.
 */

import { CatchallError } from "../model/errors.ts";
import type { FrameHandler, Transport } from "../transport/transport.ts";
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

interface Endpoint {
  readonly life: SimLife;
  readonly incarnation: number;
  readonly listeners: ((frame: Uint8Array) => void)[];
  handler: FrameHandler | null;
  isClosed: boolean;
}

export class SimNetwork {
  readonly world: SimWorld;
  faults: NetworkFaults;
  /** When true no frame passes, as when the server between the nodes is down. */
  isAway = false;
  readonly #random: SimRandom;
  readonly #endpoints: Map<number, Endpoint> = new Map();
  /** "from>to" of machines whose frames are lost. */
  readonly #cuts: Set<string> = new Set();

  constructor(world: SimWorld, faults: NetworkFaults) {
    this.world = world;
    this.faults = faults;
    this.#random = world.random("network");
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
    this.#forget(endpoint);
  }

  broadcast(from: Endpoint, frame: Uint8Array): void {
    for (const to of this.#endpoints.values()) {
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
      const to = this.#endpoints.get(incarnation);
      if (to === undefined || to.handler === null) {
        this.#refuse(from, deadlineMs, () => {
          deadline.cancel();
          reject(new CatchallError("no_responder", `Incarnation ${incarnation} is not there`));
        });
        return;
      }
      this.#carry(from, to, () =>
        this.#handle(from, to, frame.slice(), (reply) => {
          deadline.cancel();
          resolve(reply);
        }),
      );
    });
  }

  /** The server says that there is no responder, unless that is lost as well. */
  #refuse(from: Endpoint, deadlineMs: number, refused: () => void): void {
    const delayMs = this.#delayMs();
    if (this.isAway || this.#random.chance(this.faults.lost) || delayMs > deadlineMs) return;
    from.life.later(delayMs, refused);
  }

  #handle(
    from: Endpoint,
    to: Endpoint,
    frame: Uint8Array,
    replied: (reply: Uint8Array) => void,
  ): void {
    if (to.handler === null) return;
    this.world.trace("frame", from.incarnation, to.incarnation, frame.length);
    to.handler(frame).then(
      (reply) => {
        const bytes = reply.slice();
        this.#carry(to, from, () => replied(bytes));
      },
      () => undefined,
    );
  }

  /** Runs `arrive` at the other end, maybe late, maybe twice, maybe never. */
  #carry(from: Endpoint, to: Endpoint, arrive: () => void): void {
    const { faults } = this;
    const random = this.#random;
    if (this.isAway || random.chance(faults.lost) || this.#isCut(from, to)) return;
    this.world.after(this.#delayMs(), () => this.#deliver(from, to, arrive));
    if (!random.chance(faults.duplicated)) return;
    this.world.after(this.#delayMs(), () => this.#deliver(from, to, arrive));
  }

  #deliver(from: Endpoint, to: Endpoint, arrive: () => void): unknown {
    if (this.isAway || this.#isCut(from, to) || to.isClosed) return IDLE;
    return to.life.run(() => (to.isClosed ? IDLE : arrive()));
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
    if (this.#endpoint.isClosed) throw new CatchallError("no_responder", "This end is closed");
    // A late or second arrival must not see what the caller wrote over it.
    return this.#network.request(this.#endpoint, incarnation, frame.slice(), deadlineMs);
  }

  serve(handler: FrameHandler): void {
    this.#endpoint.handler = handler;
  }

  broadcast(frame: Uint8Array): void {
    if (!this.#endpoint.isClosed) this.#network.broadcast(this.#endpoint, frame.slice());
  }

  onBroadcast(listener: (frame: Uint8Array) => void): void {
    this.#endpoint.listeners.push(listener);
  }

  async close(): Promise<void> {
    this.#network.close(this.#endpoint);
  }
}
