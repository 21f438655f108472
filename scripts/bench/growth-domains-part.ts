/**
 * The part `growth-domains`: what an event costs as a node and a cluster know more domains, and their memory. All targets
 * of all sizes are filled first and then live side by side, so that they can take turns over the rounds.
 */
import {
  LOAD_KINDS,
  type LoadKind,
  loadsOf,
  loadsText,
  settle,
  WITHOUT_CHECKPOINTS,
} from "./cluster-cost.ts";
import { cpuMsOfAll, startTarget, takeTurns } from "./compare.ts";
import { amountOf, type CountedLoad, CountedLoads, metricOf, scaled } from "./counted-loads.ts";
import { decimal, median, whole, withRange } from "./figures.ts";
import type { BenchContext, BenchPart, Table } from "./part.ts";
import { rssMibOf, type Target } from "./targets.ts";

const DOMAIN_COUNTS = [10_000, 100_000, 1_000_000, 10_000_000] as const;
const TITLES = { catchall: "one node", cluster: "three nodes" } as const;
type TargetName = keyof typeof TITLES;
const SEED = 1;

interface Filled {
  readonly name: TargetName;
  readonly domains: number;
  readonly target: Target;
  readonly loads: CountedLoads;
  /** Of the tables, as the nodes tell, and of all server processes, as the system tells; a domain. */
  readonly tableBytes: number;
  readonly rssBytes: number;
}

interface Cost {
  readonly eventsPerSecond: number;
  readonly cpuUs: number;
}

type Costs = Readonly<Record<LoadKind, Cost>>;

export const growthDomainsPart: BenchPart = {
  name: "growth-domains",
  run: async (context) => {
    const all = new Map<string, Filled>();
    try {
      for (const domains of DOMAIN_COUNTS.map((count) => scaled(context, count))) {
        for (const name of ["catchall", "cluster"] as const) {
          if (!context.targets.includes(name)) continue;
          const key = `${TITLES[name]}, ${whole(domains)} domains`;
          context.say(`  filling: ${key}`);
          await addFilled(all, key, { name, domains });
        }
      }
      for (const { loads } of all.values()) await settle(context, loads);
      const costs = await takeTurns(context, [...all.keys()], (key) => {
        context.say(`  ${key}`);
        return costsOf(context, all.get(key) as Filled);
      });
      for (const { loads } of all.values()) await loads.verify();
      return [tableOf(context, all, costs)];
    } finally {
      for (const { target } of all.values()) await target.stop();
    }
  },
};

async function addFilled(
  all: Map<string, Filled>,
  key: string,
  { name, domains }: Pick<Filled, "name" | "domains">,
): Promise<void> {
  const target = await startTarget(name, WITHOUT_CHECKPOINTS);
  try {
    const rss = (): number => target.pids.reduce((sum, pid) => sum + rssMibOf(pid), 0);
    const rssBeforeMib = rss();
    const loads = new CountedLoads(target.url, SEED);
    await loads.fill(domains);
    const tableBytes = ((await metricOf(target.url, "catchall_table_bytes")) ?? 0) / domains;
    const rssBytes = ((rss() - rssBeforeMib) * 2 ** 20) / domains;
    all.set(key, { name, domains, target, loads, tableBytes, rssBytes });
  } catch (error) {
    await target.stop();
    throw error;
  }
}

async function costsOf(context: BenchContext, filled: Filled): Promise<Costs> {
  const { bulk, single } = loadsOf(context);
  const amount = amountOf(context);
  return {
    bulk: await costOf(filled, { ...bulk, ...amount }),
    single: await costOf(filled, { ...single, ...amount }),
  };
}

async function costOf({ target, loads }: Filled, load: CountedLoad): Promise<Cost> {
  const cpuBeforeMs = cpuMsOfAll(target.pids);
  const { eventsPerSecond, ackedTotal } = await loads.run(load);
  const cpuMs = cpuMsOfAll(target.pids) - cpuBeforeMs;
  return { eventsPerSecond, cpuUs: (cpuMs * 1000) / ackedTotal };
}

function tableOf(
  context: BenchContext,
  all: ReadonlyMap<string, Filled>,
  costs: ReadonlyMap<string, readonly Costs[]>,
): Table {
  const valuesOf = (key: string, kind: LoadKind, figure: keyof Cost): readonly number[] =>
    (costs.get(key) ?? []).map((round) => round[kind][figure]);
  const rows = [...all].map(([key, { name, tableBytes, rssBytes }]) => {
    const [base = key] = [...all].find(([, other]) => other.name === name) ?? [];
    const ofKind = (kind: LoadKind): readonly string[] => {
      const cpu = valuesOf(key, kind, "cpuUs");
      const ratio = median(cpu) / median(valuesOf(base, kind, "cpuUs"));
      const rate = withRange(valuesOf(key, kind, "eventsPerSecond"), whole);
      return [rate, withRange(cpu, decimal), `${decimal(ratio)} ×`];
    };
    const memory = [tableBytes.toFixed(1), rssBytes.toFixed(1)];
    return [key, ...LOAD_KINDS.flatMap(ofKind), ...memory];
  });
  return {
    title: "Growth of domains",
    text:
      `${loadsText(context)} All sizes are kept running beside each other. Memory: of the tables, as the nodes tell, and ` +
      "the growth of all server processes while they were filled, which of few domains is that of buffers and code.",
    columns: [
      "target",
      ...LOAD_KINDS.flatMap((kind) => [`${kind} events/s`, `${kind} µs/event`, "of the fewest"]),
      ...["table bytes/domain", "RSS bytes/domain"],
    ],
    rows: rows.toSorted(([a = ""], [b = ""]) => rankOf(a) - rankOf(b)),
    plot: {
      name: "growth-domains",
      x: { title: "Domains", isLogarithmic: true },
      y: { title: "CPU µs/event, all server processes", isLogarithmic: true },
      series: Object.entries(TITLES).flatMap(([name, title]) =>
        LOAD_KINDS.map((kind) => ({
          title: `${title}, ${kind}`,
          points: [...all]
            .filter(([, filled]) => filled.name === name)
            .map(([key, { domains }]) => [domains, median(valuesOf(key, kind, "cpuUs"))] as const),
        })),
      ),
    },
  };
}

/** Rows of one target after the other; sorting is stable. */
function rankOf(key: string): number {
  return Object.values(TITLES).findIndex((title) => key.startsWith(title));
}
