import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { DomainParser } from "../../src/model/domain-name.ts";
import { BOUNCED, DELIVERED, type EventKind } from "../../src/model/event.ts";
import {
  fingerprintOf,
  isKeyed,
  RECORD_HEADER_BYTES,
  RECORD_KEY_BYTES,
  RecordWriter,
  readUint32,
  recordCount,
  recordEnd,
  recordFingerprint,
  recordHash,
  recordKeyStart,
  recordKind,
  recordNameLength,
  recordNameStart,
  recordsError,
  writeUint32,
} from "../../src/model/event-records.ts";

const parser = new DomainParser();

function add(writer: RecordWriter, domain: string, kind: EventKind, count: number): void {
  assert.equal(parser.parseText(domain, false), null);
  writer.add(parser.bytes, parser.length, parser.hash, kind, count);
}

function addKeyed(
  writer: RecordWriter,
  domain: string,
  kind: EventKind,
  count: number,
  key: readonly number[],
): void {
  assert.equal(parser.parseText(domain, false), null);
  const words = Uint32Array.from(key);
  writer.addKeyed(parser.bytes, parser.length, parser.hash, kind, count, words);
}

function nameAt(bytes: Uint8Array, at: number): string {
  const start = recordNameStart(bytes, at);
  return Buffer.from(bytes.subarray(start, start + recordNameLength(bytes, at))).toString("latin1");
}

/** [name, kind, count, keyed] of each record. */
function recordsOf(writer: RecordWriter): [string, number, number, boolean][] {
  const found: [string, number, number, boolean][] = [];
  const { bytes, length } = writer;
  for (let at = 0; at < length; at = recordEnd(bytes, at)) {
    found.push([
      nameAt(bytes, at),
      recordKind(bytes, at),
      recordCount(bytes, at),
      isKeyed(bytes, at),
    ]);
  }
  return found;
}

function exactBytes(writer: RecordWriter): Uint8Array {
  return writer.bytes.slice(0, writer.length);
}

/** Bytes that throw when they are read outside [start, end). */
function guarded(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return new Proxy(bytes, {
    get(target, property) {
      const index = typeof property === "string" ? Number(property) : Number.NaN;
      if (Number.isInteger(index) && (index < start || index >= end)) {
        throw new Error(`byte ${index} was read outside ${start} to ${end}`);
      }
      return Reflect.get(target, property) as unknown;
    },
  });
}

function mixed(): RecordWriter {
  const writer = new RecordWriter();
  add(writer, "a.com", DELIVERED, 3);
  addKeyed(writer, "b.example.org", BOUNCED, 7, [1, 2, 3, 0xffffffff]);
  add(writer, `${"x".repeat(63)}.net`, BOUNCED, 1_000_000);
  return writer;
}

describe("RecordWriter", () => {
  it("adds up anonymous events of one domain and kind in one record", () => {
    const writer = new RecordWriter();
    for (let i = 0; i < 1000; i++) add(writer, "a.com", DELIVERED, 2);
    add(writer, "a.com", BOUNCED, 5);
    assert.deepEqual(recordsOf(writer), [
      ["a.com", DELIVERED, 2000, false],
      ["a.com", BOUNCED, 5, false],
    ]);
    assert.equal(writer.count, 2);
  });

  it("starts another record rather than let a count overflow 32 bits", () => {
    const writer = new RecordWriter();
    add(writer, "a.com", DELIVERED, 0xffffffff - 1);
    add(writer, "a.com", DELIVERED, 1);
    add(writer, "a.com", DELIVERED, 1);
    add(writer, "a.com", DELIVERED, 9);
    assert.deepEqual(
      recordsOf(writer).map(([, , count]) => count),
      [0xffffffff, 10],
    );
  });

  it("keeps every keyed event apart, also from anonymous ones of the same domain", () => {
    const writer = new RecordWriter();
    add(writer, "a.com", DELIVERED, 1);
    addKeyed(writer, "a.com", DELIVERED, 1, [9, 8, 7, 0xfffffff6]);
    addKeyed(writer, "a.com", DELIVERED, 1, [9, 8, 7, 0xfffffff6]);
    add(writer, "a.com", DELIVERED, 1);
    assert.deepEqual(recordsOf(writer), [
      ["a.com", DELIVERED, 2, false],
      ["a.com", DELIVERED, 1, true],
      ["a.com", DELIVERED, 1, true],
    ]);
    assert.equal(writer.keyedCount, 2);
    const at = recordEnd(writer.bytes, 0);
    const key = recordKeyStart(at);
    assert.deepEqual(
      [0, 4, 8, 12].map((offset) => readUint32(writer.bytes, key + offset)),
      [9, 8, 7, 0xfffffff6],
    );
    assert.equal(recordFingerprint(writer.bytes, at), fingerprintOf(DELIVERED, 1));
  });

  it("keeps domains apart whose hashes share a slot", () => {
    const writer = new RecordWriter();
    const one = new TextEncoder().encode("one.com");
    const two = new TextEncoder().encode("two.com");
    writer.add(one, one.length, 5, DELIVERED, 1);
    writer.add(two, two.length, 5, DELIVERED, 1);
    writer.add(one, one.length, 5, DELIVERED, 1);
    assert.deepEqual(
      recordsOf(writer).map(([name, , count]) => [name, count]),
      [
        ["one.com", 1],
        ["two.com", 1],
        ["one.com", 1],
      ],
    );
  });

  it("forgets everything on clear, also where it merged", () => {
    const writer = mixed();
    writer.clear();
    assert.deepEqual([writer.length, writer.count, writer.keyedCount], [0, 0, 0]);
    add(writer, "zz.com", DELIVERED, 1);
    add(writer, "a.com", DELIVERED, 1);
    assert.deepEqual(recordsOf(writer), [
      ["zz.com", DELIVERED, 1, false],
      ["a.com", DELIVERED, 1, false],
    ]);
  });

  it("copies records byte for byte", () => {
    const from = mixed();
    const to = new RecordWriter();
    for (let at = 0; at < from.length; at = recordEnd(from.bytes, at)) {
      to.copy(from.bytes, at, recordEnd(from.bytes, at));
    }
    assert.deepEqual(exactBytes(to), exactBytes(from));
    assert.deepEqual([to.count, to.keyedCount], [from.count, from.keyedCount]);
  });

  it("never loses a count, whatever is added in whatever order", () => {
    const event = fc.record({
      domain: fc.integer({ min: 0, max: 400 }),
      kind: fc.constantFrom(DELIVERED, BOUNCED),
      count: fc.integer({ min: 1, max: 1_000_000 }),
      isKeyed: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 300 }), (events) => {
        const writer = new RecordWriter();
        const expected = new Map<string, number>();
        for (const { domain, kind, count, isKeyed: keyed } of events) {
          const name = `d${domain}.com`;
          if (keyed) addKeyed(writer, name, kind, count, [domain, 0, 0, kind]);
          else add(writer, name, kind, count);
          const key = `${name} ${kind}`;
          expected.set(key, (expected.get(key) ?? 0) + count);
        }
        const found = new Map<string, number>();
        for (const [name, kind, count] of recordsOf(writer)) {
          found.set(`${name} ${kind}`, (found.get(`${name} ${kind}`) ?? 0) + count);
        }
        assert.deepEqual(found, expected);
        assert.equal(recordsError(writer.bytes, 0, writer.length, writer.count), null);
      }),
      { numRuns: 100, seed: 1 },
    );
  });
});

describe("fingerprintOf", () => {
  it("is never 0 and differs for every kind and count", () => {
    const seen = new Set<number>();
    for (const kind of [DELIVERED, BOUNCED] as const) {
      for (const count of [1, 2, 3, 999_999, 1_000_000]) seen.add(fingerprintOf(kind, count));
    }
    assert.equal(seen.size, 10);
    assert.ok(!seen.has(0));
    assert.ok(Math.max(...seen) <= 0xffffffff);
  });
});

describe("readUint32", () => {
  it("reads what writeUint32 wrote, at any offset, unsigned", () => {
    const bytes = new Uint8Array(9);
    for (const value of [0, 1, 0x7fffffff, 0x80000000, 0xffffffff]) {
      writeUint32(bytes, 3, value);
      assert.equal(readUint32(bytes, 3), value);
    }
  });
});

describe("recordsError", () => {
  it("accepts what the writer made, at any place in a larger buffer", () => {
    const made = mixed();
    const bytes = new Uint8Array(made.length + 20);
    bytes.set(exactBytes(made), 10);
    assert.equal(recordsError(bytes, 10, 10 + made.length, 3), null);
    assert.equal(recordHash(bytes, 10), recordHash(made.bytes, 0));
  });

  it("refuses every truncation and every other number of records, within the range", () => {
    const made = mixed();
    const bytes = exactBytes(made);
    for (let end = 0; end < bytes.length; end++) {
      assert.notEqual(recordsError(guarded(bytes, 0, end), 0, end, 3), null);
    }
    for (const count of [0, 1, 2, 4, 0xffffffff]) {
      assert.notEqual(recordsError(guarded(bytes, 0, bytes.length), 0, bytes.length, count), null);
    }
  });

  it("names unknown flags, a missing name, a zero count and a false fingerprint", () => {
    const change = (at: number, value: number): string | null => {
      const bytes = exactBytes(mixed());
      bytes[at] = value;
      return recordsError(bytes, 0, bytes.length, 3);
    };
    assert.equal(change(0, 4), "record 0 has unknown flags");
    assert.equal(change(1, 3), "record 0 has no name");
    assert.equal(change(8, 0), "record 0 counts nothing");
    const second = recordEnd(mixed().bytes, 0);
    const fingerprint = second + RECORD_HEADER_BYTES + RECORD_KEY_BYTES - 4;
    assert.equal(change(fingerprint, 0), "record 1 has a false fingerprint");
  });

  it("never throws and never reads outside its range, whatever bits are flipped", () => {
    const bytes = exactBytes(mixed());
    fc.assert(
      fc.property(
        fc.array(fc.nat({ max: bytes.length * 8 - 1 }), { minLength: 1, maxLength: 12 }),
        fc.nat({ max: bytes.length }),
        fc.nat({ max: 5 }),
        (flips, end, count) => {
          const damaged = bytes.slice();
          for (const flip of flips) {
            damaged[flip >> 3] = (damaged[flip >> 3] as number) ^ (1 << (flip & 7));
          }
          const error = recordsError(guarded(damaged, 0, end), 0, end, count);
          assert.ok(error === null || error.length > 0);
        },
      ),
      { numRuns: 3000, seed: 2 },
    );
  });

  it("never throws on arbitrary bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat({ max: 20 }), (bytes, count) => {
        const error = recordsError(guarded(bytes, 0, bytes.length), 0, bytes.length, count);
        assert.ok(error === null || typeof error === "string");
      }),
      { numRuns: 2000, seed: 3 },
    );
  });
});
