/** The part `memory`: one node filled with ten million domains once, then written and started again in each round. */
import { DomainNames } from "../../src/cli/load/domain-names.ts";
import { decimal, whole, withRange } from "./figures.ts";
import { type Cycle, type ManyDomainsResult, measureManyDomains } from "./many-domains.ts";
import type { BenchPart, Table } from "./part.ts";

const SEED = 1;
const NAMES_SAMPLED = 10_000;

export const memoryPart: BenchPart = {
  name: "memory",
  run: async ({ domains, rounds, say }) => {
    say(`one node, ${whole(domains)} domains`);
    return [tableOf(domains, await measureManyDomains({ domains, seed: SEED, cycles: rounds }))];
  },
};

/** Of the names that the load sends, in bytes. */
function meanNameBytes(): number {
  const names = new DomainNames(SEED);
  let bytes = 0;
  for (let i = 0; i < NAMES_SAMPLED; i++) bytes += names.nameOf(i).length;
  return bytes / NAMES_SAMPLED;
}

function tableOf(domains: number, { filling, cycles }: ManyDomainsResult): Table {
  const growth = (mib: number): string =>
    (((mib - filling.rssBeforeMib) * 2 ** 20) / domains).toFixed(1);
  const all = (of: (cycle: Cycle) => number, write: (value: number) => string): string =>
    withRange(cycles.map(of), write);
  return {
    title: `${whole(domains)} domains on one node`,
    text:
      `Names are ${meanNameBytes().toFixed(1)} bytes long in the mean. Every domain gets one event, in bulk, and the node is ` +
      "stopped: that is done once. Then, in each round, a node starts from " +
      "that checkpoint, gets events in every page, and writes a checkpoint of all pages by its clock. A stall is the longest " +
      "time between two looks at the clock, less the 10 ms that they are meant to be apart.",
    columns: ["figure", "value"],
    rows: [
      ["events/s while filling (bulk, every domain new)", whole(filling.eventsPerSecond)],
      ["counter tables, bytes a domain", filling.tableBytesPerDomain?.toFixed(1) ?? "not told"],
      [
        "RSS empty, filled (MiB)",
        [filling.rssBeforeMib, filling.rssAfterMib].map(whole).join(", "),
      ],
      ["RSS growth, bytes a domain", growth(filling.rssAfterMib)],
      ["RSS after a start (MiB)", all(({ rssMib }) => rssMib, whole)],
      ["RSS growth after a start, bytes a domain", all(({ rssMib }) => rssMib, growth)],
      ["longest stall while filling (ms)", decimal(filling.stallMs)],
      ["clean stop with everything to write (s)", decimal(filling.stopSeconds)],
      ["longest stall while a checkpoint is written (ms)", all(({ stallMs }) => stallMs, decimal)],
      [
        "processor time of that checkpoint (s)",
        all(({ checkpointCpuSeconds }) => checkpointCpuSeconds, decimal),
      ],
      [
        "domains written a second of processor time",
        all(({ checkpointCpuSeconds }) => domains / checkpointCpuSeconds, whole),
      ],
      ["start from a checkpoint until ready (s)", all(({ startSeconds }) => startSeconds, decimal)],
      ["processor time of that start (s)", all(({ startCpuSeconds }) => startCpuSeconds, decimal)],
      ["domains restored a second", all(({ startSeconds }) => domains / startSeconds, whole)],
    ],
  };
}
