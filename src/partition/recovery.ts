/**
 * Brings partitions back: manifests first, then pages, then the logs from the watermarks to their exact ends.
 *
 * Invariant: the result is the replay of the whole history. A section is applied only if its position is after the
 * partition's watermark; a page restored at a later position skips it (partition-state.ts).
 * A hole or a broken chain is refused loudly by the log, never skipped.
 */

import type { CheckpointStore, ManifestSet, Position } from "../checkpoint/checkpoint-store.ts";
import type { TrimPoint } from "../checkpoint/checkpointer.ts";
import { CatchallError } from "../model/errors.ts";
import { ENTRY_HEADER_BYTES, readEntryHeader } from "../wal/entry-codec.ts";
import type { NodeLog } from "../wal/node-log.ts";
import { isAfter, type PartitionState } from "./partition-state.ts";
import {
  decodeChange,
  readEvents,
  readSections,
  SECTION_EVENTS,
  type SectionView,
} from "./section-codec.ts";

export interface RecoveryOptions {
  readonly states: readonly PartitionState[];
  readonly store: CheckpointStore;
  readonly log: NodeLog;
  /** What this node expects of a checkpoint; another value is refused. */
  readonly expected: Pick<
    ManifestSet,
    "formatVersion" | "partitions" | "hashName" | "canonicalisationVersion"
  >;
}

export interface RecoveryReport {
  readonly pages: number;
  readonly entries: number;
  /** Time of the last entry replayed or of the checkpoint, ms; entry times go on from here. */
  readonly lastTimeMs: number;
  /** What the checkpoint covers in every partition, and when it was written; null when there was none. */
  readonly checkpoint: TrimPoint | null;
}

/** Restores every state. Errors: `checkpoint_damaged`, `log_damaged`. */
export async function recover(options: RecoveryOptions): Promise<RecoveryReport> {
  const set = await options.store.readManifests();
  const watermarks = options.states.map(
    (): Position => ({
      epoch: 0,
      incarnation: 0,
      sequence: 0,
    }),
  );
  if (set !== null) assertExpected(set, options.expected);
  for (const manifest of set?.manifests ?? []) {
    watermarks[manifest.partition] = manifest.watermark;
  }
  const pages = set === null ? 0 : await restorePages(options, set, watermarks);
  for (const [partition, state] of options.states.entries()) {
    state.position = watermarks[partition] as Position;
  }
  const replayed = await replayLogs(options, watermarks);
  for (const state of options.states) state.endRecovery();
  return {
    pages,
    entries: replayed.entries,
    lastTimeMs: Math.max(replayed.lastTimeMs, set?.timeMs ?? 0),
    checkpoint: set === null ? null : { timeMs: set.timeMs, ...lowest(watermarks) },
  };
}

/** The lowest watermark: logs are needed from there on. */
function lowest(watermarks: readonly Position[]): { incarnation: number; sequence: number } {
  let low = watermarks[0] as Position;
  for (const watermark of watermarks) if (isAfter(low, watermark)) low = watermark;
  return { incarnation: low.incarnation, sequence: low.sequence };
}

function assertExpected(set: ManifestSet, expected: RecoveryOptions["expected"]): void {
  for (const [key, value] of Object.entries(expected)) {
    const found = set[key as keyof typeof expected];
    if (found === value) continue;
    throw new CatchallError(
      "checkpoint_damaged",
      `The checkpoint was written with ${key} "${found}", this node has "${value}"`,
    );
  }
}

async function restorePages(
  options: RecoveryOptions,
  set: ManifestSet,
  watermarks: readonly Position[],
): Promise<number> {
  const partitions = new Set(options.states.map((state) => state.partition));
  const keyBuckets: (readonly number[])[] = [];
  for (const { partition, keyBuckets: buckets, domainCount } of set.manifests) {
    keyBuckets[partition] = buckets;
    options.states[partition]?.table.reserve(domainCount);
  }
  const late: (() => void)[] = [];
  let pages = 0;
  for await (const page of options.store.readPages(partitions)) {
    const state = options.states[page.partition];
    const watermark = watermarks[page.partition];
    if (state === undefined || watermark === undefined) {
      throw new CatchallError("checkpoint_damaged", "A page is of a partition that is not there");
    }
    if (page.kind === "keys" && !keyBuckets[page.partition]?.includes(page.id)) continue;
    pages++;
    // Overrides name domains of pages, so they come after all of them; the store reuses the bytes until then.
    if (page.kind === "meta") {
      const kept = { ...page, bytes: page.bytes.slice() };
      late.push(() => state.restorePage(kept, watermark));
    } else state.restorePage(page, watermark);
  }
  for (const restore of late) restore();
  return pages;
}

async function replayLogs(
  options: RecoveryOptions,
  watermarks: readonly Position[],
): Promise<{ entries: number; lastTimeMs: number }> {
  let entries = 0;
  let lastTimeMs = 0;
  for (const incarnation of await options.log.list()) {
    const end = await options.log.seal(incarnation);
    const from = firstNeeded(watermarks, incarnation);
    if (from > end) continue;
    for await (const bytes of options.log.read(incarnation, from, end)) {
      const header = readEntryHeader(bytes);
      for (const section of readSections(bytes, ENTRY_HEADER_BYTES, bytes.length)) {
        replaySection(options.states, watermarks, bytes, section, header);
      }
      entries++;
      lastTimeMs = Math.max(lastTimeMs, header.timeMs);
    }
  }
  return { entries, lastTimeMs };
}

/** First sequence of a log that some partition still needs. */
function firstNeeded(watermarks: readonly Position[], incarnation: number): number {
  let first = Number.POSITIVE_INFINITY;
  for (const watermark of watermarks) {
    if (watermark.incarnation > incarnation) continue;
    first = Math.min(first, watermark.incarnation === incarnation ? watermark.sequence + 1 : 1);
  }
  return first;
}

function replaySection(
  states: readonly PartitionState[],
  watermarks: readonly Position[],
  bytes: Uint8Array,
  section: SectionView,
  header: { incarnation: number; sequence: number; timeMs: number },
): void {
  const state = states[section.partition];
  if (state === undefined) {
    throw new CatchallError("log_damaged", "An entry is of a partition that is not there");
  }
  const position = { ...header, epoch: section.epoch };
  if (!isAfter(position, watermarks[section.partition] as Position)) return;
  state.advance(section.epoch, header);
  if (section.kind === SECTION_EVENTS) {
    const events = readEvents(bytes, section);
    state.applyEvents(bytes, events.recordsStart, events.recordCount, header.timeMs);
    state.applyProducer(events.producer, events.producerSequence, header.timeMs);
  } else {
    state.applyChange(decodeChange(bytes, section), header.timeMs);
  }
}
