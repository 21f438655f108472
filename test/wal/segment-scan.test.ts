/**
 * The torture of the file log's recovery: what a scan says of every truncation, every flipped bit and every misplaced
 * sector of a log of 200 entries. Oracle: an exact prefix that has every synced entry, or a refusal.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { chainSeed } from "../../src/wal/entry-codec.ts";
import { encodeSegmentHeader, frameRecord, SECTOR_BYTES } from "../../src/wal/segment-format.ts";
import {
  copyEntry,
  type SegmentExpectations,
  type SegmentScan,
  scanSegment,
} from "../../src/wal/segment-scan.ts";
import { EntryChain } from "../conformance/node-log.ts";

const STORE_ID = 0x1234;
const INCARNATION = 9;
const ENTRIES = 200;
const TAIL_SECTORS = 8;

interface BuiltSegment {
  readonly bytes: Uint8Array;
  readonly entries: readonly Uint8Array[];
  /** End of each record. */
  readonly ends: readonly number[];
}

/** Entries of 64 bytes, but every tenth is of two to four sectors; then a few zero sectors. */
function build(storeId = STORE_ID, incarnation = INCARNATION, count = ENTRIES): BuiltSegment {
  const seed = chainSeed(incarnation, storeId);
  const chain = new EntryChain(incarnation, storeId);
  const parts = [
    encodeSegmentHeader({ storeId, incarnation, firstSequence: 1, previousCrc: seed }),
  ];
  const entries: Uint8Array[] = [];
  const ends: number[] = [];
  let end = SECTOR_BYTES;
  for (let i = 1; i <= count; i += 1) {
    const entry = chain.next(i % 10 === 0 ? 500 + ((i * 97) % 1300) : 24);
    const frame = new Uint8Array(8 * SECTOR_BYTES);
    const length = frameRecord(entry, i, seed, frame);
    parts.push(frame.subarray(0, length));
    entries.push(entry);
    end += length;
    ends.push(end);
  }
  parts.push(new Uint8Array(TAIL_SECTORS * SECTOR_BYTES));
  return { bytes: new Uint8Array(Buffer.concat(parts)), entries, ends };
}

const EXPECTED: SegmentExpectations = {
  storeId: STORE_ID,
  incarnation: INCARNATION,
  firstSequence: 1,
  previousCrc: chainSeed(INCARNATION, STORE_ID),
  isLast: true,
};

/** Fails unless the scan holds exactly the first entries of what was built; returns how many. */
function prefixOf(scan: SegmentScan, bytes: Uint8Array, built: BuiltSegment): number {
  scan.entries.forEach((entry, i) => {
    assert.equal(entry.sequence, i + 1);
    assert.ok(Buffer.from(copyEntry(bytes, entry)).equals(built.entries[i] as Uint8Array));
  });
  return scan.entries.length;
}

function lastOf(built: BuiltSegment): { start: number; end: number } {
  return { start: built.ends.at(-2) as number, end: built.ends.at(-1) as number };
}

describe("scanSegment", () => {
  const built = build();
  const dataEnd = built.ends.at(-1) as number;

  it("finds all entries of a whole segment", () => {
    const scan = scanSegment(built.bytes, EXPECTED);
    assert.deepEqual([scan.verdict, scan.validEnd], ["clean", dataEnd]);
    assert.equal(prefixOf(scan, built.bytes, built), ENTRIES);
  });

  it("gives an exact prefix or refuses, for every length it may be cut to", () => {
    for (let length = 0; length < built.bytes.length; length += 509) {
      const bytes = built.bytes.subarray(0, length);
      const scan = scanSegment(bytes, EXPECTED);
      const whole = built.ends.filter((end) => end <= length).length;
      assert.equal(prefixOf(scan, bytes, built), whole);
    }
    // Every length, on a segment that begins two entries before the cut: the same question, much cheaper.
    for (let i = 0; i < ENTRIES; i += 1) {
      const from = Math.max(0, i - 2);
      const { bytes, expected } = shortened(built, from, i + 1);
      const size =
        (built.ends[i] as number) - (from === 0 ? 512 : (built.ends[from - 1] as number));
      const dataEnd = SECTOR_BYTES + size;
      const start =
        dataEnd - (built.ends[i] as number) + (i === 0 ? 512 : (built.ends[i - 1] as number));
      for (let length = i === 0 ? 0 : start; length < dataEnd; length += 1) {
        const scan = scanSegment(bytes.subarray(0, length), expected);
        if (length < SECTOR_BYTES) assert.equal(scan.verdict, "damaged");
        assert.equal(scan.entries.length, i - from, `entry ${i + 1} cut at ${length}`);
      }
      assert.equal(scanSegment(bytes.subarray(0, dataEnd), expected).verdict, "clean");
    }
  });

  it("refuses every single flipped bit of acknowledged entries, or is not misled by it", () => {
    // Flips are judged on the log's end as it was when the bit's entry was among the last: cheap, and the hardest case.
    let refused = 0;
    let harmless = 0;
    for (const [i, end] of built.ends.entries()) {
      const start = i === 0 ? 0 : (built.ends[i - 1] as number);
      const from = Math.max(0, i - 1);
      const tail = shortened(built, from, i + 1);
      const origin = from === 0 ? 0 : (built.ends[from - 1] as number) - SECTOR_BYTES;
      const begin = i === 0 ? 0 : start - origin;
      for (let bit = begin * 8; bit < (end - origin) * 8; bit += 1) {
        tail.bytes[bit >> 3] = (tail.bytes[bit >> 3] as number) ^ (1 << (bit & 7));
        const scan = scanSegment(tail.bytes, tail.expected);
        if (scan.verdict === "damaged") refused += 1;
        else {
          // Only padding and sector checksums may flip unseen: the entry proves itself.
          assert.equal(scan.entries.length, i + 1 - from, `entry ${i + 1}, bit ${bit}`);
          assert.equal(scan.verdict, "clean");
          harmless += 1;
        }
        tail.bytes[bit >> 3] = (tail.bytes[bit >> 3] as number) ^ (1 << (bit & 7));
      }
    }
    assert.equal(refused + harmless, dataEnd * 8);
    assert.ok(refused > 100_000, `${refused} refused, ${harmless} harmless`);
  });

  it("refuses a flipped bit in the middle of the whole log, and says where", () => {
    for (let at = SECTOR_BYTES; at < dataEnd; at += 211) {
      const bytes = built.bytes.slice();
      bytes[at] = (bytes[at] as number) ^ 4;
      const scan = scanSegment(bytes, EXPECTED);
      const entries = prefixOf(scan, bytes, built);
      if (scan.verdict === "clean") assert.equal(entries, ENTRIES);
      else {
        assert.equal(scan.verdict, "damaged");
        assert.equal(entries, built.ends.filter((end) => end <= at).length);
        assert.ok(scan.offset <= at && scan.offset >= scan.validEnd);
      }
    }
  });

  it("refuses every zeroed, repeated or swapped sector but an unwritten one of the last record", () => {
    const sectors = dataEnd / SECTOR_BYTES;
    const last = lastOf(built);
    const sectorOf = (i: number): Uint8Array =>
      built.bytes.subarray(i * SECTOR_BYTES, (i + 1) * SECTOR_BYTES);
    for (let i = 0; i < sectors; i += 1) {
      const zeroed = built.bytes.slice();
      zeroed.fill(0, i * SECTOR_BYTES, (i + 1) * SECTOR_BYTES);
      const scan = scanSegment(zeroed, EXPECTED);
      if (i * SECTOR_BYTES >= last.start) {
        // Not to be told from an append that the power cut: the one assumption of the format.
        assert.notEqual(scan.verdict, "damaged");
        assert.equal(scan.entries.length, ENTRIES - 1);
      } else assert.equal(scan.verdict, "damaged", `sector ${i} zeroed`);

      const repeated = built.bytes.slice();
      repeated.set(sectorOf(i), (i + 1) * SECTOR_BYTES);
      assert.equal(scanSegment(repeated, EXPECTED).verdict, "damaged", `sector ${i} repeated`);

      if (i + 1 >= sectors) continue;
      const swapped = built.bytes.slice();
      swapped.set(sectorOf(i + 1), i * SECTOR_BYTES);
      swapped.set(sectorOf(i), (i + 1) * SECTOR_BYTES);
      assert.equal(scanSegment(swapped, EXPECTED).verdict, "damaged", `sector ${i} swapped`);
    }
  });

  it("tells every torn last append from damage: all subsets of its sectors (I1)", () => {
    const { start, end } = lastOf(built);
    const count = (end - start) / SECTOR_BYTES;
    assert.ok(count >= 3 && count <= 6);
    for (let subset = 0; subset < 2 ** count; subset += 1) {
      const bytes = built.bytes.slice();
      for (let i = 0; i < count; i += 1) {
        const at = start + i * SECTOR_BYTES;
        if (((subset >> i) & 1) === 0) bytes.fill(0, at, at + SECTOR_BYTES);
      }
      const scan = scanSegment(bytes, EXPECTED);
      const isWhole = subset === 2 ** count - 1;
      assert.equal(scan.verdict, isWhole || subset === 0 ? "clean" : "torn");
      assert.equal(prefixOf(scan, bytes, built), isWhole ? ENTRIES : ENTRIES - 1);
      assert.equal(scan.validEnd, isWhole ? end : start);
      if (subset === 0 || isWhole) continue;
      const followed = scanSegment(bytes, { ...EXPECTED, isLast: false });
      assert.equal(followed.verdict, "damaged");
      // Rot within the torn record is damage, too.
      const written = start + (31 - Math.clz32(subset)) * SECTOR_BYTES;
      bytes[written + 40] = (bytes[written + 40] as number) ^ 1;
      assert.equal(scanSegment(bytes, EXPECTED).verdict, "damaged");
    }
  });

  it("refuses a flipped bit in the last record that ends with the segment", () => {
    const full = built.bytes.slice(0, dataEnd);
    const { start } = lastOf(built);
    for (let at = start + 12; at < start + 500; at += 1) {
      full[at] = (full[at] as number) ^ 1;
      assert.equal(scanSegment(full, EXPECTED).verdict, "damaged");
      full[at] = (full[at] as number) ^ 1;
    }
  });

  it("refuses an old or foreign segment and entries spliced in from one", () => {
    const others = [build(STORE_ID + 1), build(STORE_ID, INCARNATION + 1)];
    for (const other of others) {
      assert.equal(scanSegment(other.bytes, EXPECTED).verdict, "damaged");
      for (const at of [0, 1, 7, 99, 198]) {
        const from = built.ends[at] as number;
        const spliced = built.bytes.slice();
        spliced.set(other.bytes.subarray(from), from);
        const scan = scanSegment(spliced, EXPECTED);
        assert.equal(scan.verdict, "damaged", `spliced at ${from}`);
        assert.equal(scan.entries.length, at + 1);
      }
    }
    // The same log with another history from some entry on.
    const fork = new EntryChain(INCARNATION, STORE_ID);
    fork.next(25);
    const entry = fork.next(24);
    const bytes = built.bytes.slice();
    frameRecord(entry, 2, EXPECTED.previousCrc as number, bytes.subarray(built.ends[0]));
    assert.equal(scanSegment(bytes, EXPECTED).verdict, "damaged");
  });

  it("refuses a header with other expectations", () => {
    const wrong: Partial<SegmentExpectations>[] = [
      { firstSequence: 2 },
      { previousCrc: 1 },
      { incarnation: 10 },
      { storeId: 1 },
    ];
    for (const change of wrong) {
      assert.equal(scanSegment(built.bytes, { ...EXPECTED, ...change }).verdict, "damaged");
    }
    const scan = scanSegment(built.bytes, { ...EXPECTED, previousCrc: null });
    assert.equal(scan.entries.length, ENTRIES);
  });

  it("never throws on noise, and looks at nothing past upTo", () => {
    let state = 1;
    for (let round = 0; round < 300; round += 1) {
      const bytes = built.bytes.slice(0, 40 * SECTOR_BYTES);
      for (let i = 0; i < 1 + (round % 20); i += 1) {
        state = (Math.imul(state, 1103515245) + 12345) >>> 0;
        bytes[state % bytes.length] = state >>> 24;
      }
      const scan = scanSegment(bytes, EXPECTED);
      if (scan.verdict !== "damaged") prefixOf(scan, bytes, built);
      else assert.notEqual(scan.reason, "");
    }
    const cut = built.bytes.slice();
    cut.fill(0xff, built.ends[9] as number);
    const scan = scanSegment(cut, { ...EXPECTED, upTo: 10 });
    assert.deepEqual([scan.verdict, scan.lastSequence], ["clean", 10]);
  });
});

/** Entries (from, to] as a segment of their own, as if rolled over at `from`, with zero sectors after. */
function shortened(
  built: BuiltSegment,
  from: number,
  to: number,
): { bytes: Uint8Array; expected: SegmentExpectations } {
  const start = from === 0 ? SECTOR_BYTES : (built.ends[from - 1] as number);
  const before = built.entries[from - 1];
  const previousCrc =
    before === undefined
      ? chainSeed(INCARNATION, STORE_ID)
      : new DataView(before.buffer, before.byteOffset).getUint32(4, true);
  const header = {
    storeId: STORE_ID,
    incarnation: INCARNATION,
    firstSequence: from + 1,
    previousCrc,
  };
  const bytes = new Uint8Array(
    Buffer.concat([
      encodeSegmentHeader(header),
      built.bytes.subarray(start, built.ends[to - 1]),
      new Uint8Array(SECTOR_BYTES),
    ]),
  );
  return { bytes, expected: { ...EXPECTED, firstSequence: from + 1, previousCrc } };
}
