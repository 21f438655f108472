/**
 * The one pass of a restore against the three functions that it stands for.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { halfSipHash } from "../../src/counters/keyed-hash.ts";
import { checkName, NAME_HASH32, NAME_KEYED_HASH } from "../../src/counters/name-check.ts";
import { hash32 } from "../../src/model/hash32.ts";

const KEYS = [0x01234567, 0x89abcdef | 0] as const;

function assertSame(bytes: Uint8Array, start: number, length: number, keys = KEYS): void {
  const hashes = new Int32Array(2);
  const isVisible = checkName(bytes, start, length, keys[0], keys[1], hashes);
  const name = bytes.subarray(start, start + length);
  assert.equal(
    isVisible,
    name.every((byte) => byte > 0x20 && byte < 0x7f),
  );
  assert.equal((hashes[NAME_HASH32] as number) >>> 0, hash32(bytes, start, start + length));
  const keyed = halfSipHash(bytes, start, length, keys[0], keys[1], 1, 3);
  assert.equal(hashes[NAME_KEYED_HASH], keyed);
}

describe("checkName", () => {
  it("finds every byte that is not visible ASCII, at every place of names of 1 to 9 bytes", () => {
    for (let length = 1; length <= 9; length++) {
      for (let at = 0; at < length; at++) {
        for (let byte = 0; byte < 256; byte++) {
          const name = new Uint8Array(length + 2).fill(0x7e);
          name[at + 1] = byte;
          assertSame(name, 1, length);
        }
      }
    }
  });

  it("gives both hashes of any bytes under any key", () => {
    const key = fc.integer();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 253 }), fc.nat(9), key, key, (bytes, skip, k0, k1) => {
        const start = Math.min(skip, bytes.length);
        assertSame(bytes, start, bytes.length - start, [k0, k1] as unknown as typeof KEYS);
      }),
      { numRuns: 5000 },
    );
  });
});
