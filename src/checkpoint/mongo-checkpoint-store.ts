/**
 * CheckpointStore over MongoDB, for the cluster: pages and manifests are put if newer, each by itself, by whoever owns
 * the partition; a writer that was replaced without knowing is refused by the positions of its successor.
 * Manifests are read first, majority-committed and behind a write of our own, so that neither a former primary nor a
 * write that may still be rolled back is believed; pages are read no earlier than that.
 * MongoDB away: every call rejects with `checkpoint_unavailable` within the connection's limit, and works again by
 * itself when it is back. Documents: mongo-page-codec.ts, mongo-manifest-codec.ts.
 */

import { randomBytes } from "node:crypto";
import type { ClientSession, Collection, Document, FindCursor, Timestamp } from "mongodb";
import { CatchallError } from "../model/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import { isDuplicateKey, type MongoConnection } from "../runtime/mongo-connection.ts";
import type {
  CheckpointPage,
  CheckpointStore,
  CheckpointWriter,
  ManifestSet,
} from "./checkpoint-store.ts";
import { MongoCheckpointWriter } from "./mongo-checkpoint-writer.ts";
import {
  checkIdentity,
  damagedStore,
  decodeManifest,
  decodeStore,
  encodeStore,
  identityOf,
  type ManifestDocument,
  type StoreDocument,
  type StoreRecord,
} from "./mongo-manifest-codec.ts";
import {
  bytesOf,
  checkBytes,
  damagedPage,
  decodeDocument,
  type PageDocument,
  type PageSlot,
  type PartDocument,
  partId,
  placeOf,
  rangeOf,
} from "./mongo-page-codec.ts";
import { MongoTidier } from "./mongo-tidier.ts";

/** Of one request. */
const DOCUMENTS_PER_READ = 200;
/** Decoded in one turn, about 5 ms: a node that takes over partitions serves others meanwhile. */
const DOCUMENTS_PER_TURN = 16;
/** A large page may be replaced, and its parts deleted, between two reads of ours. */
const LARGE_PAGE_TRIES_MAX = 5;

export interface MongoCheckpointStoreOptions {
  /** Shared with others; `close` leaves it open. */
  readonly connection: MongoConnection;
  /** Identity of the cluster's logs: a database that belongs to other logs is refused. */
  readonly storeId: number;
  readonly logger?: Logger;
}

export class MongoCheckpointStore implements CheckpointStore {
  readonly #connection: MongoConnection;
  readonly #storeId: number;
  readonly #tidier: MongoTidier;
  readonly #stores: Collection<StoreDocument>;
  readonly #manifests: Collection<ManifestDocument>;
  readonly #pages: Collection<PageDocument>;
  readonly #parts: Collection<PartDocument>;
  /** The database that deltas may build on; null while none is known. */
  #instance: string | null = null;
  /** When the manifests were read, in the server's time. */
  #readAt: Timestamp | null = null;

  /** Connects when first used. */
  constructor(options: MongoCheckpointStoreOptions) {
    const { connection } = options;
    this.#connection = connection;
    this.#storeId = options.storeId;
    this.#tidier = new MongoTidier(connection, options.logger ?? null);
    this.#stores = connection.collection<StoreDocument>("store");
    this.#manifests = connection.collection<ManifestDocument>("manifests");
    this.#pages = connection.collection<PageDocument>("pages");
    this.#parts = connection.collection<PartDocument>("parts");
  }

  /** Only the first one of a database: later ones change what is there. */
  get wantsFull(): boolean {
    return this.#instance === null;
  }

  /**
   * For the start of a node. Errors: CatchallError `conflict` for a database of other logs; `checkpoint_unavailable`, also
   * when it may not be read or written; `checkpoint_damaged`.
   */
  async assertOwn(): Promise<void> {
    const document = await this.#call("read the store's record", () => {
      return this.#stores.findOne(STORE);
    });
    if (document !== null && decodeStore(document).storeId !== this.#storeId) {
      const message =
        `The MongoDB database "${this.#connection.db.databaseName}" belongs to the logs of another cluster: ` +
        "check --nats-url and --mongo-url, or use another --cluster-name";
      throw new CatchallError("conflict", message);
    }
    await this.#call("take a write", () => {
      return this.#stores.updateOne(FENCE, { $inc: { n: 1 } }, { upsert: true });
    });
  }

  async readManifests(partitions: ReadonlySet<number> | null = null): Promise<ManifestSet | null> {
    return await this.#inSession(async (session) => {
      // A server that is no longer the primary can't do this, so that what is read next is not from its past.
      await this.#call("take a write before reading manifests", () => {
        return this.#stores.updateOne(FENCE, { $inc: { n: 1 } }, { upsert: true, session });
      });
      const record = await this.#readRecord(session);
      const set = await this.#readSet(partitions, record, session);
      this.#readAt = session.operationTime ?? null;
      if (set !== null && record !== null) this.#instance = record.instance;
      return set;
    });
  }

  /** In order of partition and document. A page comes once. */
  async *readPages(partitions: ReadonlySet<number>): AsyncIterable<CheckpointPage> {
    const session = this.#connection.client.startSession({ causalConsistency: true });
    try {
      if (this.#readAt !== null) session.advanceOperationTime(this.#readAt);
      for (const partition of [...partitions].sort((a, b) => a - b)) {
        yield* this.#readPartition(partition, session);
      }
    } finally {
      void session.endSession().catch(() => undefined);
    }
  }

  /** Errors: `checkpoint_unavailable`, also for a delta when the database is not the one that it would build on. */
  async begin(isFull: boolean): Promise<CheckpointWriter> {
    const record = await this.#inSession((session) => this.#readRecord(session));
    if (this.#instance !== null && record?.instance !== this.#instance) this.#instance = null;
    else this.#instance = record?.instance ?? null;
    if (!isFull && this.#instance === null) {
      const message = "MongoDB has lost the checkpoint; the next one is written in full";
      throw new CatchallError("checkpoint_unavailable", message);
    }
    let instance: string | null = null;
    this.#tidier.begin();
    return new MongoCheckpointWriter({
      connection: this.#connection,
      tidier: this.#tidier,
      identify: async (set) => {
        instance = await this.#identify(set, isFull);
      },
      committed: () => {
        this.#instance = instance;
      },
    });
  }

  async close(): Promise<void> {
    // The connection belongs to whoever made it.
  }

  async #readRecord(session: ClientSession): Promise<StoreRecord | null> {
    const document = await this.#call("read the store's record", () => {
      return this.#stores.findOne(STORE, { session });
    });
    if (document === null) return null;
    const record = decodeStore(document);
    if (record.storeId === this.#storeId) return record;
    throw damagedStore("it belongs to the logs of another cluster; use another --cluster-name");
  }

  async #readSet(
    partitions: ReadonlySet<number> | null,
    record: StoreRecord | null,
    session: ClientSession,
  ): Promise<ManifestSet | null> {
    const filter = (partitions === null ? {} : { _id: { $in: [...partitions] } }) as Document;
    let documents = await this.#call("read manifests", () => {
      return this.#manifests.find(filter, { session }).sort({ _id: 1 }).toArray();
    });
    const isOfOthers = documents.length === 0 && partitions !== null;
    if (isOfOthers) {
      documents = await this.#call("read manifests", () => {
        return this.#manifests.find({}, { session }).sort({ timeMs: -1 }).limit(1).toArray();
      });
    }
    if (documents.length === 0) return null;
    if (record === null) throw damagedStore("there are manifests, but no record of the store");
    const decoded = documents.map(decodeManifest);
    const timeMs = decoded.reduce((latest, { timeMs }) => Math.max(latest, timeMs), 0);
    const manifests = isOfOthers ? [] : decoded.map(({ manifest }) => manifest);
    return { ...identityOf(record), timeMs, manifests };
  }

  async *#readPartition(partition: number, session: ClientSession): AsyncIterable<CheckpointPage> {
    const filter = { _id: rangeOf(partition) } as Document;
    const options = { session, batchSize: DOCUMENTS_PER_READ, sort: { _id: 1 } as const };
    const cursor = this.#pages.find(filter, options);
    try {
      for (;;) {
        const documents = await this.#nextBatch(cursor);
        if (documents.length === 0) return;
        for (const document of documents) {
          for (const slot of decodeDocument(document)) {
            const page = await this.#wholePage(slot, session);
            if (page !== null) yield page;
          }
        }
      }
    } finally {
      void cursor.close().catch(() => undefined);
    }
  }

  async #nextBatch(cursor: FindCursor<PageDocument>): Promise<PageDocument[]> {
    const first = await this.#call("read pages", () => cursor.next());
    if (first === null) return [];
    // What is buffered comes without waiting for anything.
    await new Promise((resolve) => setImmediate(resolve));
    return [first, ...cursor.readBufferedDocuments(DOCUMENTS_PER_TURN - 1)];
  }

  /** Null when it was deleted meanwhile. */
  async #wholePage(slot: PageSlot, session: ClientSession): Promise<CheckpointPage | null> {
    const { partition, kind, id, position } = slot;
    if (slot.bytes !== null) return { partition, kind, id, position, bytes: slot.bytes };
    const place = placeOf(partition, kind, id);
    let current: PageSlot | undefined = slot;
    for (let tries = 0; tries < LARGE_PAGE_TRIES_MAX && current !== undefined; tries++) {
      const { bytes } = current;
      if (bytes !== null) return checkBytes(current, bytes);
      const whole = await this.#readParts(current, session);
      if (whole !== null) return checkBytes(current, whole);
      const filter = { _id: place.document } as Document;
      const document = await this.#call("read a page again", () => {
        return this.#pages.findOne(filter, { session });
      });
      if (document === null) return null;
      current = decodeDocument(document).find((candidate) => candidate.id === id);
    }
    throw damagedPage(`${partition}/${kind}/${id}`, "parts of it are missing");
  }

  /** Null when one of them is not there. */
  async #readParts(slot: PageSlot, session: ClientSession): Promise<Uint8Array | null> {
    const place = placeOf(slot.partition, slot.kind, slot.id);
    const parts: Uint8Array[] = [];
    for (let index = 0; index < slot.partCount; index++) {
      const filter = { _id: partId(place, slot.position, slot.crc, index) } as Document;
      const part = await this.#call("read a part of a page", () => {
        return this.#parts.findOne(filter, { session });
      });
      const bytes = bytesOf(part?.b);
      if (bytes === null) return null;
      parts.push(bytes);
    }
    return Buffer.concat(parts);
  }

  /** Says what the store is, before its first manifest; resolves to the database's instance. */
  async #identify(set: ManifestSet, isFull: boolean): Promise<string> {
    const instance = randomBytes(12).toString("hex");
    const storeId = this.#storeId;
    const fresh = encodeStore({ ...identityOf(set), instance, storeId });
    if (isFull) {
      await this.#call("store what the checkpoint is", () => {
        return this.#stores
          .updateOne(STORE, { $setOnInsert: fresh }, { upsert: true })
          .catch((error: unknown) => {
            if (!isDuplicateKey(error)) throw error;
          });
      });
    }
    const record = await this.#inSession((session) => this.#readRecord(session));
    const isLost = record === null || (!isFull && record.instance !== this.#instance);
    if (isLost) {
      this.#instance = null;
      const message = "MongoDB has lost the checkpoint; the next one is written in full";
      throw new CatchallError("checkpoint_unavailable", message);
    }
    checkIdentity(record, set);
    return record.instance;
  }

  /** Ours see what we wrote before, and nothing that may be rolled back. */
  async #inSession<T>(work: (session: ClientSession) => Promise<T>): Promise<T> {
    const session = this.#connection.client.startSession({ causalConsistency: true });
    try {
      return await work(session);
    } finally {
      void session.endSession().catch(() => undefined);
    }
  }

  #call<T>(what: string, work: () => Promise<T>): Promise<T> {
    return this.#connection.call(what, work);
  }
}

const STORE = { _id: "store" };
const FENCE = { _id: "fence" };
