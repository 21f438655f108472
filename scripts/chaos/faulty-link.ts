/**
 * One link of a chaos run: a TCP proxy in user space that moves bytes between clients and one server, and makes trouble:
 * it delays, slows, cuts, holds back or loses one direction, and lets a filter swallow answers of the server.
 * Invariant: bytes of a direction arrive in order or not at all; a connection that lost bytes never carries later ones
 * in that direction. Must never answer for the server.
 */

import { connect, createServer, type Server, type Socket } from "node:net";
import { breakSocket } from "../break-socket.ts";

export type Direction = "up" | "down";

/** Looks into one connection. `down` returns what may pass; null ends the connection without it. */
export interface LinkFilter {
  up(chunk: Buffer): void;
  down(chunk: Buffer): Buffer | null;
}

export interface FaultyLinkOptions {
  readonly targetPort: number;
  readonly createFilter?: () => LinkFilter;
}

const NO_RATE: number = Number.POSITIVE_INFINITY;
const QUEUED_BYTES_MAX: number = 1024 * 1024;
const HOST = "127.0.0.1";

export class FaultyLink {
  readonly #server: Server;
  readonly #options: FaultyLinkOptions;
  readonly #pairs: Set<Pair> = new Set();
  /** Bytes that have gone on to the server, by the client's port. */
  readonly #sentUp: Map<number, number> = new Map();
  #isCut = false;
  readonly state: LinkState = {
    delayMs: 0,
    bytesPerSecond: NO_RATE,
    held: new Set(),
    lost: new Set(),
  };

  private constructor(options: FaultyLinkOptions) {
    this.#options = options;
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (client) =>
      this.#accept(client),
    );
  }

  static async listen(options: FaultyLinkOptions): Promise<FaultyLink> {
    const link = new FaultyLink(options);
    await new Promise<void>((resolve, reject) => {
      link.#server.once("error", reject);
      link.#server.listen(0, HOST, resolve);
    });
    return link;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  get connections(): number {
    return this.#pairs.size;
  }

  /**
   * Whether the connection that a client has from `localPort` has never carried a byte to the server; if so it never
   * will: it is broken.
   */
  abandon(localPort: number): boolean {
    if ((this.#sentUp.get(localPort) ?? 0) > 0) return false;
    for (const pair of this.#pairs) if (pair.clientPort === localPort) pair.reset();
    return true;
  }

  /** Breaks every connection; new ones are broken too until `heal`. */
  cut(): void {
    this.#isCut = true;
    this.breakAll();
  }

  /** Breaks every connection; new ones are welcome. */
  breakAll(): void {
    for (const pair of this.#pairs) pair.reset();
  }

  /** Every chunk arrives `ms` later. */
  delay(ms: number): void {
    this.state.delayMs = ms;
  }

  slow(bytesPerSecond: number): void {
    this.state.bytesPerSecond = bytesPerSecond;
  }

  /** Nothing arrives in this direction until `heal`, then everything does. */
  hold(direction: Direction): void {
    this.state.held.add(direction);
  }

  /** What is sent in this direction is gone; connections that lost something break at `heal`. */
  lose(direction: Direction): void {
    this.state.lost.add(direction);
  }

  /** Ends every fault of this link. What was held back arrives now. */
  heal(): void {
    this.#isCut = false;
    this.state.delayMs = 0;
    this.state.bytesPerSecond = NO_RATE;
    this.state.held.clear();
    this.state.lost.clear();
    for (const pair of this.#pairs) {
      if (pair.hasLost) pair.reset();
      else pair.pump();
    }
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.breakAll();
    await closed;
  }

  #accept(client: Socket): void {
    const clientPort = client.remotePort ?? 0;
    this.#sentUp.set(clientPort, 0);
    if (this.#isCut) {
      client.on("error", () => undefined);
      breakSocket(client);
      return;
    }
    const server = connect({
      ...{ host: HOST, port: this.#options.targetPort },
      ...{ allowHalfOpen: true, noDelay: true },
    });
    const pair = new Pair({
      ...{ client, clientPort, server, state: this.state },
      filter: this.#options.createFilter?.() ?? null,
      onUp: (bytes) => this.#sentUp.set(clientPort, (this.#sentUp.get(clientPort) ?? 0) + bytes),
      onEnd: () => this.#pairs.delete(pair),
    });
    this.#pairs.add(pair);
  }
}

interface LinkState {
  delayMs: number;
  bytesPerSecond: number;
  readonly held: Set<Direction>;
  readonly lost: Set<Direction>;
}

interface PairOptions {
  readonly client: Socket;
  readonly clientPort: number;
  readonly server: Socket;
  readonly state: LinkState;
  readonly filter: LinkFilter | null;
  readonly onUp: (bytes: number) => void;
  readonly onEnd: () => void;
}

/** One connection: two sockets, two directions. */
class Pair {
  readonly #options: PairOptions;
  readonly #lanes: readonly Lane[];
  #isOver = false;

  constructor(options: PairOptions) {
    this.#options = options;
    const { client, server, state, filter, onUp } = options;
    const reset = (): void => this.reset();
    this.#lanes = [
      new Lane({ direction: "up", from: client, to: server, state, filter, onSent: onUp, reset }),
      new Lane({
        ...{ direction: "down", from: server, to: client, state, filter },
        ...{ onSent: () => undefined, reset },
      }),
    ];
    for (const socket of [client, server]) {
      socket.on("error", reset);
      socket.once("close", () => {
        if (client.destroyed && server.destroyed) this.#end();
        // An orderly end has gone through both lanes; anything else breaks the partner.
        else if (!socket.readableEnded) reset();
      });
    }
  }

  get clientPort(): number {
    return this.#options.clientPort;
  }

  get hasLost(): boolean {
    return this.#lanes.some(({ hasLost }) => hasLost);
  }

  pump(): void {
    for (const lane of this.#lanes) lane.pump();
  }

  reset(): void {
    if (this.#isOver) return;
    const { client, server } = this.#options;
    breakSocket(client);
    breakSocket(server);
    this.#end();
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const lane of this.#lanes) lane.stop();
    this.#options.onEnd();
  }
}

interface LaneOptions {
  readonly direction: Direction;
  readonly from: Socket;
  readonly to: Socket;
  readonly state: LinkState;
  readonly filter: LinkFilter | null;
  readonly onSent: (bytes: number) => void;
  readonly reset: () => void;
}

/** Null bytes: the end of the direction. */
interface Parcel {
  readonly bytes: Buffer | null;
  readonly dueMs: number;
}

class Lane {
  readonly #options: LaneOptions;
  readonly #queue: Parcel[] = [];
  #queuedBytes = 0;
  #timer: NodeJS.Timeout | null = null;
  #nextFreeMs = 0;
  #isStopped = false;
  hasLost = false;

  constructor(options: LaneOptions) {
    this.#options = options;
    const { from, to } = options;
    from.on("data", (chunk: Buffer) => this.#take(chunk));
    from.once("end", () => this.#put(null));
    to.on("drain", () => this.pump());
  }

  pump(): void {
    const { direction, from, to, state, onSent } = this.#options;
    while (!this.#isStopped && !to.writableNeedDrain && !state.held.has(direction)) {
      const [parcel] = this.#queue;
      if (parcel === undefined) break;
      const waitMs = Math.max(parcel.dueMs, this.#nextFreeMs) - performance.now();
      if (waitMs > 0) {
        this.#timer ??= setTimeout(() => {
          this.#timer = null;
          this.pump();
        }, waitMs);
        break;
      }
      this.#queue.shift();
      const { bytes } = parcel;
      if (bytes === null) {
        to.end();
        continue;
      }
      this.#queuedBytes -= bytes.length;
      if (state.bytesPerSecond !== NO_RATE) {
        this.#nextFreeMs = performance.now() + (1000 * bytes.length) / state.bytesPerSecond;
      }
      onSent(bytes.length);
      to.write(bytes);
    }
    if (this.#queuedBytes < QUEUED_BYTES_MAX && from.isPaused()) from.resume();
  }

  stop(): void {
    this.#isStopped = true;
    this.#queue.length = 0;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #take(chunk: Buffer): void {
    const { direction, from, state, filter, reset } = this.#options;
    if (state.lost.has(direction) || this.hasLost) {
      this.hasLost = true;
      return;
    }
    if (direction === "up") filter?.up(chunk);
    const passing = direction === "down" && filter !== null ? filter.down(chunk) : chunk;
    if (passing === null) {
      reset();
      return;
    }
    if (passing.length > 0) this.#put(passing);
    if (this.#queuedBytes >= QUEUED_BYTES_MAX) from.pause();
  }

  #put(bytes: Buffer | null): void {
    this.#queue.push({ bytes, dueMs: performance.now() + this.#options.state.delayMs });
    this.#queuedBytes += bytes?.length ?? 0;
    this.pump();
  }
}
