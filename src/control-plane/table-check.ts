/**
 * What must hold for every control table, and from one to the next (docs/invariants.md I9, I11). Answers a sentence
 * about the first breach, null when all holds: damage when the table was read, a bug when it was computed here.
 */

import {
  type ControlTable,
  type Member,
  NOBODY,
  type PartitionAssignment,
} from "../model/ownership.ts";

/** Where a log ends that holds its SEAL and nothing else. */
export const EMPTY_LOG_END = 1;

/** Null when the table is consistent in itself. */
export function tableBreach(table: ControlTable): string | null {
  const members = new Map<number, Member>();
  let last = NOBODY;
  for (const member of table.members) {
    if (member.incarnation <= last) return `member ${member.incarnation} is out of order`;
    last = member.incarnation;
    members.set(last, member);
    const isAlive = member.state === "alive";
    if (isAlive !== (member.endSequence === null) || isAlive !== (member.endedAtMs === null)) {
      return `member ${last} is ${member.state} and its end says otherwise`;
    }
  }
  if (last > table.lastIncarnation) return `member ${last} was never handed out`;
  const log2 = Math.log2(table.partitionCount);
  if (!Number.isInteger(log2)) return `${table.partitionCount} partitions are no power of two`;
  if (table.partitions.length !== table.partitionCount) {
    return `there are ${table.partitions.length} partitions, not ${table.partitionCount}`;
  }
  for (const [partition, assignment] of table.partitions.entries()) {
    const breach = assignmentBreach(assignment, members);
    if (breach !== null) return `partition ${partition}: ${breach}`;
  }
  return null;
}

function assignmentBreach(
  assignment: PartitionAssignment,
  members: ReadonlyMap<number, Member>,
): string | null {
  const { owner, epoch, moveTo, lineage } = assignment;
  if ((owner === NOBODY) !== (epoch === 0)) return `epoch ${epoch} does not fit owner ${owner}`;
  if (owner !== NOBODY && members.get(owner)?.state !== "alive") {
    return `its owner ${owner} is not alive`;
  }
  if (moveTo !== NOBODY) {
    if (owner === NOBODY || moveTo === owner) return `it can't move to ${moveTo}`;
    if (members.get(moveTo)?.state !== "alive") return `its target ${moveTo} is not alive`;
  }
  let before = 0;
  for (const stretch of lineage) {
    const first = stretch.emptySince ?? stretch.epoch;
    if (first <= before || first > stretch.epoch || stretch.epoch >= epoch) {
      return "its lineage does not rise";
    }
    if (first < stretch.epoch && stretch.endSequence > EMPTY_LOG_END) {
      return `epochs ${first} to ${stretch.epoch} of its lineage are not empty`;
    }
    before = stretch.epoch;
    if (!members.has(stretch.incarnation)) return `its lineage names ${stretch.incarnation}`;
  }
  return null;
}

/** Null when `after` may follow `before`, any number of changes later. */
export function successionBreach(before: ControlTable, after: ControlTable): string | null {
  if (after.partitionCount !== before.partitionCount) return "the number of partitions changed";
  if (after.lastIncarnation < before.lastIncarnation) return "incarnations went back";
  if (after.ruleRevision < before.ruleRevision) return "the rule's revision went back";
  for (const [partition, old] of before.partitions.entries()) {
    const now = after.partitions[partition] as PartitionAssignment;
    if (now.epoch < old.epoch) return `the epoch of partition ${partition} went back`;
    if (now.epoch === old.epoch && now.owner !== old.owner) {
      return `partition ${partition} changed its owner within an epoch`;
    }
  }
  const states = new Map(after.members.map((member) => [member.incarnation, member.state]));
  for (const member of before.members) {
    const state = states.get(member.incarnation);
    if (member.state !== "alive" && state !== undefined && state !== member.state) {
      return `member ${member.incarnation} was ${member.state} and is ${state}`;
    }
  }
  return null;
}

/**
 * Null when `after` is one change after `before`: a change of owner is one epoch, and the old owner's stretch is in the
 * lineage. Only here is "exactly one" known.
 */
export function changeBreach(before: ControlTable, after: ControlTable): string | null {
  const breach = tableBreach(after) ?? successionBreach(before, after);
  if (breach !== null) return breach;
  for (const [partition, old] of before.partitions.entries()) {
    const now = after.partitions[partition] as PartitionAssignment;
    if (now.epoch === old.epoch) continue;
    if (now.epoch !== old.epoch + 1) return `partition ${partition} skipped an epoch`;
    if (old.owner === NOBODY) continue;
    const end = now.lineage.at(-1);
    if (end?.epoch !== old.epoch || end.incarnation !== old.owner) {
      return `partition ${partition} lost the stretch of epoch ${old.epoch}`;
    }
  }
  return null;
}

/** Incarnations that some partition needs: its owner, its target, the logs of its lineage. */
export function referencesOf(table: ControlTable): ReadonlySet<number> {
  const found = new Set<number>();
  for (const { owner, moveTo, lineage } of table.partitions) {
    found.add(owner).add(moveTo);
    for (const stretch of lineage) found.add(stretch.incarnation);
  }
  found.delete(NOBODY);
  return found;
}
