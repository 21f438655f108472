import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { EntryTime, WALL_LEAP_MS_MAX } from "../../src/commit/entry-time.ts";
import type { Clock } from "../../src/runtime/clock.ts";

const START_MS = 1_790_000_000_000;

/** Wall and monotonic clock move apart only when the wall clock leaps. */
class TwoClocks implements Clock {
  passedMs = 0;
  leapMs = 0;
  wallMs(): number {
    return START_MS + Math.floor(this.passedMs) + this.leapMs;
  }
  monotonicMs(): number {
    return 5.25 + this.passedMs;
  }
}

function open(lastMs = 0) {
  const clock = new TwoClocks();
  const told: number[] = [];
  return { clock, told, time: new EntryTime(clock, lastMs, (aheadMs) => told.push(aheadMs)) };
}

describe("EntryTime", () => {
  it("is the wall clock while that runs evenly, after an idle night as well", () => {
    const { clock, time, told } = open();
    assert.equal(time.nowMs(), START_MS);
    clock.passedMs = 10 * 3_600_000;
    assert.equal(time.nowMs(), START_MS + 10 * 3_600_000);
    assert.deepEqual(told, []);
  });

  it("never goes back below an entry that was taken", () => {
    const { clock, time } = open();
    clock.passedMs = 5000;
    time.taken(time.nowMs());
    clock.leapMs = -3_600_000;
    assert.equal(time.nowMs(), START_MS + 5000);
    clock.passedMs = 6000;
    assert.equal(time.nowMs(), START_MS + 5000);
  });

  it("follows a step of up to a minute, and goes no further ahead however often it leaps", () => {
    const { clock, time, told } = open();
    clock.leapMs = WALL_LEAP_MS_MAX - 1;
    assert.equal(time.nowMs(), START_MS + WALL_LEAP_MS_MAX - 1);
    assert.deepEqual(told, []);
    for (let leap = 0; leap < 100; leap++) {
      clock.leapMs += 30_000;
      clock.passedMs += 10;
      time.taken(time.nowMs());
    }
    assert.equal(time.nowMs(), START_MS + 1000 + WALL_LEAP_MS_MAX);
  });

  it("goes on at the pace of the time that passes while the wall clock is a year ahead", () => {
    const { clock, time } = open();
    clock.leapMs = 365 * 86_400_000;
    assert.equal(time.nowMs(), START_MS + WALL_LEAP_MS_MAX);
    clock.passedMs = 2500.75;
    assert.equal(time.nowMs(), START_MS + 2500 + WALL_LEAP_MS_MAX);
    assert.equal(time.aheadMs(), 365 * 86_400_000 - WALL_LEAP_MS_MAX);
  });

  it("tells of a leap once, and once that the clock is back", () => {
    const { clock, time, told } = open();
    clock.leapMs = 3_600_000;
    time.nowMs();
    time.nowMs();
    clock.leapMs = 0;
    time.nowMs();
    time.nowMs();
    assert.deepEqual(told, [3_600_000 - WALL_LEAP_MS_MAX, 0]);
    assert.equal(time.aheadMs(), 0);
  });

  it("begins at the last entry of an earlier life where the clock is behind that", () => {
    const { time } = open(START_MS + 1000);
    assert.equal(time.nowMs(), START_MS + 1000);
  });

  it("believes the clock at the start: a leap in a downtime looks like a long downtime", () => {
    const { time, told } = open(START_MS - 365 * 86_400_000);
    assert.equal(time.nowMs(), START_MS);
    assert.deepEqual(told, []);
  });
});
