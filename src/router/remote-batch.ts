/**
 * A sub-batch that a peer sent: checked, read where it lies in its frame, and answered into the frame's reply.
 */

import type { CatchallError } from "../model/errors.ts";
import {
  RecordWriter,
  recordEnd,
  recordHash,
  recordNameLength,
  recordNameStart,
} from "../model/event-records.ts";
import { hash32 } from "../model/hash32.ts";
import { partitionOf } from "../model/partition-id.ts";
import type { SubBatch } from "../partition/partition-actor.ts";
import {
  committedOutcome,
  type IncomingSubBatch,
  type SubBatchOutcome,
} from "../transport/events-codec.ts";

/** Gathers what becomes of the sub-batches of one frame. */
export class FrameOutcomes {
  readonly #outcomes: SubBatchOutcome[] = [];
  readonly #complete: (outcomes: readonly SubBatchOutcome[]) => void;
  #left: number;

  constructor(count: number, complete: (outcomes: readonly SubBatchOutcome[]) => void) {
    this.#left = count;
    this.#complete = complete;
  }

  /** Once for each place. */
  ended(place: number, outcome: SubBatchOutcome): void {
    this.#outcomes[place] = outcome;
    if (--this.#left === 0) this.#complete(this.#outcomes);
  }
}

export class RemoteBatch implements SubBatch {
  readonly producer: number;
  readonly producerSequence: number;
  readonly records: RecordWriter;
  readonly eventCount: number;
  readonly #outcomes: FrameOutcomes;
  readonly #place: number;

  /** Reads the frame until it is settled. */
  constructor(
    frame: Uint8Array,
    producer: number,
    batch: IncomingSubBatch,
    outcomes: FrameOutcomes,
    place: number,
  ) {
    this.producer = producer;
    this.producerSequence = batch.producerSequence;
    this.eventCount = batch.eventCount;
    // No copy: the frame is valid until its reply, and there is none before every sub-batch has settled.
    const bytes = frame.subarray(batch.start, batch.end);
    this.records = RecordWriter.holding(bytes, batch.recordCount, batch.keyedCount);
    this.#outcomes = outcomes;
    this.#place = place;
  }

  committed(keys: Uint8Array | null): void {
    this.#outcomes.ended(this.#place, committedOutcome(keys));
  }

  failed(error: CatchallError): void {
    this.#outcomes.ended(this.#place, { kind: "error", error });
  }
}

/** True when every record lies where it says, and that is in this partition: else one domain would count in two places. */
export function areOfPartition(
  bytes: Uint8Array,
  batch: IncomingSubBatch,
  partitions: number,
): boolean {
  for (let at = batch.start; at < batch.end; at = recordEnd(bytes, at)) {
    const hash = recordHash(bytes, at);
    const start = recordNameStart(bytes, at);
    if (partitionOf(hash, partitions) !== batch.partition) return false;
    if (hash32(bytes, start, start + recordNameLength(bytes, at)) !== hash) return false;
  }
  return true;
}
