/**
 * Shortens recovery: writes what changed, then the manifest, then trims the log behind the manifest before.
 *
 * Safety: the manifest's watermark is taken before the first page is read, so that every page is at least as new; it is
 * written only after the pages are durable; the log is trimmed to the previous manifest, so that two generations can
 * always be replayed.
 * Never blocks the node: pages are encoded in slices, and other work runs between them.
 */

import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { TimerHandle, Timers } from "../runtime/timers.ts";
import type { NodeLog } from "../wal/node-log.ts";
import type {
  CheckpointPage,
  CheckpointStore,
  CheckpointWriter,
  ManifestSet,
  PartitionManifest,
  Position,
} from "./checkpoint-store.ts";

/** Pages are handed to the store in runs of about this size; also what one slice may encode. */
const SLICE_BYTES_MAX = 256 * 1024;
/** A slice ends after this long, so that no request waits longer for a checkpoint. */
const SLICE_DURATION_MS_MAX = 2;

/** One partition, as the checkpointer sees it. */
export interface CheckpointSource {
  readonly partition: number;
  readonly position: Position;
  /** Pages to write: all with content when full, else the changed ones. */
  pageIds(isFull: boolean): readonly number[];
  encodePage(id: number): Uint8Array;
  domainCount(): number;
  keyBuckets(): readonly number[];
  keyBucketsToWrite(isFull: boolean): readonly number[];
  encodeKeys(bucket: number): Uint8Array;
  isMetaDirty(): boolean;
  encodeMeta(): Uint8Array;
}

export interface CheckpointerOptions {
  readonly store: CheckpointStore;
  readonly log: NodeLog;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly logger: Logger;
  readonly intervalMs: number;
  /** Entries are kept at least so long after a checkpoint covers them. */
  readonly logRetentionMs: number;
  readonly incarnation: number;
  /** The checkpoint that this node was restored from; null on a fresh start. */
  readonly restored: TrimPoint | null;
  /** Epoch that this node owns its partitions with. */
  readonly epoch: number;
  readonly sources: readonly CheckpointSource[];
  /** Sequence of the last entry of the own log that is applied everywhere. */
  readonly appliedSequence: () => number;
  /** The time that an entry would carry now; never below an entry's. */
  readonly entryTimeMs: () => number;
  readonly identity: Omit<ManifestSet, "timeMs" | "manifests">;
  readonly observer: { checkpointed(durationMs: number, bytes: number): void };
}

/** A confirmed manifest: everything up to this entry is in its pages. */
export interface TrimPoint {
  readonly timeMs: number;
  readonly incarnation: number;
  readonly sequence: number;
}

export class Checkpointer {
  readonly #options: CheckpointerOptions;
  #timer: TimerHandle | null = null;
  #running: Promise<void> | null = null;
  #mustBeFull = false;
  #isStopped = false;
  #coveredSequence = 0;
  /** Confirmed manifests that the log is not yet trimmed to, oldest first. */
  #confirmed: TrimPoint[] = [];
  lastCheckpointMs: number | null = null;

  constructor(options: CheckpointerOptions) {
    this.#options = options;
    if (options.restored !== null) this.#confirmed.push(options.restored);
  }

  /** Entries that only the log holds. */
  get lagEntries(): number {
    return this.#options.appliedSequence() - this.#coveredSequence;
  }

  start(): void {
    this.#timer = this.#options.timers.after(this.#options.intervalMs, () => {
      void this.run().finally(() => {
        if (!this.#isStopped) this.start();
      });
    });
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  /** Writes one checkpoint; joins the one that is running. Never rejects: a failure is logged, the log keeps all. */
  run(): Promise<void> {
    this.#running ??= this.#write().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #write(): Promise<void> {
    const { logger } = this.#options;
    const point = await this.#writeManifest();
    if (point === null) return;
    try {
      await this.#trim(point);
    } catch (error) {
      logger.error({ err: error }, "Log could not be trimmed; it stays longer");
    }
  }

  /** Resolves to what the new checkpoint covers, null when it failed. */
  async #writeManifest(): Promise<TrimPoint | null> {
    const { store, clock, observer, logger } = this.#options;
    const startedMs = clock.monotonicMs();
    const isFull = this.#mustBeFull || store.wantsFull;
    let writer: CheckpointWriter | null = null;
    try {
      writer = await store.begin(isFull);
      const sequence = this.#options.appliedSequence();
      const watermarks = this.#options.sources.map((source) => ({
        source,
        // A partition without traffic advances as well, or it would pin the log.
        watermark: { epoch: this.#options.epoch, incarnation: this.#options.incarnation, sequence },
      }));
      const manifests: PartitionManifest[] = [];
      for (const { source, watermark } of watermarks) {
        await this.#writePartition(writer, source, isFull);
        const { partition } = source;
        const keyBuckets = [...source.keyBuckets()];
        manifests.push({ partition, watermark, keyBuckets, domainCount: source.domainCount() });
      }
      const timeMs = this.#options.entryTimeMs();
      const bytes = await writer.commit({ ...this.#options.identity, timeMs, manifests });
      this.#mustBeFull = false;
      this.#coveredSequence = sequence;
      this.lastCheckpointMs = timeMs;
      observer.checkpointed(clock.monotonicMs() - startedMs, bytes);
      return { timeMs, incarnation: this.#options.incarnation, sequence };
    } catch (error) {
      // Dirty marks of pages already encoded are gone, so the next checkpoint writes everything.
      this.#mustBeFull = true;
      await writer?.abandon().catch(() => undefined);
      logger.error({ err: error }, "Checkpoint failed; the log keeps every event");
      return null;
    }
  }

  async #writePartition(
    writer: CheckpointWriter,
    source: CheckpointSource,
    isFull: boolean,
  ): Promise<void> {
    const { partition } = source;
    let pages: CheckpointPage[] = [];
    let bytes = 0;
    let startedMs = this.#options.clock.monotonicMs();
    const put = async (kind: CheckpointPage["kind"], id: number, image: Uint8Array) => {
      pages.push({ partition, kind, id, position: source.position, bytes: image });
      bytes += image.length;
      const elapsedMs = this.#options.clock.monotonicMs() - startedMs;
      if (bytes < SLICE_BYTES_MAX && elapsedMs < SLICE_DURATION_MS_MAX) return;
      await writer.putPages(pages);
      await new Promise<void>((resolve) => this.#options.timers.soon(resolve));
      pages = [];
      bytes = 0;
      startedMs = this.#options.clock.monotonicMs();
    };
    // Before the pages: a rule or an override must not be newer than the pages it is replayed over.
    if (isFull || source.isMetaDirty()) await put("meta", 0, source.encodeMeta());
    for (const id of source.pageIds(isFull)) await put("counters", id, source.encodePage(id));
    for (const bucket of source.keyBucketsToWrite(isFull)) {
      await put("keys", bucket, source.encodeKeys(bucket));
    }
    if (pages.length > 0) await writer.putPages(pages);
  }

  /** Forgets log entries behind the manifest before the newest, once retention has passed. */
  async #trim(newest: TrimPoint): Promise<void> {
    const { log, clock, logRetentionMs } = this.#options;
    const index = this.#confirmed.findLastIndex(
      (point) => point.timeMs + logRetentionMs <= clock.wallMs(),
    );
    this.#confirmed.push(newest);
    const previous = this.#confirmed[index];
    if (previous === undefined) return;
    this.#confirmed.splice(0, index);
    for (const incarnation of await log.list()) {
      if (incarnation < previous.incarnation) await log.delete(incarnation);
    }
    await log.trim(previous.incarnation, previous.sequence);
  }
}
