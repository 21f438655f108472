/**
 * Adapter: NodeLog on NATS JetStream. One stream per incarnation; an entry is a message, the stream's sequence is the
 * entry's. The fence is the stream's own last sequence (`Nats-Expected-Last-Sequence`): the server's deduplication is
 * never relied on, so an append may be sent again for ever. A SEAL is an entry like another: after it the owner's
 * expectation can never hold again.
 * Must never reject from `append`, never let a stream go empty, never believe a replica.
 */

import { CatchallError } from "../model/errors.ts";
import { assert } from "../runtime/assert.ts";
import type { Clock } from "../runtime/clock.ts";
import { type NatsRequests, natsHeaders } from "../runtime/nats-requests.ts";
import type { Random } from "../runtime/random.ts";
import {
  JetStreamApi,
  type JsonObject,
  numberAt,
  objectAt,
  publishReply,
  STORE_FAILED,
  STREAM_NAME_IN_USE,
  STREAM_NOT_FOUND,
  stateOf,
  WRONG_LAST_SEQUENCE,
} from "./jetstream-api.ts";
import { readStream } from "./jetstream-log-reader.ts";
import { sealStream } from "./jetstream-seal.ts";
import { openStoreId } from "./jetstream-store-id.ts";
import { streamConfig } from "./jetstream-stream-config.ts";
import { type LogNames, logNames } from "./jetstream-stream-names.ts";
import { type AppendOutcome, type NodeLog, RESERVE_BYTES, tooLarge } from "./node-log.ts";

/** One append. The caller sends it again for as long as it holds its lease. */
const APPEND_TIMEOUT_MS = 2000;

export interface JetStreamNodeLogOptions {
  readonly clusterName: string;
  /** Of each log. */
  readonly replicas: number;
  /**
   * Bytes that the own log may occupy; appends that would need more answer `log_full`. Null: no limit. Not a limit of the
   * stream: whoever ends a dead node's log must find room for its SEAL.
   */
  readonly logBytesMax: number | null;
  readonly clock: Clock;
  readonly random: Random;
}

export class JetStreamNodeLog implements NodeLog {
  readonly storeId: number;
  readonly canResend = true;
  readonly #api: JetStreamApi;
  readonly #options: JetStreamNodeLogOptions;
  readonly #names: LogNames;
  /** Bytes of each log, as last heard. */
  readonly #sizes = new Map<number, number>();
  #own: number | null = null;
  #isAppending = false;
  /** Expectation of the last append whose outcome is unknown: its bytes may still arrive. */
  #doubtful: number | null = null;

  private constructor(api: JetStreamApi, options: JetStreamNodeLogOptions, storeId: number) {
    this.#api = api;
    this.#options = options;
    this.#names = logNames(options.clusterName);
    this.storeId = storeId;
  }

  /**
   * Finds the cluster's logs, or makes the record that identifies them. The connection stays the caller's.
   * Errors: CatchallError `log_unavailable`; `conflict` when the names belong to another cluster.
   */
  static async open(
    requests: NatsRequests,
    options: JetStreamNodeLogOptions,
  ): Promise<JetStreamNodeLog> {
    const api = new JetStreamApi(requests, "log_unavailable");
    const { clusterName, replicas, random } = options;
    const storeId = await openStoreId(api, clusterName, replicas, random);
    const log = new JetStreamNodeLog(api, options, storeId);
    await log.list();
    return log;
  }

  /** Of all logs, other nodes' as of the last `list`. */
  get sizeBytes(): number {
    let total = 0;
    for (const bytes of this.#sizes.values()) total += bytes;
    return total;
  }

  /** Errors: CatchallError `conflict` when this incarnation already has a log, `log_unavailable`. */
  async create(incarnation: number): Promise<void> {
    assert(this.#own === null, "a process creates one log");
    await this.#createStream(incarnation);
    this.#own = incarnation;
    this.#sizes.set(incarnation, 0);
  }

  async append(
    bytes: Uint8Array,
    expectedLast: number,
    usesReserve: boolean = false,
  ): Promise<AppendOutcome> {
    const own = this.#own;
    if (own === null) return { kind: "fenced", reason: "this process has no log" };
    if (this.#isAppending) return { kind: "fenced", reason: "another append is in flight" };
    // Bytes that may be on their way are sent again, full or not: only the server knows about them.
    const moreBytes = bytes.length - (usesReserve ? RESERVE_BYTES : 0);
    if (this.#doubtful !== expectedLast && this.#isFull(own, moreBytes)) {
      const reason = tooLarge(this.#options.logBytesMax);
      return { kind: "notApplied", code: "log_full", reason };
    }
    this.#isAppending = true;
    try {
      const outcome = await this.#append(own, bytes, expectedLast);
      if (outcome.kind === "unknown") this.#doubtful = expectedLast;
      if (outcome.kind === "committed") {
        this.#doubtful = null;
        this.#sizes.set(own, (this.#sizes.get(own) ?? 0) + bytes.length);
      }
      return outcome;
    } finally {
      this.#isAppending = false;
    }
  }

  async *read(incarnation: number, from: number, to: number): AsyncIterable<Uint8Array> {
    const stream = this.#names.stream(incarnation);
    yield* readStream(this.#api, { stream, incarnation, storeId: this.storeId, from, to });
  }

  async seal(incarnation: number): Promise<number> {
    const { clock, random } = this.#options;
    return sealStream({
      api: this.#api,
      stream: this.#names.stream(incarnation),
      subject: this.#names.subject(incarnation),
      incarnation,
      storeId: this.storeId,
      clock,
      random,
      createStream: () => this.#createStream(incarnation),
    });
  }

  async lastSequence(incarnation: number): Promise<number> {
    const state = await this.#api.streamState(this.#names.stream(incarnation));
    if (state === null) return 0;
    this.#sizes.set(incarnation, state.bytes);
    return state.lastSequence;
  }

  async list(): Promise<readonly number[]> {
    const sizes = new Map<number, number>();
    for (let offset = 0; ; ) {
      const body = { offset, subject: this.#names.allSubjects };
      const reply = await this.#api.mustCall("STREAM.LIST", body);
      const streams = Array.isArray(reply["streams"]) ? (reply["streams"] as JsonObject[]) : [];
      const missing = Array.isArray(reply["missing"]) ? (reply["missing"] as unknown[]) : [];
      for (const info of streams) {
        const name = String(objectAt(info, "config")?.["name"]);
        const incarnation = this.#names.incarnationOf(name);
        if (incarnation !== null) sizes.set(incarnation, stateOf(info).bytes);
      }
      // Streams whose leader did not answer in time: they exist all the same.
      for (const name of missing) {
        const incarnation = this.#names.incarnationOf(String(name));
        if (incarnation !== null) sizes.set(incarnation, this.#sizes.get(incarnation) ?? 0);
      }
      offset += streams.length;
      if (streams.length === 0 || offset >= numberAt(reply, "total")) break;
    }
    this.#sizes.clear();
    for (const [incarnation, bytes] of sizes) this.#sizes.set(incarnation, bytes);
    return [...sizes.keys()].sort((left, right) => left - right);
  }

  /** Keeps the entry at `upTo`, from which the checksum of the next one continues; so a log never goes empty. */
  async trim(incarnation: number, upTo: number): Promise<void> {
    const stream = this.#names.stream(incarnation);
    const state = await this.#api.streamState(stream);
    if (state === null) return;
    const keepFrom = Math.min(upTo, state.lastSequence);
    if (keepFrom > state.firstSequence) {
      await this.#api.mustCall(`STREAM.PURGE.${stream}`, { seq: keepFrom });
    }
    await this.lastSequence(incarnation);
  }

  async delete(incarnation: number): Promise<void> {
    const result = await this.#api.call(`STREAM.DELETE.${this.#names.stream(incarnation)}`);
    if (result.kind === "error" && result.error !== STREAM_NOT_FOUND) {
      throw this.#api.failure(`NATS does not delete the log: ${result.description}`);
    }
    this.#sizes.delete(incarnation);
  }

  async close(): Promise<void> {
    this.#own = null;
  }

  #isFull(own: number, moreBytes: number): boolean {
    const { logBytesMax } = this.#options;
    return logBytesMax !== null && (this.#sizes.get(own) ?? 0) + moreBytes > logBytesMax;
  }

  async #append(own: number, bytes: Uint8Array, expectedLast: number): Promise<AppendOutcome> {
    const { stream, subject } = this.#names;
    const headers = natsHeaders({
      "Nats-Expected-Last-Sequence": String(expectedLast),
      "Nats-Expected-Stream": stream(own),
    });
    const { requests } = this.#api;
    const outcome = await requests.request(subject(own), bytes, APPEND_TIMEOUT_MS, headers);
    if (outcome.kind === "noResponder") {
      return { kind: "unknown", reason: `stream ${stream(own)} has no leader, or is gone` };
    }
    if (outcome.kind !== "reply") return { kind: "unknown", reason: outcome.reason };
    const reply = publishReply(outcome.message.data);
    if (reply.kind === "stored") {
      if (reply.sequence === expectedLast + 1 && reply.stream === stream(own)) {
        return { kind: "committed" };
      }
      return { kind: "conflict", reason: `stored as ${reply.sequence} of ${reply.stream}` };
    }
    if (reply.kind === "unreadable")
      return { kind: "unknown", reason: "the reply is not readable" };
    return this.#refusal(reply.error, reply.description, expectedLast);
  }

  #refusal(error: number, description: string, expectedLast: number): AppendOutcome {
    if (error === WRONG_LAST_SEQUENCE) return { kind: "conflict", reason: description };
    // After a try of unknown outcome "full" is not certain: those bytes may arrive when there is room again.
    // Replicated, a server may say this of an entry that the others have taken already.
    const isStoreFull = error === STORE_LIMIT_REACHED && this.#options.replicas === 1;
    const isCertain = isStoreFull || isFull(error, description);
    if (isCertain && this.#doubtful !== expectedLast) {
      return { kind: "notApplied", code: "log_full", reason: description };
    }
    // Among them WRONG_LAST_SEQUENCE_BUSY: something is in flight, perhaps our own earlier try.
    return { kind: "unknown", reason: `${description} (${error})` };
  }

  /** A repeated call of one creator finds its own stream; anybody else's has another nonce and is a conflict. */
  async #createStream(incarnation: number): Promise<void> {
    const { random, replicas } = this.#options;
    const nonce = `${random.uint32().toString(16)}-${random.uint32().toString(16)}`;
    const config = {
      ...streamConfig(this.#names.stream(incarnation), this.#names.subject(incarnation), replicas),
      metadata: { catchall_creator: nonce },
    };
    const result = await this.#api.call(`STREAM.CREATE.${config.name}`, config);
    if (result.kind === "ok") return;
    if (result.error === STREAM_NAME_IN_USE) {
      throw new CatchallError("conflict", `Incarnation ${incarnation} already has a log`);
    }
    throw this.#api.failure(`NATS does not create a log: ${result.description} (${result.error})`);
  }
}

/** All that the server may store (`max_file_store`) is stored. */
const STORE_LIMIT_REACHED = 10023;

/** Errors that a stream, its account or its disk is full: refused before anything was written. */
function isFull(error: number, description: string): boolean {
  const isLimit = /maximum (?:bytes|messages) exceeded/.test(description);
  return (error === STORE_FAILED && isLimit) || error === 10002 || error === 10047;
}
