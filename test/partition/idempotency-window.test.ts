import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { WALL_LEAP_MS_MAX } from "../../src/commit/entry-time.ts";
import { CatchallError } from "../../src/model/errors.ts";
import { IdempotencyWindow, KeyBudget } from "../../src/partition/idempotency-window.ts";

const WINDOW_MS = 600_000;
/** Fixed: the same under every window. */
const BUCKET_MS = 60_000;
const GRACE_MS = BUCKET_MS + WALL_LEAP_MS_MAX;

/** Keys that collide in their first word on purpose. */
function wordsOf(key: number): readonly [number, number, number, number] {
  return [(key % 3) * 64, key, 0xffffffff - key, 5];
}

function find(window: IdempotencyWindow, key: number): number {
  return window.find(...wordsOf(key));
}

function add(window: IdempotencyWindow, key: number, fingerprint: number, timeMs: number): void {
  window.add(...wordsOf(key), fingerprint, timeMs);
}

describe("IdempotencyWindow", () => {
  it("agrees with a map over time, for any keys and steps of the clock", () => {
    const step = fc.record({
      key: fc.nat({ max: 40 }),
      fingerprint: fc.integer({ min: 1, max: 9 }),
      waitMs: fc.oneof(fc.nat({ max: 20_000 }), fc.nat({ max: 240_000 })),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const budget = new KeyBudget(1_000_000);
        const window = new IdempotencyWindow(WINDOW_MS, budget);
        const model = new Map<number, { fingerprint: number; timeMs: number }>();
        let nowMs = 5_000_000;
        for (const { key, fingerprint, waitMs } of steps) {
          nowMs += waitMs;
          window.expire(nowMs);
          for (const [known, { timeMs }] of model) {
            const graceEndMs = Math.floor(timeMs / BUCKET_MS) * BUCKET_MS + GRACE_MS;
            if (graceEndMs + WINDOW_MS <= nowMs) model.delete(known);
          }
          assert.equal(find(window, key), model.get(key)?.fingerprint ?? 0);
          if (!model.has(key)) {
            add(window, key, fingerprint, nowMs);
            model.set(key, { fingerprint, timeMs: nowMs });
          }
          assert.equal(budget.used, model.size);
          assert.equal(window.count, model.size);
        }
      }),
      { numRuns: 200, seed: 4 },
    );
  });

  it("remembers a key for at least the window and a step of the clock, at most a bucket longer", () => {
    for (const timeMs of [6_000_000, 6_000_001, 6_059_999]) {
      const window = new IdempotencyWindow(WINDOW_MS, new KeyBudget(10));
      add(window, 1, 3, timeMs);
      window.expire(timeMs + WINDOW_MS + WALL_LEAP_MS_MAX);
      assert.equal(find(window, 1), 3);
      window.expire(timeMs + WINDOW_MS + GRACE_MS);
      assert.equal(find(window, 1), 0);
    }
  });

  it("keeps every key while it grows", () => {
    const budget = new KeyBudget(1_000_000);
    const window = new IdempotencyWindow(WINDOW_MS, budget);
    for (let key = 0; key < 5000; key++) {
      window.add(key * 2_654_435_761, key, 1, 2, key + 1, 1000);
    }
    for (let key = 0; key < 5000; key++) {
      assert.equal(window.find(key * 2_654_435_761, key, 1, 2), key + 1);
    }
    assert.equal(window.find(1, 2, 3, 4), 0);
    assert.equal(budget.used, 5000);
  });

  it("counts a key that is added again once, with its first fingerprint", () => {
    const budget = new KeyBudget(10);
    const window = new IdempotencyWindow(WINDOW_MS, budget);
    add(window, 1, 3, 1000);
    add(window, 1, 4, 1001);
    assert.equal(find(window, 1), 3);
    assert.equal(budget.used, 1);
  });

  it("gives back its keys from images, each bucket marked clean", () => {
    const window = new IdempotencyWindow(WINDOW_MS, new KeyBudget(1000));
    for (let key = 0; key < 300; key++) add(window, key, key + 1, 60_000 + key * 1200);
    const copyBudget = new KeyBudget(1000);
    const copy = new IdempotencyWindow(WINDOW_MS, copyBudget);
    assert.deepEqual(window.dirtyBuckets(), window.bucketStarts());
    for (const start of window.bucketStarts()) copy.decodeBucket(start, window.encodeBucket(start));
    assert.deepEqual(window.dirtyBuckets(), []);
    assert.deepEqual(copy.dirtyBuckets(), []);
    assert.deepEqual(copy.bucketStarts(), window.bucketStarts());
    for (let key = 0; key < 300; key++) assert.equal(find(copy, key), key + 1);
    assert.equal(copyBudget.used, 300);
    add(window, 7000, 1, 200_000);
    assert.deepEqual(window.dirtyBuckets(), [180_000]);
  });

  it("keeps buckets of a life with a longer window for its own window", () => {
    const before = new IdempotencyWindow(WINDOW_MS * 10, new KeyBudget(10));
    const addedMs = 6_059_999;
    add(before, 1, 3, addedMs);
    const [start] = before.bucketStarts();
    const after = new IdempotencyWindow(WINDOW_MS, new KeyBudget(10));
    after.decodeBucket(start as number, before.encodeBucket(start as number));
    after.expire(addedMs + WINDOW_MS);
    assert.equal(find(after, 1), 3);
  });

  it("gives its keys back to the budget when it is discarded, and keeps them for a checkpoint under way", () => {
    const budget = new KeyBudget(2);
    const window = new IdempotencyWindow(WINDOW_MS, budget);
    add(window, 1, 7, 600_000);
    window.discard();
    window.discard();
    assert.equal(budget.used, 0);
    // What is still replayed into it, or expires, is nobody's.
    add(window, 2, 7, 600_000);
    assert.equal(budget.used, 0);
    assert.deepEqual(window.bucketStarts(), [600_000]);
    assert.equal(window.encodeBucket(600_000).length, 2 * 20);
    window.expire(600_000 + WINDOW_MS + GRACE_MS);
    assert.equal(budget.used, 0);
  });

  it("refuses hostile images with checkpoint_damaged only, and stays usable", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
        const window = new IdempotencyWindow(WINDOW_MS, new KeyBudget(1000));
        try {
          window.decodeBucket(1000, bytes);
          assert.equal(bytes.length % 20, 0);
        } catch (error) {
          assert.ok(error instanceof CatchallError);
          assert.equal(error.code, "checkpoint_damaged");
        }
        add(window, 1, 3, 1000);
        assert.notEqual(find(window, 1), 0);
      }),
      { numRuns: 1000, seed: 5 },
    );
    const window = new IdempotencyWindow(WINDOW_MS, new KeyBudget(1000));
    assert.throws(() => window.decodeBucket(1000, new Uint8Array(20)), {
      code: "checkpoint_damaged",
    });
  });
});

describe("KeyBudget", () => {
  it("is full at its limit, pending keys included, until a window may forget", () => {
    const budget = new KeyBudget(3);
    const one = new IdempotencyWindow(WINDOW_MS, budget);
    const two = new IdempotencyWindow(WINDOW_MS, budget);
    add(one, 1, 1, 1000);
    add(two, 2, 1, 1000);
    assert.equal(budget.isFull(1000), false);
    budget.pending = 1;
    assert.equal(budget.isFull(1000), true);
    assert.equal(budget.isFull(1000 + WINDOW_MS + GRACE_MS), false);
    assert.equal(budget.used, 0);
  });
});
