/** The part `growth-partitions`: what an event costs three nodes as their domains are cut into more ranges. */
import {
  type ClusterCost,
  type ClusterCosts,
  costsOf,
  LOAD_KINDS,
  type LoadKind,
  loadsText,
  measureClusterCost,
} from "./cluster-cost.ts";
import { takeTurns } from "./compare.ts";
import { decimal, median, whole, withRange } from "./figures.ts";
import type { BenchContext, BenchPart, Table } from "./part.ts";

const NODES = ["n1", "n2", "n3"] as const;
/** Not scaled in a try: a start with many takes no longer. */
const PARTITION_COUNTS = ["16", "64", "256"] as const;
const BASE = "64";

export const growthPartitionsPart: BenchPart = {
  name: "growth-partitions",
  run: async (context) => {
    const results = await takeTurns(context, PARTITION_COUNTS, (count) => {
      context.say(`  partitions: ${count}`);
      return measureClusterCost(context, NODES, ["--partitions", count]);
    });
    return [tableOf(context, results)];
  },
};

function tableOf(
  context: BenchContext,
  results: ReadonlyMap<string, readonly ClusterCosts[]>,
): Table {
  const cpuOf = (count: string, kind: LoadKind): number =>
    median(costsOf(results.get(count), kind, "cpuUs"));
  const rows = LOAD_KINDS.flatMap((kind) =>
    PARTITION_COUNTS.map((count) => {
      const all = (key: keyof ClusterCost): readonly number[] =>
        costsOf(results.get(count), kind, key);
      return [
        `${kind}, ${count} partitions`,
        withRange(all("eventsPerSecond"), whole),
        withRange(all("cpuUs"), decimal),
        `${decimal(cpuOf(count, kind) / cpuOf(BASE, kind))} ×`,
        median(all("eventsPerAppend")).toFixed(1),
        median(all("eventsPerFrame")).toFixed(1),
      ];
    }),
  );
  return {
    title: "Growth of partitions",
    text: `Three nodes. ${loadsText(context)} A frame carries events from one node to another, an append makes them durable.`,
    columns: [
      ...["load", "events/s", "CPU µs/event", `CPU of ${BASE}`],
      ...["events/append", "events/frame"],
    ],
    rows,
    plot: {
      name: "growth-partitions",
      x: { title: "Partitions", isLogarithmic: true },
      y: { title: "CPU µs/event, all server processes", isLogarithmic: true },
      series: LOAD_KINDS.map((kind) => ({
        title: kind,
        points: PARTITION_COUNTS.map((count) => [Number(count), cpuOf(count, kind)]),
      })),
    },
  };
}
