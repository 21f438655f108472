/**
 * The client of a chaos run: one request on a kept connection, and what the sender may believe of it. Never sends a
 * request twice, never guesses: what broke after a byte may have reached the node has an unknown outcome.
 */

import { Agent, type ClientRequest, request } from "node:http";
import type { Socket } from "node:net";
import type { Outcome } from "./history.ts";

export interface ClientTarget {
  readonly port: number;
  /** Whether the connection from this local port never carried a byte to the node, and never will. */
  readonly abandon: (localPort: number) => boolean;
}

export interface ClientRequestOptions {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface ClientAnswer {
  readonly outcome: Outcome;
  /** 0: no answer. */
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: what a server says is looked at field by field.
  readonly body: any;
  readonly isReplayed: boolean;
  /** "503 no_owner", "ECONNRESET". */
  readonly told: string;
}

const LIMIT_MS = 5000;

export class ChaosClient {
  readonly #agent: Agent;
  readonly #target: ClientTarget;

  constructor(target: ClientTarget, connectionsMax: number) {
    this.#target = target;
    this.#agent = new Agent({ keepAlive: true, maxSockets: connectionsMax, scheduling: "lifo" });
  }

  /** Never rejects. */
  send({ method, path, headers, body }: ClientRequestOptions): Promise<ClientAnswer> {
    return new Promise((resolve) => {
      let port = 0;
      const sending: ClientRequest = request({
        ...{ host: "127.0.0.1", port: this.#target.port, agent: this.#agent, method, path },
        headers: { ...headers, "content-length": String(Buffer.byteLength(body ?? "")) },
      });
      const limit = setTimeout(() => sending.destroy(new Error("no answer in time")), LIMIT_MS);
      const settle = (answer: ClientAnswer): void => {
        clearTimeout(limit);
        resolve(answer);
      };
      const fail = (error: NodeJS.ErrnoException): void => {
        // Without a port there never was a connection.
        const isCertain = port === 0 || this.#target.abandon(port);
        const told = error.code ?? error.message;
        settle(noAnswer(isCertain ? "none" : "unknown", told));
      };
      sending.on("socket", (socket: Socket) => {
        port = socket.localPort ?? 0;
        if (socket.connecting) {
          socket.once("connect", () => {
            port = socket.localPort ?? 0;
          });
        }
      });
      sending.on("error", fail);
      sending.on("response", (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", fail);
        response.on("end", () => {
          const text = Buffer.concat(chunks).toString();
          const isReplayed = response.headers["idempotency-replayed"] === "true";
          settle(answerOf(response.statusCode ?? 0, text, isReplayed));
        });
        response.on("close", () => {
          if (!response.complete) fail(new Error("cut answer"));
        });
      });
      sending.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

function noAnswer(outcome: Outcome, told: string): ClientAnswer {
  return { outcome, status: 0, body: null, isReplayed: false, told };
}

/** Exported for tests. */
export function answerOf(status: number, text: string, isReplayed: boolean): ClientAnswer {
  const body = parse(text);
  if (status >= 200 && status < 300) {
    return { outcome: "acked", status, body, isReplayed, told: String(status) };
  }
  const { code, effect } = (body ?? {}) as { readonly code?: string; readonly effect?: string };
  const outcome = effect === "none" ? "none" : "unknown";
  return { outcome, status, body, isReplayed, told: `${status} ${code}` };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
