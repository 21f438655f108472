import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { type DeadlineEntry, DeadlineList } from "../../src/http/deadline-list.ts";

function entry(onDeadline: () => void): DeadlineEntry {
  return {
    deadlineTick: 0,
    deadlineList: null,
    deadlinePrevious: null,
    deadlineNext: null,
    onDeadline,
  };
}

describe("DeadlineList", () => {
  it("expires every entry that was not removed, once, after its delay and at most one tick late", () => {
    const step = fc.oneof(fc.constant("add"), fc.constant("tick"), fc.nat(20));
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 200 }),
        fc.integer({ min: 0, max: 5 }),
        (steps, delay) => {
          const list = new DeadlineList(delay);
          const due = new Map<DeadlineEntry, number>();
          let tick = 0;
          for (const what of steps) {
            if (what === "add") {
              const added = entry(() => {
                assert.equal(due.get(added), tick);
                due.delete(added);
              });
              due.set(added, tick + delay + 1);
              list.add(added);
            } else if (what === "tick") {
              tick += 1;
              list.advance();
            } else {
              const removed = [...due.keys()][what as number];
              if (removed === undefined) continue;
              list.remove(removed);
              due.delete(removed);
            }
            assert.equal(list.count, due.size);
            for (const tickDue of due.values()) assert.ok(tickDue > tick);
          }
        },
      ),
    );
  });
  it("lets an entry start another wait from its own deadline", () => {
    const list = new DeadlineList(0);
    let count = 0;
    const again = entry(() => {
      count += 1;
      list.add(again);
    });
    list.add(again);
    for (let tick = 0; tick < 3; tick += 1) list.advance();
    assert.deepEqual([count, list.count], [3, 1]);
  });
});
