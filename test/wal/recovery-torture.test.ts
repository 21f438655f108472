/**
 * Recovery as a pure function over bytes, over every truncation and every single flipped bit of a log of 200 entries
 * in 40 segments. Oracle: an exact prefix of what was written that has every entry which was whole before the damage,
 * or a loud refusal; a flip that changes no entry is passed over with all 200 kept.
 * A segment whose bytes and expectations are those of the undamaged log need not be scanned again: it is a function.
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

const STORE_ID = 0x4321;
const INCARNATION = 7;
const ENTRIES = 200;
const ENTRIES_PER_SEGMENT = 5;
const SEED: number = chainSeed(INCARNATION, STORE_ID);

interface Segment {
  readonly bytes: Uint8Array;
  readonly expected: SegmentExpectations;
  readonly entries: readonly Uint8Array[];
  /** Where the record of each entry ends in the segment. */
  readonly ends: readonly number[];
  /** Crc of its last entry. */
  readonly lastCrc: number;
}

/** Every entry is of one sector, but every 25th of two. Each segment has a zero sector left at its end. */
function buildLog(): readonly Segment[] {
  const chain = new EntryChain(INCARNATION, STORE_ID);
  const segments: Segment[] = [];
  let previousCrc = SEED;
  for (let firstSequence = 1; firstSequence <= ENTRIES; firstSequence += ENTRIES_PER_SEGMENT) {
    const header = { storeId: STORE_ID, incarnation: INCARNATION, firstSequence, previousCrc };
    const parts = [encodeSegmentHeader(header)];
    const entries: Uint8Array[] = [];
    const ends: number[] = [];
    let end = SECTOR_BYTES;
    for (let i = 0; i < ENTRIES_PER_SEGMENT; i += 1) {
      const sequence = firstSequence + i;
      const entry = chain.next(sequence % 25 === 0 ? 600 : 8 + (sequence % 30));
      const frame = new Uint8Array(2 * SECTOR_BYTES);
      const length = frameRecord(entry, sequence, SEED, frame);
      end += length;
      parts.push(frame.subarray(0, length));
      entries.push(entry);
      ends.push(end);
    }
    const isLast = firstSequence + ENTRIES_PER_SEGMENT > ENTRIES;
    const bytes = new Uint8Array(Buffer.concat([...parts, new Uint8Array(SECTOR_BYTES)]));
    const last = entries.at(-1) as Uint8Array;
    const lastCrc = new DataView(last.buffer, last.byteOffset).getUint32(4, true);
    segments.push({ bytes, expected: { ...header, isLast }, entries, ends, lastCrc });
    previousCrc = lastCrc;
  }
  return segments;
}

const LOG = buildLog();

/** What recovery says when only segment `index` is not as it was written: entries kept in all, or a refusal. */
function recoverWith(index: number, bytes: Uint8Array): { kept: number; isRefused: boolean } {
  const segment = LOG[index] as Segment;
  const scan = scanSegment(bytes, segment.expected);
  assertWritten(scan, bytes, segment);
  const kept = index * ENTRIES_PER_SEGMENT + scan.entries.length;
  if (scan.verdict === "damaged") return { kept, isRefused: true };
  const next = LOG[index + 1];
  if (next === undefined) return { kept, isRefused: false };
  const isSame = scan.lastCrc === segment.lastCrc && scan.entries.length === ENTRIES_PER_SEGMENT;
  if (isSame) return { kept: ENTRIES, isRefused: false };
  const firstSequence = scan.lastSequence + 1;
  const expected = { ...next.expected, firstSequence, previousCrc: scan.lastCrc };
  const following = scanSegment(next.bytes, expected);
  assert.equal(following.entries.length, 0, "nothing may be read after a hole");
  return { kept, isRefused: following.verdict === "damaged" };
}

/** Fails unless the scan has exactly the first entries of the segment. */
function assertWritten(scan: SegmentScan, bytes: Uint8Array, segment: Segment): void {
  for (const [i, found] of scan.entries.entries()) {
    const isPlaced = found.sequence === segment.expected.firstSequence + i;
    const entry = copyEntry(bytes, found);
    const isSame = isPlaced && Buffer.compare(entry, segment.entries[i] as Uint8Array) === 0;
    if (!isSame) assert.fail(`entry ${found.sequence} is not what was written`);
  }
}

function wholeBefore(segment: Segment, offset: number): number {
  return segment.ends.filter((end) => end <= offset).length;
}

describe("Recovery of a log of 200 entries", () => {
  it("keeps all entries when nothing is damaged", () => {
    for (const [index, segment] of LOG.entries()) {
      assert.deepEqual(recoverWith(index, segment.bytes), { kept: ENTRIES, isRefused: false });
    }
  });

  it("reads an exact prefix of the log cut off at any byte, and calls half a sector damage", () => {
    for (const [index, { bytes, expected, ends }] of LOG.entries()) {
      for (let length = 0; length <= bytes.length; length += 1) {
        const cut = bytes.subarray(0, length);
        const scan = scanSegment(cut, { ...expected, isLast: true });
        const segment = LOG[index] as Segment;
        assertWritten(scan, cut, segment);
        const whole = wholeBefore(segment, length);
        const rest = length - (ends[whole - 1] ?? SECTOR_BYTES);
        const isAllThere = whole === ENTRIES_PER_SEGMENT || rest === 0;
        let verdict = isAllThere ? "clean" : rest === SECTOR_BYTES ? "torn" : "damaged";
        if (length < SECTOR_BYTES) verdict = "damaged";
        const found = [scan.entries.length, scan.verdict].join();
        if (found !== [whole, verdict].join()) assert.fail(`cut at ${length}: ${found}`);
      }
    }
  });

  it("refuses a segment cut off at any byte of its entries while later ones are there", () => {
    for (const [index, segment] of LOG.slice(0, -1).entries()) {
      const dataEnd = segment.ends.at(-1) as number;
      for (let length = 0; length <= segment.bytes.length; length += 1) {
        const { kept, isRefused } = recoverWith(index, segment.bytes.subarray(0, length));
        const whole = index * ENTRIES_PER_SEGMENT + wholeBefore(segment, length);
        const isRight = isRefused ? length < dataEnd && kept === whole : kept === ENTRIES;
        if (!isRight || isRefused !== length < dataEnd) assert.fail(`${index} cut at ${length}`);
      }
    }
  });

  it("never reads a wrong entry, nor too few in silence, whichever bit is flipped", () => {
    let cases = 0;
    let refused = 0;
    for (const [index, segment] of LOG.entries()) {
      const bytes = segment.bytes.slice();
      for (let at = 0; at < bytes.length; at += 1) {
        const before = bytes[at] as number;
        const wholeInSegment = at < SECTOR_BYTES ? 0 : wholeBefore(segment, at);
        const whole = index * ENTRIES_PER_SEGMENT + wholeInSegment;
        for (let bit = 0; bit < 8; bit += 1) {
          bytes[at] = before ^ (1 << bit);
          const { kept, isRefused } = recoverWith(index, bytes);
          cases += 1;
          refused += isRefused ? 1 : 0;
          const isRight = isRefused ? kept >= whole : kept === ENTRIES;
          if (!isRight) assert.fail(`segment ${index}, byte ${at}, bit ${bit}: ${kept} kept`);
        }
        bytes[at] = before;
      }
    }
    assert.equal(cases, LOG.reduce((sum, { bytes }) => sum + bytes.length, 0) * 8);
    // All of the envelopes at the least.
    assert.ok(refused > ENTRIES * 40 * 8, `${refused} refused`);
  });
});
