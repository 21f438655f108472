/**
 * The reads of a load run: which of its requests are one, and what came of them. Kept apart from events, so that a read
 * is in no count and no latency of theirs.
 * Invariant: the same share makes the same requests reads, evenly spread; of domains the events have already used.
 */
import { LatencyRecorder, type LatencySummary } from "./latency-recorder.ts";

export interface ReadOutcome {
  /** Answered after the warm-up. */
  readonly answered: number;
  /** All of them, warm-up included. */
  readonly answeredTotal: number;
  readonly readsPerSecond: number;
  /** Milliseconds a request. */
  readonly latency: LatencySummary;
}

export class ReadTally {
  readonly #share: number;
  #latencies = new LatencyRecorder();
  #answered = 0;
  #answeredBefore = 0;

  /** `share` of the requests, 0 to 1. */
  constructor(share: number) {
    this.#share = share;
  }

  get answered(): number {
    return this.#answered;
  }

  /** Whether request `number`, from 0, is a read. */
  isRead(number: number): boolean {
    if (this.#share === 0) return false;
    return Math.floor((number + 1) * this.#share) > Math.floor(number * this.#share);
  }

  record(latencyMs: number): void {
    this.#answered++;
    this.#latencies.record(latencyMs);
  }

  endWarmup(): void {
    this.#answeredBefore = this.#answered;
    this.#latencies = new LatencyRecorder();
  }

  /** Null for a run without reads. */
  outcome(seconds: number): ReadOutcome | null {
    if (this.#share === 0) return null;
    const answered = this.#answered - this.#answeredBefore;
    return {
      answered,
      answeredTotal: this.#answered,
      readsPerSecond: answered / seconds,
      latency: this.#latencies.summary(),
    };
  }
}
