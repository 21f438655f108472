/**
 * Measures the counter table: `npx tsx --expose-gc scripts/bench/counter-table.ts --domains 10000000 --partitions 1`.
 * Inserts N domains, updates them at random, encodes and restores all pages. Prints rates, memory and longest pauses.
 * Rates include making the name and its hash32 (the row "names only" says what that costs).
 */
import { parseArgs } from "node:util";
import { CounterTable } from "../../src/counters/counter-table.ts";
import { BOUNCED, DELIVERED } from "../../src/model/event.ts";
import { hash32 } from "../../src/model/hash32.ts";
import { classify, DEFAULT_RULE } from "../../src/model/status.ts";

const { values } = parseArgs({
  options: {
    domains: { type: "string", default: "1000000" },
    partitions: { type: "string", default: "1" },
    updates: { type: "string", default: "5000000" },
  },
});
const domainCount = Number(values.domains);
const partitions = Number(values.partitions);
const updateCount = Number(values.updates);
const partitionShift = 32 - Math.log2(partitions);
const START_MS = 1_790_000_000_000;
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

function makeTables(): CounterTable[] {
  return Array.from(
    { length: partitions },
    (_, partition) => new CounterTable({ partition, partitions, seed: [0x12345678, 0x9abcdef0] }),
  );
}

function tableOf(tables: readonly CounterTable[], hash: number): CounterTable {
  return tables[partitions === 1 ? 0 : hash >>> partitionShift] as CounterTable;
}

function update(tables: readonly CounterTable[], index: number, timeMs: number): void {
  const length = makeName(index);
  const hash = hash32(name, 0, length);
  const table = tableOf(tables, hash);
  const entry = table.findOrInsert(hash, name, 0, length);
  table.add(entry, index % 50 === 0 ? BOUNCED : DELIVERED, 1 + (index & 1023), timeMs);
  const status = classify(DEFAULT_RULE, table.delivered(entry), table.bounced(entry));
  if (status !== table.status(entry)) table.setStatus(entry, status, timeMs);
}

const STEP = 8;

/** Runs `count` times in steps of eight; returns seconds and the longest step, ms. */
function run(count: number, one: (i: number) => void): { seconds: number; pauseMsMax: number } {
  const start = performance.now();
  let before = start;
  let pauseMsMax = 0;
  for (let i = 0; i < count; i += STEP) {
    for (let j = i; j < i + STEP && j < count; j++) one(j);
    const now = performance.now();
    if (now - before > pauseMsMax) pauseMsMax = now - before;
    before = now;
  }
  return { seconds: (before - start) / 1000, pauseMsMax };
}

function report(
  what: string,
  count: number,
  result: { seconds: number; pauseMsMax: number },
): void {
  const rate = Math.round(count / result.seconds).toLocaleString("en");
  const pause = result.pauseMsMax.toFixed(2);
  console.log(
    `${what.padEnd(34)} ${rate.padStart(12)}/s  ${result.seconds.toFixed(2)} s  ${pause} ms`,
  );
}

function rssBytes(): number {
  globalThis.gc?.();
  return process.memoryUsage.rss();
}

function sumOf(tables: readonly CounterTable[], what: (table: CounterTable) => number): number {
  return tables.reduce((sum, table) => sum + what(table), 0);
}

let random = 1;
function randomIndex(): number {
  random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
  return Math.floor((random / 2 ** 32) * domainCount);
}

function warmUp(): void {
  const tables = makeTables();
  run(200_000, (i) => update(tables, i, START_MS));
}

function measureMemory(tables: readonly CounterTable[], rssBefore: number): void {
  const perDomain = (bytes: number) => (bytes / domainCount).toFixed(1);
  const tableBytes = sumOf(tables, (table) => table.bytes);
  const rss = rssBytes() - rssBefore;
  console.log(
    `table.bytes                        ${tableBytes} = ${perDomain(tableBytes)} B/domain`,
  );
  console.log(`RSS growth after gc                ${rss} = ${perDomain(rss)} B/domain`);
}

function measurePages(tables: readonly CounterTable[]): void {
  const images: Uint8Array[] = [];
  const pageCount = 65_536;
  const pagesEach = pageCount / partitions;
  const encoded = run(pageCount, (id) => {
    images.push((tables[Math.floor(id / pagesEach)] as CounterTable).encodePage(id));
  });
  report("encode, pages", pageCount, encoded);
  report("encode, domains", domainCount, encoded);
  const imageBytes = images.reduce((sum, image) => sum + image.length, 0);
  console.log(
    `image bytes                        ${(imageBytes / domainCount).toFixed(1)} B/domain`,
  );
  const restored = makeTables();
  for (const table of restored) table.reserve(Math.ceil((domainCount / partitions) * 1.05));
  const decoded = run(pageCount, (id) => {
    const image = images[id] as Uint8Array;
    (restored[Math.floor(id / pagesEach)] as CounterTable).decodePage(id, image);
  });
  report("decode, pages", pageCount, decoded);
  report("decode, domains", domainCount, decoded);
  if (
    sumOf(restored, (table) => table.totals.delivered) !== sumOf(tables, (t) => t.totals.delivered)
  ) {
    throw new Error("The restored totals differ");
  }
  const afterRestore = run(updateCount, () => update(restored, randomIndex(), START_MS + 1000));
  report("updates after restore", updateCount, afterRestore);
}

function main(): void {
  console.log(`${domainCount} domains, ${partitions} partitions, Node ${process.version}`);
  console.log(`${"".padEnd(34)} ${"rate".padStart(14)}  time  longest pause (${STEP} operations)`);
  warmUp();
  const rssBefore = rssBytes();
  const tables = makeTables();
  report(
    "insert",
    domainCount,
    run(domainCount, (i) => update(tables, i, START_MS + i)),
  );
  const entries = sumOf(tables, (table) => table.entryCount);
  console.log(`entries                            ${entries}`);
  measureMemory(tables, rssBefore);
  let checksum = 0;
  const names = run(updateCount, () => {
    checksum ^= hash32(name, 0, makeName(randomIndex()));
  });
  report("names only", updateCount, names);
  const heapBefore = process.memoryUsage().heapUsed;
  const updates = run(updateCount, () => update(tables, randomIndex(), START_MS + 500));
  const heapGrowth = process.memoryUsage().heapUsed - heapBefore;
  report("update, uniform", updateCount, updates);
  console.log(`heap growth while updating         ${heapGrowth} bytes (checksum ${checksum})`);
  measurePages(tables);
}

main();
