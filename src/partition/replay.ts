/**
 * Replays the history of partitions from where they stand to the ends of given stretches, each log read once for all
 * partitions that need it next.
 *
 * Safety: of a stretch only sections of its own epoch count, none after its end. A section that lies there all the same
 * means that the table or the log is wrong, and is refused loudly; so is a stretch that does not begin with its CLAIM
 * where claims are written.
 */

import type { Position } from "../checkpoint/checkpoint-store.ts";
import { CatchallError } from "../model/errors.ts";
import type { LineageStretch } from "../model/ownership.ts";
import {
  ENTRY_HEADER_BYTES,
  ENTRY_KIND_SEAL,
  type EntryHeader,
  readEntryHeader,
} from "../wal/entry-codec.ts";
import { FIRST_KEPT, type NodeLog } from "../wal/node-log.ts";
import type { PartitionState } from "./partition-state.ts";
import {
  decodeChange,
  readEvents,
  readSections,
  SECTION_CLAIM,
  SECTION_EVENTS,
  SECTION_RELEASE,
  type SectionView,
} from "./section-codec.ts";

/** One partition on its way: `covered` moves on as stretches are replayed. */
export interface ReplayTarget {
  readonly state: PartitionState;
  /** Everything up to here is in `state`; a stretch that ended earlier is skipped. */
  covered: Position;
}

export interface ReplayTask {
  readonly target: ReplayTarget;
  /** By rising epoch. */
  readonly stretches: readonly LineageStretch[];
}

export interface ReplayReport {
  readonly entries: number;
  /** Time of the youngest entry that was read, ms; 0 when none was. */
  readonly lastTimeMs: number;
}

export interface ReplayOptions {
  readonly log: Pick<NodeLog, "read">;
  /** True where every stretch begins with a CLAIM (a cluster). */
  readonly hasClaims: boolean;
}

/** What one partition takes from the log that is being read. */
interface OpenStretch {
  readonly target: ReplayTarget;
  readonly stretch: LineageStretch;
  /** First sequence that is not covered yet; FIRST_KEPT when the stretch begins with a CLAIM somewhere in the log. */
  readonly from: number;
  isClaimed: boolean;
}

/** Errors: `log_damaged`, `log_unavailable`. After an error the states are of no use. */
export async function replay(
  options: ReplayOptions,
  tasks: readonly ReplayTask[],
): Promise<ReplayReport> {
  const queues = tasks.map((task) => ({
    target: task.target,
    stretches: task.stretches.filter((stretch) => !isCovered(stretch, task.target.covered)),
  }));
  let entries = 0;
  let lastTimeMs = 0;
  for (;;) {
    const waiting = queues.filter((queue) => queue.stretches.length > 0);
    const first = waiting[0]?.stretches[0];
    if (first === undefined) return { entries, lastTimeMs };
    const open = waiting
      .filter((queue) => queue.stretches[0]?.incarnation === first.incarnation)
      .map((queue) =>
        openStretch(options, queue.target, queue.stretches.shift() as LineageStretch),
      );
    const report = await replayLog(options.log, first.incarnation, open);
    entries += report.entries;
    lastTimeMs = Math.max(lastTimeMs, report.lastTimeMs);
    for (const { target, stretch } of open) {
      const { epoch, incarnation, endSequence } = stretch;
      target.covered = { epoch, incarnation, sequence: endSequence };
    }
  }
}

function isCovered(stretch: LineageStretch, covered: Position): boolean {
  if (stretch.epoch !== covered.epoch) return stretch.epoch < covered.epoch;
  return stretch.endSequence <= covered.sequence;
}

function openStretch(
  options: ReplayOptions,
  target: ReplayTarget,
  stretch: LineageStretch,
): OpenStretch {
  const isContinued = target.covered.epoch === stretch.epoch;
  return {
    target,
    stretch,
    // Without claims only the sequence can tell that nothing is missing at the beginning.
    from: isContinued ? target.covered.sequence + 1 : options.hasClaims ? FIRST_KEPT : 1,
    isClaimed: isContinued || !options.hasClaims,
  };
}

async function replayLog(
  log: Pick<NodeLog, "read">,
  incarnation: number,
  open: readonly OpenStretch[],
): Promise<ReplayReport> {
  const byPartition = new Map(open.map((one) => [one.target.state.partition, one]));
  const from = Math.min(...open.map((one) => one.from));
  const to = Math.max(...open.map((one) => one.stretch.endSequence));
  let entries = 0;
  let lastTimeMs = 0;
  if (from > to) return { entries, lastTimeMs };
  for await (const bytes of log.read(incarnation, from, to)) {
    const header = readEntryHeader(bytes);
    entries++;
    lastTimeMs = Math.max(lastTimeMs, header.timeMs);
    if (header.kind === ENTRY_KIND_SEAL) continue;
    for (const section of readSections(bytes, ENTRY_HEADER_BYTES, bytes.length)) {
      const one = byPartition.get(section.partition);
      if (one !== undefined) replaySection(one, bytes, section, header);
    }
  }
  return { entries, lastTimeMs };
}

function replaySection(
  one: OpenStretch,
  bytes: Uint8Array,
  section: SectionView,
  header: EntryHeader,
): void {
  const { stretch, target } = one;
  if (section.epoch !== stretch.epoch || header.sequence < one.from) return;
  if (header.sequence > stretch.endSequence) {
    throw damaged(section, header, `a section after the end of its epoch, ${stretch.endSequence}`);
  }
  const { state } = target;
  if (section.kind === SECTION_CLAIM) {
    one.isClaimed = true;
  } else if (!one.isClaimed) {
    throw damaged(section, header, "a section before the claim of its epoch");
  }
  state.advance(section.epoch, header);
  if (section.kind === SECTION_CLAIM || section.kind === SECTION_RELEASE) return;
  if (section.kind === SECTION_EVENTS) {
    const events = readEvents(bytes, section);
    state.applyEvents(bytes, events.recordsStart, events.recordCount, header.timeMs);
    state.applyProducer(events.producer, events.producerSequence, header.timeMs);
  } else {
    state.applyChange(decodeChange(bytes, section), header.timeMs);
  }
}

function damaged(section: SectionView, header: EntryHeader, what: string): CatchallError {
  const where = `partition ${section.partition}, epoch ${section.epoch}`;
  const entry = `entry ${header.sequence} of log ${header.incarnation}`;
  return new CatchallError("log_damaged", `${entry} has ${what} (${where})`);
}
