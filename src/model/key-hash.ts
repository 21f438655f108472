/**
 * MurmurHash3 x86_128 (Austin Appleby, public domain): the 16-byte name of an idempotency key on one domain. The same
 * on every node and after every restart, since keys are kept in logs and checkpoints.
 */

const C1 = 0x239b961b;
const C2 = 0xab0e9789;
const C3 = 0x38b34ae5;
const C4 = 0xa1e38b93;

/** Hashes `bytes[0, length)` into the four words of `into`. */
export function hash128(bytes: Uint8Array, length: number, into: Uint32Array): void {
  let h1 = 0;
  let h2 = 0;
  let h3 = 0;
  let h4 = 0;
  const blocksEnd = length & ~15;
  for (let i = 0; i < blocksEnd; i += 16) {
    h1 = step(h1, mix(word(bytes, i, 4), C1, 15, C2), 19, h2, 0x561ccd1b);
    h2 = step(h2, mix(word(bytes, i + 4, 4), C2, 16, C3), 17, h3, 0x0bcaa747);
    h3 = step(h3, mix(word(bytes, i + 8, 4), C3, 17, C4), 15, h4, 0x96cd1c35);
    h4 = step(h4, mix(word(bytes, i + 12, 4), C4, 18, C1), 13, h1, 0x32ac3b17);
  }
  const rest = length - blocksEnd;
  h4 ^= mix(word(bytes, blocksEnd + 12, rest - 12), C4, 18, C1);
  h3 ^= mix(word(bytes, blocksEnd + 8, rest - 8), C3, 17, C4);
  h2 ^= mix(word(bytes, blocksEnd + 4, rest - 4), C2, 16, C3);
  h1 ^= mix(word(bytes, blocksEnd, rest), C1, 15, C2);
  h1 ^= length;
  h2 ^= length;
  h3 ^= length;
  h4 ^= length;
  h1 = (h1 + h2 + h3 + h4) | 0;
  h2 = (h2 + h1) | 0;
  h3 = (h3 + h1) | 0;
  h4 = (h4 + h1) | 0;
  h1 = finish(h1);
  h2 = finish(h2);
  h3 = finish(h3);
  h4 = finish(h4);
  h1 = (h1 + h2 + h3 + h4) | 0;
  into[0] = h1;
  into[1] = h2 + h1;
  into[2] = h3 + h1;
  into[3] = h4 + h1;
}

function word(bytes: Uint8Array, at: number, available: number): number {
  let value = 0;
  for (let i = Math.min(available, 4) - 1; i >= 0; i--) {
    value = (value << 8) | (bytes[at + i] as number);
  }
  return value;
}

function mix(block: number, before: number, turn: number, after: number): number {
  const product = Math.imul(block, before);
  return Math.imul((product << turn) | (product >>> (32 - turn)), after);
}

function step(hash: number, mixed: number, turn: number, next: number, add: number): number {
  const turned = hash ^ mixed;
  return (Math.imul((((turned << turn) | (turned >>> (32 - turn))) + next) | 0, 5) + add) | 0;
}

function finish(hash: number): number {
  let mixed = hash ^ (hash >>> 16);
  mixed = Math.imul(mixed, 0x85ebca6b);
  mixed ^= mixed >>> 13;
  mixed = Math.imul(mixed, 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}

const scratch = new Uint8Array(1024);

/** Names the key `id` (ASCII) on the domain `name[0, nameLength)`. */
export function hashKey128(
  name: Uint8Array,
  nameLength: number,
  id: string,
  into: Uint32Array,
): void {
  for (let i = 0; i < nameLength; i++) scratch[i] = name[i] as number;
  scratch[nameLength] = 0;
  const start = nameLength + 1;
  for (let i = 0; i < id.length; i++) scratch[start + i] = id.charCodeAt(i);
  hash128(scratch, start + id.length, into);
}
