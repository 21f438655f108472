/**
 * MurmurHash3 x86_32 (Austin Appleby, public domain) over bytes: the published hash that decides partition and page.
 * Fixed for ever: checkpoints and logs name it as `murmur3-x86-32`. Never seed it per process; the counter table has
 * its own keyed hash, since domains are chosen by attackers.
 */

export const HASH_NAME = "murmur3-x86-32";

/** Hashes `bytes[start, end)`; returns an unsigned 32-bit number. */
export function hash32(bytes: Uint8Array, start: number, end: number, seed = 0): number {
  let hash = seed;
  const length = end - start;
  const blocksEnd = start + (length & ~3);
  for (let i = start; i < blocksEnd; i += 4) {
    const block =
      (bytes[i] as number) |
      ((bytes[i + 1] as number) << 8) |
      ((bytes[i + 2] as number) << 16) |
      ((bytes[i + 3] as number) << 24);
    let mixed = Math.imul(block, 0xcc9e2d51);
    mixed = (mixed << 15) | (mixed >>> 17);
    hash ^= Math.imul(mixed, 0x1b873593);
    hash = (hash << 13) | (hash >>> 19);
    hash = (Math.imul(hash, 5) + 0xe6546b64) | 0;
  }
  let tail = 0;
  switch (length & 3) {
    case 3:
      tail = ((bytes[blocksEnd + 2] as number) << 16) | ((bytes[blocksEnd + 1] as number) << 8);
      tail = mixTail(tail | (bytes[blocksEnd] as number));
      break;
    case 2:
      tail = mixTail(((bytes[blocksEnd + 1] as number) << 8) | (bytes[blocksEnd] as number));
      break;
    case 1:
      tail = mixTail(bytes[blocksEnd] as number);
      break;
    default:
  }
  hash ^= tail;
  hash ^= length;
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  hash ^= hash >>> 16;
  return hash >>> 0;
}

function mixTail(tail: number): number {
  let mixed = Math.imul(tail, 0xcc9e2d51);
  mixed = (mixed << 15) | (mixed >>> 17);
  return Math.imul(mixed, 0x1b873593);
}
