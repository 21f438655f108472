/**
 * Adapter: writes one checkpoint into MongoDB. Pages are gathered into documents, documents into batches, and a few
 * batches are under way at once; `commit` waits for all of them before the first manifest is sent.
 * Invariants: a page or manifest never replaces one of a later position; what is refused for that is no error. Nothing
 * is deleted but what a confirmed manifest no longer needs, and never what is newer than that manifest.
 */

import type { AnyBulkWriteOperation, Collection, Document } from "mongodb";
import { assert } from "../runtime/assert.ts";
import { isDuplicateKey, type MongoConnection } from "../runtime/mongo-connection.ts";
import type { CheckpointPage, CheckpointWriter, ManifestSet } from "./checkpoint-store.ts";
import { encodeManifest, type ManifestDocument } from "./mongo-manifest-codec.ts";
import {
  encodeSlot,
  PART_BYTES_MAX,
  type PageDocument,
  type PartDocument,
  partCountOf,
  partId,
  partPage,
  placeOf,
  versionOf,
} from "./mongo-page-codec.ts";
import type { MongoTidier } from "./mongo-tidier.ts";
import { RequestsInFlight } from "./requests-in-flight.ts";

/**
 * One request. The server would take 48 MB and 100,000 documents, but the driver encodes a request in one go, about 0.3 ms
 * a document of sixteen pages, and no event may wait long for that.
 */
const BATCH_BYTES_MAX: number = 512 * 1024;
const BATCH_DOCUMENTS_MAX = 16;
/** Requests under way at once; more only wait for the same disk. */
const BATCHES_IN_FLIGHT_MAX = 4;
const MANIFESTS_PER_BATCH_MAX = 1000;
/** Two first writes of one document meet once; then it is there. */
const DUPLICATE_TRIES_MAX = 3;

export interface WriterOptions {
  readonly connection: MongoConnection;
  readonly tidier: MongoTidier;
  /** Checks, or writes for the first time, what the store is. */
  readonly identify: (set: ManifestSet) => Promise<void>;
  readonly committed: () => void;
}

export class MongoCheckpointWriter implements CheckpointWriter {
  readonly #options: WriterOptions;
  readonly #pages: Collection<PageDocument>;
  readonly #parts: Collection<PartDocument>;
  /** Slots to set, by document; insertion order. */
  #gathered: Map<string, Document> = new Map();
  #gatheredBytes = 0;
  readonly #inFlight: RequestsInFlight = new RequestsInFlight(BATCHES_IN_FLIGHT_MAX);
  #isEnded = false;
  /** Pages were put that `meta` pages must come after. */
  #hasUnsettled = false;
  #bytesWritten = 0;

  constructor(options: WriterOptions) {
    this.#options = options;
    this.#pages = options.connection.collection<PageDocument>("pages");
    this.#parts = options.connection.collection<PartDocument>("parts");
  }

  /** Copies the pages; may resolve before they are stored, and then a failure shows in a later call. */
  async putPages(pages: readonly CheckpointPage[]): Promise<void> {
    assert(!this.#isEnded, "the checkpoint has ended");
    for (const page of pages) {
      const place = placeOf(page.partition, page.kind, page.id);
      const partCount = partCountOf(page);
      const slot = encodeSlot(page);
      if (page.kind !== "meta") this.#hasUnsettled = true;
      else if (this.#hasUnsettled) await this.#settle();
      if (partCount > 0) await this.#putParts(page, partCount, slot.c);
      this.#options.tidier.pagePut(place, page.position, partCount);
      // The same page again: the server decides which is newer.
      if (this.#gathered.get(place.document)?.[place.slot] !== undefined)
        await this.#sendGathered();
      const slots = this.#gathered.get(place.document) ?? {};
      slots[place.slot] = slot;
      this.#gathered.set(place.document, slots);
      this.#gatheredBytes += page.bytes.length;
      this.#bytesWritten += page.bytes.length;
      if (this.#isBatchFull) await this.#sendGathered();
    }
    this.#inFlight.throwFailure();
  }

  async commit(set: ManifestSet): Promise<number> {
    assert(!this.#isEnded, "a checkpoint ends once");
    await this.#settle();
    await this.#options.identify(set);
    await this.#putManifests(set);
    this.#isEnded = true;
    this.#options.committed();
    await this.#options.tidier.tidy(set.manifests);
    return this.#bytesWritten;
  }

  /** What was put stays and is harmless: no manifest tells of it. */
  async abandon(): Promise<void> {
    this.#isEnded = true;
    this.#gathered.clear();
  }

  get #isBatchFull(): boolean {
    return this.#gatheredBytes >= BATCH_BYTES_MAX || this.#gathered.size >= BATCH_DOCUMENTS_MAX;
  }

  /** Everything that was put is stored. */
  async #settle(): Promise<void> {
    await this.#sendGathered();
    await this.#inFlight.settle();
    this.#hasUnsettled = false;
  }

  async #sendGathered(): Promise<void> {
    if (this.#gathered.size === 0) return;
    const operations = [...this.#gathered].map(([id, slots]) => putIfNewer(id, slots));
    this.#gathered = new Map();
    this.#gatheredBytes = 0;
    await this.#send(this.#pages, "store pages", operations);
  }

  /** Resolves when there is room for another request. */
  async #send<T extends Document>(
    collection: Collection<T>,
    what: string,
    operations: AnyBulkWriteOperation<T>[],
  ): Promise<void> {
    await this.#inFlight.add(this.#write(collection, what, operations));
  }

  async #write<T extends Document>(
    collection: Collection<T>,
    what: string,
    operations: AnyBulkWriteOperation<T>[],
  ): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#options.connection.call(what, () =>
          collection.bulkWrite(operations, { ordered: false }),
        );
        return;
      } catch (error) {
        // Harmless to repeat as a whole: every operation is put-if-newer.
        if (!isDuplicateKey(error) || attempt === DUPLICATE_TRIES_MAX) throw error;
      }
    }
  }

  /** The parts are stored before the slot that tells of them. */
  async #putParts(page: CheckpointPage, partCount: number, crc: number): Promise<void> {
    const place = placeOf(page.partition, page.kind, page.id);
    const v = versionOf(page.position);
    for (let index = 0; index < partCount; index++) {
      const b = Buffer.from(
        page.bytes.subarray(index * PART_BYTES_MAX, (index + 1) * PART_BYTES_MAX),
      );
      const _id = partId(place, page.position, crc, index);
      const part = { page: partPage(place), v, b };
      const update = { $set: part } as unknown as Document;
      await this.#send(this.#parts, "store parts of a page", [
        { updateOne: { filter: { _id }, update, upsert: true } },
      ] as AnyBulkWriteOperation<PartDocument>[]);
    }
    await this.#inFlight.settle();
  }

  async #putManifests(set: ManifestSet): Promise<void> {
    const collection = this.#options.connection.collection<ManifestDocument>("manifests");
    for (let i = 0; i < set.manifests.length; i += MANIFESTS_PER_BATCH_MAX) {
      const run = set.manifests.slice(i, i + MANIFESTS_PER_BATCH_MAX);
      const operations = run.map((manifest) => {
        const document = encodeManifest(manifest, set.timeMs);
        const isNewer = { $lte: ["$v", { $literal: document["v"] }] };
        const update = [{ $replaceWith: { $cond: [isNewer, { $literal: document }, "$$ROOT"] } }];
        return { updateOne: { filter: { _id: manifest.partition }, update, upsert: true } };
      });
      this.#bytesWritten += run.length * 100;
      await this.#write(collection, "store manifests", operations);
    }
  }
}

/**
 * Each slot by itself, by the server's own comparison. An expression, since a filter that loses would have to insert
 * (E11000), and since a filter compares arrays element by element in no order.
 */
function putIfNewer(_id: string, slots: Document): AnyBulkWriteOperation<PageDocument> {
  const set: Record<string, Document> = {};
  for (const [slot, value] of Object.entries(slots)) {
    const isNewer = { $lte: [`$s.${slot}.v`, { $literal: value.v }] };
    set[`s.${slot}`] = { $cond: [isNewer, { $literal: value }, `$s.${slot}`] };
  }
  return { updateOne: { filter: { _id }, update: [{ $set: set }], upsert: true } };
}
