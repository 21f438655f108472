/**
 * How fast checkpoints go into MongoDB and come back: real tables of 64 partitions, a real mongod on this machine, full
 * checkpoint, a second one over it, one of 5 % of the domains, restore into new tables.
 * `node --import tsx scripts/bench/mongo-checkpoint.ts 100000 1000000`
 */

import { readFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { CheckpointPage, PartitionManifest } from "../../src/checkpoint/checkpoint-store.ts";
import { MongoCheckpointStore } from "../../src/checkpoint/mongo-checkpoint-store.ts";
import { CounterTable } from "../../src/counters/counter-table.ts";
import { DELIVERED } from "../../src/model/event.ts";
import { hash32 } from "../../src/model/hash32.ts";
import { partitionOf } from "../../src/model/partition-id.ts";
import { MongoConnection } from "../../src/runtime/mongo-connection.ts";
import { TestMongod } from "../../test/support/mongod.ts";

const PARTITIONS = 64;
const SLICE_PAGES = 64;
const TICKS_PER_SECOND = 100;

const ALL = new Set(Array.from({ length: PARTITIONS }, (_, partition) => partition));

function newTables(): CounterTable[] {
  return [...ALL].map((partition) => {
    return new CounterTable({ partition, partitions: PARTITIONS, seed: [1, 2] });
  });
}

/** Counts a delivery for every `step`-th of the domains. */
function count(tables: readonly CounterTable[], domains: number, step: number): void {
  for (let i = 0; i < domains; i += step) {
    const name = Buffer.from(`mail-${(i * 2_654_435_761) % 4_294_967_296}.example`, "latin1");
    const hash = hash32(name, 0, name.length);
    const table = tables[partitionOf(hash, PARTITIONS)] as CounterTable;
    const entry = table.findOrInsert(hash, name, 0, name.length);
    table.add(entry, DELIVERED, 1, 1_790_000_000_000 + i);
  }
}

async function checkpoint(
  store: MongoCheckpointStore,
  tables: readonly CounterTable[],
  sequence: number,
): Promise<{ readonly pages: number; readonly bytes: number }> {
  const writer = await store.begin(store.wantsFull);
  const position = { epoch: 1, incarnation: 1, sequence };
  const manifests: PartitionManifest[] = [];
  let pages = 0;
  for (const [partition, table] of tables.entries()) {
    const ids = table.dirtyPages();
    pages += ids.length;
    for (let i = 0; i < ids.length; i += SLICE_PAGES) {
      const slice = ids.slice(i, i + SLICE_PAGES).map((id): CheckpointPage => {
        return { partition, kind: "counters", id, position, bytes: table.encodePage(id) };
      });
      await writer.putPages(slice);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const domainCount = table.entryCount;
    manifests.push({ partition, watermark: position, keyBuckets: [], domainCount });
  }
  const identity = { formatVersion: 1, hashName: "h", canonicalisationVersion: "1" };
  const set = { ...identity, partitions: PARTITIONS, timeMs: sequence, manifests };
  return { pages, bytes: await writer.commit(set) };
}

async function restore(store: MongoCheckpointStore): Promise<number> {
  const tables = newTables();
  await store.readManifests(ALL);
  for await (const page of store.readPages(ALL)) {
    (tables[page.partition] as CounterTable).decodePage(page.id, page.bytes);
  }
  return tables.reduce((sum, table) => sum + table.entryCount, 0);
}

function cpuMsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND;
}

async function measure(
  mongod: TestMongod,
  what: string,
  domains: number,
  work: () => Promise<string>,
): Promise<void> {
  const stalls = monitorEventLoopDelay({ resolution: 1 });
  stalls.enable();
  const own = process.cpuUsage();
  const serverMs = cpuMsOf(mongod.pid);
  const startedMs = performance.now();
  const said = await work();
  const ms = performance.now() - startedMs;
  stalls.disable();
  const { user, system } = process.cpuUsage(own);
  const figures = [
    `${what}: ${said}`,
    `${ms.toFixed(0)} ms`,
    `${((domains / ms) * 1000).toFixed(0)} domains/s`,
    `own CPU ${((user + system) / 1000).toFixed(0)} ms`,
    `mongod CPU ${(cpuMsOf(mongod.pid) - serverMs).toFixed(0)} ms`,
    `event loop p99 ${(stalls.percentile(99) / 1e6).toFixed(0)} ms, longest ${(stalls.max / 1e6).toFixed(0)} ms`,
  ];
  console.log(figures.join(", "));
}

async function run(mongod: TestMongod, domains: number): Promise<void> {
  const database = `bench-${domains}`;
  const connection = new MongoConnection({ mongoUrl: mongod.url, database, name: "bench" });
  const store = new MongoCheckpointStore({ connection, storeId: 1 });
  try {
    const tables = newTables();
    const steps = [1, 1, 20];
    for (const [i, step] of steps.entries()) {
      count(tables, domains, step);
      const what = `${domains} domains, checkpoint ${i + 1} of ${100 / step} %`;
      await measure(mongod, what, domains / step, async () => {
        const { pages, bytes } = await checkpoint(store, tables, i + 1);
        return `${pages} pages, ${(bytes / 1e6).toFixed(1)} MB`;
      });
    }
    await measure(mongod, `${domains} domains, restore`, domains, async () => {
      return `${await restore(store)} domains`;
    });
  } finally {
    await connection.close();
  }
}

const mongod = await TestMongod.start();
try {
  const sizes = process.argv.slice(2).map(Number);
  for (const domains of sizes.length > 0 ? sizes : [100_000, 1_000_000]) await run(mongod, domains);
} finally {
  await mongod.dispose();
}
