/**
 * The transport of a node that is alone: requests to itself are handled in the same process, to anybody else there is no
 * responder.
 */

import { CatchallError } from "../model/errors.ts";
import type { FrameHandler, Transport } from "./transport.ts";

export class LoopbackTransport implements Transport {
  readonly self: number;
  #handler: FrameHandler | null = null;
  readonly #listeners: ((frame: Uint8Array) => void)[] = [];

  constructor(self: number) {
    this.self = self;
  }

  async request(incarnation: number, frame: Uint8Array): Promise<Uint8Array> {
    if (incarnation !== this.self || this.#handler === null) {
      throw new CatchallError("no_responder", `Incarnation ${incarnation} is not here`);
    }
    return this.#handler(frame);
  }

  serve(handler: FrameHandler): void {
    this.#handler = handler;
  }

  broadcast(frame: Uint8Array): void {
    for (const listener of this.#listeners) listener(frame);
  }

  onBroadcast(listener: (frame: Uint8Array) => void): void {
    this.#listeners.push(listener);
  }

  async close(): Promise<void> {
    this.#handler = null;
    this.#listeners.length = 0;
  }
}
