import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isoTime } from "../../src/model/iso-time.ts";

const LAST_MS = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

function assertSame(timeMs: number): void {
  assert.equal(isoTime(timeMs), new Date(timeMs).toISOString());
}

describe("isoTime", () => {
  it("writes the first and the last time it is made for", () => {
    assert.equal(isoTime(0), "1970-01-01T00:00:00.000Z");
    assert.equal(isoTime(LAST_MS), "9999-12-31T23:59:59.999Z");
  });

  it("equals Date.toISOString at 10000 times spread over all years", () => {
    let state = 1;
    for (let i = 0; i < 10_000; i++) {
      state = (state * 48_271) % 2_147_483_647;
      assertSame(Math.floor((state / 2_147_483_647) * LAST_MS));
    }
  });

  it("equals Date.toISOString around every end of February and of the year", () => {
    for (let year = 1970; year <= 9999; year += year < 2500 ? 1 : 97) {
      for (const [month, day] of [
        [1, 28],
        [1, 29],
        [2, 1],
        [11, 31],
        [0, 1],
      ] as const) {
        assertSame(Date.UTC(year, month, day));
        assertSame(Date.UTC(year, month, day, 23, 59, 59, 999));
      }
    }
  });

  it("knows which centuries have a leap day", () => {
    assert.equal(isoTime(Date.UTC(2000, 1, 29)), "2000-02-29T00:00:00.000Z");
    assert.equal(isoTime(Date.UTC(2100, 1, 29)), "2100-03-01T00:00:00.000Z");
    assert.equal(isoTime(Date.UTC(2400, 1, 29)), "2400-02-29T00:00:00.000Z");
  });
});
