/** Storms and calms: they cover the run, and time is counted in the right ones. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { drawPlan, WEATHER_PLAN_OPTIONS } from "../../src/simulation/fault-plan.ts";
import { SimRandom } from "../../src/simulation/sim-random.ts";
import { afterWithin, drawWeather, type Stretch } from "../../src/simulation/storms.ts";

const SEEDS = 200;
const lengthOf = (stretches: readonly Stretch[]): number =>
  Math.round(stretches.reduce((sum, { startMs, endMs }) => sum + endMs - startMs, 0));

describe("drawWeather", () => {
  it("covers the run with storms and calms in turn, each of them of its whole length", () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const { storms, calms } = drawWeather(new SimRandom(seed, "weather"), 60_000, 540_000);
      assert.equal(storms.length, calms.length + 1);
      assert.deepEqual([lengthOf(storms), lengthOf(calms)], [60_000, 540_000]);
      for (const [i, calm] of calms.entries()) {
        assert.deepEqual([calm.startMs, calm.endMs], [storms[i]?.endMs, storms[i + 1]?.startMs]);
      }
      assert.equal(storms[0]?.startMs, 0);
    }
  });

  it("is one storm where no calm is asked for", () => {
    const weather = drawWeather(new SimRandom(1, "weather"), 60_000, 0);
    assert.deepEqual(weather, { storms: [{ startMs: 0, endMs: 60_000 }], calms: [] });
  });

  it("gives ten virtual minutes to a seed of the ordinary plan", () => {
    assert.equal(drawPlan(1, WEATHER_PLAN_OPTIONS).faultsMs, 600_000);
  });
});

describe("afterWithin", () => {
  const stretches = [
    { startMs: 0, endMs: 100 },
    { startMs: 500, endMs: 600 },
  ];

  it("counts the time inside the stretches alone, and all of it after the last", () => {
    assert.equal(afterWithin(stretches, 20, 50), 70);
    assert.equal(afterWithin(stretches, 20, 90), 510);
    assert.equal(afterWithin(stretches, 300, 40), 540);
    assert.equal(afterWithin(stretches, 550, 70), 620);
    assert.equal(afterWithin(stretches, 700, 5), 705);
  });
});
