/**
 * How fast checkpoints go into MongoDB and come back: real tables of 64 partitions, a real mongod on this machine, full
 * checkpoint, a second one over it, one of 5 % of the domains, restore into new tables.
 * `node --import tsx scripts/bench/mongo-checkpoint.ts 100000 1000000`
 */

import { monitorEventLoopDelay } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import type { CheckpointPage, PartitionManifest } from "../../src/checkpoint/checkpoint-store.ts";
import { MongoCheckpointStore } from "../../src/checkpoint/mongo-checkpoint-store.ts";
import { RequestsInFlight } from "../../src/checkpoint/requests-in-flight.ts";
import { CounterTable } from "../../src/counters/counter-table.ts";
import { DELIVERED } from "../../src/model/event.ts";
import { hash32 } from "../../src/model/hash32.ts";
import { partitionOf } from "../../src/model/partition-id.ts";
import { MongoConnection } from "../../src/runtime/mongo-connection.ts";
import { TestMongod } from "../../test/support/mongod.ts";
import { startWatch, type Work } from "./figures.ts";
import { cpuMsOf } from "./targets.ts";

const PARTITIONS = 64;
const SLICE_PAGES = 64;
/** A document of a checkpoint holds sixteen pages, which are about that long together. */
export const PLAIN_BYTES = 8192;
const PLAIN_BATCH = 16;
const PLAIN_BATCHES_IN_FLIGHT = 4;

interface PlainDocument {
  readonly _id: string;
  readonly b: Buffer;
}

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

/** Into new tables. Errors: they hold another number of domains than `written`. */
async function restore(
  store: MongoCheckpointStore,
  written: readonly CounterTable[],
): Promise<{ readonly pages: number; readonly bytes: number }> {
  const tables = newTables();
  let pages = 0;
  let bytes = 0;
  await store.readManifests(ALL);
  for await (const page of store.readPages(ALL)) {
    (tables[page.partition] as CounterTable).decodePage(page.id, page.bytes);
    pages++;
    bytes += page.bytes.length;
  }
  if (domainsIn(tables) !== domainsIn(written)) throw new Error("Not every domain was restored");
  return { pages, bytes };
}

function domainsIn(tables: readonly CounterTable[]): number {
  return tables.reduce((sum, table) => sum + table.entryCount, 0);
}

/** Pages written or read. */
export interface PageWork extends Work {
  readonly what: string;
  readonly domains: number;
  readonly bytes: number;
  readonly serverCpuMs: number;
  /** How long the event loop was held up, ms. */
  readonly stallP99Ms: number;
  readonly stallMaxMs: number;
}

async function measure(
  mongod: TestMongod,
  what: string,
  domains: number,
  work: () => Promise<{ readonly pages: number; readonly bytes: number }>,
): Promise<PageWork> {
  const stalls = monitorEventLoopDelay({ resolution: 1 });
  stalls.enable();
  const serverBeforeMs = cpuMsOf(mongod.pid);
  const read = startWatch();
  const { pages: count, bytes } = await work();
  const took = read();
  stalls.disable();
  const serverCpuMs = cpuMsOf(mongod.pid) - serverBeforeMs;
  const stallMs = { stallP99Ms: stalls.percentile(99) / 1e6, stallMaxMs: stalls.max / 1e6 };
  return { what, domains, count, bytes, serverCpuMs, ...took, ...stallMs };
}

/** A checkpoint for each of `steps`, of every so many-th domain, then a restore. */
export async function measureCheckpoints(
  mongod: TestMongod,
  domains: number,
  steps: readonly number[],
): Promise<readonly PageWork[]> {
  const database = `bench-${domains}`;
  const connection = new MongoConnection({ mongoUrl: mongod.url, database, name: "bench" });
  const store = new MongoCheckpointStore({ connection, storeId: 1 });
  try {
    const tables = newTables();
    const works: PageWork[] = [];
    for (const [i, step] of steps.entries()) {
      count(tables, domains, step);
      const what = `checkpoint ${i + 1} of ${100 / step} %`;
      const write = () => checkpoint(store, tables, i + 1);
      works.push(await measure(mongod, what, domains / step, write));
    }
    works.push(await measure(mongod, "restore", domains, () => restore(store, tables)));
    return works;
  } finally {
    await connection.close();
  }
}

/**
 * What MongoDB takes at most: so many documents of 8 KiB put as they are, without the comparison that keeps a newer page, in
 * batches as large, and as many at once, as those of a checkpoint.
 */
export async function measurePlainWrites(mongod: TestMongod, documents: number): Promise<PageWork> {
  const connection = new MongoConnection({
    mongoUrl: mongod.url,
    database: "plain",
    name: "bench",
  });
  try {
    const collection = connection.collection<PlainDocument>("pages");
    const b = Buffer.alloc(PLAIN_BYTES, 0x61);
    return await measure(mongod, "plain writes", 0, async () => {
      const inFlight = new RequestsInFlight(PLAIN_BATCHES_IN_FLIGHT);
      for (let from = 0; from < documents; from += PLAIN_BATCH) {
        const count = Math.min(PLAIN_BATCH, documents - from);
        const operations = Array.from({ length: count }, (_, i) => {
          const _id = String(from + i);
          return { replaceOne: { filter: { _id }, replacement: { b }, upsert: true } };
        });
        const sending = collection.bulkWrite(operations, { ordered: false });
        await inFlight.add(sending.then(() => undefined));
      }
      await inFlight.settle();
      return { pages: documents, bytes: documents * PLAIN_BYTES };
    });
  } finally {
    await connection.close();
  }
}

function report(domains: number, work: PageWork): void {
  const figures = [
    `${domains} domains, ${work.what}: ${work.count} pages, ${(work.bytes / 1e6).toFixed(1)} MB`,
    `${(work.seconds * 1000).toFixed(0)} ms`,
    `${(work.domains / work.seconds).toFixed(0)} domains/s`,
    `own CPU ${work.cpuMs.toFixed(0)} ms`,
    `mongod CPU ${work.serverCpuMs.toFixed(0)} ms`,
    `event loop p99 ${work.stallP99Ms.toFixed(0)} ms, longest ${work.stallMaxMs.toFixed(0)} ms`,
  ];
  console.log(figures.join(", "));
}

async function main(): Promise<void> {
  const mongod = await TestMongod.start();
  try {
    const sizes = process.argv.slice(2).map(Number);
    for (const domains of sizes.length > 0 ? sizes : [100_000, 1_000_000]) {
      const works = await measureCheckpoints(mongod, domains, [1, 1, 20]);
      for (const work of works) report(domains, work);
    }
  } finally {
    await mongod.dispose();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
