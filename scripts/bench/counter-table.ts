/**
 * Measures the counter table: `npx tsx --expose-gc scripts/bench/counter-table.ts --domains 10000000 --partitions 1`.
 * Inserts N domains, updates them at random, encodes and restores all pages. Prints rates, memory and longest pauses.
 * Rates include making the name and its hash32 (the row "names only" says what that costs).
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { CounterTable } from "../../src/counters/counter-table.ts";
import { BOUNCED, DELIVERED } from "../../src/model/event.ts";
import { hash32 } from "../../src/model/hash32.ts";
import { classify, DEFAULT_RULE } from "../../src/model/status.ts";
import { startWatch, type Work } from "./figures.ts";

const START_MS = 1_790_000_000_000;
const WARM_UP_DOMAINS = 200_000;
const ALPHABET = Buffer.from("abcdefghijklmnopqrstuvwxyz012345");
const SUFFIX = Buffer.from(".com");
const name = Buffer.alloc(64);

/** Writes 14 to 16 letters that look random and ".com": 18 to 20 bytes, different for each index. */
function makeName(index: number): number {
  const low = Math.imul(index ^ 0x5bd1e995, 0x9e3779b1);
  const high = Math.imul(low ^ (low >>> 15), 0x85ebca6b);
  const letters = 14 + (index % 3);
  let bits = low;
  for (let i = 0; i < letters; i++) {
    if (i === 7) bits = high;
    name[i] = ALPHABET[bits & 31] as number;
    bits = (bits >>> 5) | (bits << 27);
  }
  for (let i = 0; i < 4; i++) name[letters + i] = SUFFIX[i] as number;
  return letters + 4;
}

interface TableWork extends Work {
  /** Longest step of eight operations, ms. */
  readonly pauseMsMax: number;
}

const STEP = 8;

/** Runs `count` times in steps of eight. */
function run(count: number, one: (i: number) => void): TableWork {
  const read = startWatch();
  let before = performance.now();
  let pauseMsMax = 0;
  for (let i = 0; i < count; i += STEP) {
    for (let j = i; j < i + STEP && j < count; j++) one(j);
    const now = performance.now();
    if (now - before > pauseMsMax) pauseMsMax = now - before;
    before = now;
  }
  return { count, pauseMsMax, ...read() };
}

/** Counter tables of one node, by partition. */
class Tables {
  readonly all: readonly CounterTable[];
  readonly #shift: number;

  constructor(partitions: number) {
    this.#shift = 32 - Math.log2(partitions);
    this.all = Array.from(
      { length: partitions },
      (_, partition) => new CounterTable({ partition, partitions, seed: [0x12345678, 0x9abcdef0] }),
    );
  }

  /** What an event does: find or insert, count, classify. */
  update(index: number, timeMs: number): void {
    const length = makeName(index);
    const hash = hash32(name, 0, length);
    const table = this.all[this.all.length === 1 ? 0 : hash >>> this.#shift] as CounterTable;
    const entry = table.findOrInsert(hash, name, 0, length);
    table.add(entry, index % 50 === 0 ? BOUNCED : DELIVERED, 1 + (index & 1023), timeMs);
    const status = classify(DEFAULT_RULE, table.delivered(entry), table.bounced(entry));
    if (status !== table.status(entry)) table.setStatus(entry, status, timeMs);
  }

  sumOf(what: (table: CounterTable) => number): number {
    return this.all.reduce((sum, table) => sum + what(table), 0);
  }
}

/** Numbers from 0 to `count`, the same ones every time. */
function randomIndexes(count: number): () => number {
  let random = 1;
  return () => {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
    return Math.floor((random / 2 ** 32) * count);
  };
}

function warmUp(partitions: number): void {
  const tables = new Tables(partitions);
  run(WARM_UP_DOMAINS, (i) => tables.update(i, START_MS));
}

/** One partition: first every domain once, new to the table, then updates of them at random. */
export function measureTableUpdates(options: {
  readonly domains: number;
  readonly updates: number;
}): { readonly inserts: Work; readonly updates: Work } {
  warmUp(1);
  const tables = new Tables(1);
  const inserts = run(options.domains, (i) => tables.update(i, START_MS + i));
  const next = randomIndexes(options.domains);
  const updates = run(options.updates, () => tables.update(next(), START_MS + 500));
  return { inserts, updates };
}

function report(what: string, { count, seconds, pauseMsMax }: TableWork): void {
  const rate = Math.round(count / seconds).toLocaleString("en");
  const pause = pauseMsMax.toFixed(2);
  console.log(`${what.padEnd(34)} ${rate.padStart(12)}/s  ${seconds.toFixed(2)} s  ${pause} ms`);
}

function rssBytes(): number {
  globalThis.gc?.();
  return process.memoryUsage.rss();
}

function reportMemory(tables: Tables, domains: number, rssBefore: number): void {
  const perDomain = (bytes: number) => (bytes / domains).toFixed(1);
  const tableBytes = tables.sumOf((table) => table.bytes);
  const rss = rssBytes() - rssBefore;
  console.log(
    `table.bytes                        ${tableBytes} = ${perDomain(tableBytes)} B/domain`,
  );
  console.log(`RSS growth after gc                ${rss} = ${perDomain(rss)} B/domain`);
}

/** Encodes all pages and restores them; returns the restored tables. */
function reportPages(tables: Tables, domains: number): Tables {
  const images: Uint8Array[] = [];
  const pageCount = 65_536;
  const partitions = tables.all.length;
  const pagesEach = pageCount / partitions;
  const encoded = run(pageCount, (id) => {
    images.push((tables.all[Math.floor(id / pagesEach)] as CounterTable).encodePage(id));
  });
  report("encode, pages", encoded);
  report("encode, domains", { ...encoded, count: domains });
  const imageBytes = images.reduce((sum, image) => sum + image.length, 0);
  console.log(`image bytes                        ${(imageBytes / domains).toFixed(1)} B/domain`);
  const restored = new Tables(partitions);
  for (const table of restored.all) table.reserve(Math.ceil((domains / partitions) * 1.05));
  const decoded = run(pageCount, (id) => {
    const image = images[id] as Uint8Array;
    (restored.all[Math.floor(id / pagesEach)] as CounterTable).decodePage(id, image);
  });
  report("decode, pages", decoded);
  report("decode, domains", { ...decoded, count: domains });
  const delivered = (table: CounterTable): number => table.totals.delivered;
  if (restored.sumOf(delivered) !== tables.sumOf(delivered)) {
    throw new Error("The restored totals differ");
  }
  return restored;
}

function main(): void {
  const { values } = parseArgs({
    options: {
      domains: { type: "string", default: "1000000" },
      partitions: { type: "string", default: "1" },
      updates: { type: "string", default: "5000000" },
    },
  });
  const domains = Number(values.domains);
  const partitions = Number(values.partitions);
  const updateCount = Number(values.updates);
  console.log(`${domains} domains, ${partitions} partitions, Node ${process.version}`);
  console.log(`${"".padEnd(34)} ${"rate".padStart(14)}  time  longest pause (${STEP} operations)`);
  warmUp(partitions);
  const rssBefore = rssBytes();
  const tables = new Tables(partitions);
  const inserts = run(domains, (i) => tables.update(i, START_MS + i));
  report("insert", inserts);
  console.log(`entries                            ${tables.sumOf((table) => table.entryCount)}`);
  reportMemory(tables, domains, rssBefore);
  const next = randomIndexes(domains);
  let checksum = 0;
  const names = run(updateCount, () => {
    checksum ^= hash32(name, 0, makeName(next()));
  });
  report("names only", names);
  const heapBefore = process.memoryUsage().heapUsed;
  const updates = run(updateCount, () => tables.update(next(), START_MS + 500));
  const heapGrowth = process.memoryUsage().heapUsed - heapBefore;
  report("update, uniform", updates);
  console.log(`heap growth while updating         ${heapGrowth} bytes (checksum ${checksum})`);
  const restored = reportPages(tables, domains);
  const afterRestore = run(updateCount, () => restored.update(next(), START_MS + 1000));
  report("updates after restore", afterRestore);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
