/**
 * One call to a node, with retries, Retry-After, a time limit, and the other addresses when one fails.
 * Invariant: every failure that leaves here is a CatchallClientError.
 */

import {
  CatchallClientError,
  errorOfRejection,
  errorOfResponse,
  invalidResponse,
} from "./client-errors.ts";
import { DEFAULT_RETRY, type RetryOptions, retryDelayMs } from "./retry-policy.ts";

export interface ConnectionOptions {
  /** Address of a node or a balancer, or several; tried in turn. */
  readonly url?: string | readonly string[];
  readonly token?: string;
  /** For one attempt until the answer is complete; streams have no limit. Default 30000. */
  readonly timeoutMs?: number;
  readonly retry?: Partial<RetryOptions>;
  /** Default: the global one. */
  readonly fetch?: typeof fetch;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
}

export interface Call extends CallOptions {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  /** With its query, from "/". */
  readonly path: string;
  readonly body?: string;
  readonly contentType?: string;
  readonly accept?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sending twice has the effect of sending once. */
  readonly isRepeatable: boolean;
  /** Statuses besides 2xx that are an answer, not a failure. */
  readonly expect?: readonly number[];
}

export const DEFAULT_URL = "http://127.0.0.1:8080";

export class Connection {
  readonly #addresses: readonly string[];
  readonly #token: string | undefined;
  readonly #timeoutMs: number;
  readonly #retry: RetryOptions;
  readonly #fetch: typeof fetch;
  #current = 0;

  constructor(options: ConnectionOptions) {
    const urls = options.url === undefined ? [DEFAULT_URL] : [options.url].flat();
    if (urls.length === 0) throw new TypeError("At least one url is needed");
    this.#addresses = urls.map(baseOf);
    this.#token = options.token;
    this.#timeoutMs = options.timeoutMs ?? 30_000;
    this.#retry = { ...DEFAULT_RETRY, ...options.retry };
    this.#fetch = options.fetch ?? globalThis.fetch;
  }

  get address(): string {
    return this.#addresses[this.#current] as string;
  }

  /** Sends the call and reads the answer as JSON (null for an empty body). */
  async json<Answer>(call: Call): Promise<Answer> {
    return (await this.exchange(call)).body as Answer;
  }

  /** Like `json`, with status and headers. */
  exchange(call: Call): Promise<{ status: number; headers: Headers; body: unknown }> {
    return this.#retrying(call, async (address) => {
      const signal = bothSignals(call.signal, AbortSignal.timeout(this.#timeoutMs));
      const response = await this.#send(call, address, signal);
      let text: string;
      try {
        text = await response.text();
      } catch (error) {
        throw errorOfRejection(error, address, call.signal);
      }
      return { status: response.status, headers: response.headers, body: parse(text, address) };
    });
  }

  /** Sends the call and hands out the body as it arrives. */
  stream(call: Call): Promise<ReadableStream<Uint8Array>> {
    return this.#retrying(call, async (address) => {
      const response = await this.#send(call, address, call.signal);
      if (response.body === null) throw invalidResponse(address);
      return response.body;
    });
  }

  async #retrying<Answer>(
    call: Call,
    attemptOnce: (address: string) => Promise<Answer>,
  ): Promise<Answer> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await attemptOnce(this.address);
      } catch (error) {
        if (!(error instanceof CatchallClientError)) throw error;
        const { isRepeatable } = call;
        const random = Math.random();
        const delayMs = retryDelayMs(error, { attempt, isRepeatable, random }, this.#retry);
        if (delayMs === null) throw error;
        this.#current = (this.#current + 1) % this.#addresses.length;
        await sleep(delayMs, call.signal, error);
      }
    }
  }

  async #send(call: Call, address: string, signal: AbortSignal | undefined): Promise<Response> {
    const headers: Record<string, string> = { accept: call.accept ?? "application/json" };
    if (call.contentType !== undefined) headers["content-type"] = call.contentType;
    if (this.#token !== undefined) headers["authorization"] = `Bearer ${this.#token}`;
    Object.assign(headers, call.headers);
    const init: RequestInit = { method: call.method, headers, redirect: "error" };
    if (call.body !== undefined) init.body = call.body;
    if (signal !== undefined) init.signal = signal;
    let response: Response;
    try {
      response = await this.#fetch(address + call.path, init);
    } catch (error) {
      throw errorOfRejection(error, address, call.signal);
    }
    if (response.ok || call.expect?.includes(response.status) === true) return response;
    throw await errorOfResponse(response);
  }
}

function baseOf(url: string): string {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new TypeError(`"${url}" is not an http:// or https:// address`);
  }
  const { origin, pathname } = new URL(url);
  return origin + pathname.replace(/\/+$/, "");
}

function bothSignals(caller: AbortSignal | undefined, limit: AbortSignal): AbortSignal {
  return caller === undefined ? limit : AbortSignal.any([caller, limit]);
}

function parse(text: string, address: string): unknown {
  if (text === "") return null;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalidResponse(address, error);
  }
}

/** Rejects with the failure that was waited on when the caller aborts: that is the last known fact. */
function sleep(delayMs: number, signal: AbortSignal | undefined, failure: Error): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(failure);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, delayMs);
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
  });
}
