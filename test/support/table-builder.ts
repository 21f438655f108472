/** Control tables for tests: members that joined in order, partitions assigned to them. */

import {
  assignPartitions,
  createTable,
  joinMember,
} from "../../src/control-plane/table-changes.ts";
import type { ControlTable } from "../../src/model/ownership.ts";
import { DEFAULT_RULE } from "../../src/model/status.ts";

/** Nodes n1, n2, … as incarnations 1, 2, …; nothing is assigned. */
export function joinedTable(nodeCount: number, partitionCount = 64): ControlTable {
  let table = createTable({ partitionCount, rule: DEFAULT_RULE });
  for (let i = 1; i <= nodeCount; i++) table = withNode(table, `n${i}`);
  return table;
}

/** The same, with all partitions assigned. */
export function assignedTable(nodeCount: number, partitionCount = 64): ControlTable {
  const table = joinedTable(nodeCount, partitionCount);
  const everybody = table.members.map(({ incarnation }) => incarnation);
  return must(assignPartitions(table, everybody));
}

/** One more node joins. */
export function withNode(table: ControlTable, nodeId: string): ControlTable {
  return must(joinMember(table, { nodeId, joinNonce: `join ${table.lastIncarnation + 1}` }));
}

/** The change must have had something to do. */
export function must<T>(changed: T | null): T {
  if (changed === null) throw new Error("the change had nothing to do");
  return changed;
}
