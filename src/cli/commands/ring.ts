/**
 * `ring`: who owns which hash ranges, and how evenly. A partition is a range of hashes, so neighbours of one node are
 * one range.
 */

import type { ClusterView, PartitionOwner } from "../../client/index.ts";
import { type CliContext, type ConnectionFlags, clientOf } from "../context.ts";
import { countOf, formatCount, printJson, printLine, printTable } from "../output.ts";

const HASHES = 2 ** 32;

export interface HashRange {
  /** Partitions, both included. */
  readonly first: number;
  readonly last: number;
  /** Hashes, both included: "0x00000000". */
  readonly from: string;
  readonly to: string;
}

export interface RingNode {
  readonly id: string;
  readonly incarnation: number;
  readonly state: string;
  readonly leaseRemainingMs: number | null;
  readonly partitions: number;
  /** Of all hashes, 0 to 1. */
  readonly share: number;
  readonly ranges: readonly HashRange[];
}

export interface Ring {
  readonly cluster: string;
  readonly epoch: number;
  readonly partitions: number;
  readonly nodes: readonly RingNode[];
  /** Ranges that nobody owns now. */
  readonly unassigned: readonly HashRange[];
  /** Most partitions of a node over the mean, of nodes that may own some; null without any. */
  readonly busiestToMean: number | null;
  readonly handoffs: readonly unknown[];
}

export async function showRing(flags: ConnectionFlags, context: CliContext): Promise<void> {
  const ring = ringOf(await clientOf(flags).cluster({ signal: context.signal }));
  if (flags.json === true) return printJson(context, ring);
  await printTable(
    context,
    ["NODE", "STATE", "PARTITIONS", "SHARE", "LEASE", "RANGES"],
    ring.nodes.map((node) => [
      node.id,
      node.state,
      node.partitions,
      `${(node.share * 100).toFixed(1)}%`,
      node.leaseRemainingMs === null ? null : `${(node.leaseRemainingMs / 1000).toFixed(1)}s`,
      rangesText(node.ranges),
    ]),
  );
  if (ring.unassigned.length > 0) {
    printLine(context, `nobody owns ${rangesText(ring.unassigned)}`);
  }
  const moves = ring.handoffs.length;
  const moving = moves === 0 ? "" : `, ${countOf(moves, "partition")} moving`;
  const even = ring.busiestToMean === null ? "-" : ring.busiestToMean.toFixed(2);
  const each = `${countOf(ring.partitions, "partition")} of ${formatCount(HASHES / ring.partitions)} hashes`;
  printLine(context, `${each}, busiest/mean ${even}${moving}`);
}

/** The view of a node, by node. */
export function ringOf(view: ClusterView): Ring {
  const { cluster, epoch, partitions, handoffs } = view;
  const newest = newestLives(view.nodes);
  const known = new Set(newest.map(({ id }) => id));
  const nodes = newest.map((node): RingNode => {
    const ranges = rangesOf(view, (owner) => owner.node === node.id);
    const count = countIn(ranges);
    const { id, incarnation, state, leaseRemainingMs } = node;
    const share = count / partitions;
    return { id, incarnation, state, leaseRemainingMs, partitions: count, share, ranges };
  });
  const unassigned = rangesOf(view, (owner) => !known.has(owner.node));
  const busiestToMean = busiestToMeanOf(nodes);
  return { cluster, epoch, partitions, nodes, unassigned, busiestToMean, handoffs };
}

/** Each node once: one that was started again has an earlier life beside it, which has nothing any more. */
export function newestLives(nodes: ClusterView["nodes"]): ClusterView["nodes"] {
  return [...new Map(nodes.map((node) => [node.id, node])).values()];
}

function busiestToMeanOf(nodes: readonly RingNode[]): number | null {
  const counts = nodes.filter(({ state }) => state === "alive").map(({ partitions }) => partitions);
  const sum = counts.reduce((total, count) => total + count, 0);
  return sum === 0 ? null : (Math.max(...counts) * counts.length) / sum;
}

function rangesOf(
  { owners, partitions }: ClusterView,
  isOwned: (owner: PartitionOwner) => boolean,
): HashRange[] {
  const owned = owners.filter(isOwned).map(({ partition }) => partition);
  owned.sort((left, right) => left - right);
  const runs: { first: number; last: number }[] = [];
  for (const partition of owned) {
    const run = runs.at(-1);
    if (run !== undefined && run.last === partition - 1) run.last = partition;
    else runs.push({ first: partition, last: partition });
  }
  const each = HASHES / partitions;
  return runs.map(({ first, last }) => {
    return { first, last, from: hex(first * each), to: hex((last + 1) * each - 1) };
  });
}

function countIn(ranges: readonly HashRange[]): number {
  return ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0);
}

/** Partitions: "0-20,43". */
function rangesText(ranges: readonly HashRange[]): string {
  return ranges
    .map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`))
    .join(",");
}

function hex(hash: number): string {
  return `0x${hash.toString(16).padStart(8, "0")}`;
}
