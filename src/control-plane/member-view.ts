/**
 * What a node makes of the members of its cluster at one instant. Invariant: a view says what was seen, not what is so;
 * whatever is done on it is a compare-and-set.
 */

import type { ControlTable } from "../model/ownership.ts";

/** What this node has seen of one member's lease. */
export interface MemberView {
  readonly incarnation: number;
  /** `unknown`: no lease yet, or one that can't be read. */
  readonly state: "live" | "suspect" | "final" | "unknown";
  /** Until it could be ended, as far as this node can tell; null when it can't. */
  readonly leaseRemainingMs: number | null;
}

/** Its partitions are to be given on. */
export function isEnding({ state }: MemberView): boolean {
  return state === "final" || state === "suspect";
}

/** Incarnations of the live, in the order of the views. */
export function liveOf(views: readonly MemberView[]): number[] {
  return views.flatMap(({ state, incarnation }) => (state === "live" ? [incarnation] : []));
}

/** Equal as long as the same members live and drain. */
export function calmKeyOf(table: ControlTable, views: readonly MemberView[]): string {
  let key = "";
  for (const { incarnation, state } of views) key += `${incarnation} ${state},`;
  for (const { isDraining } of table.members) key += isDraining ? "1" : "0";
  return key;
}
