/**
 * Port: durable images of partitions. Pages are put if newer; the manifest of a partition is written last, and only
 * what a manifest covers is believed. Positions order as (epoch, sequence) within one partition.
 */

export interface Position {
  readonly epoch: number;
  readonly incarnation: number;
  readonly sequence: number;
}

/** `counters`: id = hash32 >>> 16. `keys`: id = start of the time bucket, seconds. `meta`: id 0. */
export type PageKind = "counters" | "keys" | "meta";

export interface CheckpointPage {
  readonly partition: number;
  readonly kind: PageKind;
  readonly id: number;
  readonly position: Position;
  readonly bytes: Uint8Array;
}

/** Everything up to `watermark` is in the pages. */
export interface PartitionManifest {
  readonly partition: number;
  readonly watermark: Position;
  /** Buckets of keys that still count; older key pages are forgotten. */
  readonly keyBuckets: readonly number[];
  /** Domains in the pages, so that a restore can make room at once; a hint, not a promise. */
  readonly domainCount: number;
}

export interface ManifestSet {
  readonly formatVersion: number;
  readonly partitions: number;
  readonly hashName: string;
  readonly canonicalisationVersion: string;
  /** Wall time of the checkpoint, ms. */
  readonly timeMs: number;
  readonly manifests: readonly PartitionManifest[];
}

export interface CheckpointStore {
  /**
   * The newest manifests of these partitions (null: of all that there are), or null when there is none at all: a fresh
   * start. Errors: `checkpoint_damaged`, `checkpoint_unavailable`.
   */
  readManifests(partitions: ReadonlySet<number> | null): Promise<ManifestSet | null>;
  /**
   * Pages of these partitions; may include pages newer than the manifest. The bytes of a page are valid only until the
   * next one is asked for: copy what you keep.
   */
  readPages(partitions: ReadonlySet<number>): AsyncIterable<CheckpointPage>;
  /** Starts a checkpoint. `isFull`: every page will be put (the store may then drop what came before). */
  begin(isFull: boolean): Promise<CheckpointWriter>;
  /** True when the store wants the next checkpoint to be full (first one, or too many deltas). */
  readonly wantsFull: boolean;
  close(): Promise<void>;
}

export interface CheckpointWriter {
  /** A `meta` page is visible only once all pages of other kinds that were put before it are. */
  putPages(pages: readonly CheckpointPage[]): Promise<void>;
  /**
   * Makes the checkpoint durable and visible: pages first, the manifests of its partitions last, each if newer. Resolves
   * to bytes written.
   */
  commit(set: ManifestSet): Promise<number>;
  abandon(): Promise<void>;
}
