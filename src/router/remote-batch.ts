/**
 * A sub-batch that a peer sent: checked, copied out of its frame, and answered into the frame's reply.
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
import type { IncomingSubBatch, SubBatchOutcome } from "../transport/events-codec.ts";

export class RemoteBatch implements SubBatch {
  readonly producer: number;
  readonly producerSequence: number;
  readonly records: RecordWriter;
  readonly eventCount: number;
  readonly #ended: (outcome: SubBatchOutcome) => void;

  constructor(
    frame: Uint8Array,
    options: {
      readonly producer: number;
      readonly batch: IncomingSubBatch;
      readonly ended: (outcome: SubBatchOutcome) => void;
    },
  ) {
    const { producer, batch, ended } = options;
    this.producer = producer;
    this.producerSequence = batch.producerSequence;
    this.eventCount = batch.eventCount;
    // A copy: the frame is valid until its reply, the records until the owner has no use for them.
    const bytes = frame.slice(batch.start, batch.end);
    this.records = RecordWriter.holding(bytes, batch.recordCount, batch.keyedCount);
    this.#ended = ended;
  }

  committed(keys: Uint8Array | null): void {
    this.#ended({ kind: "committed", keys });
  }

  failed(error: CatchallError): void {
    this.#ended({ kind: "error", error });
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
