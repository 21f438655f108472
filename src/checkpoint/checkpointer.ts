/**
 * Shortens recovery: writes what changed, then the manifest, then tells who trims the log.
 *
 * Safety: the manifest's watermark is taken before the first page is read, so that every page is at least as new; it is
 * written only after the pages are durable; only then is anything behind it forgotten.
 * Never blocks the node: pages are encoded in slices, and other work runs between them.
 */

import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { TimerHandle, Timers } from "../runtime/timers.ts";
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
/** Until the next checkpoint when the log is full. */
const HURRY_MS = 1000;

/** One partition, as the checkpointer sees it. */
export interface CheckpointSource {
  readonly partition: number;
  /** Epoch that this node owns it with. */
  readonly epoch: number;
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
  readonly clock: Clock;
  readonly timers: Timers;
  readonly logger: Logger;
  readonly intervalMs: number;
  readonly incarnation: number;
  /** The partitions that are open now. */
  readonly sources: () => readonly CheckpointSource[];
  /** Sequence of the last entry of the own log that is applied everywhere. */
  readonly appliedSequence: () => number;
  /** The time that an entry would carry now; never below an entry's. */
  readonly entryTimeMs: () => number;
  readonly identity: Omit<ManifestSet, "timeMs" | "manifests">;
  readonly observer: { checkpointed(durationMs: number, bytes: number): void };
  /** Called with each manifest that is durable; trims the log. A rejection is logged, the log then stays longer. */
  readonly confirmed: (checkpoint: ConfirmedCheckpoint) => Promise<void>;
}

export interface ConfirmedCheckpoint {
  /** Entry time of the checkpoint, ms. */
  readonly timeMs: number;
  /** Last entry of the own log that it covers. */
  readonly sequence: number;
  readonly manifests: readonly PartitionManifest[];
}

export class Checkpointer {
  readonly #options: CheckpointerOptions;
  #timer: TimerHandle | null = null;
  #running: Promise<void> | null = null;
  /** Ends of the checkpoints of single partitions that are under way or wait for their turn. */
  readonly #single: Map<number, Promise<void>> = new Map();
  /** End of the last checkpoint that was asked for: one is written at a time. */
  #turn: Promise<void> = Promise.resolve();
  #mustBeFull = false;
  #isStopped = false;
  /** The timer runs for HURRY_MS at most. */
  #isHurried = false;
  #coveredSequence = 0;
  lastCheckpointMs: number | null = null;

  constructor(options: CheckpointerOptions) {
    this.#options = options;
  }

  /** Entries that only the log holds. */
  get lagEntries(): number {
    return this.#options.appliedSequence() - this.#coveredSequence;
  }

  start(): void {
    this.#startAfter(this.#options.intervalMs);
  }

  #startAfter(delayMs: number): void {
    this.#timer = this.#options.timers.after(delayMs, () => {
      this.#timer = null;
      this.#isHurried = false;
      void this.run().finally(() => {
        if (!this.#isStopped) this.start();
      });
    });
  }

  /** The log refused an entry since it is full: a checkpoint, and the trim behind it, is all that makes room. */
  hurry(): void {
    if (this.#isHurried || this.#timer === null || this.#isStopped) return;
    this.#isHurried = true;
    this.#timer.cancel();
    this.#startAfter(Math.min(HURRY_MS, this.#options.intervalMs));
  }

  /** Resolves when none is under way. Nothing is written any more but by a `run` that is asked for after this. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    await this.#turn;
  }

  /** Writes one checkpoint; joins the one that is running. Never rejects: a failure is logged, the log keeps all. */
  run(): Promise<void> {
    const isLast = this.#isStopped;
    this.#running ??= this.#inTurn(async () => {
      if (isLast || !this.#isStopped) await this.#write();
    }).finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  /**
   * Writes what one open partition has changed, so that whoever takes it over replays little; the log is trimmed by the
   * next `run`. Only for stores that put each manifest by itself. Never rejects, like `run`.
   */
  runOne(partition: number): Promise<void> {
    let single = this.#single.get(partition);
    if (single === undefined) {
      single = this.#inTurn(() => this.#writeOne(partition)).finally(() => {
        this.#single.delete(partition);
      });
      this.#single.set(partition, single);
    }
    return single;
  }

  #inTurn(write: () => Promise<void>): Promise<void> {
    this.#turn = this.#turn.then(write);
    return this.#turn;
  }

  async #writeOne(partition: number): Promise<void> {
    if (this.#isStopped) return;
    // What must be written in full is the state of all partitions, or the store would miss some.
    if (this.#mustBeFull || this.#options.store.wantsFull) return this.#write();
    const isWanted = (source: CheckpointSource): boolean => source.partition === partition;
    if (this.#options.sources().some(isWanted)) await this.#writeManifests(isWanted, false);
  }

  async #write(): Promise<void> {
    const { clock, observer, logger, store } = this.#options;
    const startedMs = clock.monotonicMs();
    const isFull = this.#mustBeFull || store.wantsFull;
    const checkpoint = await this.#writeManifests(() => true, isFull);
    if (checkpoint === null) return;
    this.#mustBeFull = false;
    this.#coveredSequence = checkpoint.sequence;
    this.lastCheckpointMs = checkpoint.timeMs;
    observer.checkpointed(clock.monotonicMs() - startedMs, checkpoint.bytes);
    try {
      await this.#options.confirmed(checkpoint);
    } catch (error) {
      logger.error({ err: error }, "Log could not be trimmed; it stays longer");
    }
  }

  /** Resolves to what the new checkpoint covers, null when it failed. */
  async #writeManifests(
    isWanted: (source: CheckpointSource) => boolean,
    isFull: boolean,
  ): Promise<(ConfirmedCheckpoint & { readonly bytes: number }) | null> {
    const { store, incarnation, logger } = this.#options;
    let writer: CheckpointWriter | null = null;
    try {
      writer = await store.begin(isFull);
      const sequence = this.#options.appliedSequence();
      const sources = this.#options.sources().filter(isWanted);
      const watermarks = sources.map((source) => ({
        source,
        // A partition without traffic advances as well, or it would pin the log.
        watermark: { epoch: source.epoch, incarnation, sequence },
      }));
      const manifests: PartitionManifest[] = [];
      const metas: CheckpointPage[] = [];
      for (const { source, watermark } of watermarks) {
        // Encoded before the pages: a rule or an override must not be newer than the pages it is replayed over.
        if (isFull || source.isMetaDirty()) metas.push(encodeMeta(source));
        await this.#writePartition(writer, source, isFull);
        const { partition } = source;
        const keyBuckets = [...source.keyBuckets()];
        manifests.push({ partition, watermark, keyBuckets, domainCount: source.domainCount() });
      }
      // Durable after the pages: entries that they hold would else be judged by rules of later entries.
      await this.#putAll(writer, metas);
      const timeMs = this.#options.entryTimeMs();
      const bytes = await writer.commit({ ...this.#options.identity, timeMs, manifests });
      return { timeMs, sequence, manifests, bytes };
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
    for (const id of source.pageIds(isFull)) await put("counters", id, source.encodePage(id));
    for (const bucket of source.keyBucketsToWrite(isFull)) {
      await put("keys", bucket, source.encodeKeys(bucket));
    }
    if (pages.length > 0) await writer.putPages(pages);
  }

  async #putAll(writer: CheckpointWriter, pages: readonly CheckpointPage[]): Promise<void> {
    for (let start = 0, end = 0; start < pages.length; start = end) {
      for (let bytes = 0; end < pages.length && bytes < SLICE_BYTES_MAX; end++) {
        bytes += (pages[end] as CheckpointPage).bytes.length;
      }
      await writer.putPages(pages.slice(start, end));
    }
  }
}

function encodeMeta(source: CheckpointSource): CheckpointPage {
  const { partition, position } = source;
  return { partition, kind: "meta", id: 0, position, bytes: source.encodeMeta() };
}
