/** The part `growth-partitions`: what an event costs three nodes as their domains are cut into more ranges. */
import { loadsText, measureClusterCosts } from "./cluster-cost.ts";
import { growthTable } from "./growth-table.ts";
import type { BenchPart } from "./part.ts";

const NODES = ["n1", "n2", "n3"] as const;
/** Not scaled in a try: a start with many takes no longer. */
const PARTITION_COUNTS = ["16", "64", "256"] as const;
const BASE = "64";

export const growthPartitionsPart: BenchPart = {
  name: "growth-partitions",
  run: async (context) => {
    const results = await measureClusterCosts(context, PARTITION_COUNTS, (count) => {
      return { nodes: NODES, flags: ["--partitions", count] };
    });
    const growth = {
      ...{ name: "growth-partitions", what: "partitions", counts: PARTITION_COUNTS },
      ...{ base: BASE, baseTitle: `CPU of ${BASE}` },
      text: `Three nodes. ${loadsText(context)} A frame carries events from one node to another, an append makes them durable.`,
      rowTitle: (count: string) => `${count} partitions`,
      more: [
        { title: "events/append", key: "eventsPerAppend", digits: 1 },
        { title: "events/frame", key: "eventsPerFrame", digits: 1 },
      ],
    } as const;
    return [growthTable(growth, results)];
  },
};
