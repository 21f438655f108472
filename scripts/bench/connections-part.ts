/** The part `connections`: single events over few and over many connections, on the same process. */
import { readFileSync } from "node:fs";
import { measureLoads } from "./compare.ts";
import { type ComparedTarget, loadsInOneTable } from "./comparison-table.ts";
import { median } from "./figures.ts";
import type { BenchPart, Plot } from "./part.ts";
import { singleLoad, withoutPeers } from "./single-part.ts";
import { TARGET_TITLES } from "./targets.ts";

const CONNECTIONS = [64, 512, 2048, 4096] as const;
/** Open files of a node or load tool besides connections, with room to spare. */
const OTHER_FILES = 256;

export const connectionsPart: BenchPart = {
  name: "connections",
  run: async (context) => {
    assertOpenFiles(Math.max(...CONNECTIONS) + OTHER_FILES);
    const loads = CONNECTIONS.map((connections) => singleLoad(context, connections));
    const compared = await measureLoads(context, { targets: withoutPeers(context), loads });
    const named = loads.map(({ connections }, index) => {
      return { name: String(connections), compared: compared[index] ?? [] };
    });
    const text = `${loads[0]?.text} One number of connections after the other on the same process.`;
    const title = "Single PUTs by number of connections";
    return [{ title, text, ...loadsInOneTable("connections", named), plot: plotOf(compared) }];
  },
};

/** Node.js raises the soft limit to the hard one. Without so many, connections wait unanswered and loads time out. */
function assertOpenFiles(needed: number): void {
  const limits = readFileSync("/proc/self/limits", "utf8");
  const [, hard = "unlimited"] = /^Max open files\s+\S+\s+(\d+)/m.exec(limits) ?? [];
  if (Number(hard) < needed) throw new Error(`ulimit -n must be ${needed} at least, not ${hard}`);
}

function plotOf(compared: readonly (readonly ComparedTarget[])[]): Plot {
  const targets = compared[0]?.map(({ target }) => target) ?? [];
  return {
    name: "connections",
    x: { title: "connections", isLogarithmic: true },
    y: { title: "CPU µs/event", isLogarithmic: false },
    series: targets.map((target, row) => ({
      title: TARGET_TITLES[target],
      points: CONNECTIONS.map((connections, index) => {
        const rounds = compared[index]?.[row]?.rounds ?? [];
        return [connections, median(rounds.map(({ serverUsPerEvent }) => serverUsPerEvent))];
      }),
    })),
  };
}
