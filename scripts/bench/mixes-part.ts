/**
 * The part `mixes`: the same loads with other domains: those of the challenge (few at a time, many events each), zipf, ten
 * million in equal shares, and events with idempotency keys. A table for single events, one for bulk.
 */
import { WITHOUT_CHECKPOINTS } from "./cluster-cost.ts";
import { type ComparedLoad, measureLoads } from "./compare.ts";
import { loadsInOneTable } from "./comparison-table.ts";
import { whole } from "./figures.ts";
import type { BenchContext, BenchPart, Table } from "./part.ts";
import { usualConnections } from "./single-part.ts";

const UNIFORM_DOMAINS = 10_000_000;
const ZIPF_DOMAINS = 1_000_000;
const LINES = 1000;
const PREPARING_EVENTS = 200_000;
/** All keyed events of all rounds are within one window. A checkpoint of millions would fall into another's turn. */
const TARGET_FLAGS = [...WITHOUT_CHECKPOINTS, "--idempotency-max-keys", "40000000"];

export const mixesPart: BenchPart = {
  name: "mixes",
  run: async (context) => {
    const connections = usualConnections(context);
    const { bulkConnections } = context;
    return [
      await compareMixes(context, `Mixes, single PUTs, ${connections} connections`, {
        connections,
        flags: [],
      }),
      await compareMixes(context, `Mixes, bulk, ${LINES} lines a request`, {
        connections: bulkConnections,
        flags: ["--bulk", String(LINES)],
      }),
    ];
  },
};

async function compareMixes(
  context: BenchContext,
  title: string,
  { connections, flags }: Pick<ComparedLoad, "connections" | "flags">,
): Promise<Table> {
  const scaled = (domains: number): number => Math.ceil(domains * context.scale);
  const uniform = scaled(UNIFORM_DOMAINS);
  const uniformName = `uniform over ${whole(uniform)} domains`;
  const mixes: Readonly<Record<string, readonly string[]>> = {
    challenge: ["--mix", "challenge"],
    "challenge, each event with a key": ["--mix", "challenge", "--keyed"],
    zipf: ["--mix", "zipf", "--domains", String(scaled(ZIPF_DOMAINS))],
    [uniformName]: ["--mix", "uniform", "--domains", String(uniform)],
  };
  const loads = Object.entries(mixes).map(([mix, mixFlags]) => {
    return { title: mix, text: "", connections, flags: [...flags, ...mixFlags] };
  });
  const compared = await measureLoads(context, {
    targets: context.targets.filter((name) => name === "catchall" || name === "cluster"),
    targetFlags: TARGET_FLAGS,
    // The load that settles a target is the first of the mixes: the code for keys would not be compiled.
    prepare: [...flags, "--keyed", "--events", String(scaled(PREPARING_EVENTS))],
    loads,
  });
  const text =
    `${connections} connections, closed loop, one mix after the other on the same process; latency a ` +
    `request. \`zipf\` is over ${whole(scaled(ZIPF_DOMAINS))} domains. Each load has domains of its own, so that most of ` +
    "those of `uniform` are new to the node; no checkpoints meanwhile. `of challenge`: the rate beside that of the first " +
    "mix on the same target, round by round.";
  const named = loads.map((load, i) => ({ name: load.title, compared: compared[i] ?? [] }));
  return { title, text, ...loadsInOneTable("mix", named, named[0]) };
}
