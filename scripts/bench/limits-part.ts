/**
 * The part `limits`: how fast the pieces are that an event needs, each alone: the logs, the database, the parser and the
 * table. No node can be faster than these. The HTTP server alone is the row "bare" of other parts.
 */
import { tmpdir } from "node:os";
import { TestMongod } from "../../test/support/mongod.ts";
import { measureTableUpdates } from "./counter-table.ts";
import { decimal, quantile, type Work, whole, withRange } from "./figures.ts";
import { measureCheckpoints, measurePlainWrites, PLAIN_BYTES } from "./mongo-checkpoint.ts";
import { measureNdjson } from "./ndjson.ts";
import type { BenchContext, BenchPart, Table } from "./part.ts";
import { takeTurns } from "./turns.ts";
import { type AppendWork, measureFileAppends, measureJetStreamAppends } from "./wal-append.ts";

const ENTRY_BYTES = 4096;
const CHECKPOINT_DOMAINS = 1_000_000;
const FULL = 1;
const MIB = 2 ** 20;

interface LimitFigures {
  readonly title: string;
  readonly perSecond: number;
  readonly megabytesPerSecond: number | null;
  /** Of the process that does the work, and of a server it needs for it, µs each. */
  readonly cpuUs: number;
  readonly serverCpuUs: number;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
}

type Limit = (context: BenchContext) => Promise<readonly LimitFigures[]>;

const LIMITS: Readonly<Record<string, Limit>> = {
  "file log": async ({ durationMs }) => {
    const options = { entryBytes: ENTRY_BYTES, durationMs, directory: tmpdir() };
    const title = "append of 4 KiB to the file log, synced";
    return [appendFigures(title, await measureFileAppends(options))];
  },
  JetStream: async ({ durationMs }) => {
    const work = await measureJetStreamAppends({ entryBytes: ENTRY_BYTES, durationMs });
    return [appendFigures("append of 4 KiB to JetStream, `sync_interval: always`", work)];
  },
  MongoDB: measureMongo,
  NDJSON: async () => [
    figuresOf("line of NDJSON parsed", measureNdjson({ withId: false })),
    figuresOf("line of NDJSON with an event id parsed", measureNdjson({ withId: true })),
  ],
  "counter table": async ({ domains }) => {
    const { inserts, updates } = measureTableUpdates({ domains, updates: domains });
    return [
      figuresOf(`domain added to a counter table, ${whole(domains)} of them`, inserts),
      figuresOf("update of that table, uniform", updates),
    ];
  },
};

export const limitsPart: BenchPart = {
  name: "limits",
  run: async (context) => {
    const rounds = await takeTurns(context, Object.keys(LIMITS), async (name) => {
      const figures = await (LIMITS[name] as Limit)(context);
      for (const one of figures) context.say(`  ${one.title}: ${whole(one.perSecond)}/s`);
      return figures;
    });
    return [tableOf([...rounds.values()].flat(2))];
  },
};

async function measureMongo({ scale }: BenchContext): Promise<readonly LimitFigures[]> {
  const mongod = await TestMongod.start();
  try {
    const domains = Math.ceil(CHECKPOINT_DOMAINS * scale);
    const [written, read] = await measureCheckpoints(mongod, domains, [FULL]);
    if (written === undefined || read === undefined) throw new Error("Not measured");
    const plain = await measurePlainWrites(mongod, Math.ceil(written.bytes / PLAIN_BYTES));
    const of = `full checkpoint of ${whole(domains)} domains`;
    return [
      { work: written, title: `page of a ${of} to MongoDB` },
      { work: { ...written, count: domains }, title: "domain of that checkpoint" },
      { work: read, title: "page of that checkpoint restored from MongoDB" },
      { work: plain, title: "document of 8 KiB put into MongoDB, unconditionally" },
    ].map(({ work, title }) => {
      const megabytesPerSecond = work.bytes / MIB / work.seconds;
      const serverCpuUs = (work.serverCpuMs * 1000) / work.count;
      return { ...figuresOf(title, work), megabytesPerSecond, serverCpuUs };
    });
  } finally {
    await mongod.dispose();
  }
}

function appendFigures(title: string, work: AppendWork): LimitFigures {
  return {
    ...figuresOf(title, work),
    megabytesPerSecond: (work.count * ENTRY_BYTES) / MIB / work.seconds,
    serverCpuUs: (work.serverCpuMs * 1000) / work.count,
    p50Ms: quantile(work.latenciesMs, 0.5),
    p99Ms: quantile(work.latenciesMs, 0.99),
  };
}

function figuresOf(title: string, { count, seconds, cpuMs }: Work): LimitFigures {
  return {
    title,
    perSecond: count / seconds,
    megabytesPerSecond: null,
    cpuUs: (cpuMs * 1000) / count,
    serverCpuUs: 0,
    p50Ms: null,
    p99Ms: null,
  };
}

function tableOf(figures: readonly LimitFigures[]): Table {
  const byTitle = new Map<string, LimitFigures[]>();
  for (const one of figures) byTitle.set(one.title, [...(byTitle.get(one.title) ?? []), one]);
  return {
    title: "Limits",
    text:
      "Each piece alone, one after another (a single append in flight). CPU: of the process that does the work, " +
      "and of the nats-server or mongod that it needs; both writes to MongoDB are acknowledged by the majority's journals.",
    columns: [
      ...["what", "a second", "a second of its CPU", "MiB/s"],
      ...["CPU µs", "its server's CPU µs", "P50 ms", "P99 ms"],
    ],
    rows: [...byTitle].map(([title, rounds]) => {
      const all = (of: (round: LimitFigures) => number | null, write = decimal): string =>
        withRange(
          rounds.flatMap((round) => of(round) ?? []),
          write,
        );
      return [
        title,
        all(({ perSecond }) => perSecond, whole),
        all(({ cpuUs }) => 1e6 / cpuUs, whole),
        all(({ megabytesPerSecond }) => megabytesPerSecond),
        all(({ cpuUs }) => cpuUs),
        all(({ serverCpuUs }) => (serverCpuUs === 0 ? null : serverCpuUs)),
        all(({ p50Ms }) => p50Ms),
        all(({ p99Ms }) => p99Ms),
      ];
    }),
  };
}
