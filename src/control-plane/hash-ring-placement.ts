/**
 * Which node should have which partition: the hash ring gives each partition an order of preference over the nodes, and
 * a bounded, sticky placement decides by it. Used directly the ring leaves the busiest of 8 nodes 1.5 times the mean.
 * Invariant: a pure function of the set of node ids: every node computes the same, whatever order it learned them in.
 * Must never be asked per request.
 */

import HashRing from "hashring";
import { assert } from "../runtime/assert.ts";

/**
 * Points of one node are four times this. Given per node, and different from the package's own 40: only then does the
 * number not depend on how many nodes there are (a weighted share is rounded down, so that a join would move more).
 */
const VNODES_PER_NODE = 160;
/** Rings that are remembered: a plan asks for the same one again and again. */
const REMEMBERED_MAX = 8;
const remembered: Map<string, readonly (readonly string[])[]> = new Map();

/** For each partition every node id, the most preferred first. Ids must be distinct. */
export function preferenceOrders(
  nodeIds: readonly string[],
  partitionCount: number,
): readonly (readonly string[])[] {
  const sorted = [...nodeIds].sort();
  assert(new Set(sorted).size === sorted.length, "ids on the ring are distinct");
  const key = JSON.stringify([partitionCount, sorted]);
  const known = remembered.get(key);
  if (known !== undefined) return known;
  const orders = buildOrders(sorted, partitionCount);
  for (const oldest of remembered.keys()) {
    if (remembered.size < REMEMBERED_MAX) break;
    remembered.delete(oldest);
  }
  remembered.set(key, orders);
  return orders;
}

function buildOrders(sorted: readonly string[], partitionCount: number): readonly string[][] {
  if (sorted.length === 0) return Array.from({ length: partitionCount }, () => []);
  // The prefix keeps an id like "7" in its place among the keys, and one like "__proto__" a plain key.
  const nameOf = (nodeId: string): string => `node ${nodeId}`;
  const servers: Record<string, { readonly vnodes: number }> = {};
  for (const nodeId of sorted) servers[nameOf(nodeId)] = { vnodes: VNODES_PER_NODE };
  const ids = new Map(sorted.map((nodeId) => [nameOf(nodeId), nodeId]));
  const ring = new HashRing(servers, "md5", { "max cache size": 1 });
  return Array.from({ length: partitionCount }, (_, partition) =>
    ring
      .range(`partition ${partition}`, sorted.length, true)
      .map((name) => ids.get(name) as string),
  );
}

export interface PlacementRequest {
  readonly nodeIds: readonly string[];
  /** By partition: the node that has it, null for none; an id that is not among `nodeIds` counts as none. */
  readonly current: readonly (string | null)[];
}

/**
 * A balanced placement that moves as little as it can: every node ends with floor or ceil of the mean. By partition.
 * Shape: at least one node.
 */
export function placeBalanced({ nodeIds, current }: PlacementRequest): readonly string[] {
  assert(nodeIds.length > 0, "a placement needs a node");
  const orders = preferenceOrders(nodeIds, current.length);
  const quotas = quotasOf(nodeIds, current);
  const target: (string | null)[] = current.map((id) => (quotas.has(id ?? "") ? id : null));
  giveUpSurplus(target, quotas, orders);
  const loads = loadsOf(nodeIds, target);
  for (const [partition, order] of orders.entries()) {
    if (target[partition] !== null) continue;
    const taker = order.find((id) => loadOf(loads, id) < loadOf(quotas, id)) as string;
    target[partition] = taker;
    loads.set(taker, loadOf(loads, taker) + 1);
  }
  return target as string[];
}

/** Floor of the mean for each; the rest goes to those that have most already, so that nothing moves for its sake. */
function quotasOf(
  nodeIds: readonly string[],
  current: readonly (string | null)[],
): Map<string, number> {
  const loads = loadsOf(nodeIds, current);
  const floor = Math.floor(current.length / nodeIds.length);
  let rest = current.length % nodeIds.length;
  const quotas = new Map<string, number>();
  const byLoad = [...nodeIds].sort(
    (a, b) => loadOf(loads, b) - loadOf(loads, a) || (a < b ? -1 : 1),
  );
  for (const id of byLoad) {
    quotas.set(id, rest > 0 ? floor + 1 : floor);
    rest--;
  }
  return quotas;
}

/**
 * Each node over its quota lets go of the partitions for which it stands furthest back in their order: those are the
 * ones that the ring would give to somebody else, above all to a node that is new.
 */
function giveUpSurplus(
  target: (string | null)[],
  quotas: ReadonlyMap<string, number>,
  orders: readonly (readonly string[])[],
): void {
  for (const [id, quota] of quotas) {
    const held = target.flatMap((holder, partition) => (holder === id ? [partition] : []));
    if (held.length <= quota) continue;
    const rankOf = (partition: number): number => orders[partition]?.indexOf(id) ?? 0;
    held.sort((a, b) => rankOf(b) - rankOf(a) || a - b);
    for (const partition of held.slice(0, held.length - quota)) target[partition] = null;
  }
}

/**
 * Gives each of `orphans` to the next node in its order that is under the cap, ceil(partitions / nodes); nothing else
 * moves. Shape: `current` as in `placeBalanced`, null for the orphans; at least one node. Answers by orphan.
 */
export function placeOrphans(
  { nodeIds, current }: PlacementRequest,
  orphans: readonly number[],
): readonly string[] {
  assert(nodeIds.length > 0, "a placement needs a node");
  const orders = preferenceOrders(nodeIds, current.length);
  const cap = Math.ceil(current.length / nodeIds.length);
  const loads = loadsOf(nodeIds, current);
  return orphans.map((partition) => {
    const order = orders[partition] as readonly string[];
    // Room for all under the caps: cap × nodes ≥ partitions. The first stands in if `current` has strangers.
    const taker = order.find((id) => loadOf(loads, id) < cap) ?? (order[0] as string);
    loads.set(taker, loadOf(loads, taker) + 1);
    return taker;
  });
}

function loadsOf(
  nodeIds: readonly string[],
  current: readonly (string | null)[],
): Map<string, number> {
  const loads = new Map(nodeIds.map((id) => [id, 0]));
  for (const id of current) {
    if (id === null) continue;
    const load = loads.get(id);
    if (load !== undefined) loads.set(id, load + 1);
  }
  return loads;
}

function loadOf(loads: ReadonlyMap<string, number>, id: string): number {
  return loads.get(id) ?? 0;
}
