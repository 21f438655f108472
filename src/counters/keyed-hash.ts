/**
 * HalfSipHash-c-d with a 32-bit tag (Aumasson and Bernstein): the keyed hash that places names in the slots.
 * Domains are chosen by attackers who know hash32, so places must depend on a key that only this process has.
 * Never store the result: the key dies with the process.
 */

/** 64-bit key as two unsigned 32-bit words, low word first. */
export type HashKey = readonly [number, number];

/**
 * Hashes `bytes[start, start + length)`. Returns a signed 32-bit number, so that it stays a small integer in V8.
 * The counter table uses 1 and 3 rounds; the published vectors are for 2 and 4.
 */
export function halfSipHash(
  bytes: Uint8Array,
  start: number,
  length: number,
  key0: number,
  key1: number,
  compressionRounds: number,
  finalRounds: number,
): number {
  let v0 = key0 | 0;
  let v1 = key1 | 0;
  let v2 = 0x6c796765 ^ key0;
  let v3 = 0x74656462 ^ key1;
  const blocksEnd = start + (length & ~3);
  const end = start + length;
  // One pass more than there are whole words: the last block holds the tail and the length.
  for (let i = start; i <= blocksEnd; i += 4) {
    let block: number;
    if (i < blocksEnd) {
      block =
        (bytes[i] as number) |
        ((bytes[i + 1] as number) << 8) |
        ((bytes[i + 2] as number) << 16) |
        ((bytes[i + 3] as number) << 24);
    } else {
      block = length << 24;
      if (i < end) block |= bytes[i] as number;
      if (i + 1 < end) block |= (bytes[i + 1] as number) << 8;
      if (i + 2 < end) block |= (bytes[i + 2] as number) << 16;
    }
    v3 ^= block;
    for (let round = 0; round < compressionRounds; round++) {
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
    v0 ^= block;
  }
  v2 ^= 0xff;
  for (let round = 0; round < finalRounds; round++) {
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
