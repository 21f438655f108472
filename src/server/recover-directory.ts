/**
 * Brings the partitions of an embedded data directory into memory with the production recovery, and changes nothing in
 * it. For `verify`, which may look into the directory of a running node, and for `import`, which may not.
 */

import { FileCheckpointStore } from "../checkpoint/file-checkpoint-store.ts";
import { LocalControlStore } from "../control-plane/local-control-store.ts";
import { CounterTable } from "../counters/counter-table.ts";
import { CatchallError } from "../model/errors.ts";
import { IdempotencyWindow, KeyBudget } from "../partition/idempotency-window.ts";
import { PartitionState } from "../partition/partition-state.ts";
import { lineageOfLogs, recover } from "../partition/recovery.ts";
import type { Disk } from "../runtime/disk.ts";
import { NodeDisk } from "../runtime/node-disk.ts";
import { NodeRandom } from "../runtime/node-random.ts";
import type { Random } from "../runtime/random.ts";
import { readOnly } from "../runtime/read-only-disk.ts";
import { FileNodeLog } from "../wal/file-node-log.ts";
import { openStoreIdentity } from "../wal/store-identity.ts";
import { checkpointIdentity } from "./checkpoint-source.ts";

export interface RecoveredDirectory {
  /** Identity of the directory, unsigned 32 bits. */
  readonly storeId: number;
  /** Log entries replayed over the checkpoint. */
  readonly entries: number;
  /** By partition. */
  readonly states: readonly PartitionState[];
}

/** Errors: CatchallError `log_damaged`, `checkpoint_damaged`, `conflict` when it is no data directory. */
export async function recoverDirectory(dataDir: string): Promise<RecoveredDirectory> {
  return await recoverDisk(new NodeDisk(dataDir), new NodeRandom(), dataDir);
}

/** The same over a disk that is there already; `name` is for errors. */
export async function recoverDisk(
  changeable: Disk,
  random: Random,
  name: string,
): Promise<RecoveredDirectory> {
  const disk = readOnly(changeable);
  const table = await new LocalControlStore(disk).read();
  if (table === null) {
    throw new CatchallError("conflict", `"${name}" is not a data directory of catchall`);
  }
  const { storeId } = await openStoreIdentity(disk, random);
  const seed = [random.uint32(), random.uint32()] as const;
  const states = createStates(table.partitions, seed, table.initialRule);
  const log = await FileNodeLog.open(disk, { storeId });
  const newest = Math.max(0, ...(await log.list()));
  if (newest > table.incarnation) {
    throw new CatchallError(
      "checkpoint_damaged",
      `"control.json" is older than the log (incarnation ${newest}): restore it`,
    );
  }
  const lineage = await lineageOfLogs(log);
  const report = await recover({
    tasks: states.map((state) => ({ state, lineage })),
    store: await FileCheckpointStore.open(disk, { storeId }),
    log,
    hasClaims: false,
    expected: checkpointIdentity(table.partitions),
  });
  for (const state of states) state.endRecovery();
  return { storeId, entries: report.entries, states };
}

/** Empty partitions that keep whatever they are given. */
export function createStates(
  partitions: number,
  seed: readonly [number, number],
  rule: PartitionState["rule"],
): PartitionState[] {
  const keyBudget = new KeyBudget(Number.MAX_SAFE_INTEGER);
  return Array.from({ length: partitions }, (_, partition) => {
    return new PartitionState({
      partition,
      table: new CounterTable({ partition, partitions, seed }),
      window: new IdempotencyWindow(Number.MAX_SAFE_INTEGER / 2, keyBudget),
      rule,
      onChange: () => undefined,
    });
  });
}
