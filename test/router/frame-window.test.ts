import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FRAME_WINDOW, FrameWindow } from "../../src/router/frame-window.ts";

describe("FrameWindow", () => {
  it("takes each number once, in any order", () => {
    const window = new FrameWindow();
    for (const number of [1, 3, 2, 10, 7]) assert.equal(window.take(number), true);
    for (const number of [10, 7, 3, 2, 1]) assert.equal(window.take(number), false);
    for (const number of [4, 5, 6, 8, 9]) assert.equal(window.take(number), true);
  });

  it("never takes what is too old to be known, and is as new after any leap", () => {
    const window = new FrameWindow();
    assert.equal(window.take(5), true);
    assert.equal(window.take(5 + FRAME_WINDOW), true);
    assert.equal(window.take(5), false);
    assert.equal(window.take(4), false);
    assert.equal(window.take(6), true);
    const far = 10 * FRAME_WINDOW + 5;
    assert.equal(window.take(far), true);
    for (let back = 1; back < FRAME_WINDOW; back++) assert.equal(window.take(far - back), true);
    for (let back = 0; back <= FRAME_WINDOW; back++) assert.equal(window.take(far - back), false);
  });

  it("agrees with a set under random numbers", () => {
    const window = new FrameWindow();
    const taken = new Set<number>();
    let highest = 0;
    let state = 7;
    for (let i = 0; i < 50_000; i++) {
      state = (state * 48_271) % 2_147_483_647;
      const number = Math.max(1, highest - 3_000 + (state % 3_100));
      const isNew = !taken.has(number) && number > highest - FRAME_WINDOW;
      assert.equal(window.take(number), isNew);
      taken.add(number);
      highest = Math.max(highest, number);
    }
  });
});
