/**
 * What a restore must know of a name, in one pass over its bytes: whether they are visible ASCII, its hash32 and its
 * keyed hash. Three passes took a third of the time of a restore.
 * Invariant: says exactly what `hash32` and `halfSipHash` with 1 and 3 rounds say; the tests compare them.
 */

const HIGH_BITS: number = 0x80808080 | 0;
/** 0x80 less the lowest visible byte, in each byte; and what lifts 0x7f over 0x7f. */
const LOWEST = 0x21212121;
const ONES = 0x01010101;

/** Indexes of what {@link checkName} writes. */
export const NAME_KEYED_HASH = 0;
export const NAME_HASH32 = 1;

/**
 * Writes the keyed hash and the hash32 (both as signed 32 bits) of `bytes[start, start + length)` into `hashes`.
 * Returns whether all bytes are visible ASCII, 0x21 to 0x7e; the caller guarantees that they are there.
 */
export function checkName(
  bytes: Uint8Array,
  start: number,
  length: number,
  key0: number,
  key1: number,
  hashes: Int32Array,
): boolean {
  let v0 = key0 | 0;
  let v1 = key1 | 0;
  let v2 = 0x6c796765 ^ key0;
  let v3 = 0x74656462 ^ key1;
  let hash = 0;
  let outside = 0;
  const blocksEnd = start + (length & ~3);
  const end = start + length;
  for (let i = start; i <= blocksEnd; i += 4) {
    let block: number;
    if (i < blocksEnd) {
      block =
        (bytes[i] as number) |
        ((bytes[i + 1] as number) << 8) |
        ((bytes[i + 2] as number) << 16) |
        ((bytes[i + 3] as number) << 24);
      outside |= notVisible(block);
      hash ^= mixed(block);
      hash = (hash << 13) | (hash >>> 19);
      hash = (Math.imul(hash, 5) + 0xe6546b64) | 0;
    } else {
      let tail = 0;
      if (i < end) tail = bytes[i] as number;
      if (i + 1 < end) tail |= (bytes[i + 1] as number) << 8;
      if (i + 2 < end) tail |= (bytes[i + 2] as number) << 16;
      // Bytes that are not there count as visible ones.
      outside |= notVisible(tail | (0x41414141 << ((length & 3) * 8)));
      hash ^= mixed(tail);
      block = tail | (length << 24);
    }
    v3 ^= block;
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= block;
  }
  hashes[NAME_KEYED_HASH] = finishKeyed(v0, v1, v2 ^ 0xff, v3);
  hashes[NAME_HASH32] = finishHash32(hash ^ length);
  return outside === 0;
}

/** Has a high bit in some byte unless all four bytes are visible ASCII. */
function notVisible(block: number): number {
  const overDelete = (block & ~HIGH_BITS) + ONES;
  const underLowest = ~((block | HIGH_BITS) - LOWEST);
  return (block | overDelete | underLowest) & HIGH_BITS;
}

function mixed(block: number): number {
  const product = Math.imul(block, 0xcc9e2d51);
  return Math.imul((product << 15) | (product >>> 17), 0x1b873593);
}

function finishHash32(value: number): number {
  let hash = value ^ (value >>> 16);
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

function finishKeyed(a: number, b: number, c: number, d: number): number {
  let v0 = a;
  let v1 = b;
  let v2 = c;
  let v3 = d;
  for (let round = 0; round < 3; round++) {
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
  }
  return v1 ^ v3;
}
