import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { HeldWork } from "../../src/router/held-work.ts";
import { VirtualTimers } from "../support/virtual-timers.ts";

describe("HeldWork", () => {
  it("tries again after a delay that doubles up to a limit", async () => {
    const timers = new VirtualTimers();
    const delays: number[] = [];
    let heldMs = 0;
    const item = { tries: 0 };
    const work = new HeldWork<typeof item>(timers, () => {
      delays.push(timers.nowMs - heldMs);
      hold();
    });
    const hold = (): void => {
      heldMs = timers.nowMs;
      work.hold(item, ++item.tries);
    };
    hold();
    await timers.advance(1_000);
    assert.deepEqual(delays.slice(0, 8), [5, 10, 20, 40, 40, 40, 40, 40]);
  });

  it("tries everything at once when told, each once, and runs no timer for nothing", async () => {
    const timers = new VirtualTimers();
    const tried: object[] = [];
    const work = new HeldWork<object>(timers, (item) => tried.push(item));
    const items = [{}, {}, {}] as const;
    for (const item of items) work.hold(item, 9);
    work.drop(items[1]);
    work.releaseAll();
    assert.deepEqual(tried, [items[0], items[2]]);
    assert.equal(timers.count, 0);
    work.hold(items[0], 1);
    work.drop(items[0]);
    assert.equal(timers.count, 0);
    await timers.advance(1_000);
    assert.equal(tried.length, 2);
  });
});
