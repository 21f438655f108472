/**
 * Which moves would balance the cluster, and where the partitions of a node could go. Pure: table in, moves out; the
 * same on every node.
 */

import {
  aliveMembers,
  type ControlTable,
  type Member,
  NOBODY,
  type PartitionMove,
} from "../model/ownership.ts";
import { placeBalanced } from "./hash-ring-placement.ts";

/**
 * Members that may be given partitions, by node id: alive, not draining, not in `avoid`. Of two lives of one node only
 * the newest counts: the other one is about to be ended.
 */
export function takersOf(
  table: ControlTable,
  avoid: ReadonlySet<number> = new Set(),
): ReadonlyMap<string, number> {
  const newest = new Map<string, Member>();
  for (const member of aliveMembers(table)) newest.set(member.nodeId, member);
  const takers = new Map<string, number>();
  for (const [nodeId, member] of newest) {
    if (!member.isDraining && !avoid.has(member.incarnation)) {
      takers.set(nodeId, member.incarnation);
    }
  }
  return takers;
}

/** By partition: the id of the taker that has it or is about to; null when that is no taker. */
export function placesOf(
  table: ControlTable,
  takers: ReadonlyMap<string, number>,
): (string | null)[] {
  const idOf = new Map([...takers].map(([nodeId, incarnation]) => [incarnation, nodeId]));
  return table.partitions.map(({ owner, moveTo }) => {
    return idOf.get(moveTo === NOBODY ? owner : moveTo) ?? idOf.get(owner) ?? null;
  });
}

/** Moves that bring every taker to the mean, ±1 partition; empty when nothing is to be gained. */
export function planRebalance(table: ControlTable): PartitionMove[] {
  const takers = takersOf(table);
  if (takers.size === 0) return [];
  const target = placeBalanced({
    nodeIds: [...takers.keys()],
    current: placesOf(table, takers),
  });
  return table.partitions.flatMap(({ owner }, partition) => {
    const to = takers.get(target[partition] as string) as number;
    return owner === NOBODY || owner === to ? [] : [{ partition, from: owner, to }];
  });
}

/** Moves that empty one node; the others end as balanced as they can be without moving among themselves. */
export function planDrain(table: ControlTable, incarnation: number): PartitionMove[] {
  const takers = new Map(takersOf(table, new Set([incarnation])));
  if (takers.size === 0) return [];
  return planRebalance({
    ...table,
    members: table.members.map((member) =>
      member.incarnation === incarnation ? { ...member, isDraining: true } : member,
    ),
  }).filter((move) => move.from === incarnation);
}
