/** The part `memory`: one node filled with ten million domains, stopped and started again. Once, not in rounds. */
import { decimal, whole } from "./figures.ts";
import { type ManyDomainsResult, measureManyDomains } from "./many-domains.ts";
import type { BenchPart, Table } from "./part.ts";

const SEED = 1;

export const memoryPart: BenchPart = {
  name: "memory",
  run: async ({ domains, say }) => {
    say(`one node, ${whole(domains)} domains`);
    return [tableOf(await measureManyDomains(domains, SEED))];
  },
};

function tableOf(result: ManyDomainsResult): Table {
  const { domains, tableBytesPerDomain, rssBeforeMib, rssAfterMib, rssRestartedMib } = result;
  const growth = (mib: number): string => (((mib - rssBeforeMib) * 2 ** 20) / domains).toFixed(1);
  const samples = whole(Math.min(10_000, domains));
  return {
    title: `${whole(domains)} domains on one node`,
    text: "Every domain gets one event, in bulk; then a checkpoint, a clean stop, and a start from the checkpoint.",
    columns: ["figure", "value"],
    rows: [
      ["events/s while filling (bulk, every domain new)", whole(result.eventsPerSecond)],
      ["counter tables, bytes a domain", tableBytesPerDomain?.toFixed(1) ?? "not told"],
      [
        "RSS empty, filled, restarted (MiB)",
        [rssBeforeMib, rssAfterMib, rssRestartedMib].map(whole).join(", "),
      ],
      ["RSS growth, bytes a domain", growth(rssAfterMib)],
      ["RSS growth after a restart, bytes a domain", growth(rssRestartedMib)],
      [
        "longest gap between two looks at the clock, meant to be 10 ms, while filling (ms)",
        decimal(result.gapMsFilling),
      ],
      [
        "the same while a checkpoint of everything is written (ms)",
        decimal(result.gapMsCheckpoint),
      ],
      ["processor time of that checkpoint (s)", decimal(result.checkpointCpuSeconds)],
      ["domains written a second of processor time", whole(domains / result.checkpointCpuSeconds)],
      ["clean stop (s)", decimal(result.stopSeconds)],
      ["start from the checkpoint until ready (s)", decimal(result.startSeconds)],
      ["processor time of that start (s)", decimal(result.startCpuSeconds)],
      ["domains restored a second", whole(domains / result.startSeconds)],
      [`wrong counts among ${samples} sampled after the restart`, String(result.wrongSamples)],
    ],
  };
}
