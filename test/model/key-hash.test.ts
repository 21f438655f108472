/** Vectors: made with mmh3 5 for Python, `mmh3.hash_bytes(bytes, 0, x64arch=False)`. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { hash128, hashKey128 } from "../../src/model/key-hash.ts";

/** Length and hash of the bytes (37 i + 11) mod 256. */
const VECTORS: readonly (readonly [number, string])[] = [
  [1, "1a2a893c 825db56b 825db56b 825db56b"],
  [2, "e25b086a 946637e0 946637e0 946637e0"],
  [3, "ef5dd547 814fe1d3 814fe1d3 814fe1d3"],
  [4, "d021ef70 bffa0a8e bffa0a8e bffa0a8e"],
  [5, "a1bdd9f5 fcb58997 253eef03 253eef03"],
  [7, "fefb3e3f 0cf7684e f2c048de f2c048de"],
  [8, "fc0141d5 f89a9067 40e16338 40e16338"],
  [9, "37dd5f38 0f9dc92c dd382ad9 c0f0e315"],
  [11, "b7d8ddb0 02ff2c68 5ceb057c 2864d73b"],
  [12, "6bbe8b8b 92dde2a2 427c9e8a 04feaac2"],
  [13, "cbedda29 107c882c 3bab087f 1445e0c3"],
  [15, "e834163d 88c1111c 03559fa9 7162791c"],
  [16, "aa3a2073 a8c41845 adf04182 b35623e7"],
  [17, "c5078dc0 fbe3511f 9ede0bb0 aee0538b"],
  [20, "ffc8ded8 6923e823 5980334e 588fb5ac"],
  [24, "f7b3f9b9 2e023166 fad5bd9a 132437fc"],
  [28, "3b5c91fe 3c5eb449 e76e464d a223e560"],
  [31, "661fa416 64e569c4 c4d9c5a2 aebc2f18"],
  [32, "ce5ff737 e3dfb338 5d53b314 abafe93f"],
  [33, "f2ce5217 28758d8f 8b5892a5 887e3f9d"],
  [36, "00a2244d c1dcd1ed 5b1b9dbe f1a4b2ad"],
  [40, "eb975766 9168c682 544b34cb d94ef36b"],
];

function textOf(words: Uint32Array): string {
  return [...words].map((word) => word.toString(16).padStart(8, "0")).join(" ");
}

function hashed(bytes: Uint8Array): string {
  const into = new Uint32Array(4);
  hash128(bytes, bytes.length, into);
  return textOf(into);
}

function keyed(name: string, id: string): string {
  const into = new Uint32Array(4);
  hashKey128(new TextEncoder().encode(name), name.length, id, into);
  return textOf(into);
}

describe("hash128", () => {
  it("is MurmurHash3 x86_128 for the published texts", () => {
    const of = (text: string): string => hashed(new TextEncoder().encode(text));
    assert.equal(of(""), "00000000 00000000 00000000 00000000");
    assert.equal(of("hello"), "2b2444a0 db91def7 9adb31b6 9adb31b6");
    assert.equal(
      of("The quick brown fox jumps over the lazy dog"),
      "2f1583c3 ecee2c67 5d7bf66c e5e91d2c",
    );
  });

  it("is MurmurHash3 x86_128 for every length of the tail", () => {
    for (const [length, expected] of VECTORS) {
      assert.equal(hashed(Uint8Array.from({ length }, (_, i) => i * 37 + 11)), expected);
    }
  });

  it("looks at no byte behind the length", () => {
    const bytes = new TextEncoder().encode("hello and more");
    const into = new Uint32Array(4);
    hash128(bytes, 5, into);
    assert.equal(textOf(into), "2b2444a0 db91def7 9adb31b6 9adb31b6");
  });
});

describe("hashKey128", () => {
  it("hashes the name, a zero byte and the id", () => {
    assert.equal(keyed("a.com", "k1"), hashed(new TextEncoder().encode("a.com\0k1")));
  });

  it("keeps apart what only together spells the same", () => {
    assert.notEqual(keyed("a.com", "mail"), keyed("a.comm", "ail"));
    assert.notEqual(keyed("a.com", "k"), keyed("b.com", "k"));
  });

  it("takes the longest name with the longest id", () => {
    const name = "n".repeat(253);
    const id = "i".repeat(255);
    assert.equal(keyed(name, id), hashed(new TextEncoder().encode(`${name}\0${id}`)));
  });
});
