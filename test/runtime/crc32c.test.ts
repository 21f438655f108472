import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { crc32c } from "../../src/runtime/crc32c.ts";

function of(bytes: Uint8Array): number {
  return crc32c(bytes, 0, bytes.length);
}

describe("crc32c", () => {
  it("gives the vectors of RFC 3720 B.4", () => {
    const ascending = Uint8Array.from({ length: 32 }, (_, i) => i);
    assert.equal(of(new Uint8Array(32)), 0x8a9136aa);
    assert.equal(of(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
    assert.equal(of(ascending), 0x46dd794e);
    assert.equal(of(ascending.toReversed()), 0x113fdb5c);
    assert.equal(of(Buffer.from("123456789")), 0xe3069283);
    assert.equal(of(new Uint8Array(0)), 0);
  });

  it("chains at every cut to the crc of the whole", () => {
    const bytes = Uint8Array.from({ length: 100 }, (_, i) => (i * 37 + 11) & 255);
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      assert.equal(crc32c(bytes, cut, 100, crc32c(bytes, 0, cut)), of(bytes));
    }
  });

  it("reads only the range it is given", () => {
    const bytes = Uint8Array.from({ length: 64 }, (_, i) => i);
    for (let start = 0; start < 20; start += 1) {
      assert.equal(crc32c(bytes, start, 50), of(bytes.slice(start, 50)));
    }
  });
});
