/** Goal: the long run knows its parts and scales them; an unknown part is an error, not an empty run. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { commandOf, partsOf } from "../../scripts/long.ts";

describe("parts of the long run", () => {
  it("are all of them, or those that are named", () => {
    assert.equal(partsOf(undefined).length, 14);
    assert.deepEqual(
      partsOf("kills,seeds").map(({ name }) => name),
      ["seeds", "kills"],
    );
    assert.throws(() => partsOf("seeds,nothing"), /No part "nothing"/);
  });

  it("scale their number, and never to nothing", () => {
    const [seeds] = partsOf("seeds");
    const numberIn = (scale: number): string | undefined =>
      seeds === undefined ? undefined : commandOf(seeds, scale, 2).at(-1);
    assert.deepEqual([1, 0.1, 1e-9].map(numberIn), ["10000", "1000", "1"]);
  });
});
