import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { BOUNCED, DELIVERED, EVENT_KIND_NAMES, isEventId } from "../../src/model/event.ts";

describe("isEventId", () => {
  it("accepts 1 to 255 visible ASCII characters", () => {
    for (const id of ["a", "!", "~", "x".repeat(255), "01J-=+/:;{}\"'"]) {
      assert.equal(isEventId(id), true, id);
    }
  });

  it("refuses nothing, too much, space, control and anything beyond ASCII", () => {
    for (const id of ["", "x".repeat(256), "a b", "\t", "a\n", "\u007f", "\u0000", "é", "😀"]) {
      assert.equal(isEventId(id), false, JSON.stringify(id));
    }
  });
});

describe("EVENT_KIND_NAMES", () => {
  it("keeps the order that entries in the log rely on", () => {
    assert.deepEqual([DELIVERED, BOUNCED], [0, 1]);
    assert.deepEqual(
      [EVENT_KIND_NAMES[DELIVERED], EVENT_KIND_NAMES[BOUNCED]],
      ["delivered", "bounced"],
    );
  });
});
