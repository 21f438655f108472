/** What the checkpointer sees: a node's identity, and each open partition. */

import type { ManifestSet } from "../checkpoint/checkpoint-store.ts";
import type { CheckpointSource } from "../checkpoint/checkpointer.ts";
import { CANONICALISATION_VERSION } from "../model/domain-name.ts";
import { HASH_NAME } from "../model/hash32.ts";
import type { PartitionState } from "../partition/partition-state.ts";

export const CHECKPOINT_FORMAT_VERSION = 1;

/** What every checkpoint of this version says about itself, and a restore checks. */
export function checkpointIdentity(partitions: number): Omit<ManifestSet, "timeMs" | "manifests"> {
  return {
    formatVersion: CHECKPOINT_FORMAT_VERSION,
    partitions,
    hashName: HASH_NAME,
    canonicalisationVersion: CANONICALISATION_VERSION,
  };
}

/** `pruneProducers`: drops rows of producers that are gone; called before the rows are written. */
export function checkpointSource(
  state: PartitionState,
  epoch: number,
  pruneProducers: () => void,
): CheckpointSource {
  return {
    partition: state.partition,
    epoch,
    get position() {
      return state.position;
    },
    pageIds: (isFull) => {
      if (isFull) state.table.markAllDirty();
      return state.table.dirtyPages();
    },
    encodePage: (id) => {
      state.settlePage(id);
      return state.table.encodePage(id);
    },
    domainCount: () => state.table.entryCount,
    keyBuckets: () => state.window.bucketStarts(),
    keyBucketsToWrite: (isFull) =>
      isFull ? state.window.bucketStarts() : state.window.dirtyBuckets(),
    encodeKeys: (bucket) => state.window.encodeBucket(bucket),
    isMetaDirty: () => state.isMetaDirty,
    encodeMeta: () => {
      pruneProducers();
      return state.encodeMeta();
    },
  };
}
