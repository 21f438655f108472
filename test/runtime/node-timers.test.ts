import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { NodeTimers } from "../../src/runtime/node-timers.ts";

const DAY_MS = 24 * 3600 * 1000;

describe("NodeTimers", () => {
  it("runs work once, after the delay", (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    let count = 0;
    new NodeTimers().after(100, () => count++);
    t.mock.timers.tick(99);
    assert.equal(count, 0);
    t.mock.timers.tick(1);
    assert.equal(count, 1);
    t.mock.timers.tick(1000);
    assert.equal(count, 1);
  });

  it("runs nothing after cancel, however often it is called", (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    let count = 0;
    const handle = new NodeTimers().after(100, () => count++);
    handle.cancel();
    handle.cancel();
    t.mock.timers.tick(1000);
    assert.equal(count, 0);
  });

  it("keeps delays that are longer than Node's own limit", (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    let count = 0;
    new NodeTimers().after(60 * DAY_MS, () => count++);
    const cancelled = new NodeTimers().after(60 * DAY_MS, () => count++);
    const parts = [2 ** 31 - 1, 2 ** 31 - 1, 60 * DAY_MS - 2 * (2 ** 31 - 1) - 1];
    for (const part of parts) t.mock.timers.tick(part);
    assert.equal(count, 0);
    cancelled.cancel();
    t.mock.timers.tick(1);
    assert.equal(count, 1);
  });

  it("runs soon-work in order, after the code that asked for it", async () => {
    const timers = new NodeTimers();
    const order: string[] = [];
    await new Promise<void>((resolve) => {
      timers.soon(() => order.push("first"));
      timers.soon(() => {
        order.push("second");
        resolve();
      });
      order.push("now");
    });
    assert.deepEqual(order, ["now", "first", "second"]);
  });
});
