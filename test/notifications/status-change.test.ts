import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { orderOf } from "../../src/notifications/status-change.ts";

describe("orderOf", () => {
  it("orders by epoch, then sequence, then index; a rule's change is the first of its entry", () => {
    assert.deepEqual(orderOf({ id: "3-9-120-63-4" }), [3, 120, 4]);
    assert.deepEqual(orderOf({ id: "3-9-120-63-xn--e1afmkfd.example" }), [3, 120, 0]);
  });

  it("refuses an id of another form", () => {
    for (const id of ["", "1-2-3-4", "1-2-3-4-", "a-2-3-4-5", "1-2-3-4-5 6", "1-2-3-4-\n"]) {
      assert.throws(() => orderOf({ id }), /is no id of a change/, id);
    }
  });
});
