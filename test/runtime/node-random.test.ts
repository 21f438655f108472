import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { NodeRandom } from "../../src/runtime/node-random.ts";

describe("NodeRandom", () => {
  it("gives unsigned 32-bit numbers that use every bit and do not repeat", () => {
    const random = new NodeRandom();
    const seen = new Set<number>();
    let ones = 0;
    let zeros = 0;
    for (let i = 0; i < 2000; i++) {
      const value = random.uint32();
      assert.ok(Number.isInteger(value) && value >= 0 && value <= 0xffffffff);
      seen.add(value);
      ones |= value;
      zeros |= ~value;
    }
    assert.equal(ones >>> 0, 0xffffffff);
    assert.equal(zeros >>> 0, 0xffffffff);
    // Two equal numbers among 2000 happen once in 2000 runs, four in none.
    assert.ok(seen.size >= 1998);
  });

  it("differs between two sources", () => {
    const [a, b] = [new NodeRandom(), new NodeRandom()].map((random) =>
      Array.from({ length: 4 }, () => random.uint32()).join(),
    );
    assert.notEqual(a, b);
  });
});
