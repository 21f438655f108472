/**
 * Adapter: calls of the JetStream API as values. Replies are bytes from outside: read field by field, never trusted to
 * have a shape. Every call is answered by a leader (stream or meta); nothing here reads from a replica.
 */

import { CatchallError } from "../model/errors.ts";
import { failureOf, type NatsRequests } from "../runtime/nats-requests.ts";

/** One try of an API call. A request that comes while a stream elects its leader is never answered: ask again. */
const API_TRY_MS = 2000;
/** Tries in all; elections of replicated streams take 4 to 9 s. */
const API_TRIES_MAX = 6;

// Error codes of the server (err_code), as far as they mean something to us.
export const MESSAGE_NOT_FOUND = 10037;
export const STREAM_NAME_IN_USE = 10058;
export const STREAM_NOT_FOUND = 10059;
/** More replicas than one, of a server that is alone. */
export const REPLICAS_NOT_SUPPORTED = 10074;
/** The last sequence is another one: nothing was written. */
export const WRONG_LAST_SEQUENCE = 10071;
/** The same while another message is in flight: nothing was written, and what the last sequence is nobody knows yet. */
export const WRONG_LAST_SEQUENCE_BUSY = 10164;
/** Some server starts or a leader is missing: ask again. */
const TEMPORARILY_UNAVAILABLE = 10008;
const UNAVAILABLE_WAIT_MS = 200;
/** The store refused; the description says why. */
export const STORE_FAILED = 10077;

export type JsonObject = Readonly<Record<string, unknown>>;
export type UnavailableCode = "log_unavailable" | "control_unavailable";

/** `error` is the server's err_code; `description` its words. */
export type ApiResult =
  | { readonly kind: "ok"; readonly reply: JsonObject }
  | { readonly kind: "error"; readonly error: number; readonly description: string };

export interface StoredMessage {
  readonly sequence: number;
  readonly data: Uint8Array;
  /** Raw header block, "" when there is none. */
  readonly headers: string;
}

export interface StreamState {
  readonly messages: number;
  readonly bytes: number;
  readonly firstSequence: number;
  readonly lastSequence: number;
}

export class JetStreamApi {
  readonly requests: NatsRequests;
  readonly #unavailable: UnavailableCode;

  /** `unavailable` is the code of the errors of this user of the API. */
  constructor(requests: NatsRequests, unavailable: UnavailableCode) {
    this.requests = requests;
    this.#unavailable = unavailable;
  }

  /**
   * A call that may be repeated: it is asked again when nobody answers, for as long as there is a connection.
   * Errors: CatchallError with the code given to the constructor when there is no proper answer.
   */
  async call(name: string, body: JsonObject | null = null): Promise<ApiResult> {
    const bytes = body === null ? new Uint8Array() : Buffer.from(JSON.stringify(body));
    for (let tries = 1; ; tries += 1) {
      const outcome = await this.requests.request(`$JS.API.${name}`, bytes, API_TRY_MS);
      const isLast = tries === API_TRIES_MAX;
      if (outcome.kind === "unknown" && !isLast && this.requests.isConnected) continue;
      if (outcome.kind !== "reply") throw failureOf(outcome, this.#unavailable);
      const result = this.#resultOf(outcome.message.data);
      if (result.kind === "ok" || result.error !== TEMPORARILY_UNAVAILABLE || isLast) return result;
      await pause(UNAVAILABLE_WAIT_MS);
    }
  }

  /** As `call`, for calls that should not be refused. */
  async mustCall(name: string, body: JsonObject | null = null): Promise<JsonObject> {
    const result = await this.call(name, body);
    if (result.kind === "ok") return result.reply;
    throw this.failure(`NATS refuses ${name}: ${result.description} (${result.error})`);
  }

  failure(message: string): CatchallError {
    return new CatchallError(this.#unavailable, message);
  }

  #resultOf(data: Uint8Array): ApiResult {
    const reply = parseJson(data);
    if (reply === null) throw this.failure("NATS answered with something that is not JSON");
    const error = objectAt(reply, "error");
    if (error === null) return { kind: "ok", reply };
    const { description } = error;
    return { kind: "error", error: numberAt(error, "err_code"), description: String(description) };
  }

  /** Null when there is no such stream. */
  async streamState(stream: string): Promise<StreamState | null> {
    const result = await this.call(`STREAM.INFO.${stream}`);
    if (result.kind === "ok") return stateOf(result.reply);
    if (result.error === STREAM_NOT_FOUND) return null;
    throw this.failure(`NATS does not describe ${stream}: ${result.description}`);
  }

  /** One message as the stream's leader has it; null when it has none (or no such stream). */
  async message(
    stream: string,
    which: { readonly seq: number } | { readonly last_by_subj: string },
  ): Promise<StoredMessage | null> {
    const result = await this.call(`STREAM.MSG.GET.${stream}`, which);
    if (result.kind === "error") {
      if (result.error === MESSAGE_NOT_FOUND || result.error === STREAM_NOT_FOUND) return null;
      throw this.failure(`NATS does not read ${stream}: ${result.description}`);
    }
    const message = objectAt(result.reply, "message");
    if (message === null) throw this.failure("NATS answered without the message");
    const { data, hdrs } = message;
    return {
      sequence: numberAt(message, "seq"),
      data: typeof data === "string" ? Buffer.from(data, "base64") : new Uint8Array(),
      headers: typeof hdrs === "string" ? Buffer.from(hdrs, "base64").toString("latin1") : "",
    };
  }
}

/** The outcome of a publish that a stream should have acknowledged. */
export type PublishReply =
  | { readonly kind: "stored"; readonly sequence: number; readonly stream: string }
  | { readonly kind: "refused"; readonly error: number; readonly description: string }
  | { readonly kind: "unreadable" };

export function publishReply(data: Uint8Array): PublishReply {
  const reply = parseJson(data);
  if (reply === null) return { kind: "unreadable" };
  const error = objectAt(reply, "error");
  if (error !== null) {
    const description = String(error["description"]);
    return { kind: "refused", error: numberAt(error, "err_code"), description };
  }
  const sequence = numberAt(reply, "seq");
  if (sequence < 1) return { kind: "unreadable" };
  return { kind: "stored", sequence, stream: String(reply["stream"]) };
}

export function stateOf(info: JsonObject): StreamState {
  const state = objectAt(info, "state") ?? {};
  return {
    messages: numberAt(state, "messages"),
    bytes: numberAt(state, "bytes"),
    firstSequence: numberAt(state, "first_seq"),
    lastSequence: numberAt(state, "last_seq"),
  };
}

export function objectAt(parent: JsonObject, key: string): JsonObject | null {
  const value = parent[key];
  return typeof value === "object" && value !== null ? (value as JsonObject) : null;
}

/** 0 when it is not a number. */
export function numberAt(parent: JsonObject, key: string): number {
  const value = parent[key];
  return typeof value === "number" ? value : 0;
}

export function parseJson(bytes: Uint8Array): JsonObject | null {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString("utf8"));
    return typeof value === "object" && value !== null ? (value as JsonObject) : null;
  } catch {
    return null;
  }
}

export function pause(delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, delayMs);
  });
}
