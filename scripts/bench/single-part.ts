/** The part `single`: one event a request, all targets, each number of connections. */
import { type ComparedLoad, measureLoads } from "./compare.ts";
import {
  COMPARISON_COLUMNS,
  CPU_SECOND_COLUMNS,
  comparisonRows,
  cpuSecondCells,
} from "./comparison-table.ts";
import type { BenchContext, BenchPart } from "./part.ts";
import type { TargetName } from "./targets.ts";

export const singlePart: BenchPart = {
  name: "single",
  run: async (context) => {
    const { targets } = context;
    const loads = context.connections.map((connections) => singleLoad(context, connections));
    const compared = await measureLoads(context, { targets, loads });
    const leftOut = targets.includes("gubernator")
      ? ""
      : " gubernator was left out: `GUBERNATOR_CLUSTER` is to name its program.";
    return loads.map(({ title, text }, index) => {
      const rounds = compared[index] ?? [];
      const more = cpuSecondCells(rounds);
      return {
        title,
        text: `${text}${leftOut}`,
        columns: [...COMPARISON_COLUMNS, ...CPU_SECOND_COLUMNS],
        rows: comparisonRows(rounds).map((row, i) => [...row, ...(more[i] ?? [])]),
      };
    });
  },
};

/** `PUT`s of one event in a closed loop. */
export function singleLoad({ mix }: BenchContext, connections: number): ComparedLoad {
  return {
    title: `Single PUTs, ${connections} connections`,
    text: `\`PUT /events/{domain}/{type}\`, mix \`${mix}\`, closed loop, keep-alive.`,
    connections,
    flags: ["--mix", mix],
  };
}

/** Of the given numbers of connections the one in the middle, for loads that are measured with one number only. */
export function usualConnections({ connections }: BenchContext): number {
  return connections[connections.length >> 1] as number;
}

/** The bare server and those that are this product. */
export function withoutPeers({ targets }: BenchContext): readonly TargetName[] {
  return targets.filter((name) => name === "bare" || name === "catchall" || name === "cluster");
}
