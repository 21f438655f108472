/**
 * Port: write-ahead logs, one per node incarnation. Entries are opaque here but for their envelope (entry-codec.ts).
 * Sequences count the entries of one log from 1, without holes. One writer; appends are single flight.
 */

/** `fenced`: the log is sealed or held by another writer, nothing was written. `unknown`: it may be in the log. */
export type AppendOutcome =
  | { readonly kind: "committed" }
  | { readonly kind: "fenced"; readonly reason: string }
  | { readonly kind: "notApplied"; readonly code: "log_full"; readonly reason: string }
  /** The log's last sequence is not the expected one: nothing was written now, but an earlier try may be there. */
  | { readonly kind: "conflict"; readonly reason: string }
  | { readonly kind: "unknown"; readonly reason: string };

/** Why an entry is refused with `log_full`. */
export function tooLarge(logBytesMax: number | null): string {
  return `The write-ahead log would grow over ${logBytesMax} bytes`;
}

/**
 * Room over the limit of a log for entries of marks alone (CLAIM, RELEASE, a rule): a trim may wait for them. They are
 * some 100 bytes each.
 */
export const RESERVE_BYTES: number = 1024 * 1024;

/** As `from` of a read: from the first entry that is kept, whatever its sequence. */
export const FIRST_KEPT = 0;

export interface NodeLog {
  /** Identity of what holds the logs (unsigned 32 bits): seeds the first entry of each log, see `chainSeed`. */
  readonly storeId: number;
  /**
   * True when an append of unknown outcome may be sent again, the same bytes with the same expectation: the log takes
   * them at most once. False where only a restart can tell (a file whose sync failed).
   */
  readonly canResend: boolean;
  /** Creates the empty log of this process's own incarnation. Must precede `append`. */
  create(incarnation: number): Promise<void>;
  /**
   * Appends one encoded entry to the own log and resolves when it is durable.
   * Shape: bytes sealed by `sealEnvelope`, at most ENTRY_BYTES_MAX; its sequence is `expectedLast + 1`.
   * Errors: never rejects; the outcome says what may be believed. On a file, a failed write or fsync is `unknown` and
   * every later append answers `fenced`.
   * `bytes` may be reused once the promise has settled, not before.
   * `usesReserve`: it may go over the limit of the log by RESERVE_BYTES; for logs of a cluster.
   */
  append(bytes: Uint8Array, expectedLast: number, usesReserve?: boolean): Promise<AppendOutcome>;
  /**
   * Whole entries (envelope included) with sequence in [from, to], in order; FIRST_KEPT as `from` begins at the first
   * entry that was not trimmed.
   * Errors: throws CatchallError `log_damaged` naming file and offset; a hole is damage.
   */
  read(incarnation: number, from: number, to: number): AsyncIterable<Uint8Array>;
  /**
   * Ends a dead incarnation's log for ever; resolves to the sequence of its last entry (0 when empty). Repeatable.
   * On a file this is where a torn tail is cut. Errors: `log_damaged`.
   */
  seal(incarnation: number): Promise<number>;
  /**
   * Sequence of the last entry of a log, 0 when empty. Another incarnation may be appending to it. Rejects with
   * `log_unavailable`.
   */
  lastSequence(incarnation: number): Promise<number>;
  /** Incarnations that have a log, ascending. */
  list(): Promise<readonly number[]>;
  /** Forgets entries of this log up to `upTo` (whole segments only: may keep more). */
  trim(incarnation: number, upTo: number): Promise<void>;
  delete(incarnation: number): Promise<void>;
  /** Bytes that all logs occupy. */
  readonly sizeBytes: number;
  close(): Promise<void>;
}
