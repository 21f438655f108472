/** The part `growth-nodes`: what an event costs as nodes join, all on one nats-server and one mongod. */
import { loadsText, measureClusterCosts } from "./cluster-cost.ts";
import { growthTable } from "./growth-table.ts";
import type { BenchPart } from "./part.ts";

const NODE_COUNTS = ["1", "2", "4", "8"] as const;
/** That the others are compared with: the first where events are forwarded. */
const BASE = "2";

export const growthNodesPart: BenchPart = {
  name: "growth-nodes",
  run: async (context) => {
    const results = await measureClusterCosts(context, NODE_COUNTS, (count) => {
      return { nodes: Array.from({ length: Number(count) }, (_, i) => `n${i + 1}`), flags: [] };
    });
    const growth = {
      ...{ name: "growth-nodes", what: "nodes", counts: NODE_COUNTS },
      ...{ base: BASE, baseTitle: `CPU of ${BASE} nodes` },
      text:
        `One nats-server and one mongod a cluster, all of them running beside each other on this machine. ${loadsText(context)} ` +
        "Messages and their bytes are those that nodes send to nats-server: frames to other nodes, appends to the log, leases.",
      rowTitle: (count: string) => `${count} ${count === "1" ? "node" : "nodes"}`,
      more: [
        { title: "messages/event", key: "messages", digits: 4 },
        { title: "bytes/event", key: "messageBytes", digits: 1 },
        { title: "log bytes/event", key: "logBytes", digits: 1 },
      ],
    } as const;
    return [growthTable(growth, results)];
  },
};
