/**
 * Partition of a hash: the top log2(P) bits of hash32, so that a partition is a contiguous hash range.
 * Page of a hash: its top 16 bits; a partition is a whole number of pages whatever P is.
 */

export const PARTITIONS_MAX = 65_536;
export const PAGES = 65_536;

/** `partitions` is a power of two from 1 to PARTITIONS_MAX. */
export function partitionOf(hash: number, partitions: number): number {
  // Not `hash >>> (32 - bits)`: a shift by 32 is a shift by 0.
  return (hash >>> 16) >>> (16 - log2(partitions));
}

export function pageOf(hash: number): number {
  return hash >>> 16;
}

/** First page of a partition; it has PAGES / partitions of them. */
export function firstPageOf(partition: number, partitions: number): number {
  return partition * (PAGES / partitions);
}

function log2(partitions: number): number {
  return 31 - Math.clz32(partitions);
}
