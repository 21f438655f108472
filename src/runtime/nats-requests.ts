/**
 * Adapter: requests over one NATS connection, with outcomes instead of the client's errors. Used by every adapter that
 * talks to NATS. Invariants: nothing is written while there is no connection (the client would keep it and send it
 * late, or drop it silently); a request in flight when the connection breaks ends at once as `unknown`, since its reply
 * can no longer come; the bytes are copied, since the client keeps a reference until it has flushed.
 */

import {
  headers as emptyHeaders,
  type Msg,
  type MsgHdrs,
  type NatsConnection,
  type Subscription,
} from "nats";
import { CatchallError } from "../model/errors.ts";
import { NatsReplies, type RequestOutcome } from "./nats-replies.ts";
import { NatsSilence } from "./nats-silence.ts";
import { NodeTimers } from "./node-timers.ts";

const NOT_CONNECTED = "there is no connection to NATS";

export class NatsRequests {
  readonly connection: NatsConnection;
  #isConnected = true;
  readonly #replies: NatsReplies;
  readonly #listeners = new Set<(isConnected: boolean) => void>();
  readonly #silence = new NatsSilence({
    timers: new NodeTimers(),
    ping: () => this.connection.flush(),
    isWaiting: () => this.#replies.pendingCount > 0,
  });

  constructor(connection: NatsConnection) {
    this.connection = connection;
    this.#replies = new NatsReplies(connection);
    void this.#followStatus();
  }

  /** False from the moment that the loss of the connection was noticed until it is back. */
  get isConnected(): boolean {
    return this.#isConnected && !this.connection.isClosed();
  }

  /** False while there is no connection, and while requests wait and the server has answered nothing for a second. */
  get isAnswering(): boolean {
    return this.isConnected && !this.#silence.isSilent;
  }

  /** Largest message that the connected server takes, headers included. */
  get payloadBytesMax(): number {
    return this.connection.info?.max_payload ?? 0;
  }

  /** Calls `listener` whenever the connection is lost or back; returns the end of it. */
  onConnectionChange(listener: (isConnected: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** One request, one reply. Never rejects. `data` may be reused at once. */
  request(
    subject: string,
    data: Uint8Array,
    timeoutMs: number,
    headers?: MsgHdrs,
  ): Promise<RequestOutcome> {
    if (!this.isConnected) return Promise.resolve({ kind: "notSent", reason: NOT_CONNECTED });
    if (data.length + 1024 > this.payloadBytesMax && data.length > 0) {
      const reason = `${data.length} bytes are more than the server takes (max_payload)`;
      return Promise.resolve({ kind: "notSent", reason });
    }
    this.#silence.watch();
    return this.#replies.request(subject, data.slice(), timeoutMs, headers);
  }

  /** Sends without reply; false when there is no connection. `data` may be reused at once. */
  publish(subject: string, data: Uint8Array, reply?: string): boolean {
    if (!this.isConnected || data.length + 1024 > this.payloadBytesMax) return false;
    try {
      this.connection.publish(subject, data.slice(), reply === undefined ? {} : { reply });
      return true;
    } catch {
      return false;
    }
  }

  /** Listens on a subject, also after reconnects. The listener must not throw. */
  subscribe(subject: string, listener: (message: Msg) => void): Subscription {
    return this.connection.subscribe(subject, {
      callback: (error, message) => {
        if (error === null) listener(message);
      },
    });
  }

  /** A subject of its own for replies, under this connection's private prefix. */
  newInbox(): string {
    return this.#replies.newInbox();
  }

  async close(): Promise<void> {
    await this.connection.close();
    this.#connectionChanged(false);
  }

  async #followStatus(): Promise<void> {
    for await (const status of this.connection.status()) {
      if (status.type === "disconnect") this.#connectionChanged(false);
      if (status.type === "reconnect") this.#connectionChanged(true);
      const refused = "permissionContext" in status ? status.permissionContext : undefined;
      if (refused?.operation === "publish") this.#replies.refused(refused.subject);
    }
  }

  #connectionChanged(isConnected: boolean): void {
    if (this.#isConnected === isConnected) return;
    this.#isConnected = isConnected;
    this.#silence.reset();
    if (!isConnected) this.#replies.endAll("the connection to NATS broke");
    for (const listener of [...this.#listeners]) listener(isConnected);
  }
}

/** Message headers from plain pairs. */
export function natsHeaders(pairs: Readonly<Record<string, string>>): MsgHdrs {
  const result = emptyHeaders();
  for (const [name, value] of Object.entries(pairs)) result.set(name, value);
  return result;
}

/** What a failed outcome says, as an operating error. */
export function failureOf(
  outcome: Exclude<RequestOutcome, { kind: "reply" }>,
  code: "log_unavailable" | "control_unavailable",
): CatchallError {
  if (outcome.kind === "noResponder") {
    return new CatchallError(code, "NATS has nobody who answers: is JetStream on?");
  }
  return new CatchallError(code, `NATS does not answer: ${outcome.reason}`);
}
