/**
 * Recounts a data directory from its checkpoint and logs, with the production recovery, and changes nothing in it.
 */

import { FileCheckpointStore } from "../checkpoint/file-checkpoint-store.ts";
import { LocalControlStore } from "../control-plane/local-control-store.ts";
import { CounterTable } from "../counters/counter-table.ts";
import { CatchallError } from "../model/errors.ts";
import { STATUS_NAMES, STATUS_UNSEEN, type StatusName } from "../model/status.ts";
import { IdempotencyWindow, KeyBudget } from "../partition/idempotency-window.ts";
import { PartitionState } from "../partition/partition-state.ts";
import { lineageOfLogs, recover } from "../partition/recovery.ts";
import { NodeDisk } from "../runtime/node-disk.ts";
import { NodeRandom } from "../runtime/node-random.ts";
import { readOnly } from "../runtime/read-only-disk.ts";
import { FileNodeLog } from "../wal/file-node-log.ts";
import { openStoreIdentity } from "../wal/store-identity.ts";
import { checkpointIdentity } from "./checkpoint-source.ts";

export interface Recount {
  readonly delivered: number;
  readonly bounced: number;
  readonly status: StatusName;
}

export interface VerifiedDirectory {
  /** Log entries replayed over the checkpoint. */
  readonly entries: number;
  readonly domains: ReadonlyMap<string, Recount>;
}

/** Errors: CatchallError `log_damaged`, `checkpoint_damaged`, `conflict` when it is no data directory. */
export async function verifyDataDirectory(dataDir: string): Promise<VerifiedDirectory> {
  const disk = readOnly(new NodeDisk(dataDir));
  const random = new NodeRandom();
  const table = await new LocalControlStore(disk).read();
  if (table === null) {
    throw new CatchallError("conflict", `"${dataDir}" is not a data directory of catchall`);
  }
  const { storeId } = await openStoreIdentity(disk, random);
  const seed = [random.uint32(), random.uint32()] as const;
  const keyBudget = new KeyBudget(Number.MAX_SAFE_INTEGER);
  const states = Array.from({ length: table.partitions }, (_, partition) => {
    return new PartitionState({
      partition,
      table: new CounterTable({ partition, partitions: table.partitions, seed }),
      window: new IdempotencyWindow(Number.MAX_SAFE_INTEGER / 2, keyBudget),
      rule: table.initialRule,
      onChange: () => undefined,
    });
  });
  const log = await FileNodeLog.open(disk, { storeId });
  const lineage = await lineageOfLogs(log);
  const report = await recover({
    tasks: states.map((state) => ({ state, lineage })),
    store: await FileCheckpointStore.open(disk, { storeId }),
    log,
    hasClaims: false,
    expected: checkpointIdentity(table.partitions),
  });
  for (const state of states) state.endRecovery();
  return { entries: report.entries, domains: recountOf(states) };
}

function recountOf(states: readonly PartitionState[]): Map<string, Recount> {
  const domains = new Map<string, Recount>();
  for (const { table } of states) {
    for (let entry = 0; entry < table.entryCount; entry++) {
      const status = table.status(entry);
      if (status === STATUS_UNSEEN) continue;
      domains.set(table.name(entry), {
        delivered: table.delivered(entry),
        bounced: table.bounced(entry),
        status: STATUS_NAMES[status],
      });
    }
  }
  return domains;
}
