/** The part `bulk`: a thousand events a request, all targets that can take them. */
import { compare } from "./compare.ts";
import type { BenchPart } from "./part.ts";

const LINES = 1000;

export const bulkPart: BenchPart = {
  name: "bulk",
  run: (context) => {
    const { bulkConnections: connections, mix } = context;
    const title = `Bulk, ${LINES} lines a request`;
    const text = `\`POST /events\`, NDJSON, mix \`${mix}\`, ${connections} connections; latency a request.`;
    const flags = ["--bulk", String(LINES), "--mix", mix];
    // It would count a request of many hits as one.
    const targets = context.targets.filter((target) => target !== "gubernator");
    return compare(context, { targets, loads: [{ title, text, connections, flags }] });
  },
};
