import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { DomainName } from "../../src/model/domain-name.ts";
import { CatchallError } from "../../src/model/errors.ts";
import { DELIVERED } from "../../src/model/event.ts";
import { RecordWriter } from "../../src/model/event-records.ts";
import { DEFAULT_RULE } from "../../src/model/status.ts";
import {
  type Change,
  decodeChange,
  EVENTS_HEADER_BYTES,
  encodeChange,
  readEvents,
  readSections,
  SECTION_EVENTS,
  SECTION_HEADER_BYTES,
  SECTION_OVERRIDE,
  SECTION_RESET,
  SECTION_RULE,
  writeEventsHeader,
  writeSectionHeader,
} from "../../src/partition/section-codec.ts";

const DOMAIN = "a.com" as DomainName;
const CHANGES: readonly Change[] = [
  { kind: SECTION_RESET, domain: DOMAIN, by: "ops" },
  { kind: SECTION_OVERRIDE, domain: DOMAIN, override: null, by: "ops" },
  {
    kind: SECTION_OVERRIDE,
    domain: DOMAIN,
    override: { status: "not catch-all", reason: "ünïcode" },
    by: "ops",
  },
  { kind: SECTION_RULE, rule: { ...DEFAULT_RULE, maxBounceRatio: 0.5 }, revision: 4, by: "ops" },
];

function section(kind: number, payload: Uint8Array, partition = 513): Uint8Array {
  const bytes = new Uint8Array(SECTION_HEADER_BYTES + payload.length);
  writeSectionHeader(bytes, 0, { partition, kind, epoch: 9, payloadBytes: payload.length });
  bytes.set(payload, SECTION_HEADER_BYTES);
  return bytes;
}

function eventsPayload(): Uint8Array {
  const writer = new RecordWriter();
  const name = new TextEncoder().encode(DOMAIN);
  writer.add(name, name.length, 77, DELIVERED, 3);
  writer.addKeyed(name, name.length, 77, DELIVERED, 3, Uint32Array.of(1, 2, 3, 4));
  const payload = new Uint8Array(EVENTS_HEADER_BYTES + writer.length);
  writeEventsHeader(payload, 0, { producer: 2 ** 40, producerSequence: 6, recordCount: 2 });
  payload.set(writer.bytes.subarray(0, writer.length), EVENTS_HEADER_BYTES);
  return payload;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Reads everything there is to read, as recovery does. */
function readAll(bytes: Uint8Array): number {
  let sections = 0;
  for (const view of readSections(bytes, 0, bytes.length)) {
    if (view.kind === SECTION_EVENTS) readEvents(bytes, view);
    else decodeChange(bytes, view);
    sections++;
  }
  return sections;
}

function changeOf(kind: number, payload: unknown): Change {
  const bytes = section(kind, new TextEncoder().encode(JSON.stringify(payload)));
  const [view] = [...readSections(bytes, 0, bytes.length)];
  assert.ok(view !== undefined);
  return decodeChange(bytes, view);
}

describe("section codec", () => {
  it("gives back what was written, in order", () => {
    const bytes = joined([
      section(SECTION_EVENTS, eventsPayload(), 65_535),
      ...CHANGES.map((change) => section(change.kind, encodeChange(change))),
    ]);
    const views = [...readSections(bytes, 0, bytes.length)];
    assert.deepEqual(
      views.map((view) => [view.partition, view.kind, view.epoch]),
      [[65_535, SECTION_EVENTS, 9], ...CHANGES.map((change) => [513, change.kind, 9])],
    );
    const [events, ...changes] = views;
    assert.ok(events !== undefined);
    const { producer, producerSequence, recordCount } = readEvents(bytes, events);
    assert.deepEqual([producer, producerSequence, recordCount], [2 ** 40, 6, 2]);
    assert.deepEqual(
      changes.map((view) => decodeChange(bytes, view)),
      CHANGES,
    );
  });

  it("refuses every truncation that does not end between sections", () => {
    const bytes = joined([
      section(SECTION_EVENTS, eventsPayload()),
      section(SECTION_RESET, encodeChange(CHANGES[0] as Change)),
    ]);
    const between = section(SECTION_EVENTS, eventsPayload()).length;
    for (let end = 1; end < bytes.length; end++) {
      if (end === between) continue;
      assert.throws(() => readAll(bytes.subarray(0, end)), { code: "log_damaged" });
    }
    assert.equal(readAll(bytes), 2);
  });

  it("refuses a change of another shape, kind or status than it may have", () => {
    const wrong: readonly (readonly [number, unknown])[] = [
      [SECTION_RESET, null],
      [SECTION_RESET, []],
      [SECTION_RESET, { kind: SECTION_RESET, by: "ops" }],
      [SECTION_RESET, { kind: SECTION_RULE, domain: DOMAIN, by: "ops" }],
      [SECTION_RESET, { kind: SECTION_RESET, domain: "not a domain", by: "ops" }],
      [SECTION_RESET, { kind: SECTION_RESET, domain: DOMAIN }],
      [SECTION_OVERRIDE, { kind: SECTION_OVERRIDE, domain: DOMAIN, by: "ops" }],
      [
        SECTION_OVERRIDE,
        { kind: SECTION_OVERRIDE, domain: DOMAIN, by: "o", override: { status: "x", reason: "" } },
      ],
      [SECTION_RULE, { kind: SECTION_RULE, revision: 1, by: "ops" }],
      [
        SECTION_RULE,
        { kind: SECTION_RULE, revision: 1, by: "o", rule: { deliveredThreshold: "1" } },
      ],
      [SECTION_RULE, { kind: SECTION_RULE, revision: 0.5, by: "o", rule: DEFAULT_RULE }],
      [9, { kind: 9 }],
    ];
    for (const [kind, payload] of wrong) {
      assert.throws(
        () => changeOf(kind, payload),
        { code: "log_damaged" },
        JSON.stringify(payload),
      );
    }
  });

  it("throws nothing but log_damaged, whatever bits are flipped", () => {
    const bytes = joined([
      section(SECTION_EVENTS, eventsPayload()),
      ...CHANGES.map((change) => section(change.kind, encodeChange(change))),
    ]);
    const flips = fc.array(fc.nat({ max: bytes.length * 8 - 1 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(flips, (bits) => {
        const damaged = bytes.slice();
        for (const bit of bits) {
          damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7));
        }
        try {
          assert.ok(readAll(damaged) >= 1);
        } catch (error) {
          assert.ok(error instanceof CatchallError, String(error));
          assert.equal(error.code, "log_damaged");
        }
      }),
      { numRuns: 3000, seed: 6 },
    );
  });
});
