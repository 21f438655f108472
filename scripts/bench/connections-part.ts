/** The part `connections`: single events over few and over many connections, on the same process. */
import { measureLoads } from "./compare.ts";
import { type ComparedTarget, loadsInOneTable } from "./comparison-table.ts";
import { median } from "./figures.ts";
import type { BenchPart, Plot } from "./part.ts";
import { singleLoad, withoutPeers } from "./single-part.ts";
import { TARGET_TITLES } from "./targets.ts";

/** A process may have twenty thousand files open at least, or the last of these fails. */
const CONNECTIONS = [64, 512, 2048, 4096] as const;

export const connectionsPart: BenchPart = {
  name: "connections",
  run: async (context) => {
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
