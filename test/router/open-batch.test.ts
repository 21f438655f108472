import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CatchallError } from "../../src/model/errors.ts";
import {
  KEY_COUNTED,
  KEY_REPLAYED,
  KEY_REUSED,
  KEY_WINDOW_FULL,
} from "../../src/partition/partition-actor.ts";
import { COMMITTED, type EventOutcome, REPLAYED } from "../../src/router/ingress.ts";
import { OpenBatch } from "../../src/router/open-batch.ts";

interface World {
  readonly batch: OpenBatch;
  readonly told: [number, EventOutcome | string][];
  readonly settled: boolean[];
  readonly rejected: [string, number][];
  add(index: number, isKeyed: boolean): void;
}

function openWorld(): World {
  const told: [number, EventOutcome | string][] = [];
  const settled: boolean[] = [];
  const rejected: [string, number][] = [];
  const batch: OpenBatch = new OpenBatch(7, {
    settled: (each, isCommitted) => {
      assert.equal(each, batch);
      settled.push(isCommitted);
    },
    rejected: (code, events) => rejected.push([code, events]),
  });
  const reply = {
    settled: (index: number, outcome: EventOutcome) => {
      told.push([index, outcome instanceof CatchallError ? outcome.code : outcome]);
    },
  };
  return { batch, told, settled, rejected, add: (i, isKeyed) => batch.await(reply, i, isKeyed) };
}

describe("OpenBatch", () => {
  it("tells each event its own outcome once, keys in their order, then the owner", () => {
    const { batch, told, settled, rejected, add } = openWorld();
    for (const [index, isKeyed] of [
      [10, false],
      [11, true],
      [12, true],
      [13, false],
      [14, true],
      [15, true],
    ] as const) {
      add(index, isKeyed);
    }
    assert.equal(batch.eventCount, 6);
    batch.committed(Uint8Array.of(KEY_REPLAYED, KEY_COUNTED, KEY_REUSED, KEY_WINDOW_FULL));
    assert.deepEqual(told, [
      [10, COMMITTED],
      [11, REPLAYED],
      [12, COMMITTED],
      [13, COMMITTED],
      [14, "idempotency_key_reused"],
      [15, "idempotency_window_full"],
    ]);
    assert.deepEqual(settled, [true]);
    assert.deepEqual(rejected, [
      ["idempotency_key_reused", 1],
      ["idempotency_window_full", 1],
    ]);
  });

  it("tells all of them the error of a batch that failed", () => {
    const { batch, told, settled, rejected, add } = openWorld();
    for (const index of [3, 1, 2]) add(index, index === 1);
    batch.failed(new CatchallError("log_full"));
    assert.deepEqual(told, [
      [3, "log_full"],
      [1, "log_full"],
      [2, "log_full"],
    ]);
    assert.deepEqual([settled, rejected], [[false], [["log_full", 3]]]);
  });

  it("answers no one a second time when the outcome comes after the answer", () => {
    for (const isCommitted of [true, false]) {
      const { batch, told, settled, add } = openWorld();
      add(0, false);
      batch.expire(new CatchallError("outcome_unknown"));
      if (isCommitted) batch.committed(null);
      else batch.failed(new CatchallError("log_full"));
      assert.deepEqual(told, [[0, "outcome_unknown"]]);
      assert.deepEqual(settled, [isCommitted]);
    }
  });

  it("is empty after clear, whatever it held, and mixes nothing of two uses", () => {
    const { batch, told, add } = openWorld();
    for (let i = 0; i < 10_000; i++) add(i, true);
    batch.clear();
    assert.deepEqual([batch.eventCount, batch.records.length], [0, 0]);
    add(5, false);
    add(6, true);
    batch.committed(Uint8Array.of(KEY_REPLAYED));
    assert.deepEqual(told, [
      [5, COMMITTED],
      [6, REPLAYED],
    ]);
  });
});
