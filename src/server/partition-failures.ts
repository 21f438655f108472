/**
 * Partitions that could not be opened, or moved here: why, how long to wait before the next try, and a log that tells
 * a reason once, then once a minute with how often it came again. Hundreds of partitions may fail at once for one reason:
 * neither the log nor what refuses them is to be flooded.
 */

import type { Clock } from "../runtime/clock.ts";
import type { LogFields } from "../runtime/logger.ts";

const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 5000;
const REPORT_INTERVAL_MS = 60_000;
/** Different ones that are remembered; what comes beyond is only counted with the next line. */
const REASONS_MAX = 64;

export interface PartitionFailuresOptions {
  readonly clock: Clock;
  readonly report: (fields: LogFields) => void;
}

interface Failing {
  readonly tries: number;
  readonly reason: string;
}

interface Reported {
  readonly atMs: number;
  /** Since then. */
  repeats: number;
}

export class PartitionFailures {
  readonly #options: PartitionFailuresOptions;
  readonly #failing: Map<number, Failing> = new Map();
  readonly #reported: Map<string, Reported> = new Map();

  constructor(options: PartitionFailuresOptions) {
    this.#options = options;
  }

  /** Why partitions fail, as the one that began to fail last says; null when none does. */
  get reason(): string | null {
    return [...this.#failing.values()].at(-1)?.reason ?? null;
  }

  /** They failed together. Returns the time to wait before the next try, ms: longer with each that fails. */
  failed(partitions: readonly number[], error: unknown): number {
    const reason = error instanceof Error ? error.message : String(error);
    let tries = 0;
    for (const partition of partitions) {
      const failing = { tries: (this.#failing.get(partition)?.tries ?? 0) + 1, reason };
      this.#failing.set(partition, failing);
      tries = Math.max(tries, failing.tries);
    }
    this.#report(reason, error);
    return Math.min(RETRY_MIN_MS * 2 ** (tries - 1), RETRY_MAX_MS);
  }

  /** It is open, or no business of this node any more. */
  ended(partition: number): void {
    // What fails anew after everything was well is worth a line at once.
    if (this.#failing.delete(partition) && this.#failing.size === 0) this.#reported.clear();
  }

  #report(reason: string, error: unknown): void {
    const nowMs = this.#options.clock.monotonicMs();
    const known = this.#reported.get(reason);
    if (known !== undefined && nowMs - known.atMs < REPORT_INTERVAL_MS) {
      known.repeats++;
      return;
    }
    for (const [other, { atMs }] of this.#reported) {
      if (nowMs - atMs >= REPORT_INTERVAL_MS) this.#reported.delete(other);
    }
    if (this.#reported.size >= REASONS_MAX) return;
    this.#reported.set(reason, { atMs: nowMs, repeats: 0 });
    const repeated = known === undefined ? {} : { repeated: known.repeats };
    this.#options.report({ err: error, partitions: this.#failing.size, ...repeated });
  }
}
