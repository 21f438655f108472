/**
 * Forgets the log of a node that is alone behind its checkpoints: up to the manifest before the newest, so that two
 * generations can always be replayed, and only once the retention has passed.
 */

import type { Clock } from "../runtime/clock.ts";
import type { NodeLog } from "../wal/node-log.ts";

/** A confirmed manifest: everything up to this entry is in its pages. */
export interface TrimPoint {
  readonly timeMs: number;
  readonly incarnation: number;
  readonly sequence: number;
}

export interface LogTrimmerOptions {
  readonly log: NodeLog;
  readonly clock: Clock;
  /** Entries are kept at least so long after a checkpoint covers them. */
  readonly logRetentionMs: number;
  /** The checkpoint that this node was restored from; null on a fresh start. */
  readonly restored: TrimPoint | null;
}

export class LogTrimmer {
  readonly #options: LogTrimmerOptions;
  /** Confirmed manifests that the log is not yet trimmed to, oldest first. */
  readonly #confirmed: TrimPoint[] = [];

  constructor(options: LogTrimmerOptions) {
    this.#options = options;
    if (options.restored !== null) this.#confirmed.push(options.restored);
  }

  async confirmed(newest: TrimPoint): Promise<void> {
    const { log, clock, logRetentionMs } = this.#options;
    const index = this.#confirmed.findLastIndex(
      (point) => point.timeMs + logRetentionMs <= clock.wallMs(),
    );
    this.#confirmed.push(newest);
    const previous = this.#confirmed[index];
    if (previous === undefined) return;
    this.#confirmed.splice(0, index);
    for (const incarnation of await log.list()) {
      if (incarnation < previous.incarnation) await log.delete(incarnation);
    }
    await log.trim(previous.incarnation, previous.sequence);
  }
}
