/**
 * The counter table against a plain Map, then its edges: large counts, times, growth, keys, chosen collisions.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { CounterTable } from "../../src/counters/counter-table.ts";
import { TIME_MS_MAX } from "../../src/counters/entry-records.ts";
import { NAME_LENGTH_MAX } from "../../src/counters/name-arena.ts";
import type { EventKind } from "../../src/model/event.ts";
import { hash32 } from "../../src/model/hash32.ts";
import type { StatusCode } from "../../src/model/status.ts";
import { collidingNames, find, findOrInsert, makeTable, pageOf, rowOf, rowsOf } from "./names.ts";

interface ModelRow {
  delivered: number;
  bounced: number;
  firstSeenMs: number;
  lastSeenMs: number;
  statusSinceMs: number;
  status: StatusCode;
}

type Command =
  | { readonly do: "add"; domain: number; kind: EventKind; count: number; timeMs: number }
  | { readonly do: "status"; domain: number; status: StatusCode; timeMs: number }
  | { readonly do: "reset" | "find"; domain: number }
  | { readonly do: "fill"; domain: number; count: number }
  | { readonly do: "reserve"; count: number }
  | { readonly do: "restore" };

const domain = fc.nat({ max: 60 });
const timeMs = fc.oneof(fc.integer({ min: 1, max: 99 }), fc.integer({ min: 1, max: TIME_MS_MAX }));
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("add" as const),
      domain,
      timeMs,
      kind: fc.constantFrom<EventKind>(0, 1),
      count: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.maxSafeNat(), fc.constant(2 ** 32 - 2)),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("status" as const),
      domain,
      timeMs,
      status: fc.constantFrom<StatusCode>(0, 1, 2, 3),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constantFrom("reset" as const, "find" as const), domain }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("fill" as const),
      domain: fc.nat({ max: 5000 }),
      count: fc.nat({ max: 900 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("reserve" as const), count: fc.nat({ max: 9000 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("restore" as const) }) },
);

function nameOf(index: number): string {
  return `d${index}.example.com`;
}

class Model {
  readonly rows = new Map<string, ModelRow>();
  table: CounterTable = makeTable();

  row(name: string): ModelRow {
    let row = this.rows.get(name);
    if (row === undefined) {
      row = {
        delivered: 0,
        bounced: 0,
        firstSeenMs: 0,
        lastSeenMs: 0,
        statusSinceMs: 0,
        status: 0,
      };
      this.rows.set(name, row);
    }
    return row;
  }

  run(step: Command): void {
    if (step.do === "restore") return this.restore();
    if (step.do === "reserve") return this.table.reserve(step.count);
    if (step.do === "fill") {
      for (let i = 0; i < step.count; i++) {
        this.row(nameOf(100 + step.domain + i));
        findOrInsert(this.table, nameOf(100 + step.domain + i));
      }
      return;
    }
    const name = nameOf(step.domain);
    if (step.do === "find") {
      assert.equal(find(this.table, name) >= 0, this.rows.has(name));
      return;
    }
    const entry = findOrInsert(this.table, name);
    const row = this.row(name);
    if (step.do === "add") {
      this.table.add(entry, step.kind, step.count, step.timeMs);
      const kind = step.kind === 0 ? "delivered" : "bounced";
      row[kind] = Math.min(row[kind] + step.count, Number.MAX_SAFE_INTEGER);
      if (row.firstSeenMs === 0) row.firstSeenMs = step.timeMs;
      row.lastSeenMs = Math.max(row.lastSeenMs, step.timeMs);
    } else if (step.do === "status") {
      this.table.setStatus(entry, step.status, step.timeMs);
      row.status = step.status;
      row.statusSinceMs = step.timeMs;
    } else {
      this.table.reset(entry);
      Object.assign(row, {
        delivered: 0,
        bounced: 0,
        firstSeenMs: 0,
        lastSeenMs: 0,
        statusSinceMs: 0,
        status: 0,
      });
    }
  }

  /** Replaces the table by one read from its pages; blank entries are gone then. */
  restore(): void {
    const restored = makeTable();
    this.table.markAllDirty();
    const dirty = this.table.dirtyPages();
    for (const pageId of dirty) restored.decodePage(pageId, this.table.encodePage(pageId));
    assert.deepEqual(this.table.dirtyPages(), []);
    assert.deepEqual(restored.dirtyPages(), []);
    assert.deepEqual(rowsOf(restored), rowsOf(this.table));
    this.table = restored;
    for (const [name, row] of this.rows) {
      if (Object.values(row).every((value) => value === 0)) this.rows.delete(name);
    }
  }

  check(): void {
    const { table } = this;
    assert.equal(table.entryCount, this.rows.size);
    const byStatus = [0, 0, 0, 0];
    let delivered = 0n;
    let bounced = 0n;
    for (const [name, row] of this.rows) {
      const entry = find(table, name);
      assert.deepEqual(rowOf(table, entry), { name, ...row });
      byStatus[row.status] = (byStatus[row.status] as number) + 1;
      delivered += BigInt(row.delivered);
      bounced += BigInt(row.bounced);
    }
    assert.deepEqual([...table.totals.byStatus], byStatus);
    const most = BigInt(Number.MAX_SAFE_INTEGER);
    assert.equal(table.totals.delivered, Number(delivered < most ? delivered : most));
    assert.equal(table.totals.bounced, Number(bounced < most ? bounced : most));
  }
}

describe("CounterTable", () => {
  it("answers as a Map would, through growth, resets and page round trips", () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 60 }), (steps) => {
        const model = new Model();
        for (const step of steps) model.run(step);
        model.check();
      }),
      { numRuns: 60 },
    );
  });

  it("finds every name at every step of its growth", () => {
    const table = makeTable();
    for (let i = 0; i < 4000; i++) {
      assert.equal(findOrInsert(table, nameOf(i)), i);
      if (i % 7 !== 0 && i > 900) continue;
      for (let j = 0; j <= i; j += 1 + (i >>> 5)) assert.equal(find(table, nameOf(j)), j);
      assert.equal(find(table, nameOf(i + 1)), -1);
    }
  });

  it("keeps counts exact above 2^32 and stops them at 2^53 - 1", () => {
    const table = makeTable();
    const entry = findOrInsert(table, "a.example");
    for (const step of [2 ** 32 - 2, 1, 1, 5, 2 ** 40]) table.add(entry, 0, step, 1);
    assert.equal(table.delivered(entry), 2 ** 40 + 2 ** 32 + 5);
    assert.equal(table.bounced(entry), 0);
    table.add(entry, 0, Number.MAX_SAFE_INTEGER - table.delivered(entry) - 1, 1);
    assert.equal(table.delivered(entry), Number.MAX_SAFE_INTEGER - 1);
    table.add(entry, 0, 1_000_000, 1);
    table.add(entry, 0, 1, 1);
    assert.equal(table.delivered(entry), Number.MAX_SAFE_INTEGER);
    assert.equal(table.totals.delivered, Number.MAX_SAFE_INTEGER);
    table.add(entry, 1, 3, 1);
    assert.equal(table.bounced(entry), 3);
  });

  it("shows totals up to 2^53 - 1 and is exact again after a reset", () => {
    const table = makeTable();
    const first = findOrInsert(table, "a.example");
    const second = findOrInsert(table, "b.example");
    table.add(first, 0, Number.MAX_SAFE_INTEGER, 1);
    table.add(second, 0, 2 ** 33 + 7, 1);
    assert.equal(table.totals.delivered, Number.MAX_SAFE_INTEGER);
    table.reset(first);
    assert.equal(table.totals.delivered, 2 ** 33 + 7);
    assert.equal(table.delivered(first), 0);
  });

  it("sets first seen once and never moves last seen back", () => {
    const table = makeTable();
    const entry = findOrInsert(table, "a.example");
    assert.deepEqual([table.firstSeenMs(entry), table.lastSeenMs(entry)], [0, 0]);
    table.add(entry, 0, 1, 1_790_000_000_123);
    table.add(entry, 1, 1, 1_780_000_000_000);
    assert.deepEqual(
      [table.firstSeenMs(entry), table.lastSeenMs(entry)],
      [1_790_000_000_123, 1_790_000_000_123],
    );
    table.add(entry, 1, 1, TIME_MS_MAX);
    table.setStatus(entry, 3, 1_790_000_000_456);
    assert.deepEqual(
      [table.firstSeenMs(entry), table.lastSeenMs(entry), table.statusSinceMs(entry)],
      [1_790_000_000_123, TIME_MS_MAX, 1_790_000_000_456],
    );
    assert.equal(table.status(entry), 3);
  });

  it("marks the page of a change, and no other, dirty, also when another entry was found since", () => {
    const table = makeTable();
    const entry = findOrInsert(table, "a.example");
    const other = findOrInsert(table, "b.example");
    assert.deepEqual(table.dirtyPages(), []);
    table.add(entry, 0, 1, 1);
    assert.deepEqual(table.dirtyPages(), [pageOf("a.example")]);
    table.encodePage(pageOf("a.example"));
    assert.deepEqual(table.dirtyPages(), []);
    table.setStatus(other, 1, 1);
    assert.deepEqual(table.dirtyPages(), [pageOf("b.example")]);
    find(table, "missing.example");
    table.reset(entry);
    const both = [pageOf("a.example"), pageOf("b.example")].sort((a, b) => a - b);
    assert.deepEqual(table.dirtyPages(), both);
  });

  it("refuses new domains at its limit and still finds the old ones", () => {
    const table = makeTable({ entriesMax: 2 });
    findOrInsert(table, "a.example");
    findOrInsert(table, "b.example");
    assert.equal(findOrInsert(table, "c.example"), -1);
    assert.equal(findOrInsert(table, "b.example"), 1);
    assert.equal(table.entryCount, 2);
  });

  it("owns the pages whose top bits are its partition, and no entry of another", () => {
    const partition = pageOf("a.example") >>> 10;
    const table = new CounterTable({ partition, partitions: 64, seed: [1, 2] });
    assert.deepEqual(table.pageIds(), { first: partition * 1024, last: partition * 1024 + 1023 });
    const entry = findOrInsert(table, "a.example");
    table.add(entry, 0, 1, 1);
    assert.deepEqual(table.dirtyPages(), [pageOf("a.example")]);
    assert.deepEqual([...table.pageEntries(pageOf("a.example"))], [entry]);
    const other = new CounterTable({ partition: partition ^ 1, partitions: 64, seed: [1, 2] });
    assert.throws(() => findOrInsert(other, "a.example"), /another partition/);
  });

  it("names an entry, copies the name and hashes it again", () => {
    const table = makeTable();
    const long = `${"x".repeat(60)}.${"y".repeat(60)}.${"z".repeat(60)}.${"w".repeat(66)}.com`;
    for (const name of ["a.example", long, "xn--bcher-kva.example"]) {
      const entry = findOrInsert(table, name);
      const into = new Uint8Array(260);
      const length = table.copyName(entry, into, 5);
      assert.equal(table.name(entry), name);
      assert.equal(Buffer.from(into.subarray(5, 5 + length)).toString(), name);
      assert.equal(table.hashOf(entry) >>> 16, pageOf(name));
    }
  });

  it("keeps names of every length apart, whichever byte they differ in", () => {
    const table = makeTable();
    const names: string[] = [];
    for (let length = 1; length <= NAME_LENGTH_MAX; length++) {
      const name = "x".repeat(length);
      names.push(name);
      for (const at of [0, 14, 15, 18, 19, length - 1]) {
        if (at < length) names.push(`${name.slice(0, at)}y${name.slice(at + 1)}`);
      }
    }
    const known = [...new Set(names)];
    const entries = known.map((name) => findOrInsert(table, name));
    assert.equal(table.entryCount, known.length);
    known.forEach((name, index) => {
      const entry = entries[index] as number;
      assert.equal(find(table, name), entry, name);
      assert.equal(rowOf(table, entry).name, name);
    });
  });

  it("rejects an entry index that it never gave", () => {
    const table = makeTable();
    findOrInsert(table, "a.example");
    for (const entry of [-1, 1, 4096]) assert.throws(() => table.add(entry, 0, 1, 1), /no such/);
  });

  it("lists the entries of a page by name, from after a cursor", () => {
    const table = makeTable();
    const names = collidingNames(50).map((bytes) => Buffer.from(bytes).toString("latin1"));
    for (const name of names) findOrInsert(table, name);
    const sorted = [...names].sort();
    const pageId = pageOf(names[0] as string);
    const listed = table.sortedPageEntries(pageId).map((entry) => table.name(entry));
    assert.deepEqual(listed, sorted);
    const rest = table.sortedPageEntries(pageId, sorted[19] as string);
    assert.deepEqual(
      rest.map((entry) => table.name(entry)),
      sorted.slice(20),
    );
  });

  it("takes little memory for few domains, and loses nothing as its first chunk grows", () => {
    const table = new CounterTable({ partition: 0, partitions: 1, seed: [1, 2] });
    const emptyBytes = table.bytes;
    const sizes: number[] = [];
    for (let i = 0; i < 40_000; i++) {
      const entry = findOrInsert(table, `d${i}.example`);
      table.add(entry, 0, i + 1, 1000 + i);
      sizes.push(table.bytes - emptyBytes);
    }
    assert.ok((sizes[0] as number) <= 16_384, `${sizes[0]} bytes for one domain`);
    const wrong = sizes.findIndex((_, i) => {
      const entry = find(table, `d${i}.example`);
      return table.delivered(entry) !== i + 1 || table.lastSeenMs(entry) !== 1000 + i;
    });
    assert.equal(wrong, -1);
  });

  it("does not slow down for 100,000 chosen names with one hash32", () => {
    const names = collidingNames(100_000);
    const hashes = new Set(names.map((bytes) => hash32(bytes, 0, bytes.length)));
    assert.equal(hashes.size, 1);
    const hash = [...hashes][0] as number;
    const table = makeTable();
    const startMs = performance.now();
    names.forEach((bytes, i) => {
      assert.equal(table.findOrInsert(hash, bytes, 0, bytes.length), i);
    });
    names.forEach((bytes, i) => {
      assert.equal(table.find(hash, bytes, 0, bytes.length), i);
    });
    // Quadratic probing would take 10^10 comparisons, minutes.
    assert.ok(performance.now() - startMs < 3000);
  });
});
