import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  classify,
  DEFAULT_RULE,
  type Rule,
  reasonOf,
  STATUS_CATCH_ALL,
  STATUS_NAMES,
  STATUS_NOT_CATCH_ALL,
  STATUS_UNKNOWN,
  STATUS_UNSEEN,
  statusCodeOf,
} from "../../src/model/status.ts";

function nameOf(rule: Rule, delivered: number, bounced: number): string {
  return STATUS_NAMES[classify(rule, delivered, bounced)];
}

describe("classify", () => {
  it("answers catch-all from the first delivery over 1000", () => {
    assert.equal(nameOf(DEFAULT_RULE, 0, 0), "unknown");
    assert.equal(nameOf(DEFAULT_RULE, 999, 0), "unknown");
    assert.equal(nameOf(DEFAULT_RULE, 1000, 0), "unknown");
    assert.equal(nameOf(DEFAULT_RULE, 1001, 0), "catch-all");
    assert.equal(nameOf(DEFAULT_RULE, Number.MAX_SAFE_INTEGER, 0), "catch-all");
  });

  it("answers not catch-all after one bounce, whatever was delivered", () => {
    for (const delivered of [0, 999, 1000, 1001, 1e9]) {
      assert.equal(nameOf(DEFAULT_RULE, delivered, 1), "not catch-all");
    }
  });

  it("follows the thresholds of the rule", () => {
    const rule: Rule = { deliveredThreshold: 10, bouncedThreshold: 3, maxBounceRatio: null };
    assert.equal(nameOf(rule, 10, 2), "unknown");
    assert.equal(nameOf(rule, 11, 2), "catch-all");
    assert.equal(nameOf(rule, 11, 3), "not catch-all");
  });

  it("forgives bounces up to the ratio, and not beyond", () => {
    const rule: Rule = { deliveredThreshold: 1000, bouncedThreshold: 1, maxBounceRatio: 0.25 };
    assert.equal(nameOf(rule, 1500, 500), "catch-all");
    assert.equal(nameOf(rule, 1500, 501), "not catch-all");
    assert.equal(nameOf(rule, 3, 1), "unknown");
    assert.equal(nameOf(rule, 0, 1), "not catch-all");
  });

  it("forgives no bounce with a ratio of zero, as with none", () => {
    assert.equal(nameOf({ ...DEFAULT_RULE, maxBounceRatio: 0 }, 5000, 1), "not catch-all");
  });
});

describe("reasonOf", () => {
  it("states the counts and the comparison that decided", () => {
    assert.equal(reasonOf(DEFAULT_RULE, 1001, 0), "delivered 1001 > 1000, bounced 0");
    assert.equal(reasonOf(DEFAULT_RULE, 1000, 0), "delivered 1000 <= 1000, bounced 0");
    assert.equal(reasonOf(DEFAULT_RULE, 2000, 1), "bounced 1 >= 1, delivered 2000");
    const rule = { ...DEFAULT_RULE, maxBounceRatio: 0.1 };
    assert.equal(reasonOf(rule, 1007, 0), "delivered 1007 > 1000, bounced 0");
    assert.equal(
      reasonOf(rule, 1008, 2),
      "delivered 1008 > 1000, bounced 2, share of bounces 0.00198 <= 0.1",
    );
    assert.equal(reasonOf(rule, 3, 1), "bounced 1 >= 1, delivered 3, share of bounces 0.250 > 0.1");
  });
});

describe("statusCodeOf", () => {
  it("is the inverse of the names", () => {
    for (const code of [STATUS_UNKNOWN, STATUS_CATCH_ALL, STATUS_NOT_CATCH_ALL] as const) {
      assert.equal(statusCodeOf(STATUS_NAMES[code]), code);
    }
    assert.equal(STATUS_NAMES[STATUS_UNSEEN], "unknown");
  });
});
