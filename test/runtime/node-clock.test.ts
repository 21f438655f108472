import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { NodeClock } from "../../src/runtime/node-clock.ts";

describe("NodeClock", () => {
  it("tells whole milliseconds since 1970", () => {
    const before = Date.now();
    const wallMs = new NodeClock().wallMs();
    assert.ok(Number.isInteger(wallMs) && wallMs >= before && wallMs <= Date.now());
  });

  it("never goes back", () => {
    const clock = new NodeClock();
    let last = clock.monotonicMs();
    for (let i = 0; i < 10_000; i++) {
      const now = clock.monotonicMs();
      assert.ok(now >= last);
      last = now;
    }
  });
});
