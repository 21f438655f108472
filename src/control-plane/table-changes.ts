/**
 * Every change of the control table, pure: the table before in, the table after out. Null means that there is nothing
 * (more) to do.
 * Invariant: each change looks at what is there (epoch, owner, state) and not at how often it was tried, so that a
 * compare-and-set loop may apply it again after an outcome it could not see. A partition changes its owner only by
 * `finishMove` (its living owner has written RELEASE) or by `endMember` (DEAD and sealed); I11 in docs/invariants.md.
 */

import { CatchallError } from "../model/errors.ts";
import {
  type ControlTable,
  type Member,
  memberOf,
  NOBODY,
  type PartitionAssignment,
} from "../model/ownership.ts";
import type { Rule } from "../model/status.ts";
import { assert } from "../runtime/assert.ts";
import { MEMBERS_MAX, PARTITIONS_MAX, TABLE_FORMAT_VERSION } from "./control-table-codec.ts";
import { placeBalanced, placeOrphans } from "./hash-ring-placement.ts";
import { placesOf, takersOf } from "./rebalance-plan.ts";
import { EMPTY_LOG_END, referencesOf } from "./table-check.ts";

/** The table of a cluster that starts for the first time: no member, no owner. */
export function createTable(options: {
  readonly partitionCount: number;
  readonly rule: Rule;
}): ControlTable {
  const { partitionCount, rule } = options;
  assert(partitionCount >= 1 && partitionCount <= PARTITIONS_MAX, "partitions are within limits");
  const empty: PartitionAssignment = { owner: NOBODY, epoch: 0, lineage: [], moveTo: NOBODY };
  return {
    formatVersion: TABLE_FORMAT_VERSION,
    partitionCount,
    lastIncarnation: NOBODY,
    members: [],
    partitions: Array.from({ length: partitionCount }, () => empty),
    initialRule: rule,
    rule,
    ruleRevision: 0,
    rebalances: [],
    changeNonce: "",
  };
}

/**
 * Hands out the next incarnation. The older life of the same node, if any, stays as it is: it ends by its lease alone.
 * Null when `joinNonce` has joined already. Errors: `conflict` when the table is full.
 */
export function joinMember(
  table: ControlTable,
  join: { readonly nodeId: string; readonly joinNonce: string },
): ControlTable | null {
  if (table.members.some((member) => member.joinNonce === join.joinNonce)) return null;
  if (table.members.length >= MEMBERS_MAX) {
    throw new CatchallError(
      "conflict",
      `The control table remembers ${MEMBERS_MAX} lives of nodes; no more can join until some ` +
        "are forgotten, an hour after they ended",
    );
  }
  const incarnation = table.lastIncarnation + 1;
  const member: Member = {
    incarnation,
    nodeId: join.nodeId,
    joinNonce: join.joinNonce,
    state: "alive",
    isDraining: false,
    endSequence: null,
    endedAtMs: null,
  };
  return { ...table, lastIncarnation: incarnation, members: [...table.members, member] };
}

/** First assignment: gives what has never had an owner, and only that, to these members. */
export function assignPartitions(
  table: ControlTable,
  incarnations: readonly number[],
): ControlTable | null {
  if (!table.partitions.some(({ owner }) => owner === NOBODY)) return null;
  const takers = new Map(
    [...takersOf(table)].filter(([, incarnation]) => incarnations.includes(incarnation)),
  );
  if (takers.size === 0) return null;
  const target = placeBalanced({ nodeIds: [...takers.keys()], current: placesOf(table, takers) });
  const partitions = table.partitions.map((assignment, partition) => {
    if (assignment.owner !== NOBODY) return assignment;
    const owner = takers.get(target[partition] as string) as number;
    return { ...assignment, owner, epoch: assignment.epoch + 1 };
  });
  return { ...table, partitions };
}

export interface MemberEnd {
  readonly incarnation: number;
  /** Sequence of the SEAL: nothing of this incarnation lies after it, in its log or anywhere. */
  readonly endSequence: number;
  readonly state: "dead" | "left";
  readonly endedAtMs: number;
  /** Members that are not to be given anything, because their own end is near. */
  readonly avoid?: ReadonlySet<number>;
}

/**
 * Ends a member and gives each of its partitions to the next live node. Its lease must be final and its log sealed
 * before. Null when it has ended already, and when there is nobody who could take what it owns.
 */
export function endMember(table: ControlTable, end: MemberEnd): ControlTable | null {
  const member = memberOf(table, end.incarnation);
  if (member?.state !== "alive") return null;
  const orphans = partitionsOf(table, end.incarnation);
  const heirs = heirsOf(table, end, orphans);
  if (heirs === null) return null;
  // Whoever still owned something did not leave in good order.
  const state = orphans.length > 0 ? "dead" : end.state;
  const { endSequence, endedAtMs } = end;
  const partitions = table.partitions.map((assignment, partition) => {
    const heir = heirs.get(partition);
    if (heir !== undefined) return handOver(assignment, heir, endSequence);
    return assignment.moveTo === end.incarnation ? { ...assignment, moveTo: NOBODY } : assignment;
  });
  return {
    ...table,
    members: replaceMember(table, { ...member, state, endSequence, endedAtMs }),
    partitions,
  };
}

/** By orphan; a target that has been warming it comes first. Null when there is nobody. */
function heirsOf(
  table: ControlTable,
  end: MemberEnd,
  orphans: readonly number[],
): ReadonlyMap<number, number> | null {
  const heirs = new Map<number, number>();
  if (orphans.length === 0) return heirs;
  const takers = someTakers(table, end);
  if (takers.size === 0) return null;
  const able = new Set(takers.values());
  const places = placesOf(table, takers);
  const left = orphans.filter((partition) => {
    const { moveTo } = table.partitions[partition] as PartitionAssignment;
    if (!able.has(moveTo)) return true;
    heirs.set(partition, moveTo);
    return false;
  });
  const placed = placeOrphans({ nodeIds: [...takers.keys()], current: places }, left);
  for (const [index, partition] of left.entries()) {
    heirs.set(partition, takers.get(placed[index] as string) as number);
  }
  return heirs;
}

/** The best that there are: first nobody who drains or is in doubt, then those in doubt, then those who drain. */
function someTakers(table: ControlTable, end: MemberEnd): ReadonlyMap<string, number> {
  const self = [end.incarnation];
  const sound = takersOf(table, new Set([...self, ...(end.avoid ?? [])]));
  if (sound.size > 0) return sound;
  const staying: ControlTable = {
    ...table,
    members: table.members
      .filter((member) => member.incarnation !== end.incarnation)
      .map((member) => ({ ...member, isDraining: false })),
  };
  const draining = takersOf(staying, end.avoid);
  if (draining.size > 0) return draining;
  const doubtful = takersOf(table, new Set(self));
  return doubtful.size > 0 ? doubtful : takersOf(staying);
}

export interface Move {
  readonly partition: number;
  readonly from: number;
  readonly epoch: number;
}

/** A move whose RELEASE lies at `endSequence`; `bytes` of its counter table were moved. */
export interface FinishedMove extends Move {
  readonly endSequence: number;
  readonly bytes: number;
}

/** Names the target; nothing changes hands. Null when the move can't start or is on already. */
export function startMove(
  table: ControlTable,
  move: Move & { readonly to: number },
): ControlTable | null {
  const assignment = currentOf(table, move);
  const target = memberOf(table, move.to);
  if (assignment === null || assignment.moveTo !== NOBODY || move.to === move.from) return null;
  if (target?.state !== "alive" || target.isDraining) return null;
  return replacePartition(table, move.partition, { ...assignment, moveTo: move.to });
}

/**
 * By the owner alone, once its RELEASE lies at `endSequence` in its log: the target becomes the owner. If the target is
 * gone, the owner takes it back, in a new epoch all the same, since the old one has ended in the log.
 * Its bytes are added to the rebalance that planned the move.
 */
export function finishMove(table: ControlTable, move: FinishedMove): ControlTable | null {
  const assignment = currentOf(table, move);
  if (assignment === null) return null;
  const isTargetAlive = memberOf(table, assignment.moveTo)?.state === "alive";
  const heir = isTargetAlive ? assignment.moveTo : move.from;
  const moved = replacePartition(
    table,
    move.partition,
    handOver(assignment, heir, move.endSequence),
  );
  if (!isTargetAlive) return moved;
  const { partition, from, bytes } = move;
  const rebalances = moved.rebalances.map((record) => {
    const isItsMove =
      record.state === "running" &&
      record.moves.some(
        (one) => one.partition === partition && one.from === from && one.to === heir,
      );
    return isItsMove ? { ...record, bytes: record.bytes + bytes } : record;
  });
  return { ...moved, rebalances };
}

/** Forgets the target, if it is still this one. What was RELEASEd meanwhile goes back to its owner by `finishMove`. */
export function dropMove(
  table: ControlTable,
  move: Move & { readonly to: number },
): ControlTable | null {
  const assignment = currentOf(table, move);
  if (assignment === null || move.to === NOBODY || assignment.moveTo !== move.to) return null;
  return replacePartition(table, move.partition, { ...assignment, moveTo: NOBODY });
}

/** By the owner, after a confirmed manifest at its current epoch covers all earlier stretches. */
export function clearLineage(table: ControlTable, covered: readonly Move[]): ControlTable | null {
  let changed = table;
  for (const move of covered) {
    const assignment = currentOf(changed, move);
    if (assignment === null || assignment.lineage.length === 0) continue;
    changed = replacePartition(changed, move.partition, { ...assignment, lineage: [] });
  }
  return changed === table ? null : changed;
}

/** Whether a member is given anything from now on. Null when it is so already, or has ended. */
export function setDraining(
  table: ControlTable,
  incarnation: number,
  isDraining: boolean,
): ControlTable | null {
  const member = memberOf(table, incarnation);
  if (member?.state !== "alive" || member.isDraining === isDraining) return null;
  return { ...table, members: replaceMember(table, { ...member, isDraining }) };
}

/**
 * Makes `rule` the rule of `revision`, which is one more than the last. Null when it is so already.
 * Errors: `conflict` when another rule has that revision; `outcome_unknown` when later rules hide whether this one was.
 */
export function setRule(
  table: ControlTable,
  change: { readonly rule: Rule; readonly revision: number },
): ControlTable | null {
  const { rule, revision } = change;
  if (table.ruleRevision === revision && isSameRule(table.rule, rule)) return null;
  if (table.ruleRevision > revision) throw new CatchallError("outcome_unknown");
  if (table.ruleRevision !== revision - 1) {
    throw new CatchallError("conflict", "Another rule was set meanwhile");
  }
  return { ...table, rule, ruleRevision: revision };
}

/**
 * Drops the rows of members that ended at or before `endedBeforeMs`, are not needed by any partition and are among
 * `forgettable`. Null when there are none.
 */
export function forgetMembers(
  table: ControlTable,
  options: { readonly endedBeforeMs: number; readonly forgettable: ReadonlySet<number> },
): ControlTable | null {
  const needed = referencesOf(table);
  const members = table.members.filter(
    ({ incarnation, endedAtMs }) =>
      endedAtMs === null ||
      endedAtMs > options.endedBeforeMs ||
      needed.has(incarnation) ||
      !options.forgettable.has(incarnation),
  );
  return members.length === table.members.length ? null : { ...table, members };
}

/** Partitions that a member owns, ascending. */
export function partitionsOf(table: ControlTable, incarnation: number): number[] {
  return table.partitions.flatMap(({ owner }, partition) =>
    owner === incarnation ? [partition] : [],
  );
}

/** The assignment, if it is still as the caller knew it. */
function currentOf(table: ControlTable, move: Move): PartitionAssignment | null {
  const assignment = table.partitions[move.partition];
  if (assignment === undefined || assignment.owner !== move.from) return null;
  return assignment.epoch === move.epoch && assignment.owner !== NOBODY ? assignment : null;
}

/**
 * The one place where an owner changes. Of stretches in a row that are empty, since their logs hold a SEAL alone, the
 * newest stands for all: hours of lives that end before they have written anything must not fill the table.
 */
function handOver(
  { owner, epoch, lineage }: PartitionAssignment,
  heir: number,
  endSequence: number,
): PartitionAssignment {
  const stretch = { epoch, incarnation: owner, endSequence };
  const last = lineage.at(-1);
  const isRun = endSequence <= EMPTY_LOG_END && last?.endSequence === endSequence;
  const next = isRun
    ? [...lineage.slice(0, -1), { ...stretch, emptySince: last.emptySince ?? last.epoch }]
    : [...lineage, stretch];
  return { owner: heir, epoch: epoch + 1, lineage: next, moveTo: NOBODY };
}

function replacePartition(
  table: ControlTable,
  partition: number,
  assignment: PartitionAssignment,
): ControlTable {
  return { ...table, partitions: table.partitions.with(partition, assignment) };
}

function replaceMember(table: ControlTable, member: Member): Member[] {
  return table.members.map((other) => (other.incarnation === member.incarnation ? member : other));
}

function isSameRule(a: Rule, b: Rule): boolean {
  return (
    a.deliveredThreshold === b.deliveredThreshold &&
    a.bouncedThreshold === b.bouncedThreshold &&
    a.maxBounceRatio === b.maxBounceRatio
  );
}
