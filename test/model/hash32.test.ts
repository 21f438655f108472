import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { hash32 } from "../../src/model/hash32.ts";

// Published vectors of MurmurHash3_x86_32: the reference implementation and its SMHasher verification.
const VECTORS: readonly (readonly [string | readonly number[], number, number])[] = [
  ["", 0, 0],
  ["", 1, 0x514e28b7],
  ["", 0xffffffff, 0x81f16f39],
  [[0xff, 0xff, 0xff, 0xff], 0, 0x76293b50],
  [[0x21, 0x43, 0x65, 0x87], 0, 0xf55b516b],
  [[0x21, 0x43, 0x65, 0x87], 0x5082edee, 0x2362f9de],
  [[0x21, 0x43, 0x65], 0, 0x7e4a8634],
  [[0x21, 0x43], 0, 0xa0f7b07a],
  [[0x21], 0, 0x72661cf4],
  [[0, 0, 0, 0], 0, 0x2362f9de],
  [[0, 0, 0], 0, 0x85f0b427],
  [[0, 0], 0, 0x30f4c306],
  [[0], 0, 0x514e28b7],
  ["aaaa", 0x9747b28c, 0x5a97808a],
  ["aaa", 0x9747b28c, 0x283e0130],
  ["aa", 0x9747b28c, 0x5d211726],
  ["a", 0x9747b28c, 0x7fa09ea6],
  ["abcd", 0x9747b28c, 0xf0478627],
  ["abc", 0x9747b28c, 0xc84a62dd],
  ["ab", 0x9747b28c, 0x74875592],
  ["Hello, world!", 0x9747b28c, 0x24884cba],
  ["The quick brown fox jumps over the lazy dog", 0x9747b28c, 0x2fa826cd],
];

describe("hash32", () => {
  it("gives the published values of murmur3_x86_32", () => {
    for (const [input, seed, expected] of VECTORS) {
      const bytes = typeof input === "string" ? Buffer.from(input) : Uint8Array.from(input);
      assert.equal(hash32(bytes, 0, bytes.length, seed), expected, `${input} seed ${seed}`);
    }
  });

  it("passes the SMHasher verification of murmur3_x86_32", () => {
    const key = Uint8Array.from({ length: 256 }, (_, i) => i);
    const hashes = Buffer.alloc(1024);
    for (let i = 0; i < 256; i++) hashes.writeUInt32LE(hash32(key, 0, i, 256 - i), i * 4);
    assert.equal(hash32(hashes, 0, 1024, 0), 0xb0f57ee3);
  });

  it("hashes a slice as it hashes the same bytes alone", () => {
    const bytes = Buffer.from("--example.com--");
    const alone = Buffer.from("example.com");
    assert.equal(hash32(bytes, 2, 13), hash32(alone, 0, 11));
  });
});
