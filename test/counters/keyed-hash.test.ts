/**
 * The keyed hash against the published vectors of the reference implementation, and that it is keyed.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { halfSipHash } from "../../src/counters/keyed-hash.ts";

/** `vectors_hsip32` of the SipHash reference (public domain): length → tag of the bytes 0, 1, 2 … */
const VECTORS: readonly (readonly [number, string])[] = [
  [0, "a9359f5b"],
  [1, "27475ab8"],
  [2, "fa62a603"],
  [3, "8afee704"],
  [4, "2a6e4689"],
  [5, "c5fab669"],
  [6, "5863fc23"],
  [7, "8bcf63c5"],
  [8, "d0b8848f"],
  [9, "f806e779"],
  [10, "94b07934"],
  [11, "08083050"],
  [12, "57f0872f"],
  [13, "77e663ff"],
  [14, "d6fff87c"],
  [15, "74fe2b97"],
  [16, "d9b5ac84"],
  [17, "c474645b"],
  [18, "465b8d9b"],
  [19, "7befe387"],
  [20, "e34d1045"],
  [21, "613f62b3"],
  [22, "70f367fe"],
  [23, "e6adb8bd"],
  [24, "27400c63"],
  [25, "26787875"],
  [26, "4f567b5f"],
  [27, "3ab0e669"],
  [28, "b0644000"],
  [29, "ff670fb4"],
  [61, "428fcbb9"],
  [62, "bd83997a"],
  [63, "59ea4a74"],
];

const MESSAGE = Uint8Array.from({ length: 70 }, (_, i) => i);

function tagOf(bytes: Uint8Array, start: number, length: number): string {
  const tag = Buffer.alloc(4);
  tag.writeInt32LE(halfSipHash(bytes, start, length, 0x03020100, 0x07060504, 2, 4));
  return tag.toString("hex");
}

describe("halfSipHash", () => {
  it("gives the published tags with two and four rounds", () => {
    for (const [length, tag] of VECTORS) assert.equal(tagOf(MESSAGE, 0, length), tag);
  });

  it("hashes the range alone, wherever it starts", () => {
    for (const [length, tag] of VECTORS) {
      const bytes = new Uint8Array(80).fill(0xee);
      bytes.set(MESSAGE.subarray(0, length), 7);
      assert.equal(tagOf(bytes, 7, length), tag);
    }
  });

  it("differs in about half of the bits when one bit of the key differs", () => {
    for (let bit = 0; bit < 64; bit++) {
      let changed = 0;
      for (let i = 0; i < 64; i++) {
        const key0 = bit < 32 ? 1 << bit : 0;
        const key1 = bit < 32 ? 0 : 1 << (bit - 32);
        let different = halfSipHash(MESSAGE, i % 32, 20, 0, 0, 1, 3);
        different ^= halfSipHash(MESSAGE, i % 32, 20, key0, key1, 1, 3);
        for (; different !== 0; different &= different - 1) changed++;
      }
      assert.ok(changed > 64 * 10 && changed < 64 * 22, `bit ${bit}: ${changed} of 2048 changed`);
    }
  });
});
