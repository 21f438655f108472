import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { orderOf } from "../../src/notifications/status-change.ts";

describe("orderOf", () => {
  it("orders by epoch, then sequence, then ordinal; a rule's change as well", () => {
    assert.deepEqual(orderOf({ id: "3-9-120-63-4" }), [3, 120, 4]);
    assert.deepEqual(orderOf({ id: "3-9-120-63-5-xn--e1afmkfd.example" }), [3, 120, 5]);
    const longest = `${"a".repeat(63)}.${"b".repeat(63)}.${"c".repeat(63)}.${"d".repeat(61)}`;
    assert.equal(longest.length, 253);
    assert.deepEqual(orderOf({ id: `3-9-120-63-7-${longest}` }), [3, 120, 7]);
  });

  it("refuses an id of another form", () => {
    for (const id of [
      "",
      "1-2-3-4",
      "1-2-3-4-",
      "1-2-3-4-a.example",
      "a-2-3-4-5",
      "1-2-3-4-5 6",
      "1-2-3-4-\n",
    ]) {
      assert.throws(() => orderOf({ id }), /is no id of a change/, id);
    }
  });
});
