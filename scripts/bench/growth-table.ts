/** What an event costs a cluster as one number of it grows: the table and the plot of the parts `growth-nodes` and `-partitions`. */
import {
  type ClusterCost,
  type ClusterCosts,
  costsOf,
  LOAD_KINDS,
  type LoadKind,
} from "./cluster-cost.ts";
import { decimal, median, ratios, whole, withRange } from "./figures.ts";
import type { Table } from "./part.ts";

export interface Growth {
  /** Of the plot's file. */
  readonly name: string;
  /** What grows, as a noun in the plural. */
  readonly what: string;
  readonly text: string;
  readonly counts: readonly string[];
  /** The count that the others are compared with, and how its column says so. */
  readonly base: string;
  readonly baseTitle: string;
  readonly rowTitle: (count: string) => string;
  /** Further columns: their medians. */
  readonly more: readonly {
    readonly title: string;
    readonly key: keyof ClusterCost;
    readonly digits: number;
  }[];
}

export function growthTable(
  growth: Growth,
  results: ReadonlyMap<string, readonly ClusterCosts[]>,
): Table {
  const { counts, base, more } = growth;
  const cpuOf = (count: string, kind: LoadKind): number =>
    median(costsOf(results.get(count), kind, "cpuUs"));
  const rows = LOAD_KINDS.flatMap((kind) =>
    counts.map((count) => {
      const all = (key: keyof ClusterCost): readonly number[] =>
        costsOf(results.get(count), kind, key);
      return [
        `${kind}, ${growth.rowTitle(count)}`,
        withRange(all("eventsPerSecond"), whole),
        withRange(all("cpuUs"), decimal),
        withRange(ratios(all("cpuUs"), costsOf(results.get(base), kind, "cpuUs")), decimal, " ×"),
        ...more.map(({ key, digits }) => median(all(key)).toFixed(digits)),
      ];
    }),
  );
  return {
    title: `Growth of ${growth.what}`,
    text: growth.text,
    columns: [
      ...["load", "events/s", "CPU µs/event", growth.baseTitle],
      ...more.map(({ title }) => title),
    ],
    rows,
    plot: {
      name: growth.name,
      x: { title: `${growth.what[0]?.toUpperCase()}${growth.what.slice(1)}`, isLogarithmic: true },
      y: { title: "CPU µs/event, all server processes", isLogarithmic: true },
      series: LOAD_KINDS.map((kind) => ({
        title: kind,
        points: counts.map((count) => [Number(count), cpuOf(count, kind)]),
      })),
    },
  };
}
