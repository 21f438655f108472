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
const RINGS_MAX = 8;
/** Nodes whose points are remembered. */
const NODES_MAX = 1024;
/** A point is its value on the ring times this, plus the index of its node: sorted as a number, ties by the index. */
const POINT_SCALE = 2 ** 16;

const rings: Map<string, Ring> = new Map();
const pointsByNode: Map<string, readonly number[]> = new Map();
let hasher: Hasher | null = null;

/** Of the package, and not among its types. */
interface Hasher {
  hashValue(key: string): number;
}

/**
 * The package's ring over some nodes, with the package's points, hashes and order. Its own `range` is not used: for 200
 * nodes and 4,096 partitions it takes five seconds, in one turn of the event loop, which costs a coordinator its lease.
 */
class Ring {
  /** Sorted. */
  readonly ids: readonly string[];
  readonly #points: Float64Array;
  /** By point. */
  readonly #nodes: Uint16Array;
  readonly #orders: Uint16Array[] = [];

  constructor(sorted: readonly string[]) {
    this.ids = sorted;
    const values = sorted.map(pointsOf);
    this.#points = new Float64Array(values.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const [index, ofNode] of values.entries()) {
      for (const value of ofNode) this.#points[at++] = value * POINT_SCALE + index;
    }
    this.#points.sort();
    this.#nodes = new Uint16Array(at);
    for (const [position, point] of this.#points.entries()) {
      this.#nodes[position] = point % POINT_SCALE;
    }
  }

  /** Indexes of all nodes, the most preferred first. */
  orderOf(partition: number): Uint16Array {
    const known = this.#orders[partition];
    if (known !== undefined) return known;
    const order = new Uint16Array(this.ids.length);
    const isIn = new Uint8Array(this.ids.length);
    const nodes = this.#nodes;
    let at = this.#positionOf(hashOf(`partition ${partition}`) * POINT_SCALE);
    for (let count = 0; count < order.length; at++) {
      if (at === nodes.length) at = 0;
      const index = nodes[at] as number;
      if (isIn[index] === 1) continue;
      isIn[index] = 1;
      order[count++] = index;
    }
    this.#orders[partition] = order;
    return order;
  }

  /** Of the first point at or behind `point`. */
  #positionOf(point: number): number {
    let low = 0;
    let high = this.#points.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#points[middle] as number) < point) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Ids must be distinct. */
function ringOf(nodeIds: readonly string[]): Ring {
  const sorted = [...nodeIds].sort();
  assert(new Set(sorted).size === sorted.length, "ids on the ring are distinct");
  return remember({ known: rings, max: RINGS_MAX }, JSON.stringify(sorted), () => new Ring(sorted));
}

/** They do not depend on the other nodes: a join costs the points of one. */
function pointsOf(nodeId: string): readonly number[] {
  // The prefix keeps an id like "7" in its place among the keys, and one like "__proto__" a plain key.
  const name = `node ${nodeId}`;
  return remember({ known: pointsByNode, max: NODES_MAX }, name, () => {
    const ring = new HashRing({ [name]: { vnodes: VNODES_PER_NODE } }, "md5");
    // The types have it the other way round.
    const points = ring.points([name]) as unknown as Readonly<Record<string, readonly number[]>>;
    return points[name] as readonly number[];
  });
}

function hashOf(key: string): number {
  hasher ??= new HashRing([], "md5") as unknown as Hasher;
  return hasher.hashValue(key);
}

function remember<T>(
  { known, max }: { readonly known: Map<string, T>; readonly max: number },
  key: string,
  make: () => T,
): T {
  const found = known.get(key);
  if (found !== undefined) return found;
  const made = make();
  for (const oldest of known.keys()) {
    if (known.size < max) break;
    known.delete(oldest);
  }
  known.set(key, made);
  return made;
}

/** For each partition every node id, the most preferred first. Ids must be distinct. */
export function preferenceOrders(
  nodeIds: readonly string[],
  partitionCount: number,
): readonly (readonly string[])[] {
  const ring = ringOf(nodeIds);
  return Array.from({ length: partitionCount }, (_, partition) =>
    Array.from(ring.orderOf(partition), (index) => ring.ids[index] as string),
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
  const ring = ringOf(nodeIds);
  const quotas = quotasOf(nodeIds, current);
  const target: (string | null)[] = current.map((id) => (quotas.has(id ?? "") ? id : null));
  giveUpSurplus(target, quotas, ring);
  const loads = loadsOf(nodeIds, target);
  for (const [partition, holder] of target.entries()) {
    if (holder !== null) continue;
    const taker = firstOf(ring, partition, (id) => loadOf(loads, id) < loadOf(quotas, id));
    target[partition] = taker;
    loads.set(taker, loadOf(loads, taker) + 1);
  }
  return target as string[];
}

/** The first in a partition's order with room; the very first if none has, since `current` has strangers. */
function firstOf(ring: Ring, partition: number, hasRoom: (id: string) => boolean): string {
  const order = ring.orderOf(partition);
  const index = order.find((candidate) => hasRoom(ring.ids[candidate] as string)) ?? order[0];
  return ring.ids[index as number] as string;
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
  ring: Ring,
): void {
  const heldBy = new Map(ring.ids.map((id) => [id, [] as number[]]));
  for (const [partition, holder] of target.entries()) heldBy.get(holder ?? "")?.push(partition);
  for (const [index, id] of ring.ids.entries()) {
    const held = heldBy.get(id) ?? [];
    const surplus = held.length - loadOf(quotas, id);
    if (surplus <= 0) continue;
    const ranks = held.map((partition) => {
      return { partition, rank: ring.orderOf(partition).indexOf(index) };
    });
    ranks.sort((a, b) => b.rank - a.rank || a.partition - b.partition);
    for (const { partition } of ranks.slice(0, surplus)) target[partition] = null;
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
  const ring = ringOf(nodeIds);
  const cap = Math.ceil(current.length / nodeIds.length);
  const loads = loadsOf(nodeIds, current);
  return orphans.map((partition) => {
    // Room for all under the caps: cap × nodes ≥ partitions.
    const taker = firstOf(ring, partition, (id) => loadOf(loads, id) < cap);
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
