/**
 * What the shared stores tell about themselves as it happens, for the checkers. Called at the instant of the effect,
 * whoever learns of it later.
 */

import type { CheckpointPage, PartitionManifest } from "../checkpoint/checkpoint-store.ts";
import type { ControlRecord } from "../control-plane/control-store.ts";

export interface StoreHistory {
  /** An entry is in the log; `bytes` may be kept but not changed. */
  entryStored?(incarnation: number, sequence: number, bytes: Uint8Array): void;
  /** Entries up to `upTo` are about to go. */
  logTrimmed?(incarnation: number, upTo: number): void;
  /** A whole log is about to go; `last` is its last sequence. */
  logDeleted?(incarnation: number, last: number): void;
  /** A record of the control store was written. */
  recordPut?(record: ControlRecord, previous: ControlRecord | null): void;
  manifestPut?(manifest: PartitionManifest): void;
  pagePut?(page: CheckpointPage): void;
}

export function historyOf(checkers: readonly StoreHistory[]): Required<StoreHistory> {
  return {
    entryStored: (incarnation, sequence, bytes) => {
      for (const checker of checkers) checker.entryStored?.(incarnation, sequence, bytes);
    },
    logTrimmed: (incarnation, upTo) => {
      for (const checker of checkers) checker.logTrimmed?.(incarnation, upTo);
    },
    logDeleted: (incarnation, last) => {
      for (const checker of checkers) checker.logDeleted?.(incarnation, last);
    },
    recordPut: (record, previous) => {
      for (const checker of checkers) checker.recordPut?.(record, previous);
    },
    manifestPut: (manifest) => {
      for (const checker of checkers) checker.manifestPut?.(manifest);
    },
    pagePut: (page) => {
      for (const checker of checkers) checker.pagePut?.(page);
    },
  };
}
