/**
 * Who owns which hash range, as the control table says it, and pure questions over it.
 * Invariants: epochs only rise; an incarnation is never reused; a partition leaves its owner only after RELEASE, or
 * after DEAD and SEAL (docs/invariants.md I9, I11).
 */

import type { Rule } from "./status.ts";

/** No incarnation: a partition without owner, a partition that moves nowhere. */
export const NOBODY = 0;

/**
 * A stretch of a partition's history that has ended: its sections of `epoch` lie in the log of `incarnation`, none after
 * `endSequence`.
 */
export interface LineageStretch {
  readonly epoch: number;
  readonly incarnation: number;
  /** Sequence of the RELEASE or SEAL that ended it. */
  readonly endSequence: number;
  /** It stands for all epochs from here to its own: the log of each holds its SEAL and nothing else. */
  readonly emptySince?: number;
}

export interface PartitionAssignment {
  /** Incarnation, or NOBODY before the first assignment. */
  readonly owner: number;
  /** +1 with every change of owner; 0 before the first assignment. */
  readonly epoch: number;
  /** Stretches that no confirmed checkpoint covers yet, by rising epoch. */
  readonly lineage: readonly LineageStretch[];
  /** Incarnation that is to take it over, or NOBODY. */
  readonly moveTo: number;
}

/** `alive` until its lease record is final and its log sealed (`dead`) or it left with nothing (`left`). */
export type MemberState = "alive" | "dead" | "left";

export interface Member {
  readonly incarnation: number;
  readonly nodeId: string;
  /** Random, one per join: how a node finds its own row when the outcome of the join was unknown. */
  readonly joinNonce: string;
  readonly state: MemberState;
  /** Owns nothing new; what it owns is moved away. */
  readonly isDraining: boolean;
  /** Sequence of the SEAL in its log; null while alive. */
  readonly endSequence: number | null;
  /** Wall time of the node that ended it, ms; null while alive. For clean-up only. */
  readonly endedAtMs: number | null;
}

export interface PartitionMove {
  readonly partition: number;
  /** Incarnations. */
  readonly from: number;
  readonly to: number;
}

/** A rebalance or drain that an operator started; the table holds the last few. */
export interface RebalanceRecord {
  readonly id: string;
  /** `failed`: it ended with moves that were dropped. */
  readonly state: "running" | "done" | "cancelled" | "failed";
  /** The incarnation that a drain empties; NOBODY for a rebalance. */
  readonly drains: number;
  /** All moves of the plan; a move is done when `to` owns the partition, dropped when `to` died. */
  readonly moves: readonly PartitionMove[];
  readonly startedAtMs: number;
  /** Bytes of the counter tables that have changed hands so far. */
  readonly bytes: number;
}

export interface ControlTable {
  readonly formatVersion: number;
  /** Number of partitions; fixed for ever. */
  readonly partitionCount: number;
  /** The last incarnation that was handed out. */
  readonly lastIncarnation: number;
  /** Rising incarnations; the dead stay until nothing refers to them. */
  readonly members: readonly Member[];
  /** By partition. */
  readonly partitions: readonly PartitionAssignment[];
  /** Rule of the first start, from which partitions replay. */
  readonly initialRule: Rule;
  readonly rule: Rule;
  readonly ruleRevision: number;
  /** Newest last. */
  readonly rebalances: readonly RebalanceRecord[];
  /** Random, new with each change: how a writer finds its own change again when the outcome was unknown. */
  readonly changeNonce: string;
}

/** A table as it was read: `revision` orders tables, later ones are larger. */
export interface TableVersion {
  readonly revision: number;
  readonly table: ControlTable;
}

/** The member with this incarnation, alive or not. */
export function memberOf(table: ControlTable, incarnation: number): Member | undefined {
  return table.members.find((member) => member.incarnation === incarnation);
}

export function aliveMembers(table: ControlTable): Member[] {
  return table.members.filter((member) => member.state === "alive");
}

/** Owner of a partition, NOBODY before the first assignment. */
export function ownerOf(table: ControlTable, partition: number): number {
  return table.partitions[partition]?.owner ?? NOBODY;
}
