/** One open partition as the checkpointer sees it. */

import type { CheckpointSource } from "../checkpoint/checkpointer.ts";
import type { PartitionState } from "../partition/partition-state.ts";

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
