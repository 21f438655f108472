/**
 * Port: the write-ahead log of one node incarnation. Entries are opaque here but for their envelope (entry-codec.ts).
 * Sequences count entries from 1, without holes. One writer; appends are single flight (the caller waits).
 */

/** `fenced`: another writer holds the log, nothing was written. `unknown`: it may or may not be in the log. */
export type AppendOutcome =
  | { readonly kind: "committed" }
  | { readonly kind: "fenced"; readonly reason: string }
  | { readonly kind: "notApplied"; readonly reason: string; readonly code: "log_full" | "log_failed" }
  | { readonly kind: "unknown"; readonly reason: string };

export interface NodeLog {
  /**
   * Appends one encoded entry and resolves when it is durable.
   * Shape: the bytes of `encodeEntry`, at most ENTRY_BYTES_MAX; its sequence is `expectedLast + 1`.
   * Errors: never rejects; the outcome says what may be believed. After `fenced`, `notApplied` with `log_failed` or
   * `unknown` on a file log, every later append answers the same.
   * `bytes` may be reused once the promise has settled.
   */
  append(bytes: Uint8Array, expectedLast: number): Promise<AppendOutcome>;
  /** Entries with sequence in [from, to], in order. Throws CatchallError `log_failed` naming the offset when damaged. */
  read(from: number, to: number): AsyncIterable<Uint8Array>;
  /** Sequence of the last durable entry, 0 when empty. */
  readonly lastSequence: number;
  /** Sequence of the first retained entry; lastSequence + 1 when none. */
  readonly firstSequence: number;
  /** The incarnation whose entries these are. */
  readonly incarnation: number;
  /** Bytes on disk or stream, for limits and metrics. */
  readonly sizeBytes: number;
  /** Forgets entries up to `upTo` (whole segments only; may keep more). */
  trim(upTo: number): Promise<void>;
  close(): Promise<void>;
}
