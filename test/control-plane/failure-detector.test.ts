import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FailureDetector, suspicionMs } from "../../src/control-plane/failure-detector.ts";

const TTL = { ttlMs: 1000 };
const WELL = { continuousSinceMs: 0 };

describe("FailureDetector", () => {
  it("suspects after the time to live, the drift and the margin, from its own receipt", () => {
    const detector = new FailureDetector();
    detector.observe(1, { revision: 5, ...TTL }, 100);
    const endMs = 100 + suspicionMs(1000);
    assert.equal(endMs, 100 + 1020 + 200);
    assert.equal(detector.isSuspect(1, endMs - 1, WELL), false);
    assert.equal(detector.isSuspect(1, endMs, WELL), true);
  });

  it("starts again with a newer revision and not with one that it knows", () => {
    const detector = new FailureDetector();
    detector.observe(1, { revision: 5, ...TTL }, 0);
    detector.observe(1, { revision: 6, ...TTL }, 1000);
    detector.observe(1, { revision: 6, ...TTL }, 1900);
    detector.observe(1, { revision: 4, ...TTL }, 2000);
    assert.equal(detector.isSuspect(1, 2219, WELL), false);
    assert.equal(detector.isSuspect(1, 2220, WELL), true);
    assert.equal(detector.observed(1)?.revision, 6);
  });

  it("suspects nobody while its own renewals fail, and counts from when they went through again", () => {
    const detector = new FailureDetector();
    detector.observe(1, { revision: 5, ...TTL }, 0);
    assert.equal(detector.isSuspect(1, 90_000, { continuousSinceMs: null }), false);
    const back = { continuousSinceMs: 89_000 };
    assert.equal(detector.isSuspect(1, 90_000, back), false);
    assert.equal(detector.isSuspect(1, 89_000 + suspicionMs(1000), back), true);
  });

  it("suspects nobody that it never observed", () => {
    assert.equal(new FailureDetector().isSuspect(1, 1e9, WELL), false);
  });

  it("waits for the time to live that the holder counts by", () => {
    const detector = new FailureDetector();
    detector.observe(1, { revision: 1, ttlMs: 60_000 }, 0);
    assert.equal(detector.isSuspect(1, 60_000, WELL), false);
    assert.equal(detector.isSuspect(1, suspicionMs(60_000), WELL), true);
  });
});
