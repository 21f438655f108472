/**
 * Checkpoints as a shared store, and the CheckpointStore that one life sees of it. Models MongoDB: each page and each
 * manifest is put if newer on its own, so a crash leaves half a checkpoint; the store may be away.
 * Invariant: per key the position only rises; a manifest is put only by `commit`.
 */

import type {
  CheckpointPage,
  CheckpointStore,
  CheckpointWriter,
  ManifestSet,
  PartitionManifest,
  Position,
} from "../checkpoint/checkpoint-store.ts";
import { CatchallError } from "../model/errors.ts";
import type { SimLife } from "./sim-life.ts";
import { type ServiceFaults, SimService } from "./sim-service.ts";
import type { SimWorld } from "./sim-world.ts";
import type { StoreHistory } from "./store-history.ts";

const CALL_TIMEOUT_MS = 5000;
/** Pages of one request; a crash keeps the requests before it. */
const PAGES_PER_REQUEST = 16;
const MANIFESTS_PER_REQUEST = 4;

type Identity = Omit<ManifestSet, "manifests">;

export class SimCheckpointStore {
  readonly world: SimWorld;
  readonly service: SimService;
  readonly #history: Required<StoreHistory>;
  /** By partition, then by kind and id. */
  readonly #pages: Map<number, Map<string, CheckpointPage>> = new Map();
  readonly #manifests: Map<number, PartitionManifest> = new Map();
  #identity: Identity | null = null;

  constructor(world: SimWorld, faults: ServiceFaults, history: Required<StoreHistory>) {
    this.world = world;
    this.service = new SimService(world, "checkpoint", faults);
    this.#history = history;
  }

  connect(life: SimLife): CheckpointStore {
    return new SimCheckpointClient(this, life);
  }

  heal(): void {
    this.service.heal();
  }

  get isEmpty(): boolean {
    return this.#manifests.size === 0;
  }

  manifest(partition: number): PartitionManifest | null {
    return this.#manifests.get(partition) ?? null;
  }

  putPage(page: CheckpointPage): void {
    let pages = this.#pages.get(page.partition);
    if (pages === undefined) {
      pages = new Map();
      this.#pages.set(page.partition, pages);
    }
    const key = `${page.kind}/${page.id}`;
    const old = pages.get(key);
    if (old !== undefined && isNewer(old.position, page.position)) return;
    pages.set(key, page);
    this.#history.pagePut(page);
  }

  putManifest(manifest: PartitionManifest, identity: Identity): void {
    const old = this.#manifests.get(manifest.partition);
    if (old !== undefined && isNewer(old.watermark, manifest.watermark)) return;
    this.#manifests.set(manifest.partition, manifest);
    this.#identity = {
      ...identity,
      timeMs: Math.max(identity.timeMs, this.#identity?.timeMs ?? 0),
    };
    const { epoch, sequence } = manifest.watermark;
    this.world.trace("manifest", manifest.partition, epoch, sequence);
    this.#history.manifestPut(manifest);
    this.#forgetKeys(manifest);
  }

  manifests(partitions: ReadonlySet<number>): ManifestSet | null {
    if (this.#identity === null) return null;
    const manifests = [...this.#manifests.values()]
      .filter(({ partition }) => partitions.has(partition))
      .sort((a, b) => a.partition - b.partition);
    return { ...this.#identity, manifests };
  }

  pages(partition: number): CheckpointPage[] {
    return [...(this.#pages.get(partition)?.values() ?? [])];
  }

  /** Buckets of keys that no longer count. */
  #forgetKeys(manifest: PartitionManifest): void {
    const kept = new Set(manifest.keyBuckets);
    const pages = this.#pages.get(manifest.partition);
    for (const [key, page] of pages ?? []) {
      if (page.kind !== "keys" || kept.has(page.id)) continue;
      if (!isNewer(page.position, manifest.watermark)) pages?.delete(key);
    }
  }
}

class SimCheckpointClient implements CheckpointStore {
  readonly #store: SimCheckpointStore;
  readonly #life: SimLife;

  constructor(store: SimCheckpointStore, life: SimLife) {
    this.#store = store;
    this.#life = life;
  }

  get wantsFull(): boolean {
    return this.#store.isEmpty;
  }

  readManifests(partitions: ReadonlySet<number>): Promise<ManifestSet | null> {
    return this.#ask("readManifests", () => this.#store.manifests(partitions));
  }

  async *readPages(partitions: ReadonlySet<number>): AsyncIterable<CheckpointPage> {
    for (const partition of [...partitions].sort((a, b) => a - b)) {
      yield* await this.#ask("readPages", () => this.#store.pages(partition));
    }
  }

  async begin(): Promise<CheckpointWriter> {
    return {
      putPages: (pages) => this.#putPages(pages),
      commit: (set) => this.#commit(set),
      abandon: async () => undefined,
    };
  }

  async close(): Promise<void> {
    // The store outlives its callers.
  }

  async #putPages(pages: readonly CheckpointPage[]): Promise<void> {
    const copies = pages.map((page) => ({ ...page, bytes: page.bytes.slice() }));
    for (let i = 0; i < copies.length; i += PAGES_PER_REQUEST) {
      const request = copies.slice(i, i + PAGES_PER_REQUEST);
      await this.#ask("putPages", () => {
        for (const page of request) this.#store.putPage(page);
      });
    }
  }

  async #commit(set: ManifestSet): Promise<number> {
    const { manifests, ...identity } = set;
    for (let i = 0; i < manifests.length; i += MANIFESTS_PER_REQUEST) {
      const request = manifests.slice(i, i + MANIFESTS_PER_REQUEST);
      await this.#ask("commit", () => {
        for (const manifest of request) this.#store.putManifest(manifest, identity);
      });
    }
    return manifests.length * 100;
  }

  async #ask<T>(what: string, effect: () => T): Promise<T> {
    const answer = await this.#store.service.call(this.#life, CALL_TIMEOUT_MS, effect);
    if (answer !== null) return answer.value;
    const text = `The checkpoint store did not answer to "${what}"`;
    throw new CatchallError("checkpoint_unavailable", text);
  }
}

/** True when `a` is after `b`; equal positions replace each other. */
function isNewer(a: Position, b: Position): boolean {
  return a.epoch > b.epoch || (a.epoch === b.epoch && a.sequence > b.sequence);
}
