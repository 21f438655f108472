/**
 * Adapter: replies to requests over one NATS connection: one private inbox, a token a request. The client's own
 * `request` makes an error with a stack trace, three promises and a rejected promise for each reply that it hands out,
 * 1.2 to 2.5 µs of processor time an event of a cluster under load; so it is not used.
 * Invariant: a request ends once: with its reply, with the server's word that nobody listens, at its deadline, or when
 * the connection says that no reply can come.
 */

import { createInbox, type Msg, type MsgHdrs, type NatsConnection, type Subscription } from "nats";
import { codeOf } from "./error-code.ts";

/** `notSent`, `noResponder`: certain, nobody received it. `unknown`: somebody may have. */
export type RequestOutcome =
  | { readonly kind: "reply"; readonly message: Msg }
  | { readonly kind: "noResponder" }
  | { readonly kind: "notSent"; readonly reason: string }
  | { readonly kind: "unknown"; readonly reason: string };

/** What the server answers, without data, when nobody listens on the subject. */
const NO_RESPONDERS_STATUS = 503;

interface PendingRequest {
  readonly subject: string;
  readonly resolve: (outcome: RequestOutcome) => void;
  readonly deadline: NodeJS.Timeout;
}

export class NatsReplies {
  readonly #connection: NatsConnection;
  readonly #pending: Map<number, PendingRequest> = new Map();
  #inbox = "";
  #subscription: Subscription | null = null;
  #lastToken = 0;

  constructor(connection: NatsConnection) {
    this.#connection = connection;
  }

  /** Requests that wait for their reply. */
  get pendingCount(): number {
    return this.#pending.size;
  }

  /** A subject of its own under this connection's private prefix. */
  newInbox(): string {
    const { options } = this.#connection as { options?: { inboxPrefix?: string } };
    return createInbox(options?.inboxPrefix);
  }

  /** Never rejects. The connection may keep a reference to `data`. */
  request(
    subject: string,
    data: Uint8Array,
    timeoutMs: number,
    headers?: MsgHdrs,
  ): Promise<RequestOutcome> {
    return new Promise((resolve) => {
      const token = ++this.#lastToken;
      const deadline = setTimeout(() => {
        this.#settle(token, { kind: "unknown", reason: `no reply within ${timeoutMs} ms` });
      }, timeoutMs);
      this.#pending.set(token, { subject, resolve, deadline });
      try {
        if (this.#subscription === null) this.#listen();
        const reply = this.#inbox + token;
        const options = headers === undefined ? { reply } : { reply, headers };
        this.#connection.publish(subject, data, options);
      } catch (error) {
        this.#settle(token, { kind: "unknown", reason: reasonOf(error) });
      }
    });
  }

  /** No reply can come any more to what waits now. */
  endAll(reason: string): void {
    for (const token of [...this.#pending.keys()]) this.#settle(token, { kind: "unknown", reason });
  }

  /** The server does not let us publish on `subject`. */
  refused(subject: string): void {
    const reason = `NATS does not permit publishing on "${subject}"`;
    for (const [token, pending] of [...this.#pending]) {
      if (pending.subject === subject) this.#settle(token, { kind: "unknown", reason });
    }
  }

  #listen(): void {
    this.#inbox = `${this.newInbox()}.`;
    this.#subscription = this.#connection.subscribe(`${this.#inbox}*`, {
      callback: (error, message) => {
        if (error === null) return this.#replied(message);
        // Permissions may change: the next request subscribes anew.
        this.#subscription = null;
        this.endAll(`NATS does not permit receiving replies: ${error.message}`);
      },
    });
  }

  #replied(message: Msg): void {
    const token = Number(message.subject.slice(this.#inbox.length));
    const isNobody = message.data.length === 0 && message.headers?.code === NO_RESPONDERS_STATUS;
    this.#settle(token, isNobody ? { kind: "noResponder" } : { kind: "reply", message });
  }

  #settle(token: number, outcome: RequestOutcome): void {
    const pending = this.#pending.get(token);
    if (pending === undefined) return;
    this.#pending.delete(token);
    clearTimeout(pending.deadline);
    pending.resolve(outcome);
  }
}

function reasonOf(error: unknown): string {
  const code = codeOf(error);
  if (code === "CONNECTION_CLOSED" || code === "CONNECTION_DRAINING") {
    return "the connection to NATS is closed";
  }
  const message = error instanceof Error ? error.message : String(error);
  return message === "" ? "the request failed" : message;
}
