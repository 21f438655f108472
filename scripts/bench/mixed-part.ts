/** The part `mixed`: nine `PUT`s to one `GET` of a domain that the same load has sent events of. */
import { measureLoads } from "./compare.ts";
import {
  COMPARISON_COLUMNS,
  type ComparedTarget,
  comparisonRows,
  LATENCIES,
  LATENCY_COLUMNS,
} from "./comparison-table.ts";
import { decimal, withRange } from "./figures.ts";
import type { BenchPart, Table } from "./part.ts";
import { singleLoad, usualConnections, withoutPeers } from "./single-part.ts";
import { TARGET_TITLES } from "./targets.ts";

const READS = 0.1;

export const mixedPart: BenchPart = {
  name: "mixed",
  run: async (context) => {
    const connections = usualConnections(context);
    const single = singleLoad(context, connections);
    const load = { ...single, title: "Mixed", flags: [...single.flags, "--reads", String(READS)] };
    const [compared = []] = await measureLoads(context, {
      targets: withoutPeers(context),
      loads: [load],
    });
    const title = `90 % PUTs and 10 % GETs, ${connections} connections`;
    const text =
      `${single.text} Each tenth request is \`GET /domains/{domain}\` of a domain that was sent ` +
      "before. Rates and CPU are of all requests, latencies of the PUTs; those of the GETs follow.";
    const columns = COMPARISON_COLUMNS.map((column) => column.replace("event", "request"));
    return [{ title, text, columns, rows: comparisonRows(compared) }, readTable(compared)];
  },
};

function readTable(compared: readonly ComparedTarget[]): Table {
  return {
    title: "GETs among nine times as many PUTs",
    text: "Latencies of the GETs of the load above.",
    columns: ["target", ...LATENCY_COLUMNS],
    rows: compared.map(({ target, rounds }) => [
      TARGET_TITLES[target],
      ...LATENCIES.map((key) =>
        withRange(
          rounds.map(({ readLatency }) => readLatency?.[key] ?? Number.NaN),
          decimal,
        ),
      ),
    ]),
  };
}
