/**
 * Adapter: ControlStore on a NATS key-value bucket (`<cluster>-control`: file storage, one value per key). Only the
 * bucket's leader answers reads; direct reads from replicas are switched off. A revision is the sequence of the bucket's
 * stream. Written by raw publishes under `Nats-Expected-Last-Subject-Sequence`: the client's own create and update
 * retry and hide outcomes.
 * Must never tell a put of unknown outcome as committed or refused, and never send one twice.
 */

import { CatchallError } from "../model/errors.ts";
import type { NatsRequests } from "../runtime/nats-requests.ts";
import {
  JetStreamApi,
  objectAt,
  publishReply,
  REPLICAS_NOT_SUPPORTED,
  STREAM_NAME_IN_USE,
  WRONG_LAST_SEQUENCE,
  WRONG_LAST_SEQUENCE_BUSY,
} from "../wal/jetstream-api.ts";
import { streamConfig } from "../wal/jetstream-stream-config.ts";
import {
  type ControlRecord,
  type ControlStore,
  incarnationOfKey,
  leaseKey,
  type PutOutcome,
} from "./control-store.ts";
import { packValue, unpackValue } from "./nats-kv-value.ts";
import { NatsKvWatch } from "./nats-kv-watch.ts";

/** One put. Leases are renewed every quarter of their length: a put that waits longer than this is of no use. */
const PUT_TIMEOUT_MS = 2000;
/** Leases read at once. */
const PARALLEL_READS_MAX = 32;

export interface NatsKvControlStoreOptions {
  readonly clusterName: string;
  readonly replicas: number;
}

/** Name of the stream behind a cluster's bucket, for checks of its settings. */
export function controlStream(clusterName: string): string {
  return `KV_${clusterName}-control`;
}

export class NatsKvControlStore implements ControlStore {
  readonly #api: JetStreamApi;
  readonly #bucket: string;
  readonly #stream: string;
  readonly #watches = new Set<NatsKvWatch>();

  private constructor(api: JetStreamApi, clusterName: string) {
    this.#api = api;
    this.#bucket = `${clusterName}-control`;
    this.#stream = controlStream(clusterName);
  }

  /**
   * Makes the bucket where there is none. The connection stays the caller's: one of its own, so that leases never queue
   * behind other traffic. Errors: CatchallError `control_unavailable`.
   */
  static async open(
    requests: NatsRequests,
    options: NatsKvControlStoreOptions,
  ): Promise<NatsKvControlStore> {
    const api = new JetStreamApi(requests, "control_unavailable");
    const store = new NatsKvControlStore(api, options.clusterName);
    await store.#ensureBucket(options.replicas);
    return store;
  }

  async read(key: string): Promise<ControlRecord | null> {
    const message = await this.#api.message(this.#stream, { last_by_subj: this.#subject(key) });
    if (message === null || isMarker(message.headers)) return null;
    const value = unpackValue(message.data, message.headers);
    return { key, revision: message.sequence, value };
  }

  async readLeases(): Promise<readonly ControlRecord[]> {
    const body = { subjects_filter: this.#subject("lease.>") };
    const reply = await this.#api.mustCall(`STREAM.INFO.${this.#stream}`, body);
    const subjects = Object.keys(objectAt(objectAt(reply, "state") ?? {}, "subjects") ?? {});
    const keys = subjects
      .map((subject) => subject.slice(this.#subject("").length))
      .filter((key) => incarnationOfKey(key) !== null)
      .sort((left, right) => (incarnationOfKey(left) ?? 0) - (incarnationOfKey(right) ?? 0));
    const records: ControlRecord[] = [];
    for (let at = 0; at < keys.length; at += PARALLEL_READS_MAX) {
      const some = keys.slice(at, at + PARALLEL_READS_MAX).map((key) => this.read(key));
      for (const record of await Promise.all(some)) if (record !== null) records.push(record);
    }
    return records;
  }

  async put(key: string, value: Uint8Array, expectedRevision: number): Promise<PutOutcome> {
    const outcome = await this.#put(key, value, expectedRevision);
    if (outcome.kind !== "conflict" || expectedRevision !== 0) return outcome;
    // A deletion marker (somebody used a tool on the bucket) has a revision although nothing exists.
    const markerRevision = await this.#markerRevision(key);
    return markerRevision === null ? outcome : this.#put(key, value, markerRevision);
  }

  async deleteLease(incarnation: number): Promise<void> {
    const filter = this.#subject(leaseKey(incarnation));
    await this.#api.mustCall(`STREAM.PURGE.${this.#stream}`, { filter });
  }

  watch(listener: (record: ControlRecord) => void): () => void {
    const watch = new NatsKvWatch(this.#api, this.#stream, this.#subject(""), listener);
    this.#watches.add(watch);
    return () => {
      this.#watches.delete(watch);
      watch.close();
    };
  }

  async close(): Promise<void> {
    for (const watch of this.#watches) watch.close();
    this.#watches.clear();
  }

  #subject(key: string): string {
    return `$KV.${this.#bucket}.${key}`;
  }

  async #ensureBucket(replicas: number): Promise<void> {
    const config = {
      ...streamConfig(this.#stream, this.#subject(">"), replicas),
      max_msgs_per_subject: 1,
      allow_rollup_hdrs: true,
    };
    const result = await this.#api.call(`STREAM.CREATE.${this.#stream}`, config);
    // In use: made with other settings, another number of replicas perhaps; the check at start shows them.
    if (result.kind === "ok" || result.error === STREAM_NAME_IN_USE) return;
    const copies = replicas === 1 ? "" : `, ${replicas} times (--wal-replicas)`;
    const message = `NATS does not create bucket ${this.#bucket}${copies}: ${result.description}`;
    if (result.error === REPLICAS_NOT_SUPPORTED) throw new CatchallError("conflict", message);
    throw this.#api.failure(message);
  }

  async #put(key: string, value: Uint8Array, expectedRevision: number): Promise<PutOutcome> {
    const { data, headers } = packValue(value, {
      "Nats-Expected-Last-Subject-Sequence": String(expectedRevision),
      "Nats-Expected-Stream": this.#stream,
    });
    const { requests } = this.#api;
    const outcome = await requests.request(this.#subject(key), data, PUT_TIMEOUT_MS, headers);
    if (outcome.kind === "noResponder") {
      return { kind: "unknown", reason: `bucket ${this.#bucket} has no leader now` };
    }
    if (outcome.kind !== "reply") return { kind: "unknown", reason: outcome.reason };
    const reply = publishReply(outcome.message.data);
    if (reply.kind === "stored") return { kind: "committed", revision: reply.sequence };
    if (reply.kind === "unreadable")
      return { kind: "unknown", reason: "the reply is not readable" };
    const isConflict =
      reply.error === WRONG_LAST_SEQUENCE || reply.error === WRONG_LAST_SEQUENCE_BUSY;
    if (isConflict) return { kind: "conflict" };
    return { kind: "unknown", reason: `${reply.description} (${reply.error})` };
  }

  async #markerRevision(key: string): Promise<number | null> {
    try {
      const message = await this.#api.message(this.#stream, { last_by_subj: this.#subject(key) });
      return message !== null && isMarker(message.headers) ? message.sequence : null;
    } catch (error) {
      if (error instanceof CatchallError) return null;
      throw error;
    }
  }
}

/** Deletions and expiries are messages too. */
export function isMarker(headers: string): boolean {
  return /^(?:KV-Operation: *(?:DEL|PURGE)|Nats-Marker-Reason:)/im.test(headers);
}
