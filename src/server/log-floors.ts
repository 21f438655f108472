/**
 * From where on this incarnation's log is still needed, by partition and epoch, and the trimming that follows from it.
 *
 * Safety: a stretch that the control table still names, or that this node owns, is kept from the last confirmed manifest
 * on; where nothing is confirmed, from its CLAIM on (I15), which `claimed` must be told of before anything else is
 * committed. The entry at the floor itself stays, since the chain of checksums begins there.
 */

import type { ConfirmedCheckpoint } from "../checkpoint/checkpointer.ts";
import type { ControlTable } from "../model/ownership.ts";
import type { NodeLog } from "../wal/node-log.ts";

export interface LogFloorsOptions {
  readonly self: number;
  readonly log: NodeLog;
  readonly committedSequence: () => number;
  readonly wallMs: () => number;
  /** Entries are kept at least so long after a checkpoint covers them. */
  readonly logRetentionMs: number;
}

export class LogFloors {
  readonly #options: LogFloorsOptions;
  /** By partition, then epoch: everything up to this sequence is in a checkpoint, or is of no concern. */
  readonly #floors: Map<number, Map<number, number>> = new Map();
  /** Limits that wait for the retention to pass, oldest first. */
  #waiting: { readonly timeMs: number; readonly limit: number }[] = [];

  constructor(options: LogFloorsOptions) {
    this.#options = options;
  }

  /** The first claim of an epoch counts: what lies between it and a second one is needed as well. */
  claimed(partition: number, epoch: number, sequence: number): void {
    if (this.#floors.get(partition)?.has(epoch) === true) return;
    this.covered(partition, epoch, sequence - 1);
  }

  covered(partition: number, epoch: number, sequence: number): void {
    let epochs = this.#floors.get(partition);
    if (epochs === undefined) {
      epochs = new Map();
      this.#floors.set(partition, epochs);
    }
    epochs.set(epoch, Math.max(sequence, epochs.get(epoch) ?? 0));
  }

  async trim(table: ControlTable, checkpoint: ConfirmedCheckpoint): Promise<void> {
    const { log, self, wallMs, logRetentionMs } = this.#options;
    this.#waiting.push({ timeMs: checkpoint.timeMs, limit: this.limit(table) });
    const nowMs = wallMs();
    const due = this.#waiting.findLastIndex(({ timeMs }) => timeMs + logRetentionMs <= nowMs);
    if (due < 0) return;
    const { limit } = this.#waiting[due] as { limit: number };
    this.#waiting = this.#waiting.slice(due + 1);
    if (limit > 1) await log.trim(self, limit - 1);
  }

  /** Entries after this sequence are needed. */
  limit(table: ControlTable): number {
    const { self, committedSequence } = this.#options;
    let limit = committedSequence();
    for (const [partition, { owner, epoch, lineage }] of table.partitions.entries()) {
      const epochs = this.#floors.get(partition);
      const named = new Set<number>();
      for (const stretch of lineage) {
        if (stretch.incarnation !== self) continue;
        named.add(stretch.epoch);
        limit = Math.min(limit, epochs?.get(stretch.epoch) ?? 0);
      }
      if (owner === self) {
        named.add(epoch);
        // Its claim is yet to come, behind all that is there; where the log is full, only a trim makes room for it.
        limit = Math.min(limit, epochs?.get(epoch) ?? limit);
      }
      this.#forget(partition, named, epoch);
    }
    return limit;
  }

  /** Stretches that the table no longer names are covered by others' checkpoints. */
  #forget(partition: number, named: ReadonlySet<number>, epoch: number): void {
    const epochs = this.#floors.get(partition);
    if (epochs === undefined) return;
    for (const known of epochs.keys()) {
      // A stretch of an epoch that this table does not know yet is younger than the table.
      if (!named.has(known) && known <= epoch) epochs.delete(known);
    }
    if (epochs.size === 0) this.#floors.delete(partition);
  }
}
