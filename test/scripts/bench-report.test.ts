/** Goal: the tables of docs/benchmarks.md say what was measured: medians with their range, ratios to the right server. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  comparisonRows,
  cpuSecondCells,
  loadsInOneTable,
  type Measurement,
} from "../../scripts/bench/comparison-table.ts";
import { decimal, median, quantile, whole, withRange } from "../../scripts/bench/figures.ts";
import type { Table } from "../../scripts/bench/part.ts";
import { markdownOf, tableText } from "../../scripts/bench/report.ts";

const TABLE: Table = {
  title: "Speed",
  text: "How fast.",
  columns: ["target", "events/s"],
  rows: [
    ["bare", "1,000"],
    ["a | b", "500"],
  ],
};

function measured(eventsPerSecond: number, serverUsPerEvent: number): Measurement {
  const latency = { p50: 1, p95: 2, p99: 3, p999: 4 };
  const rest = { clientUsPerEvent: 20, rssMib: 64, readLatency: null };
  return { eventsPerSecond, serverUsPerEvent, ...latency, ...rest };
}

describe("median", () => {
  it("is the value in the middle, by size and not by place", () => {
    assert.equal(median([9, 10, 1, 200, 8]), 9);
  });

  it("is the mean of two values in the middle", () => {
    assert.equal(median([4, 1, 3, 100]), 3.5);
    assert.equal(median([]), 0);
  });
});

describe("withRange", () => {
  it("writes the median and what is smallest and largest", () => {
    assert.equal(withRange([1300, 1200, 1234], whole), "1,234 (1,200-1,300)");
  });

  it("writes no range of a single value, and nothing of none", () => {
    assert.equal(withRange([1.5], decimal), "1.50");
    assert.equal(withRange([], decimal, " ×"), "");
  });
});

describe("quantile", () => {
  it("takes the value of that rank", () => {
    const sorted = Array.from({ length: 101 }, (_, i) => i);
    assert.deepEqual(
      [0, 0.5, 0.99, 1].map((share) => quantile(sorted, share)),
      [0, 50, 99, 100],
    );
  });
});

describe("tableText", () => {
  it("writes title, text and one line a row, numbers to the right", () => {
    assert.equal(
      tableText(TABLE),
      [
        "## Speed\n\nHow fast.\n",
        "| target | events/s |",
        "| --- | --: |",
        "| bare | 1,000 |",
        "| a \\| b | 500 |",
      ].join("\n"),
    );
  });

  it("shows the plot below its table", () => {
    const axis = { title: "x", isLogarithmic: false };
    const plot = { name: "growth", x: axis, y: axis, series: [] };
    assert.match(tableText({ ...TABLE, plot }), /500 \|\n\n!\[Speed\]\(benchmarks-growth\.svg\)$/);
  });
});

describe("markdownOf", () => {
  const origin = { command: "npm run bench -- --only a", commit: "1a2b3c4", date: "2026-01-02" };

  it("names commits and machine before the tables, and the origin of each below it", () => {
    const text = markdownOf([
      { ...origin, part: "a", tables: [TABLE] },
      { ...origin, part: "b", commit: "5d6e7f8", tables: [TABLE] },
    ]);
    assert.match(text, /^# Benchmarks\n\nWritten by .* Commit 1a2b3c4, 5d6e7f8: /);
    assert.match(text, /Machine: \d+ cores .*\n\n## Speed\n/);
    assert.match(text, /500 \|\n\nCommit 1a2b3c4, `npm run bench -- --only a`, 2026-01-02\.\n\n##/);
    assert.match(text, /500 \|\n\nCommit 5d6e7f8, .*\.\n$/);
  });

  it("names a part that failed, and keeps the others", () => {
    const text = markdownOf([
      { ...origin, part: "a", tables: null },
      { ...origin, part: "b", tables: [TABLE] },
    ]);
    assert.match(text, /## a\n\nThis part failed\. Commit 1a2b3c4.*\n\n## Speed\n/);
  });
});

describe("comparisonRows", () => {
  const bare = [measured(1000, 10), measured(1200, 12), measured(1100, 11)];
  const node = [measured(900, 22), measured(550, 33), measured(500, 20)];

  it("gives rate and processor time as parts of the bare server's, round by round", () => {
    const [first = [], second = []] = comparisonRows([
      { target: "bare", rounds: bare },
      { target: "catchall", rounds: node },
    ]);
    assert.deepEqual(
      [first[1], first[2], first[8]],
      ["1,100 (1,000-1,200)", "100.0 % (100.0-100.0)", "1.00 × (1.00-1.00)"],
    );
    assert.deepEqual([second[1], second[2]], ["550 (500-900)", "45.8 % (45.5-90.0)"]);
    assert.deepEqual([second[7], second[8]], ["22.00 (20.00-33.00)", "2.20 × (1.82-2.75)"]);
  });

  it("gives no ratio when the bare server was not measured", () => {
    const [row = []] = comparisonRows([{ target: "catchall", rounds: node }]);
    assert.deepEqual([row[2], row[8]], ["", ""]);
  });
});

describe("cpuSecondCells", () => {
  it("says how much more than a target the cluster does in a second of processor time", () => {
    const cells = cpuSecondCells([
      { target: "cluster", rounds: [measured(1, 40), measured(1, 50)] },
      { target: "mongo", rounds: [measured(1, 1600), measured(1, 1000)] },
    ]);
    assert.deepEqual(cells, [
      ["22,500 (20,000-25,000)", "1.00 × (1.00-1.00)"],
      ["813 (625-1,000)", "30.00 × (20.00-40.00)"],
    ]);
  });

  it("compares with no cluster that was not measured", () => {
    assert.deepEqual(cpuSecondCells([{ target: "bare", rounds: [measured(1, 10)] }]), [
      ["100,000", ""],
    ]);
  });
});

describe("loadsInOneTable", () => {
  it("gives a load's rate as a part of the base's on the same target", () => {
    const base = {
      name: "challenge",
      compared: [{ target: "catchall" as const, rounds: [measured(1000, 1), measured(2000, 1)] }],
    };
    const other = {
      name: "uniform",
      compared: [{ target: "catchall" as const, rounds: [measured(500, 1), measured(1600, 1)] }],
    };
    const { columns, rows } = loadsInOneTable("mix", [base, other], base);
    assert.equal(columns.at(-1), "of challenge");
    assert.equal(rows[1]?.at(-1), "65.0 % (50.0-80.0)");
  });
});
