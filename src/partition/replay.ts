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
  /** By rising epoch, without a gap but for those that are known to be empty. */
  readonly stretches: readonly LineageStretch[];
}

/** A stretch in which no CLAIM was found: nothing was ever claimed in it, or its beginning was trimmed. */
export interface UnclaimedStretch {
  readonly partition: number;
  readonly epoch: number;
}

export interface ReplayReport {
  readonly entries: number;
  /** Time of the youngest entry that was read, ms; 0 when none was. */
  readonly lastTimeMs: number;
  /** To be looked at again by whoever knows the checkpoints (recovery.ts). */
  readonly unclaimed: readonly UnclaimedStretch[];
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
  if (options.hasClaims) for (const queue of queues) assertNoGap(queue.target, queue.stretches);
  const unclaimed: UnclaimedStretch[] = [];
  let entries = 0;
  let lastTimeMs = 0;
  for (;;) {
    const waiting = queues.filter((queue) => queue.stretches.length > 0);
    const first = waiting[0]?.stretches[0];
    if (first === undefined) return { entries, lastTimeMs, unclaimed };
    const open = waiting
      .filter((queue) => queue.stretches[0]?.incarnation === first.incarnation)
      .map((queue) =>
        openStretch(options, queue.target, queue.stretches.shift() as LineageStretch),
      );
    const report = await replayLog(options.log, first.incarnation, open);
    entries += report.entries;
    lastTimeMs = Math.max(lastTimeMs, report.lastTimeMs);
    for (const { target, stretch, isClaimed } of open) {
      const { epoch, incarnation, endSequence } = stretch;
      if (!isClaimed) unclaimed.push({ partition: target.state.partition, epoch });
      target.covered = { epoch, incarnation, sequence: endSequence };
    }
  }
}

function isCovered(stretch: LineageStretch, covered: Position): boolean {
  if (stretch.epoch !== covered.epoch) return stretch.epoch < covered.epoch;
  return stretch.endSequence <= covered.sequence;
}

/** An epoch that nobody accounts for: its checkpoint is lost, or the table was read twice with a checkpoint between. */
function assertNoGap(target: ReplayTarget, stretches: readonly LineageStretch[]): void {
  let { epoch } = target.covered;
  for (const stretch of stretches) {
    const since = stretch.emptySince ?? stretch.epoch;
    if (since > epoch + 1) {
      throw new CatchallError(
        "log_damaged",
        `Partition ${target.state.partition} is known up to epoch ${epoch}, its history goes on ` +
          `with epoch ${since}: a checkpoint is missing`,
      );
    }
    epoch = stretch.epoch;
  }
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
): Promise<{ entries: number; lastTimeMs: number }> {
  const byPartition = new Map(open.map((one) => [one.target.state.partition, one]));
  const from = Math.min(...open.map((one) => one.from));
  const to = Math.max(...open.map((one) => one.stretch.endSequence));
  let entries = 0;
  let lastTimeMs = 0;
  if (from > to) return { entries, lastTimeMs };
  let [firstRead, lastRead] = [0, 0];
  for await (const bytes of log.read(incarnation, from, to)) {
    const header = readEntryHeader(bytes);
    if (entries === 0) firstRead = header.sequence;
    lastRead = header.sequence;
    entries++;
    lastTimeMs = Math.max(lastTimeMs, header.timeMs);
    if (header.kind === ENTRY_KIND_SEAL) continue;
    for (const section of readSections(bytes, ENTRY_HEADER_BYTES, bytes.length)) {
      const one = byPartition.get(section.partition);
      if (one !== undefined) replaySection(one, bytes, section, header);
    }
  }
  for (const one of open) assertWhole(one, firstRead, lastRead);
  return { entries, lastTimeMs };
}

/** What was read must reach from the first entry that is needed to the last. */
function assertWhole({ stretch, from }: OpenStretch, firstRead: number, lastRead: number): void {
  const { endSequence, incarnation } = stretch;
  if (endSequence < Math.max(1, from)) return;
  const isBegun = from === FIRST_KEPT || (firstRead > 0 && firstRead <= from);
  if (isBegun && lastRead >= endSequence) return;
  const needed = from === FIRST_KEPT ? `up to ${endSequence}` : `${from} to ${endSequence}`;
  const found = lastRead === 0 ? "none of them" : `${firstRead} to ${lastRead}`;
  throw new CatchallError(
    "log_damaged",
    `Entries ${needed} of log ${incarnation} are needed, ${found} are there`,
  );
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
