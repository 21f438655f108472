/**
 * Line charts of the benchmark as SVG, by Vega-Lite without a browser. The same plot gives the same bytes, so that a
 * picture changes only when its figures do. Drawn on a white ground: readable on pages of any colour.
 */
import { Error as ERROR_LEVEL, parse, resetSVGDefIds, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import type { Axis, Plot } from "./part.ts";

const WIDTH = 560;
const HEIGHT = 320;
/** Okabe and Ito: told apart by the colour-blind, too, and in grey by the symbols. */
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000"];

/** Errors: a value that is not above zero on a logarithmic axis, one that is no number. */
export function svgOf(plot: Plot, title: string): Promise<string> {
  const points = plot.series.flatMap((series) => {
    return series.points.map(([x, y]) => ({ series: series.title, x, y }));
  });
  for (const { x, y } of points) {
    assertDrawable(plot.x, x);
    assertDrawable(plot.y, y);
  }
  const spec: TopLevelSpec = {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    title,
    width: WIDTH,
    height: HEIGHT,
    background: "white",
    padding: 12,
    config: { range: { category: COLOURS }, title: { anchor: "start" } },
    data: { values: points },
    mark: { type: "line", point: { size: 60, filled: true } },
    encoding: {
      // Measured values of a logarithmic axis, such as 16, 64 and 256, are seldom powers of ten.
      x: encodingOf("x", plot.x, plot.x.isLogarithmic ? points.map(({ x }) => x) : null),
      y: encodingOf("y", plot.y, null),
      color: legendOf(plot),
      shape: legendOf(plot),
    },
  };
  // Ids of gradients and clips count on from one drawing to the next.
  resetSVGDefIds();
  const view = new View(parse(compile(spec).spec), { renderer: "none", logLevel: ERROR_LEVEL });
  return view.toSVG().finally(() => view.finalize());
}

function assertDrawable(axis: Axis, value: number): void {
  if (Number.isFinite(value) && (value > 0 || !axis.isLogarithmic)) return;
  throw new Error(`${value} can't be drawn on the axis "${axis.title}"`);
}

function encodingOf(field: "x" | "y", axis: Axis, ticks: readonly number[] | null) {
  return {
    field,
    type: "quantitative" as const,
    title: axis.title,
    scale: axis.isLogarithmic ? { type: "log" as const } : { zero: true },
    axis: ticks === null ? {} : { values: [...new Set(ticks)] },
  };
}

/** In the order of the plot, which the series keep their colours by. */
function legendOf({ series }: Plot) {
  const names = series.map(({ title }) => title);
  return {
    field: "series",
    type: "nominal" as const,
    sort: names,
    scale: { domain: names },
    legend: { title: null, orient: "bottom" as const, columns: 2, labelLimit: WIDTH / 2 },
  };
}
