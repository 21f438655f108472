/** The part `growth-nodes`: what an event costs as nodes join, all on one nats-server and one mongod. */
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

const NODE_COUNTS = ["1", "2", "4", "8"] as const;
/** That the others are compared with: the first where events are forwarded. */
const BASE = "2";

export const growthNodesPart: BenchPart = {
  name: "growth-nodes",
  run: async (context) => {
    const results = await takeTurns(context, NODE_COUNTS, (count) => {
      context.say(`  nodes: ${count}`);
      const nodes = Array.from({ length: Number(count) }, (_, i) => `n${i + 1}`);
      return measureClusterCost(context, nodes, []);
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
    NODE_COUNTS.map((count) => {
      const all = (key: keyof ClusterCost): readonly number[] =>
        costsOf(results.get(count), kind, key);
      return [
        `${kind}, ${count} ${count === "1" ? "node" : "nodes"}`,
        withRange(all("eventsPerSecond"), whole),
        withRange(all("cpuUs"), decimal),
        `${decimal(cpuOf(count, kind) / cpuOf(BASE, kind))} ×`,
        median(all("messages")).toFixed(4),
        median(all("messageBytes")).toFixed(1),
        median(all("logBytes")).toFixed(1),
      ];
    }),
  );
  return {
    title: "Growth of nodes",
    text:
      `One nats-server, one mongod, all on this machine. ${loadsText(context)} ` +
      "Messages and their bytes are those that nodes send to nats-server: frames to other nodes, appends to the log, leases.",
    columns: [
      ...["load", "events/s", "CPU µs/event", `CPU of ${BASE} nodes`],
      ...["messages/event", "bytes/event", "log bytes/event"],
    ],
    rows,
    plot: {
      name: "growth-nodes",
      x: { title: "Nodes", isLogarithmic: true },
      y: { title: "CPU µs/event, all server processes", isLogarithmic: true },
      series: LOAD_KINDS.map((kind) => ({
        title: kind,
        points: NODE_COUNTS.map((count) => [Number(count), cpuOf(count, kind)]),
      })),
    },
  };
}
