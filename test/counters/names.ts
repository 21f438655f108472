/**
 * Names for tests of the counter table, as bytes with their hash32.
 */
import { CounterTable } from "../../src/counters/counter-table.ts";
import { hash32 } from "../../src/model/hash32.ts";

export const SEED: readonly [number, number] = [0x01234567, 0x89abcdef];

export function makeTable(options: { readonly entriesMax?: number } = {}): CounterTable {
  return new CounterTable({ partition: 0, partitions: 1, seed: SEED, ...options });
}

export function findOrInsert(table: CounterTable, name: string): number {
  const bytes = Buffer.from(name, "latin1");
  return table.findOrInsert(hash32(bytes, 0, bytes.length), bytes, 0, bytes.length);
}

export function find(table: CounterTable, name: string): number {
  const bytes = Buffer.from(name, "latin1");
  return table.find(hash32(bytes, 0, bytes.length), bytes, 0, bytes.length);
}

export function pageOf(name: string): number {
  const bytes = Buffer.from(name, "latin1");
  return hash32(bytes, 0, bytes.length) >>> 16;
}

/** What an entry says, for comparisons. */
export interface Row {
  readonly name: string;
  readonly delivered: number;
  readonly bounced: number;
  readonly firstSeenMs: number;
  readonly lastSeenMs: number;
  readonly statusSinceMs: number;
  readonly status: number;
}

export function rowOf(table: CounterTable, entry: number): Row {
  return {
    name: table.name(entry),
    delivered: table.delivered(entry),
    bounced: table.bounced(entry),
    firstSeenMs: table.firstSeenMs(entry),
    lastSeenMs: table.lastSeenMs(entry),
    statusSinceMs: table.statusSinceMs(entry),
    status: table.status(entry),
  };
}

/** All rows but blank ones, by name. */
export function rowsOf(table: CounterTable): Row[] {
  const rows: Row[] = [];
  for (let entry = 0; entry < table.entryCount; entry++) {
    const row = rowOf(table, entry);
    const isBlank =
      row.status === 0 && row.delivered === 0 && row.bounced === 0 && row.statusSinceMs === 0;
    if (!isBlank || row.firstSeenMs !== 0) rows.push(row);
  }
  return rows.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Murmur3 steps undone: `count` names of 12 bytes, all different and all with one and the same hash32. */
export function collidingNames(count: number): Uint8Array[] {
  const wanted = 0x1234567;
  return Array.from({ length: count }, (_, i) => {
    const bytes = Buffer.alloc(12);
    bytes.writeUInt32LE(i, 0);
    bytes.write(".com", 8);
    const state = mixIn(0, i);
    // rotl(state ^ f(block), 13) * 5 + c = wanted, solved for the block.
    let mixed = Math.imul(wanted - 0xe6546b64, 0xcccccccd);
    mixed = rotateLeft(mixed, 19) ^ state;
    mixed = rotateLeft(Math.imul(mixed, inverseOf(0x1b873593)), 17);
    bytes.writeUInt32LE(Math.imul(mixed, inverseOf(0xcc9e2d51)) >>> 0, 4);
    return bytes;
  });
}

function mixIn(state: number, block: number): number {
  const mixed = Math.imul(rotateLeft(Math.imul(block, 0xcc9e2d51), 15), 0x1b873593);
  return (Math.imul(rotateLeft(state ^ mixed, 13), 5) + 0xe6546b64) | 0;
}

function rotateLeft(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

/** The inverse of an odd number modulo 2^32, by Newton's method. */
function inverseOf(odd: number): number {
  let inverse = odd;
  for (let i = 0; i < 5; i++) inverse = Math.imul(inverse, 2 - Math.imul(odd, inverse));
  return inverse;
}
