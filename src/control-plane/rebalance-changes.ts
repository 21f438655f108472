/**
 * Rebalances and drains as changes of the control table: pure, and harmless when applied again, like those of
 * table-changes.ts. A record is a plan; how far it is stands in the partitions themselves, so that any coordinator can
 * go on with it.
 */

import { CatchallError } from "../model/errors.ts";
import {
  type ControlTable,
  type Member,
  memberOf,
  NOBODY,
  type PartitionAssignment,
  type PartitionMove,
  type RebalanceRecord,
} from "../model/ownership.ts";
import { planDrain, planRebalance } from "./rebalance-plan.ts";
import { dropMove, setDraining, startMove } from "./table-changes.ts";

/** Moves that a node takes part in at a time, as source or as target. */
export const MOVES_PER_NODE_MAX = 2;
/** Records that are kept; finished ones go first. */
const REBALANCES_KEPT = 20;

interface Start {
  /** Chosen by the caller: starting it twice is starting it once. */
  readonly id: string;
  readonly startedAtMs: number;
}

/** Records the plan that balances the cluster. Errors: `conflict` when another rebalance is running. */
export function startRebalance(
  table: ControlTable,
  { id, startedAtMs }: Start,
): ControlTable | null {
  if (rebalanceOf(table, id) !== undefined) return null;
  if (table.rebalances.some(({ state, drains }) => state === "running" && drains === NOBODY)) {
    throw new CatchallError("conflict", "A rebalance is running");
  }
  const moves = planRebalance(table);
  return addRecord(table, { id, state: "running", drains: NOBODY, moves, startedAtMs, bytes: 0 });
}

/**
 * Marks a member as draining and records the moves that empty it.
 * Errors: `node_not_found`; `drain_impossible` when nobody else could take its partitions.
 */
export function drainMember(
  table: ControlTable,
  { id, startedAtMs, incarnation }: Start & { readonly incarnation: number },
): ControlTable | null {
  if (rebalanceOf(table, id) !== undefined) return null;
  const member = memberOf(table, incarnation);
  if (member?.state !== "alive") {
    throw new CatchallError(
      "node_not_found",
      `There is no live node of incarnation ${incarnation}`,
    );
  }
  const draining = setDraining(table, incarnation, true) ?? table;
  if (!draining.members.some(canTake)) {
    throw new CatchallError("drain_impossible", "No other node is there to take the partitions");
  }
  const moves = planDrain(draining, incarnation);
  const begun = { id, state: "running", moves, startedAtMs, bytes: 0 } as const;
  return addRecord(draining, { ...begun, drains: incarnation });
}

/**
 * Ends a record before its moves are done: what is already on its way but not yet handed over stays where it is, and a
 * drained node takes part again. Null when it is not running. Errors: `rebalance_not_found`.
 */
export function cancelRebalance(table: ControlTable, id: string): ControlTable | null {
  const record = rebalanceOf(table, id);
  if (record === undefined) throw new CatchallError("rebalance_not_found");
  if (record.state !== "running") return null;
  let changed = replaceRecord(table, { ...record, state: "cancelled" });
  if (record.drains !== NOBODY) changed = setDraining(changed, record.drains, false) ?? changed;
  for (const { partition, from, to } of record.moves) {
    const epoch = changed.partitions[partition]?.epoch ?? 0;
    changed = dropMove(changed, { partition, from, epoch, to }) ?? changed;
  }
  return changed;
}

/** How far one move is. */
export type MoveState = "waiting" | "moving" | "done" | "dropped";

export function moveState(table: ControlTable, move: PartitionMove): MoveState {
  const assignment = table.partitions[move.partition];
  if (assignment?.owner === move.to) return "done";
  if (assignment === undefined || assignment.owner !== move.from) return "dropped";
  if (assignment.moveTo === move.to) return "moving";
  const target = memberOf(table, move.to);
  if (assignment.moveTo !== NOBODY || target === undefined || !canTake(target)) return "dropped";
  return "waiting";
}

/** False where a round of rebalances has nothing to look at, which is nearly always. */
export function isAnythingMoving(table: ControlTable): boolean {
  return (
    table.rebalances.some(({ state }) => state === "running") ||
    table.members.some(({ isDraining }) => isDraining) ||
    table.partitions.some(({ moveTo }) => moveTo !== NOBODY)
  );
}

/**
 * Starts what may start now, ends the records that have nothing left, and drops targets that drain or died. Null when
 * there is nothing to do.
 */
export function stepRebalances(table: ControlTable): ControlTable | null {
  let changed = dropIdleTargets(table);
  const active = activeMoves(changed);
  for (const record of changed.rebalances) {
    if (record.state !== "running") continue;
    for (const move of record.moves) {
      if (moveState(changed, move) === "waiting") changed = tryStart(changed, move, active);
    }
  }
  changed = drainStragglers(changed, active);
  changed = endRecords(changed);
  return changed === table ? null : changed;
}

/** A target that is to be emptied itself takes nothing more. */
function dropIdleTargets(table: ControlTable): ControlTable {
  let changed = table;
  for (const [partition, { owner, epoch, moveTo }] of table.partitions.entries()) {
    if (moveTo === NOBODY) continue;
    const target = memberOf(table, moveTo);
    if (target !== undefined && canTake(target)) continue;
    changed = dropMove(changed, { partition, from: owner, epoch, to: moveTo }) ?? changed;
  }
  return changed;
}

/** Partitions that a draining node has although no plan names them: it got them later, or their target is gone. */
function drainStragglers(table: ControlTable, active: Map<number, number>): ControlTable {
  let changed = table;
  for (const member of table.members) {
    if (member.state !== "alive" || !member.isDraining) continue;
    if ((active.get(member.incarnation) ?? 0) >= MOVES_PER_NODE_MAX) continue;
    for (const move of planDrain(changed, member.incarnation)) {
      const isPlanned = changed.rebalances.some(
        ({ state, moves }) =>
          state === "running" &&
          moves.some(
            (other) =>
              other.partition === move.partition && moveState(changed, other) === "waiting",
          ),
      );
      const isMoving = changed.partitions[move.partition]?.moveTo !== NOBODY;
      if (!isPlanned && !isMoving) changed = tryStart(changed, move, active);
    }
  }
  return changed;
}

function tryStart(
  table: ControlTable,
  { partition, from, to }: PartitionMove,
  active: Map<number, number>,
): ControlTable {
  const count = (incarnation: number): number => active.get(incarnation) ?? 0;
  if (count(from) >= MOVES_PER_NODE_MAX || count(to) >= MOVES_PER_NODE_MAX) return table;
  const { epoch } = table.partitions[partition] as PartitionAssignment;
  const started = startMove(table, { partition, from, epoch, to });
  if (started === null) return table;
  active.set(from, count(from) + 1);
  active.set(to, count(to) + 1);
  return started;
}

/** By incarnation: moves that it takes part in. */
function activeMoves(table: ControlTable): Map<number, number> {
  const active = new Map<number, number>();
  for (const { owner, moveTo } of table.partitions) {
    if (moveTo === NOBODY) continue;
    active.set(owner, (active.get(owner) ?? 0) + 1);
    active.set(moveTo, (active.get(moveTo) ?? 0) + 1);
  }
  return active;
}

function endRecords(table: ControlTable): ControlTable {
  let changed = table;
  for (const record of table.rebalances) {
    if (record.state !== "running" || hasWork(changed, record)) continue;
    changed = replaceRecord(changed, { ...record, state: endStateOf(changed, record) });
  }
  return changed;
}

/** A drain that emptied its node is done, whoever took the partitions; a node that died meanwhile was not drained. */
function endStateOf(table: ControlTable, { drains, moves }: RebalanceRecord): "done" | "failed" {
  if (drains !== NOBODY && memberOf(table, drains)?.state !== "dead") return "done";
  return moves.some((move) => moveState(table, move) === "dropped") ? "failed" : "done";
}

/** A drain goes on until the node owns nothing, whatever became of its first plan. */
function hasWork(table: ControlTable, record: RebalanceRecord): boolean {
  if (record.drains !== NOBODY) {
    return table.partitions.some(({ owner }) => owner === record.drains);
  }
  return record.moves.some((move) => {
    const state = moveState(table, move);
    return state === "waiting" || state === "moving";
  });
}

function addRecord(table: ControlTable, record: RebalanceRecord): ControlTable {
  const rebalances = [...table.rebalances, record];
  while (rebalances.length > REBALANCES_KEPT) {
    const oldest = rebalances.findIndex(({ state }) => state !== "running");
    if (oldest < 0) throw new CatchallError("conflict", "Too many rebalances are running");
    rebalances.splice(oldest, 1);
  }
  return { ...table, rebalances };
}

function replaceRecord(table: ControlTable, record: RebalanceRecord): ControlTable {
  const rebalances = table.rebalances.map((other) => (other.id === record.id ? record : other));
  return { ...table, rebalances };
}

function rebalanceOf(table: ControlTable, id: string): RebalanceRecord | undefined {
  return table.rebalances.find((record) => record.id === id);
}

function canTake(member: Member): boolean {
  return member.state === "alive" && !member.isDraining;
}
