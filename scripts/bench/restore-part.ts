/**
 * The part `restore`: how long a node takes to start again, from a checkpoint alone and from a log alone. A folder is
 * made once for each size; every round starts a node in it and kills it as soon as it is ready, which leaves the folder
 * as it was but for the little that a start writes.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { NodeProcess } from "../../test/support/node-process.ts";
import { freePort } from "../free-port.ts";
import { WITHOUT_CHECKPOINTS } from "./cluster-cost.ts";
import { BULK_LINES, CountedLoads, metricOf, scaled } from "./counted-loads.ts";
import { decimal, median, whole, withRange } from "./figures.ts";
import type { BenchContext, BenchPart, Table } from "./part.ts";
import { usualConnections } from "./single-part.ts";
import { cpuMsOf } from "./targets.ts";
import { takeTurns } from "./turns.ts";

const DOMAIN_COUNTS = [10_000, 100_000, 1_000_000, 10_000_000] as const;
const EVENT_COUNTS = [100_000, 500_000, 1_000_000, 5_000_000] as const;
/** Of a log that was written by single `PUT`s. */
const SINGLE_EVENTS = 500_000;
/** Over which the events of a log are spread. */
const LOG_DOMAINS = 100_000;
const SEED = 1;
const READY_TIMEOUT_MS = 120_000;
const FLAGS = ["--log-level", "warn", "--shutdown-timeout", "120s", ...WITHOUT_CHECKPOINTS];

type Source = "checkpoint" | "log" | "single";

/** What was written: domains of a checkpoint, or events of a log. */
interface Prepared {
  readonly source: Source;
  readonly size: number;
  readonly options: Parameters<typeof NodeProcess.start>[0];
  readonly loads: CountedLoads;
  /** What was appended to the log. */
  readonly entries: number;
}

interface Restart {
  readonly seconds: number;
  readonly cpuSeconds: number;
}

export const restorePart: BenchPart = {
  name: "restore",
  run: async (context) => {
    const parent = await mkdtemp(join(tmpdir(), "catchall-restore-"));
    try {
      const all = new Map<string, Prepared>();
      const add = async (source: Source, counts: readonly number[]): Promise<void> => {
        for (const size of counts.map((count) => scaled(context, count))) {
          const key = `${source} ${whole(size)}`;
          context.say(`  writing: ${key}`);
          all.set(key, await prepare(context, { source, size, parent }));
        }
      };
      await add("checkpoint", DOMAIN_COUNTS);
      await add("log", EVENT_COUNTS);
      await add("single", [SINGLE_EVENTS]);
      const restarts = await takeTurns(context, [...all.keys()], async (key) => {
        const restart = await restartOf(all.get(key) as Prepared);
        context.say(
          `  ${key}: ${decimal(restart.seconds)} s, CPU ${decimal(restart.cpuSeconds)} s`,
        );
        return restart;
      });
      for (const prepared of all.values()) await verify(prepared);
      return [tableOf("checkpoint", all, restarts), tableOf("log", all, restarts)];
    } finally {
      await rm(parent, { recursive: true, force: true });
    }
  },
};

async function prepare(
  context: BenchContext,
  { source, size, parent }: Pick<Prepared, "source" | "size"> & { readonly parent: string },
): Promise<Prepared> {
  const dataDir = join(parent, `${source}-${size}`);
  const port = await freePort();
  const options = { port, dataDir, flags: FLAGS, readyTimeoutMs: READY_TIMEOUT_MS };
  const node = await NodeProcess.start(options);
  try {
    const loads = new CountedLoads(node.url, SEED);
    let entries = 0;
    if (source === "checkpoint") {
      await loads.fill(size);
      // An orderly end writes a checkpoint and leaves nothing of the log to read.
      await node.stop();
    } else {
      const domains = Math.min(size, scaled(context, LOG_DOMAINS));
      await loads.fill(domains);
      const events = size - domains;
      const load =
        source === "single"
          ? { connections: usualConnections(context) }
          : { connections: context.bulkConnections, bulk: BULK_LINES };
      if (events > 0) await loads.run({ ...load, events });
      entries = (await metricOf(node.url, "catchall_wal_commit_events_count")) ?? 0;
    }
    return { source, size, options, loads, entries };
  } finally {
    if (node.isRunning) await node.kill();
  }
}

async function restartOf({ options }: Prepared): Promise<Restart> {
  const startMs = performance.now();
  const node = await NodeProcess.start(options);
  const seconds = (performance.now() - startMs) / 1000;
  const cpuSeconds = cpuMsOf(node.pid) / 1000;
  await node.kill();
  return { seconds, cpuSeconds };
}

/** After all restarts: each of them could have lost something. */
async function verify({ options, loads }: Prepared): Promise<void> {
  const node = await NodeProcess.start(options);
  try {
    await loads.verify();
  } finally {
    await node.kill();
  }
}

const WORDS = {
  checkpoint: {
    unit: "domains",
    title: "Restart from a checkpoint",
    text: "One node was stopped in an orderly way: its checkpoint holds all domains, nothing of the log is read.",
  },
  log: {
    unit: "events",
    title: "Restart from a log",
    text:
      `One node was killed that had never written a checkpoint: every event is read from the log. They were sent in bulk ` +
      `of ${BULK_LINES} lines, uniform over ${whole(LOG_DOMAINS)} domains in full; those of the last log, after one for each ` +
      "domain, as single `PUT`s, whose entries are smaller. An entry is what is appended at once.",
  },
} as const;

function tableOf(
  source: keyof typeof WORDS,
  all: ReadonlyMap<string, Prepared>,
  restarts: ReadonlyMap<string, readonly Restart[]>,
): Table {
  const { unit, title, text } = WORDS[source];
  const valuesOf = (key: string, figure: keyof Restart): readonly number[] =>
    (restarts.get(key) ?? []).map((restart) => restart[figure]);
  const shown = [...all].filter(([, prepared]) => prepared.source === source);
  const singles = [...all].filter(([, { source: other }]) => other === "single");
  const listed = source === "log" ? [...shown, ...singles] : shown;
  const lineOf = (figure: keyof Restart) =>
    shown.map(([key, { size }]) => [size, median(valuesOf(key, figure))] as const);
  return {
    title,
    text: `${text} Time and processor time, all threads, from the start of the process until \`/readyz\` says 200.`,
    columns: [
      ...[unit, "s", "CPU s", `CPU µs/${unit.slice(0, -1)}`],
      ...(source === "log" ? ["entries", "entries/s"] : []),
    ],
    rows: listed.map(([key, prepared]) => {
      const { size, entries } = prepared;
      const seconds = valuesOf(key, "seconds");
      const rates = seconds.map((value) => entries / value);
      return [
        prepared.source === "single" ? `${whole(size)}, single \`PUT\`s` : whole(size),
        withRange(seconds, decimal),
        withRange(valuesOf(key, "cpuSeconds"), decimal),
        decimal((median(valuesOf(key, "cpuSeconds")) * 1e6) / size),
        ...(source === "log" ? [whole(entries), withRange(rates, whole)] : []),
      ];
    }),
    plot: {
      name: `restore-${source}`,
      x: { title: unit === "domains" ? "Domains" : "Events in the log", isLogarithmic: true },
      y: { title: "Seconds until ready", isLogarithmic: true },
      series: [
        { title: "time", points: lineOf("seconds") },
        { title: "processor time", points: lineOf("cpuSeconds") },
      ],
    },
  };
}
