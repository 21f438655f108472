/**
 * The part `growth-domains`: what an event costs as a node and a cluster know more domains, and their memory. All targets
 * of all sizes live side by side, so that they can take turns over the rounds.
 */
import {
  LOAD_KINDS,
  type LoadKind,
  loadsOf,
  loadsText,
  settle,
  WITHOUT_CHECKPOINTS,
} from "./cluster-cost.ts";
import { startTarget } from "./compare.ts";
import { amountOf, type CountedLoad, CountedLoads, metricOf, scaled } from "./counted-loads.ts";
import { decimal, median, ratios, whole, withRange } from "./figures.ts";
import type { BenchContext, BenchPart, Table } from "./part.ts";
import { rssMibOf, type Target } from "./targets.ts";
import { cpuMsOfAll, takeTurnsLiving } from "./turns.ts";

const DOMAIN_COUNTS = [10_000, 100_000, 1_000_000, 10_000_000] as const;
const TITLES = { catchall: "one node", cluster: "three nodes" } as const;
type TargetName = keyof typeof TITLES;
const SEED = 1;

/** A target and how many domains it is to know. */
interface Size {
  readonly name: TargetName;
  readonly domains: number;
}

/** A domain: of the tables, as the nodes tell, and of all server processes, as the system tells. */
interface Memory {
  readonly tableBytes: number;
  readonly rssBytes: number;
}

interface Running {
  readonly target: Target;
  readonly loads: CountedLoads;
}

interface Cost {
  readonly eventsPerSecond: number;
  readonly cpuUs: number;
}

type Costs = Readonly<Record<LoadKind, Cost>>;

export const growthDomainsPart: BenchPart = {
  name: "growth-domains",
  run: async (context) => {
    const sizes = new Map<string, Size>();
    for (const domains of DOMAIN_COUNTS.map((count) => scaled(context, count))) {
      for (const name of ["catchall", "cluster"] as const) {
        if (!context.targets.includes(name)) continue;
        sizes.set(`${TITLES[name]}, ${whole(domains)} domains`, { name, domains });
      }
    }
    const memory = new Map<string, Memory>();
    const costs = await takeTurnsLiving(context, [...sizes.keys()], {
      start: async (key) => {
        const target = await startTarget((sizes.get(key) as Size).name, WITHOUT_CHECKPOINTS);
        return { target, loads: new CountedLoads(target.url, SEED) };
      },
      settle: async (running, key) => {
        const { name, domains } = sizes.get(key) as Size;
        memory.set(key, await fill(running, domains));
        await settle(context, running.loads, name === "cluster");
      },
      measure: (running, key) => {
        context.say(`  ${key}`);
        return costsOf(context, running);
      },
      verify: ({ loads }) => loads.verify(),
    });
    return [tableOf(context, { sizes, memory, costs })];
  },
};

async function fill({ target, loads }: Running, domains: number): Promise<Memory> {
  const rss = (): number => target.pids.reduce((sum, pid) => sum + rssMibOf(pid), 0);
  const rssBeforeMib = rss();
  await loads.fill(domains);
  const tableBytes = ((await metricOf(target.url, "catchall_table_bytes")) ?? 0) / domains;
  return { tableBytes, rssBytes: ((rss() - rssBeforeMib) * 2 ** 20) / domains };
}

async function costsOf(context: BenchContext, running: Running): Promise<Costs> {
  const { bulk, single } = loadsOf(context);
  const amount = amountOf(context);
  return {
    bulk: await costOf(running, { ...bulk, ...amount }),
    single: await costOf(running, { ...single, ...amount }),
  };
}

async function costOf({ target, loads }: Running, load: CountedLoad): Promise<Cost> {
  const cpuBeforeMs = cpuMsOfAll(target.pids);
  const { eventsPerSecond, ackedTotal } = await loads.run(load);
  const cpuMs = cpuMsOfAll(target.pids) - cpuBeforeMs;
  return { eventsPerSecond, cpuUs: (cpuMs * 1000) / ackedTotal };
}

interface Results {
  readonly sizes: ReadonlyMap<string, Size>;
  readonly memory: ReadonlyMap<string, Memory>;
  readonly costs: ReadonlyMap<string, readonly Costs[]>;
}

function tableOf(context: BenchContext, { sizes, memory, costs }: Results): Table {
  const valuesOf = (key: string, kind: LoadKind, figure: keyof Cost): readonly number[] =>
    (costs.get(key) ?? []).map((round) => round[kind][figure]);
  const rows = [...sizes].map(([key, { name }]) => {
    const { tableBytes, rssBytes } = memory.get(key) as Memory;
    const [base = key] = [...sizes].find(([, other]) => other.name === name) ?? [];
    const ofKind = (kind: LoadKind): readonly string[] => {
      const cpu = valuesOf(key, kind, "cpuUs");
      const ofFewest = ratios(cpu, valuesOf(base, kind, "cpuUs"));
      const rate = withRange(valuesOf(key, kind, "eventsPerSecond"), whole);
      return [rate, withRange(cpu, decimal), withRange(ofFewest, decimal, " ×")];
    };
    const bytes = [tableBytes.toFixed(1), rssBytes.toFixed(1)];
    return [key, ...LOAD_KINDS.flatMap(ofKind), ...bytes];
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
          points: [...sizes]
            .filter(([, size]) => size.name === name)
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
