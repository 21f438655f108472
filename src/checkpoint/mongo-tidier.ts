/**
 * Adapter: deletes what no manifest needs any more: pages of expired keys, and parts of large pages that were replaced.
 * Runs behind a confirmed manifest; deletes nothing that is newer than it, so that a node which has lost its partitions
 * without knowing does no harm. What fails is tried again behind the next manifest and never fails a checkpoint.
 */

import type { Collection } from "mongodb";
import type { Logger } from "../runtime/logger.ts";
import type { MongoConnection } from "../runtime/mongo-connection.ts";
import type { PartitionManifest, Position } from "./checkpoint-store.ts";
import {
  type PageDocument,
  type PagePlace,
  type PartDocument,
  partPage,
  partRange,
  placeOf,
  rangeOf,
  versionOf,
} from "./mongo-page-codec.ts";

const DELETES_PER_REQUEST_MAX = 500;

/** What lies in MongoDB for a partition, as far as it may have to be deleted; known since an epoch began. */
interface Kept {
  readonly epoch: number;
  keyIds: ReadonlySet<number>;
}

export class MongoTidier {
  readonly #connection: MongoConnection;
  readonly #logger: Logger | null;
  readonly #pages: Collection<PageDocument>;
  readonly #parts: Collection<PartDocument>;
  readonly #kept: Map<number, Kept> = new Map();
  /** Pages of this checkpoint that have, or may have had, parts: those before this position are to go. */
  #replaced: Map<string, Position> = new Map();
  readonly #everParted: Set<string> = new Set();

  constructor(connection: MongoConnection, logger: Logger | null) {
    this.#connection = connection;
    this.#logger = logger;
    this.#pages = connection.collection<PageDocument>("pages");
    this.#parts = connection.collection<PartDocument>("parts");
  }

  /** A checkpoint begins. What one before it put and did not commit may not be stored: it replaces nothing. */
  begin(): void {
    this.#replaced = new Map();
  }

  /** Hears of every page that is put. */
  pagePut(place: PagePlace, position: Position, partCount: number): void {
    const page = partPage(place);
    if (partCount > 0) this.#everParted.add(page);
    if (this.#everParted.has(page)) this.#replaced.set(page, position);
  }

  /** Never rejects. */
  async tidy(manifests: readonly PartitionManifest[]): Promise<void> {
    try {
      for (const manifest of manifests) {
        await this.#learn(manifest);
        await this.#forgetKeys(manifest);
      }
      for (const [page, position] of this.#replaced) {
        await this.#connection.call("delete old parts", () =>
          this.#parts.deleteMany({ _id: partRange(page), ...olderThan(position) } as object),
        );
      }
    } catch (error) {
      this.#kept.clear();
      this.#logger?.warn({ err: error }, "Old pages were not deleted; they are with the next one");
    }
  }

  /** At the first manifest of an epoch: others may have written since the last one of ours. */
  async #learn({ partition, watermark }: PartitionManifest): Promise<void> {
    const { epoch } = watermark;
    if (this.#kept.get(partition)?.epoch === epoch) return;
    const keys = await this.#connection.call("list pages of keys", () =>
      this.#pages
        .find({ _id: rangeOf(partition, "keys") } as object)
        .project<{ _id: string }>({ _id: 1 })
        .toArray(),
    );
    const parts = await this.#connection.call("list parts of pages", () =>
      this.#parts.distinct("page", { _id: rangeOf(partition) } as object),
    );
    for (const page of parts) this.#everParted.add(page);
    const documents = [...keys.map(({ _id }) => _id), ...parts.map(documentOf)];
    const keyIds = documents.filter((id) => id.startsWith(`${partition}/k/`)).map(idOf);
    this.#kept.set(partition, { epoch, keyIds: new Set(keyIds) });
  }

  async #forgetKeys({ partition, watermark, keyBuckets }: PartitionManifest): Promise<void> {
    const kept = this.#kept.get(partition);
    if (kept === undefined) return;
    const counting = new Set(keyBuckets);
    const expired = [...kept.keyIds].filter((id) => !counting.has(id));
    for (let i = 0; i < expired.length; i += DELETES_PER_REQUEST_MAX) {
      const places = expired
        .slice(i, i + DELETES_PER_REQUEST_MAX)
        .map((id) => placeOf(partition, "keys", id));
      const $in = places.map(({ document }) => document);
      const isOld = { $expr: { $lte: ["$s.0.v", { $literal: versionOf(watermark) }] } };
      await this.#connection.call("delete pages of expired keys", () =>
        this.#pages.deleteMany({ _id: { $in }, ...isOld } as object),
      );
      const after = { ...watermark, sequence: watermark.sequence + 1 };
      for (const page of places.map(partPage)) {
        if (this.#everParted.delete(page)) this.#replaced.set(page, after);
      }
    }
    kept.keyIds = counting;
  }
}

function documentOf(partPageName: string): string {
  return partPageName.slice(0, partPageName.lastIndexOf("."));
}

/** Of a document of keys, which is named by its bucket. */
function idOf(document: string): number {
  return Number(document.slice(document.lastIndexOf("/") + 1));
}

function olderThan(position: Position): object {
  return { $expr: { $lt: ["$v", { $literal: versionOf(position) }] } };
}
