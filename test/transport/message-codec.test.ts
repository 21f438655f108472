import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DomainParser } from "../../src/model/domain-name.ts";
import { CatchallError } from "../../src/model/errors.ts";
import { BOUNCED, DELIVERED } from "../../src/model/event.ts";
import { RecordWriter } from "../../src/model/event-records.ts";
import {
  decodeEventsFrame,
  decodeEventsReply,
  encodeEventsFrame,
  encodeEventsReply,
} from "../../src/transport/events-codec.ts";
import {
  decodeJsonPayload,
  encodeJsonFrame,
  errorOfWire,
  FRAME_EVENTS,
  FRAME_EVENTS_REPLY,
  FRAME_REQUEST,
  openFrame,
  sealFrame,
  wireError,
} from "../../src/transport/message-codec.ts";

const HEADER = { sender: 3, revision: 17, number: 5 };
const DAMAGED = { code: "frame_damaged" };

function records(...domains: string[]): RecordWriter {
  const writer = new RecordWriter();
  const parser = new DomainParser();
  for (const [i, domain] of domains.entries()) {
    parser.parseText(domain, false);
    const { bytes, length, hash } = parser;
    if (i % 2 === 0) writer.add(bytes, length, hash, DELIVERED, i + 1);
    else writer.addKeyed(bytes, length, hash, BOUNCED, i + 1, Uint32Array.of(1, 2, 3, i));
  }
  return writer;
}

function frameOfTwo(): Uint8Array {
  return encodeEventsFrame(HEADER, [
    { partition: 2, producerSequence: 9, eventCount: 4, records: records("a.com", "b.com") },
    { partition: 65_535, producerSequence: 2 ** 40, eventCount: 1, records: records("c.org") },
  ]);
}

describe("MessageCodec", () => {
  it("gives header and JSON back as they were", () => {
    const body = { kind: "read", domains: ["a.com", "ä"] };
    const frame = encodeJsonFrame({ ...HEADER, type: FRAME_REQUEST }, body);
    assert.deepEqual(openFrame(frame), { ...HEADER, type: FRAME_REQUEST });
    assert.deepEqual(decodeJsonPayload(frame), body);
  });

  it("gives sub-batches back as they were", () => {
    const frame = frameOfTwo();
    assert.deepEqual(openFrame(frame), { ...HEADER, type: FRAME_EVENTS });
    const [first, second] = decodeEventsFrame(frame);
    assert.ok(first !== undefined && second !== undefined);
    const { start, end, ...rest } = first;
    assert.deepEqual(rest, {
      partition: 2,
      producerSequence: 9,
      eventCount: 4,
      recordCount: 2,
      keyedCount: 1,
    });
    const own = records("a.com", "b.com");
    assert.deepEqual(frame.slice(start, end), own.bytes.slice(0, own.length));
    assert.equal(second.partition, 65_535);
    assert.equal(second.producerSequence, 2 ** 40);
  });

  it("gives outcomes back as they were, in order", () => {
    const outcomes = [
      { kind: "committed", keys: null },
      { kind: "committed", keys: Uint8Array.of(0, 1, 2, 3) },
      { kind: "error", error: new CatchallError("not_owner", "Node n2 owns it") },
      { kind: "error", error: new CatchallError("outcome_unknown") },
    ] as const;
    const frame = encodeEventsReply(HEADER, outcomes);
    assert.equal(openFrame(frame).type, FRAME_EVENTS_REPLY);
    const [none, keys, refused, unknown] = decodeEventsReply(frame, 4);
    assert.deepEqual([none, keys], outcomes.slice(0, 2));
    assert.ok(refused?.kind === "error" && unknown?.kind === "error");
    assert.deepEqual(wireError(refused.error), { code: "not_owner", message: "Node n2 owns it" });
    assert.equal(unknown.error.effect, "unknown");
    assert.throws(() => decodeEventsReply(frame, 3), DAMAGED);
  });

  it("refuses every frame with one bit flipped", () => {
    const frame = frameOfTwo();
    for (let bit = 0; bit < frame.length * 8; bit++) {
      const copy = frame.slice();
      copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
      assert.throws(() => openFrame(copy), DAMAGED, `bit ${bit}`);
    }
  });

  it("refuses every frame that is cut short", () => {
    const frame = frameOfTwo();
    for (let length = 0; length < frame.length; length++) {
      assert.throws(() => openFrame(frame.subarray(0, length)), DAMAGED, `${length} bytes`);
    }
  });

  it("refuses payloads that are cut short, overlong or random under a right checksum", () => {
    const frame = frameOfTwo();
    let state = 1;
    for (let i = 0; i < 2_000; i++) {
      state = (state * 48_271) % 2_147_483_647;
      const copy = frame.slice(0, 32 + (state % (frame.length + 20 - 32)));
      if (i % 2 === 0) copy[32 + (state % Math.max(1, copy.length - 32))] = state >>> 8;
      sealFrame(copy, { ...HEADER, type: FRAME_EVENTS });
      openFrame(copy);
      try {
        for (const batch of decodeEventsFrame(copy)) assert.ok(batch.end <= copy.length);
      } catch (error) {
        assert.equal((error as CatchallError).code, "frame_damaged");
      }
      assert.throws(() => decodeEventsReply(copy, 7), DAMAGED);
    }
  });

  it("refuses versions, types and payloads it does not know", () => {
    for (const [at, value] of [
      [2, 2],
      [3, 0],
      [3, 200],
    ] as const) {
      const frame = frameOfTwo();
      frame[at] = value;
      assert.throws(() => openFrame(frame), DAMAGED);
    }
    for (const body of [[], 1, null, "x"]) {
      const frame = encodeJsonFrame({ ...HEADER, type: FRAME_REQUEST }, body);
      assert.throws(() => decodeJsonPayload(frame), DAMAGED);
    }
    const negative = encodeJsonFrame({ ...HEADER, sender: -1, type: FRAME_REQUEST }, {});
    assert.throws(() => openFrame(negative), DAMAGED);
  });

  it("keeps the code of an error, and takes a code it does not know for internal", () => {
    const error = new CatchallError("table_full", "Full");
    assert.deepEqual(wireError(errorOfWire(wireError(error))), wireError(error));
    assert.equal(errorOfWire({ code: "of_tomorrow", message: "x" }).code, "internal");
    assert.equal(errorOfWire({ code: "constructor", message: "x" }).code, "internal");
    assert.equal(wireError(new Error("x")).code, "internal");
    assert.throws(() => errorOfWire({ code: 1 }), DAMAGED);
  });
});
