/**
 * CLAIM and RELEASE in the log: where an owner's stretch of a partition's history begins and ends. They count nothing;
 * recovery checks the table against them.
 */

import type { CommittedEntry, GroupCommit, Section } from "../commit/group-commit.ts";
import type { CatchallError } from "../model/errors.ts";
import type { PartitionState } from "./partition-state.ts";
import {
  type SECTION_CLAIM,
  SECTION_HEADER_BYTES,
  type SECTION_RELEASE,
  writeSectionHeader,
} from "./section-codec.ts";

/**
 * Appends a mark behind everything that was admitted before, and resolves to its entry's sequence once it is durable and
 * `state` stands there. Errors: those of the append; the mark is not in the log if the effect is `none`.
 */
export function appendMark(
  commit: GroupCommit,
  state: PartitionState,
  epoch: number,
  kind: typeof SECTION_CLAIM | typeof SECTION_RELEASE,
): Promise<number> {
  return new Promise((resolve, reject) => {
    commit.enqueue(new MarkSection({ state, epoch, kind, resolve, reject }));
  });
}

interface MarkOptions {
  readonly state: PartitionState;
  readonly epoch: number;
  readonly kind: number;
  readonly resolve: (sequence: number) => void;
  readonly reject: (error: CatchallError) => void;
}

class MarkSection implements Section {
  readonly encodedBytes: number = SECTION_HEADER_BYTES;
  readonly eventCount = 0;
  readonly isMark = true;
  readonly #options: MarkOptions;

  constructor(options: MarkOptions) {
    this.#options = options;
  }

  encodeInto(bytes: Uint8Array, at: number): void {
    const { state, epoch, kind } = this.#options;
    writeSectionHeader(bytes, at, { partition: state.partition, kind, epoch, payloadBytes: 0 });
  }

  committed(entry: CommittedEntry): void {
    const { state, epoch, resolve } = this.#options;
    state.advance(epoch, entry);
    resolve(entry.sequence);
  }

  failed(error: CatchallError): void {
    this.#options.reject(error);
  }
}
