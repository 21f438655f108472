/**
 * Brings partitions back: manifests first, then pages, then the logs from the watermarks to their exact ends.
 *
 * Invariant: the result is the replay of the whole history. A section is applied only if its position is after the
 * partition's watermark; a page restored at a later position skips it (partition-state.ts).
 * A hole or a broken chain is refused loudly by the log, never skipped.
 */

import type { CheckpointStore, ManifestSet, Position } from "../checkpoint/checkpoint-store.ts";
import type { TrimPoint } from "../checkpoint/log-trimmer.ts";
import { CatchallError } from "../model/errors.ts";
import type { LineageStretch } from "../model/ownership.ts";
import type { NodeLog } from "../wal/node-log.ts";
import { isAfter, type PartitionState } from "./partition-state.ts";
import { type ReplayReport, type ReplayTarget, type ReplayTask, replay } from "./replay.ts";

const NOWHERE: Position = { epoch: 0, incarnation: 0, sequence: 0 };

export interface RecoveryTask {
  /** Empty; of no use after an error. */
  readonly state: PartitionState;
  /** Stretches of its history that a checkpoint may not cover, by rising epoch. */
  readonly lineage: readonly LineageStretch[];
}

export interface RecoveryOptions {
  readonly tasks: readonly RecoveryTask[];
  readonly store: CheckpointStore;
  readonly log: Pick<NodeLog, "read">;
  /** True where every stretch begins with a CLAIM (a cluster). */
  readonly hasClaims: boolean;
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
  /** How far each partition is covered, in the order of the tasks; `replay` goes on from there. */
  readonly targets: readonly ReplayTarget[];
}

/**
 * Restores every state up to the end of its lineage. The caller ends it with `state.endRecovery()` when nothing more is
 * to be replayed. Errors: `checkpoint_damaged`, `checkpoint_unavailable`, `log_damaged`, `log_unavailable`.
 */
export async function recover(options: RecoveryOptions): Promise<RecoveryReport> {
  const targets = new Map<number, ReplayTarget>();
  for (const { state } of options.tasks) targets.set(state.partition, { state, covered: NOWHERE });
  const set = await options.store.readManifests(new Set(targets.keys()));
  if (set !== null) assertExpected(set, options.expected);
  for (const { partition, watermark } of set?.manifests ?? []) {
    const target = targets.get(partition);
    if (target !== undefined) target.covered = watermark;
  }
  const pages = set === null ? 0 : await restorePages(options.store, set, targets);
  for (const { state, covered } of targets.values()) state.position = covered;
  const checkpoint = set === null ? null : { timeMs: set.timeMs, ...lowest([...targets.values()]) };
  const replayed = await replayBehindCheckpoints(
    options,
    options.tasks.map(({ state, lineage }) => ({
      target: targets.get(state.partition) as ReplayTarget,
      stretches: lineage,
    })),
  );
  return {
    pages,
    entries: replayed.entries,
    lastTimeMs: Math.max(replayed.lastTimeMs, set?.timeMs ?? 0),
    checkpoint,
    targets: [...targets.values()],
  };
}

/**
 * `replay`, and the proof that nothing was trimmed away before it was read: a CLAIM is trimmed only behind a confirmed
 * manifest of its epoch, so one that was not found, while no such manifest is there afterwards, was never written.
 * Errors: those of `replay`; `checkpoint_unavailable` when a newer checkpoint came meanwhile: start over from that.
 */
export async function replayBehindCheckpoints(
  options: Pick<RecoveryOptions, "store" | "log" | "hasClaims">,
  tasks: readonly ReplayTask[],
): Promise<ReplayReport> {
  const before = new Map(tasks.map(({ target }) => [target.state.partition, target.covered]));
  let report: ReplayReport;
  try {
    report = await replay(options, tasks);
  } catch (error) {
    // What is missing or out of place may just have been trimmed, behind a checkpoint that is better than ours.
    const isDamage = error instanceof CatchallError && error.code === "log_damaged";
    if (isDamage && options.hasClaims) await assertNoneCame(options.store, before);
    throw error;
  }
  const unclaimed = new Map(
    report.unclaimed.map(({ partition }) => [partition, before.get(partition)]),
  );
  if (unclaimed.size > 0) await assertNoneCame(options.store, unclaimed);
  return report;
}

/** Throws `checkpoint_unavailable` when there is a checkpoint of a later epoch, or of a later entry, than these. */
async function assertNoneCame(
  store: CheckpointStore,
  known: ReadonlyMap<number, Position | undefined>,
): Promise<void> {
  const set = await store.readManifests(new Set(known.keys()));
  for (const { partition, watermark } of set?.manifests ?? []) {
    if (!known.has(partition) || !isAfter(watermark, known.get(partition) ?? NOWHERE)) continue;
    throw new CatchallError(
      "checkpoint_unavailable",
      `A checkpoint of partition ${partition} came while its log was read; it is read again`,
    );
  }
}

/** The history of a node that is alone: its logs one after another, each life an epoch. Seals those of earlier lives. */
export async function lineageOfLogs(log: NodeLog): Promise<LineageStretch[]> {
  const lineage: LineageStretch[] = [];
  for (const incarnation of await log.list()) {
    lineage.push({ epoch: incarnation, incarnation, endSequence: await log.seal(incarnation) });
  }
  return lineage;
}

/** The lowest watermark: logs are needed from there on. */
function lowest(targets: readonly ReplayTarget[]): { incarnation: number; sequence: number } {
  let low = targets[0]?.covered ?? NOWHERE;
  for (const { covered } of targets) if (isAfter(low, covered)) low = covered;
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
  store: CheckpointStore,
  set: ManifestSet,
  targets: ReadonlyMap<number, ReplayTarget>,
): Promise<number> {
  const keyBuckets: (readonly number[])[] = [];
  for (const { partition, keyBuckets: buckets, domainCount } of set.manifests) {
    keyBuckets[partition] = buckets;
    targets.get(partition)?.state.table.reserve(domainCount);
  }
  const late: (() => void)[] = [];
  let pages = 0;
  for await (const page of store.readPages(new Set(targets.keys()))) {
    const target = targets.get(page.partition);
    if (target === undefined) {
      throw new CatchallError("checkpoint_damaged", "A page is of a partition that is not there");
    }
    const { state, covered: watermark } = target;
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
