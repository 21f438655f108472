/**
 * Checkpoints as a shared store, and the CheckpointStore that one life sees of it. Models MongoDB: each page and each
 * manifest is put if newer on its own, so a crash leaves half a checkpoint; the store may be away; it knows whose
 * checkpoints it has. What a life puts is in `sim-checkpoint-writer.ts`.
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
import {
  type CheckpointHost,
  type Identity,
  lost,
  SimCheckpointWriter,
  type StoreRecord,
} from "./sim-checkpoint-writer.ts";
import type { SimLife } from "./sim-life.ts";
import type { SimRandom } from "./sim-random.ts";
import { type ServiceFaults, SimService } from "./sim-service.ts";
import type { SimWorld } from "./sim-world.ts";
import type { StoreHistory } from "./store-history.ts";
import type { SimVersions } from "./versions.ts";

const CALL_TIMEOUT_MS = 5000;

interface Ambush {
  requests: number | null;
  readonly strike: () => void;
}

export class SimCheckpointStore {
  readonly world: SimWorld;
  readonly service: SimService;
  readonly #history: Required<StoreHistory>;
  readonly #halves: SimRandom;
  /** By partition, then by kind and id. */
  readonly #pages: Map<number, Map<string, CheckpointPage>> = new Map();
  readonly #manifests: Map<number, PartitionManifest> = new Map();
  /** When the manifests were put, by partition. */
  readonly #times: Map<number, number> = new Map();
  #record: StoreRecord | null = null;
  /** Of the machines, where some of them run the next version. */
  versions: SimVersions | null = null;
  /** By machine: what befalls it when a request of its checkpoint is stored. */
  readonly #ambushes: Map<number, Ambush> = new Map();

  constructor(world: SimWorld, faults: ServiceFaults, history: Required<StoreHistory>) {
    this.world = world;
    this.service = new SimService(world, "checkpoint", faults);
    this.#history = history;
    this.#halves = world.random("checkpoint/halves");
  }

  connect(life: SimLife): CheckpointStore {
    return new SimCheckpointClient(this, life);
  }

  heal(): void {
    this.service.heal();
    this.#ambushes.clear();
  }

  /** `strike` is called once: after so many requests with pages of the machine, or the first with rule and overrides. */
  ambush(machine: number, requests: number | null, strike: () => void): void {
    this.#ambushes.set(machine, { requests, strike });
  }

  /**
   * One request of the machine. False when only some pages were stored: they are put one by one, in no order, and the
   * store may go away, or change its leader, in between.
   */
  putPages(machine: number, pages: readonly CheckpointPage[]): boolean {
    const isHalf = this.#halves.chance(this.service.faults.answerLost);
    for (const { kind, bytes } of pages) {
      if (kind === "counters") this.versions?.stored(machine, "page", bytes);
    }
    for (const page of pages) if (!isHalf || this.#halves.chance(0.5)) this.putPage(page);
    this.#strike(machine, pages);
    return !isHalf;
  }

  #strike(machine: number, pages: readonly CheckpointPage[]): void {
    const ambush = this.#ambushes.get(machine);
    if (ambush === undefined) return;
    if (ambush.requests === null) {
      if (!pages.some(({ kind }) => kind === "meta")) return;
    } else if (--ambush.requests > 0) return;
    this.#ambushes.delete(machine);
    this.world.after(0, ambush.strike);
  }

  get record(): StoreRecord | null {
    return this.#record;
  }

  /** Says what the store is, unless that was said before. */
  identify(identity: Identity): void {
    this.#record ??= { identity, instance: Symbol("instance") };
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

  putManifest(manifest: PartitionManifest, timeMs: number): void {
    const old = this.#manifests.get(manifest.partition);
    if (old !== undefined && isNewer(old.watermark, manifest.watermark)) return;
    this.#manifests.set(manifest.partition, manifest);
    this.#times.set(manifest.partition, timeMs);
    const { epoch, sequence } = manifest.watermark;
    this.world.trace("manifest", manifest.partition, epoch, sequence);
    this.#history.manifestPut(manifest);
  }

  /** Of these partitions (null: of all); its time is that of the newest of them, or of all when there is none. */
  manifests(partitions: ReadonlySet<number> | null): ManifestSet | null {
    if (this.#record === null || this.#manifests.size === 0) return null;
    const manifests = [...this.#manifests.values()]
      .filter(({ partition }) => partitions === null || partitions.has(partition))
      .sort((a, b) => a.partition - b.partition);
    const dated = manifests.length > 0 ? manifests : [...this.#manifests.values()];
    const timeMs = Math.max(...dated.map(({ partition }) => this.#times.get(partition) ?? 0));
    return { ...this.#record.identity, timeMs, manifests };
  }

  pages(partition: number): CheckpointPage[] {
    return [...(this.#pages.get(partition)?.values() ?? [])];
  }

  /** As a machine reads them. */
  pagesSeenBy(machine: number, partition: number): CheckpointPage[] {
    const { versions } = this;
    const pages = this.pages(partition);
    if (versions === null) return pages;
    return pages.map((page) => ({ ...page, bytes: versions.seenBy(machine, page.bytes) }));
  }

  /** Buckets of which there are pages of keys. */
  keyBuckets(partition: number): number[] {
    return this.pages(partition)
      .filter(({ kind }) => kind === "keys")
      .map(({ id }) => id);
  }

  /** Pages of these buckets go, but none that is newer than `watermark`. */
  forgetKeys(partition: number, buckets: readonly number[], watermark: Position): void {
    const pages = this.#pages.get(partition);
    for (const bucket of buckets) {
      const page = pages?.get(`keys/${bucket}`);
      if (page !== undefined && !isNewer(page.position, watermark)) pages?.delete(`keys/${bucket}`);
    }
  }
}

/** One life's way to the store. */
class SimCheckpointClient implements CheckpointStore, CheckpointHost {
  readonly store: SimCheckpointStore;
  readonly #life: SimLife;
  instance: symbol | null = null;
  readonly kept: CheckpointHost["kept"] = new Map();

  constructor(store: SimCheckpointStore, life: SimLife) {
    this.store = store;
    this.#life = life;
  }

  get wantsFull(): boolean {
    return this.instance === null;
  }

  async readManifests(partitions: ReadonlySet<number> | null): Promise<ManifestSet | null> {
    const { set, record } = await this.ask("readManifests", () => {
      return { set: this.store.manifests(partitions), record: this.store.record };
    });
    if (set !== null && record !== null) this.instance = record.instance;
    return set;
  }

  async *readPages(partitions: ReadonlySet<number>): AsyncIterable<CheckpointPage> {
    for (const partition of [...partitions].sort((a, b) => a - b)) {
      const { index } = this.#life.machine;
      yield* await this.ask("readPages", () => this.store.pagesSeenBy(index, partition));
    }
  }

  async begin(isFull: boolean): Promise<CheckpointWriter> {
    const { record } = await this.ask("begin", () => ({ record: this.store.record }));
    const isOther = this.instance !== null && record?.instance !== this.instance;
    this.instance = isOther ? null : (record?.instance ?? null);
    if (!isFull && this.instance === null) throw lost();
    return new SimCheckpointWriter(this, isFull);
  }

  async putPages(pages: readonly CheckpointPage[]): Promise<void> {
    const { index } = this.#life.machine;
    const isWhole = await this.ask("putPages", () => this.store.putPages(index, pages));
    if (isWhole) return;
    throw new CatchallError("checkpoint_unavailable", "The store has some of the pages");
  }

  async close(): Promise<void> {
    // The store outlives its callers.
  }

  async ask<T>(what: string, effect: () => T): Promise<T> {
    const answer = await this.store.service.call(this.#life, CALL_TIMEOUT_MS, effect);
    if (answer !== null) return answer.value;
    const text = `The checkpoint store did not answer to "${what}"`;
    throw new CatchallError("checkpoint_unavailable", text);
  }
}

/** True when `a` is after `b`; equal positions replace each other. */
function isNewer(a: Position, b: Position): boolean {
  return a.epoch > b.epoch || (a.epoch === b.epoch && a.sequence > b.sequence);
}
