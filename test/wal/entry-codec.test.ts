import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  chainSeed,
  ENTRY_BYTES_MAX,
  ENTRY_HEADER_BYTES,
  type EntryHeader,
  readEnvelope,
  sealEnvelope,
} from "../../src/wal/entry-codec.ts";

const HEADER: EntryHeader = {
  kind: 0,
  nonce: 0xdeadbeef,
  incarnation: 7,
  sequence: 2 ** 40,
  timeMs: 1_700_000_000_123,
};

function entryOf(bodyBytes: number, header: EntryHeader, previousCrc: number): Uint8Array {
  const bytes = new Uint8Array(ENTRY_HEADER_BYTES + bodyBytes).fill(0x61);
  sealEnvelope(bytes, header, previousCrc);
  return bytes;
}

describe("entry codec", () => {
  it("reads back what was sealed, at any offset", () => {
    const entry = entryOf(5, HEADER, 99);
    const bytes = new Uint8Array(100);
    bytes.set(entry, 13);
    const { ok } = readEnvelope(bytes, 13, 100, 99);
    assert.ok(ok);
    const { start, end, bodyStart, crc, ...header } = ok;
    assert.deepEqual(header, HEADER);
    assert.deepEqual([start, end, bodyStart], [13, 58, 53]);
    assert.equal(crc, sealEnvelope(entry, HEADER, 99));
  });

  it("refuses every single flipped bit", () => {
    const entry = entryOf(24, HEADER, 1);
    for (let bit = 0; bit < entry.length * 8; bit += 1) {
      entry[bit >> 3] = (entry[bit >> 3] as number) ^ (1 << (bit & 7));
      assert.ok(readEnvelope(entry, 0, entry.length, 1).damage, `bit ${bit}`);
      entry[bit >> 3] = (entry[bit >> 3] as number) ^ (1 << (bit & 7));
    }
  });

  it("refuses every truncation and another predecessor", () => {
    const entry = entryOf(24, HEADER, 1);
    for (let end = 0; end < entry.length; end += 1) {
      assert.ok(readEnvelope(entry, 0, end, 1).damage, `end ${end}`);
    }
    assert.ok(readEnvelope(entry, 0, entry.length, 2).damage);
    assert.ok(readEnvelope(entry, 0, entry.length + 1, 1).damage, "end past the bytes");
  });

  it("refuses a sealed entry whose fields make no sense", () => {
    const bad: EntryHeader[] = [
      { ...HEADER, kind: 2 },
      { ...HEADER, incarnation: 0.5 },
      { ...HEADER, timeMs: Number.NaN },
    ];
    for (const header of bad) {
      const entry = entryOf(0, header, 1);
      assert.ok(readEnvelope(entry, 0, entry.length, 1).damage, JSON.stringify(header));
    }
  });

  it("does not seal more than the limit", () => {
    assert.throws(() => sealEnvelope(new Uint8Array(ENTRY_BYTES_MAX + 1), HEADER, 0));
  });

  it("seeds a chain by incarnation and store", () => {
    const seeds = new Set([chainSeed(1, 1), chainSeed(2, 1), chainSeed(1, 2), chainSeed(2, 2)]);
    assert.equal(seeds.size, 4);
  });
});
