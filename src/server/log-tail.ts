/**
 * The ends of logs, taken into memory before the checkpoints are read: what a log loses to trimming while it is read is
 * then covered by the manifests that are read afterwards, so that a recount needs no standstill.
 * Safety: never passes over what is missing. An entry that is asked for and was not taken is `log_damaged`.
 */

import type { ManifestSet } from "../checkpoint/checkpoint-store.ts";
import { CatchallError } from "../model/errors.ts";
import type { LineageStretch } from "../model/ownership.ts";
import { readEntryHeader } from "../wal/entry-codec.ts";
import { FIRST_KEPT, type NodeLog } from "../wal/node-log.ts";

interface Tail {
  /** Sequence of the first entry, and how far the log was read. */
  readonly first: number;
  readonly end: number;
  readonly entries: readonly Uint8Array[];
}

export class LogTail implements Pick<NodeLog, "read"> {
  readonly #tails: ReadonlyMap<number, Tail>;

  private constructor(tails: ReadonlyMap<number, Tail>) {
    this.#tails = tails;
  }

  /**
   * Takes of each log what these histories (by partition) need beyond these manifests. Errors: `log_damaged`,
   * `log_unavailable`.
   */
  static async take(
    log: Pick<NodeLog, "read">,
    histories: readonly (readonly LineageStretch[])[],
    manifests: ManifestSet | null,
  ): Promise<LogTail> {
    const tails = new Map<number, Tail>();
    for (const [incarnation, { from, to }] of rangesOf(histories, manifests)) {
      tails.set(incarnation, await takeTail(log, incarnation, from, to));
    }
    return new LogTail(tails);
  }

  async *read(incarnation: number, from: number, to: number): AsyncIterable<Uint8Array> {
    const tail = this.#tails.get(incarnation);
    const isMissing = from !== FIRST_KEPT && from < (tail?.first ?? Number.POSITIVE_INFINITY);
    if (tail === undefined || isMissing || to > tail.end) {
      const range = `entries ${from} to ${to} of log ${incarnation}`;
      throw new CatchallError("log_damaged", `Not all is there of ${range}`);
    }
    for (const entry of tail.entries) {
      const { sequence } = readEntryHeader(entry);
      if (sequence >= from && sequence <= to) yield entry;
    }
  }
}

/** By incarnation: what is needed of its log. */
function rangesOf(
  histories: readonly (readonly LineageStretch[])[],
  manifests: ManifestSet | null,
): Map<number, { from: number; to: number }> {
  const covered = new Map(
    (manifests?.manifests ?? []).map(({ partition, watermark }) => [partition, watermark]),
  );
  const ranges = new Map<number, { from: number; to: number }>();
  for (const [partition, history] of histories.entries()) {
    const watermark = covered.get(partition) ?? { epoch: 0, sequence: 0 };
    for (const { epoch, incarnation, endSequence } of history) {
      if (watermark.epoch > epoch) continue;
      const from = watermark.epoch === epoch ? watermark.sequence + 1 : FIRST_KEPT;
      if (from > endSequence) continue;
      const range = ranges.get(incarnation);
      ranges.set(incarnation, {
        from: Math.min(from, range?.from ?? from),
        to: Math.max(endSequence, range?.to ?? 0),
      });
    }
  }
  return ranges;
}

async function takeTail(
  log: Pick<NodeLog, "read">,
  incarnation: number,
  from: number,
  to: number,
): Promise<Tail> {
  try {
    return await collect(log, incarnation, from, to);
  } catch (error) {
    const isTrimmed = error instanceof CatchallError && error.code === "log_damaged";
    if (!isTrimmed || from === FIRST_KEPT) throw error;
    return await collect(log, incarnation, FIRST_KEPT, to);
  }
}

async function collect(
  log: Pick<NodeLog, "read">,
  incarnation: number,
  from: number,
  to: number,
): Promise<Tail> {
  const entries: Uint8Array[] = [];
  for await (const entry of log.read(incarnation, from, to)) entries.push(entry.slice());
  const [first] = entries;
  // All that there was is trimmed: nothing from the end on is missing.
  return {
    first: first === undefined ? to + 1 : readEntryHeader(first).sequence,
    end: to,
    entries,
  };
}
