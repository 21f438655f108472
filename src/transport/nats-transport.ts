/**
 * Adapter: frames between incarnations over NATS request/reply. Subjects carry the cluster's name and the incarnation;
 * replies go to inboxes private to a connection. Frames are binary as they are.
 * The connection has no echo (so that nothing comes back to its sender): frames to oneself stay in the process.
 * Must never answer twice, and never keep more than HANDLING_MAX requests waiting for their handler.
 */

import type { Msg, Subscription } from "nats";
import { CatchallError } from "../model/errors.ts";
import { assert } from "../runtime/assert.ts";
import type { NatsRequests } from "../runtime/nats-requests.ts";
import { FRAME_BYTES_MAX, type FrameHandler, type Transport } from "./transport.ts";

/** Requests being handled; more are dropped, and their askers' deadlines end them. */
const HANDLING_MAX = 4096;

export interface NatsTransportOptions {
  readonly clusterName: string;
  readonly self: number;
}

export class NatsTransport implements Transport {
  readonly self: number;
  readonly #requests: NatsRequests;
  readonly #clusterName: string;
  #handler: FrameHandler | null = null;
  #handling = 0;
  #isClosed = false;
  readonly #listeners: ((frame: Uint8Array) => void)[] = [];
  readonly #subscriptions: Subscription[] = [];

  /** The connection stays the caller's, and must not be shared by two transports. */
  constructor(requests: NatsRequests, options: NatsTransportOptions) {
    this.#requests = requests;
    this.#clusterName = options.clusterName;
    this.self = options.self;
  }

  async request(incarnation: number, frame: Uint8Array, deadlineMs: number): Promise<Uint8Array> {
    assert(frame.length <= FRAME_BYTES_MAX, "a frame is at most FRAME_BYTES_MAX");
    if (this.#isClosed) throw new CatchallError("no_responder", "The transport is closed");
    if (incarnation === this.self) return this.#requestSelf(frame, deadlineMs);
    const subject = this.#subjectOf(incarnation);
    const outcome = await this.#requests.request(subject, frame, deadlineMs);
    switch (outcome.kind) {
      case "reply":
        return outcome.message.data;
      case "noResponder":
        throw new CatchallError("no_responder", `Incarnation ${incarnation} does not listen`);
      case "notSent":
        throw new CatchallError("no_responder", `Nothing was sent: ${outcome.reason}`);
      case "unknown":
        throw new CatchallError("outcome_unknown", `Incarnation ${incarnation}: ${outcome.reason}`);
    }
  }

  serve(handler: FrameHandler): void {
    const isFirst = this.#handler === null;
    this.#handler = handler;
    if (!isFirst || this.#isClosed) return;
    const subject = this.#subjectOf(this.self);
    this.#subscriptions.push(
      this.#requests.subscribe(subject, (message) => {
        this.#answer(message);
      }),
    );
  }

  broadcast(frame: Uint8Array): void {
    assert(frame.length <= FRAME_BYTES_MAX, "a frame is at most FRAME_BYTES_MAX");
    if (this.#isClosed) return;
    this.#requests.publish(this.#broadcastSubject, frame);
    const own = frame.slice();
    queueMicrotask(() => this.#tellListeners(own));
  }

  onBroadcast(listener: (frame: Uint8Array) => void): void {
    this.#listeners.push(listener);
    if (this.#listeners.length > 1 || this.#isClosed) return;
    this.#subscriptions.push(
      this.#requests.subscribe(this.#broadcastSubject, (message) => {
        if (message.data.length <= FRAME_BYTES_MAX) this.#tellListeners(message.data);
      }),
    );
  }

  /** Resolves when the server knows of the subscriptions so far: requests from now on find them. */
  async ready(): Promise<void> {
    try {
      await this.#requests.connection.flush();
    } catch (error) {
      const message = "There is no connection to NATS";
      throw new CatchallError("control_unavailable", message, { cause: error });
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#handler = null;
    this.#listeners.length = 0;
    for (const subscription of this.#subscriptions.splice(0)) subscription.unsubscribe();
  }

  get #broadcastSubject(): string {
    return `${this.#clusterName}.nodes`;
  }

  #subjectOf(incarnation: number): string {
    return `${this.#clusterName}.node.${incarnation}`;
  }

  async #requestSelf(frame: Uint8Array, deadlineMs: number): Promise<Uint8Array> {
    const handler = this.#handler;
    if (handler === null) {
      throw new CatchallError("no_responder", `Incarnation ${this.self} does not listen`);
    }
    // A copy: after the deadline the caller may reuse its own while the handler still reads.
    const handled = handler(frame.slice());
    return new Promise((resolve, reject) => {
      const unknown = (): void => {
        reject(new CatchallError("outcome_unknown", `No reply within ${deadlineMs} ms`));
      };
      const deadline = setTimeout(unknown, deadlineMs);
      // A rejection is no reply, as it is over the network.
      handled.then(
        (reply) => {
          clearTimeout(deadline);
          resolve(reply);
        },
        () => undefined,
      );
    });
  }

  #answer(message: Msg): void {
    const handler = this.#handler;
    const { data, reply } = message;
    if (handler === null || reply === undefined || reply === "") return;
    if (data.length > FRAME_BYTES_MAX || this.#handling >= HANDLING_MAX) return;
    this.#handling += 1;
    handler(data)
      .then((bytes) => {
        assert(bytes.length <= FRAME_BYTES_MAX, "a frame is at most FRAME_BYTES_MAX");
        this.#requests.publish(reply, bytes);
      })
      .catch(() => undefined)
      .finally(() => {
        this.#handling -= 1;
      });
  }

  #tellListeners(frame: Uint8Array): void {
    for (const listener of this.#listeners) listener(frame);
  }
}
