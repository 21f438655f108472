/** The benchmark's pictures show what they are given. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Plot } from "../../scripts/bench/part.ts";
import { svgOf } from "../../scripts/bench/plots.ts";

const PLOT: Plot = {
  name: "cost",
  x: { title: "Domains", isLogarithmic: true },
  y: { title: "CPU µs/event", isLogarithmic: false },
  series: [
    {
      title: "one node",
      points: [
        [10_000, 1.1],
        [100_000, 1.2],
        [1_000_000, 1.3],
      ],
    },
    {
      title: "a cluster",
      points: [
        [10_000, 8.1],
        [1_000_000, 9.7],
      ],
    },
  ],
};

describe("svgOf", () => {
  it("draws titles, a legend, the measured values as ticks and every point", async () => {
    const svg = await svgOf(PLOT, "What an event costs");
    assert.match(svg, /^<svg .*<\/svg>$/s);
    for (const text of [
      "What an event costs",
      "Domains",
      "CPU µs/event",
      "one node",
      "a cluster",
    ]) {
      assert.ok(svg.includes(`>${text}<`), `no "${text}"`);
    }
    for (const tick of ["10,000", "100,000", "1,000,000"]) {
      assert.ok(svg.includes(`>${tick}<`), `no tick "${tick}"`);
    }
    assert.equal(svg.match(/aria-roledescription="point"/g)?.length, 5);
  });

  it("draws the same bytes again, also after another plot", async () => {
    const first = await svgOf(PLOT, "What an event costs");
    await svgOf({ ...PLOT, x: { title: "Nodes", isLogarithmic: false } }, "Another");
    assert.equal(await svgOf(PLOT, "What an event costs"), first);
  });

  it("refuses a value that a logarithmic axis can't show", async () => {
    const series = [{ title: "one node", points: [[0, 1]] as const }];
    assert.throws(
      () => svgOf({ ...PLOT, series }, "Cost"),
      /0 can't be drawn on the axis "Domains"/,
    );
  });
});
