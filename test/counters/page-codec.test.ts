/**
 * Page images: exact round trips, and bytes of an enemy. Damage must end in `checkpoint_damaged` or in a valid page,
 * never in another error, a hang or a large allocation.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { CounterTable } from "../../src/counters/counter-table.ts";
import { TIME_MS_MAX } from "../../src/counters/entry-records.ts";
import { CatchallError } from "../../src/model/errors.ts";
import { find, findOrInsert, makeTable, pageOf, rowsOf, SEED } from "./names.ts";

// Found by search: three names of one page.
const NAMES = findNamesOfOnePage(3);
const PAGE_ID = pageOf(NAMES[0] as string);

function findNamesOfOnePage(count: number, prefix = "m"): string[] {
  const pages = new Map<number, string[]>();
  for (let i = 0; ; i++) {
    const name = `${prefix}${i}.example`;
    const names = pages.get(pageOf(name)) ?? [];
    names.push(name);
    if (names.length === count) return names;
    pages.set(pageOf(name), names);
  }
}

function samplePage(): { readonly table: CounterTable; readonly image: Uint8Array } {
  const table = makeTable();
  const [a, b, c] = NAMES.map((name) => findOrInsert(table, name)) as [number, number, number];
  table.add(a, 0, 2 ** 45 + 3, 1_790_000_000_000);
  table.add(a, 1, Number.MAX_SAFE_INTEGER, TIME_MS_MAX);
  table.setStatus(a, 3, 1_790_000_000_001);
  table.add(b, 0, 127, 1_790_000_100_000);
  table.setStatus(b, 1, 1_790_000_100_000);
  table.setStatus(c, 2, 1_780_000_000_000);
  return { table, image: table.encodePage(PAGE_ID) };
}

/** Decodes; returns the table, or null when the image was refused as damaged. */
function tryDecode(image: Uint8Array): CounterTable | null {
  const table = makeTable();
  try {
    table.decodePage(PAGE_ID, image);
    return table;
  } catch (error) {
    assert.ok(error instanceof CatchallError, String(error));
    assert.equal(error.code, "checkpoint_damaged");
    return null;
  }
}

function assertRefused(image: Uint8Array | readonly number[], reason: RegExp): void {
  assert.throws(
    () => makeTable().decodePage(PAGE_ID, Uint8Array.from(image)),
    (error) => {
      assert.ok(error instanceof CatchallError);
      assert.equal(error.code, "checkpoint_damaged");
      assert.match(error.message, reason);
      return true;
    },
  );
}

const HEADER = [1, PAGE_ID & 0xff, PAGE_ID >>> 8];
const NAME_BYTES = [...Buffer.from(NAMES[0] as string)];

describe("PageReader and PageWriter", () => {
  it("restore every field exactly, and the totals", () => {
    const { table, image } = samplePage();
    const restored = tryDecode(image) as CounterTable;
    assert.deepEqual(rowsOf(restored), rowsOf(table));
    assert.deepEqual([...restored.totals.byStatus], [...table.totals.byStatus]);
    assert.equal(restored.totals.bounced, table.totals.bounced);
    assert.deepEqual(restored.dirtyPages(), []);
  });

  it("restore into a table with another key", () => {
    const { table, image } = samplePage();
    const other = new CounterTable({ partition: 0, partitions: 1, seed: [SEED[1], SEED[0]] });
    other.decodePage(PAGE_ID, image);
    assert.deepEqual(rowsOf(other), rowsOf(table));
  });

  it("leave out entries that were never counted or were reset", () => {
    const { table } = samplePage();
    for (let entry = 0; entry < 3; entry++) table.reset(entry);
    assert.deepEqual(table.dirtyPages(), [PAGE_ID]);
    assert.deepEqual([...table.encodePage(PAGE_ID)].slice(0, 4), [...HEADER, 0]);
    const restored = tryDecode(table.encodePage(PAGE_ID)) as CounterTable;
    assert.equal(restored.entryCount, 0);
  });

  it("keep an entry with counts whose status is still unseen", () => {
    const table = makeTable();
    table.add(findOrInsert(table, NAMES[0] as string), 0, 5, 9);
    const restored = tryDecode(table.encodePage(PAGE_ID)) as CounterTable;
    assert.deepEqual(rowsOf(restored), rowsOf(table));
  });

  it("refuse an image cut at any byte", () => {
    const { image } = samplePage();
    for (let end = 0; end < image.length; end++) {
      assert.equal(tryDecode(image.slice(0, end)), null, `cut at ${end}`);
    }
  });

  it("refuse or read as a valid page an image with any bit flipped", () => {
    const { image } = samplePage();
    for (let bit = 0; bit < image.length * 8; bit++) {
      const damaged = image.slice();
      damaged[bit >>> 3] = (damaged[bit >>> 3] as number) ^ (1 << (bit & 7));
      const table = tryDecode(damaged);
      if (table === null) continue;
      // What was accepted is a page like any other: it survives a round trip.
      const again = tryDecode(table.encodePage(PAGE_ID)) as CounterTable;
      assert.deepEqual(rowsOf(again), rowsOf(table));
    }
  });

  it("refuse or read any bytes at all without another error", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, hasHeader) => {
        const image = hasHeader ? Uint8Array.from([...HEADER, ...bytes]) : bytes;
        const table = tryDecode(image);
        assert.ok(table === null || table.entryCount <= image.length / 5);
      }),
      { numRuns: 5000 },
    );
  });

  it("say what is wrong", () => {
    const entry = [1, NAME_BYTES.length, ...NAME_BYTES, 5, 0];
    makeTable().decodePage(PAGE_ID, Uint8Array.from([...HEADER, 1, 0, ...entry]));
    assertRefused([], /ends too early/);
    assertRefused([2, ...HEADER.slice(1), 0, 0], /version/);
    assertRefused([1, (HEADER[1] as number) ^ 1, HEADER[2] as number, 0, 0], /image of page/);
    assertRefused([...HEADER, 100, 0, ...entry], /too short for its entry count/);
    assertRefused([...HEADER, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 0], /too short/);
    assertRefused([...HEADER, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f, 0], /2\^53/);
    assertRefused([...HEADER, ...Array<number>(9).fill(0xff), 0], /longer than 8/);
    assertRefused([...HEADER, 0x80, 0x00, 0], /shortest/);
    assertRefused([...HEADER, 1, 0, ...entry, 0], /follow/);
    assertRefused([...HEADER, 2, 0, ...entry, ...entry], /twice/);
    assertRefused([...HEADER, 1, 0, 16, ...entry.slice(1)], /flags/);
    assertRefused([...HEADER, 1, 0, 0, ...entry.slice(1, -2), 0, 0], /blank/);
    assertRefused([...HEADER, 1, 0, 1, 0, 5, 0, 0], /wrong length/);
    assertRefused([...HEADER, 1, 0, 1, 254, ...entry.slice(2)], /wrong length/);
    assertRefused([...HEADER, 1, 0, 1, 253, ...entry.slice(2)], /inside a name/);
    assertRefused([...HEADER, 1, 0, 1, 3, 97, 10, 97, 5, 0], /visible ASCII/);
    assertRefused([...HEADER, 1, 0, 1, 3, 97, 46, 98, 5, 0], /another page/);
    assertRefused([...HEADER, 1, 0, 5, ...entry.slice(1), 0, 0], /time/);
  });

  it("refuse a domain that is there twice, long or short, while the slots grow", () => {
    const long = findNamesOfOnePage(1, "x".repeat(60))[0] as string;
    for (const name of [NAMES[0] as string, long]) {
      const page = pageOf(name);
      const entry = [1, name.length, ...Buffer.from(name), 5, 0];
      const image = Uint8Array.from([1, page & 0xff, page >>> 8, 2, 0, ...entry, ...entry]);
      for (const entries of [0, 800, 818, 819, 820, 900]) {
        const table = makeTable();
        for (let i = 0; table.entryCount < entries; i++) {
          if (pageOf(`n${i}.example`) !== page) findOrInsert(table, `n${i}.example`);
        }
        assert.throws(() => table.decodePage(page, image), /twice/, `${name} after ${entries}`);
      }
    }
  });

  it("find every entry after a restore that had no room reserved", () => {
    const table = makeTable();
    for (let i = 0; i < 5000; i++) table.add(findOrInsert(table, `r${i}.example`), 1, i + 1, i + 1);
    const restored = makeTable();
    for (const pageId of table.dirtyPages()) restored.decodePage(pageId, table.encodePage(pageId));
    for (let i = 0; i < 5000; i++) {
      const entry = find(restored, `r${i}.example`);
      assert.equal(restored.bounced(entry), i + 1);
      assert.equal(restored.name(entry), `r${i}.example`);
    }
    assert.equal(find(restored, "r5000.example"), -1);
    assert.equal(restored.totals.bounced, (5000 * 5001) / 2);
  });

  it("keep the totals exact when the counts of a page are over 2^53 together", () => {
    const table = makeTable();
    for (const [i, name] of NAMES.entries()) {
      table.add(findOrInsert(table, name), 0, Number.MAX_SAFE_INTEGER - i, 1);
    }
    const restored = tryDecode(table.encodePage(PAGE_ID)) as CounterTable;
    for (const [i, name] of NAMES.entries()) {
      assert.equal(restored.delivered(find(restored, name)), Number.MAX_SAFE_INTEGER - i);
      if (i > 0) restored.reset(find(restored, name));
    }
    assert.equal(restored.totals.delivered, Number.MAX_SAFE_INTEGER);
  });

  it("refuse a page of another partition and a page restored twice", () => {
    const { table, image } = samplePage();
    assert.throws(() => table.decodePage(PAGE_ID, image), /restored before/);
    const partition = (PAGE_ID >>> 10) ^ 1;
    const other = new CounterTable({ partition, partitions: 64, seed: SEED });
    assert.throws(() => other.decodePage(PAGE_ID, image), /another partition/);
  });

  it("say that the table is full rather than damaged", () => {
    const { image } = samplePage();
    const table = makeTable({ entriesMax: 2 });
    assert.throws(
      () => table.decodePage(PAGE_ID, image),
      (error) => error instanceof CatchallError && error.code === "table_full",
    );
  });

  it("take any page up to thousands of entries", () => {
    const table = makeTable();
    const names = findNamesOfOnePage(6);
    for (const name of names) table.add(findOrInsert(table, name), 1, 1, 1);
    const long = makeTable();
    for (let i = 0; i < 20_000; i++) long.add(findOrInsert(long, `n${i}.example`), 0, i + 1, i + 1);
    const restored = makeTable();
    restored.reserve(20_000);
    for (const pageId of long.dirtyPages()) restored.decodePage(pageId, long.encodePage(pageId));
    assert.deepEqual(rowsOf(restored), rowsOf(long));
    assert.equal(table.encodePage(pageOf(names[0] as string))[3], 6);
  });
});
