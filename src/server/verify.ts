/**
 * Recounts a data directory from its checkpoint and logs, with the production recovery, and changes nothing in it.
 */

import { STATUS_NAMES, STATUS_UNSEEN, type StatusName } from "../model/status.ts";
import type { PartitionState } from "../partition/partition-state.ts";
import { recoverDirectory } from "./recover-directory.ts";

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
  const { entries, states } = await recoverDirectory(dataDir);
  return { entries, domains: recountOf(states) };
}

/** Every domain that the partitions know. */
export function recountOf(states: readonly PartitionState[]): Map<string, Recount> {
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
