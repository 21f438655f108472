/**
 * Port: the few records that decide who owns what, each under compare-and-set. Keys: `table`, `lease.<incarnation>`.
 * Values are bytes here; their codecs are control-table-codec.ts and lease-record.ts.
 * Safety: nothing here is trusted to be fresh but the outcome of `put`. `read` asks the leader, and may still be stale
 * in an adapter's worst case; watches may be late, repeat or go silent.
 */

/** Key of the control table. */
export const TABLE_KEY = "table";
const LEASE_PREFIX = "lease.";

export function leaseKey(incarnation: number): string {
  return `${LEASE_PREFIX}${incarnation}`;
}

/** The incarnation of a lease key, null for another key. */
export function incarnationOfKey(key: string): number | null {
  if (!key.startsWith(LEASE_PREFIX)) return null;
  const incarnation = Number(key.slice(LEASE_PREFIX.length));
  return Number.isSafeInteger(incarnation) && incarnation > 0 ? incarnation : null;
}

export interface ControlRecord {
  readonly key: string;
  /** Rises with every put of this key; 0 stands for "does not exist". */
  readonly revision: number;
  readonly value: Uint8Array;
}

/** `conflict`: another revision is there, nothing was written. `unknown`: it may have been written. */
export type PutOutcome =
  | { readonly kind: "committed"; readonly revision: number }
  | { readonly kind: "conflict" }
  | { readonly kind: "unknown"; readonly reason: string };

export interface ControlStore {
  /** Null when there is none. Rejects with CatchallError `control_unavailable`. */
  read(key: string): Promise<ControlRecord | null>;
  /** All lease records. Rejects with CatchallError `control_unavailable`. */
  readLeases(): Promise<readonly ControlRecord[]>;
  /** Writes if the key's revision is `expectedRevision` (0: only if it does not exist). Never rejects. */
  put(key: string, value: Uint8Array, expectedRevision: number): Promise<PutOutcome>;
  /** Forgets the record of a lease that is final; repeatable. Rejects with CatchallError `control_unavailable`. */
  deleteLease(incarnation: number): Promise<void>;
  /** Calls `listener` for records as they change, at least eventually while connected; returns the end of it. */
  watch(listener: (record: ControlRecord) => void): () => void;
  close(): Promise<void>;
}
