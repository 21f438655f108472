/**
 * One checkpoint of one life, as the writer for MongoDB writes it: pages are gathered into requests, a few requests are
 * under way at once and arrive in any order, so `putPages` resolves before its pages are stored and a failure shows later.
 * Invariants: a `meta` page follows all pages that were put before it, manifests follow all pages; pages of keys are
 * forgotten behind a manifest, by what this life knows of them.
 */

import type {
  CheckpointPage,
  CheckpointWriter,
  ManifestSet,
  PartitionManifest,
  Position,
} from "../checkpoint/checkpoint-store.ts";
import { RequestsInFlight } from "../checkpoint/requests-in-flight.ts";
import { CatchallError } from "../model/errors.ts";
import { assert } from "../runtime/assert.ts";

/** Pages of one request; a crash keeps some of the requests. */
const PAGES_PER_REQUEST = 16;
const REQUESTS_IN_FLIGHT_MAX = 4;
const MANIFESTS_PER_REQUEST = 4;

export type Identity = Omit<ManifestSet, "manifests" | "timeMs">;

/** What the store says about itself: made before the first manifest, never changed. */
export interface StoreRecord {
  readonly identity: Identity;
  /** Another one means that the store was emptied. */
  readonly instance: symbol;
}

/** The store, as a request that has arrived finds it. */
export interface CheckpointShelf {
  readonly record: StoreRecord | null;
  identify(identity: Identity): void;
  putManifest(manifest: PartitionManifest, timeMs: number): void;
  keyBuckets(partition: number): number[];
  forgetKeys(partition: number, buckets: readonly number[], watermark: Position): void;
}

/** The life that writes. */
export interface CheckpointHost {
  readonly store: CheckpointShelf;
  /** The store that deltas may build on; null while none is known. */
  instance: symbol | null;
  /** Buckets of keys that may lie in the store, by partition: known since an epoch began. */
  readonly kept: Map<number, { readonly epoch: number; buckets: readonly number[] }>;
  ask<T>(what: string, effect: () => T): Promise<T>;
  /** One request. */
  putPages(pages: readonly CheckpointPage[]): Promise<void>;
}

/** The store is not the one that a delta would build on. */
export function lost(): CatchallError {
  const text = "The store has lost the checkpoint; the next one is written in full";
  return new CatchallError("checkpoint_unavailable", text);
}

export class SimCheckpointWriter implements CheckpointWriter {
  readonly #client: CheckpointHost;
  readonly #isFull: boolean;
  /** By partition, kind and id. */
  #gathered: Map<string, CheckpointPage> = new Map();
  readonly #inFlight: RequestsInFlight = new RequestsInFlight(REQUESTS_IN_FLIGHT_MAX);
  #hasUnsettled = false;
  #isEnded = false;

  constructor(client: CheckpointHost, isFull: boolean) {
    this.#client = client;
    this.#isFull = isFull;
  }

  async putPages(pages: readonly CheckpointPage[]): Promise<void> {
    assert(!this.#isEnded, "the checkpoint has ended");
    // At once: the caller may write over them while the first ones are sent.
    const copies = pages.map((page) => ({ ...page, bytes: page.bytes.slice() }));
    for (const page of copies) {
      if (page.kind !== "meta") this.#hasUnsettled = true;
      else if (this.#hasUnsettled) await this.#settle();
      const key = `${page.partition}/${page.kind}/${page.id}`;
      if (this.#gathered.has(key)) await this.#sendGathered();
      this.#gathered.set(key, page);
      if (this.#gathered.size >= PAGES_PER_REQUEST) await this.#sendGathered();
    }
    this.#inFlight.throwFailure();
  }

  async commit(set: ManifestSet): Promise<number> {
    assert(!this.#isEnded, "a checkpoint ends once");
    const { manifests, timeMs, ...identity } = set;
    await this.#settle();
    const instance = await this.#identify(identity);
    const { store } = this.#client;
    for (let i = 0; i < manifests.length; i += MANIFESTS_PER_REQUEST) {
      const request = manifests.slice(i, i + MANIFESTS_PER_REQUEST);
      await this.#client.ask("commit", () => {
        for (const manifest of request) store.putManifest(manifest, timeMs);
      });
    }
    this.#isEnded = true;
    this.#client.instance = instance;
    // What fails here is tried again behind the next manifest.
    await this.#tidy(manifests).catch(() => this.#client.kept.clear());
    return manifests.length * 100;
  }

  /** What is on its way gets there; the rest was never sent. */
  async abandon(): Promise<void> {
    this.#isEnded = true;
    this.#gathered.clear();
  }

  async #settle(): Promise<void> {
    await this.#sendGathered();
    await this.#inFlight.settle();
    this.#hasUnsettled = false;
  }

  /** Resolves when there is room for another request. */
  async #sendGathered(): Promise<void> {
    if (this.#gathered.size === 0) return;
    const request = [...this.#gathered.values()];
    this.#gathered = new Map();
    await this.#inFlight.add(this.#client.putPages(request));
  }

  async #identify(identity: Identity): Promise<symbol> {
    const { store } = this.#client;
    const { record } = await this.#client.ask("identify", () => {
      if (this.#isFull) store.identify(identity);
      return { record: store.record };
    });
    if (record === null || (!this.#isFull && record.instance !== this.#client.instance)) {
      this.#client.instance = null;
      throw lost();
    }
    for (const key of Object.keys(identity) as (keyof Identity)[]) {
      if (record.identity[key] === identity[key]) continue;
      const text = `The store was written with ${key} "${record.identity[key]}"`;
      throw new CatchallError("checkpoint_damaged", text);
    }
    return record.instance;
  }

  async #tidy(manifests: readonly PartitionManifest[]): Promise<void> {
    const { store, kept } = this.#client;
    const unknown = manifests.filter(
      ({ partition, watermark }) => kept.get(partition)?.epoch !== watermark.epoch,
    );
    if (unknown.length > 0) {
      const found = await this.#client.ask("learn", () =>
        unknown.map(({ partition }) => store.keyBuckets(partition)),
      );
      unknown.forEach(({ partition, watermark }, i) => {
        kept.set(partition, { epoch: watermark.epoch, buckets: found[i] ?? [] });
      });
    }
    for (const { partition, watermark, keyBuckets } of manifests) {
      const known = kept.get(partition);
      if (known === undefined) continue;
      const expired = known.buckets.filter((bucket) => !keyBuckets.includes(bucket));
      if (expired.length > 0) {
        const forget = (): void => store.forgetKeys(partition, expired, watermark);
        await this.#client.ask("forgetKeys", forget);
      }
      known.buckets = keyBuckets;
    }
  }
}
