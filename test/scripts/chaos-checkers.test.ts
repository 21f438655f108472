/** Goal: each rule fires on the history that breaks it and on no honest one. Method: histories by hand. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  checkDomain,
  checkSameEverywhere,
  checkShare,
  excerptOf,
  isExact,
  JUDGED_DOMAINS_MIN,
  type Rule,
  SHARE_MIN,
  shareOf,
  statusOf,
} from "../../scripts/chaos/checkers.ts";
import { type EventType, History, type Outcome, type Status } from "../../scripts/chaos/history.ts";

const RULE = { deliveredThreshold: 10 };
const DOMAIN = "a.example";

/** A history whose times are given; a write is [start, end, outcome, count?, type?], a read [start, end, delivered, bounced?]. */
class Told {
  readonly history: History = new History(null);

  write(
    [startMs, endMs]: readonly [number, number],
    outcome: Outcome,
    count = 1,
    type: EventType = "delivered",
  ): this {
    const write = this.history.write({ domain: DOMAIN, type, count, key: null });
    this.history.attempt(write, "n1", startMs);
    this.history.settle(write, outcome, endMs, "told");
    return this;
  }

  read(
    [startMs, endMs]: readonly [number, number],
    delivered: number,
    bounced = 0,
    status: Status = statusOf(delivered, bounced, RULE),
  ): this {
    const counts = { delivered, bounced };
    this.history.read({ domain: DOMAIN, node: "n2", startMs, endMs, counts, status });
    return this;
  }

  readStatus([startMs, endMs]: readonly [number, number], status: Status): this {
    this.history.read({ domain: DOMAIN, node: "n2", startMs, endMs, counts: null, status });
    return this;
  }

  broken(): readonly Rule[] {
    const violations = checkDomain(this.history.of(DOMAIN), RULE);
    return [...new Set(violations.map(({ rule }) => rule))].sort();
  }
}

describe("checkDomain", () => {
  it("accepts what a correct cluster may answer", () => {
    const told = new Told()
      .write([0, 10], "acked")
      .write([5, 30], "acked", 3)
      .write([12, 40], "unknown", 5)
      .write([13, 20], "none", 100)
      .read([11, 15], 1)
      .read([12, 35], 4)
      .read([41, 45], 9)
      .read([46, 50], 9);
    assert.deepEqual(told.broken(), []);
    // The unknown one may come late, or never.
    assert.deepEqual(new Told().write([0, 9], "unknown").read([20, 21], 0).broken(), []);
    const late = new Told().write([0, 9], "unknown").read([20, 21], 0).read([22, 23], 1);
    assert.deepEqual(late.broken(), []);
  });

  it("finds an acknowledged event that was lost", () => {
    assert.deepEqual(new Told().write([0, 10], "acked", 3).read([11, 12], 2).broken(), ["range"]);
  });

  it("finds an event that counts twice", () => {
    assert.deepEqual(new Told().write([0, 10], "acked", 2).read([11, 12], 4).broken(), ["range"]);
    const unknown = new Told().write([0, 10], "unknown", 2).read([11, 12], 4);
    assert.deepEqual(unknown.broken(), ["range"]);
  });

  it("finds an event of the other type", () => {
    const told = new Told().write([0, 10], "acked", 1, "bounced").read([11, 12], 1, 1);
    assert.deepEqual(told.broken(), ["range"]);
    const lost = new Told().write([0, 10], "acked", 1, "bounced").read([11, 12], 0, 0);
    assert.deepEqual(lost.broken(), ["range"]);
  });

  it("finds a refused event that was counted", () => {
    assert.deepEqual(new Told().write([0, 10], "none").read([11, 12], 1).broken(), ["range"]);
  });

  it("finds a read that shows what had not been sent", () => {
    assert.deepEqual(new Told().read([0, 5], 1).write([6, 10], "acked").broken(), ["range"]);
  });

  it("finds a count that goes back although each read alone is possible", () => {
    const told = new Told().write([0, 100], "acked").read([10, 20], 1).read([30, 40], 0);
    assert.ok(told.broken().includes("monotonic"), told.broken().join());
    const overlapping = new Told().write([0, 100], "acked").read([10, 35], 1).read([30, 40], 0);
    assert.deepEqual(overlapping.broken(), []);
  });

  it("finds a loss that an unknown event hides from the range", () => {
    // 1 unknown counted, then 1 acknowledged between the reads lost: 1 and 1 are both in range.
    const lost = new Told()
      .write([0, 5], "unknown")
      .read([10, 20], 1)
      .write([21, 25], "acked")
      .read([30, 40], 1);
    assert.deepEqual(lost.broken(), ["increment"]);
    // 1 acknowledged counted twice after the first read, in the room of an unknown one that counted already.
    const doubled = new Told()
      .write([0, 5], "acked", 4)
      .write([0, 200], "unknown", 3)
      .read([10, 20], 7)
      .read([30, 40], 7)
      .write([41, 45], "acked", 2)
      .read([46, 50], 13);
    assert.ok(doubled.broken().length > 0, "seen");
  });

  it("finds a growth out of nothing", () => {
    const told = new Told()
      .write([0, 5], "acked", 2)
      .write([8, 100], "acked", 2)
      .read([10, 20], 4)
      .read([30, 40], 5);
    assert.ok(told.broken().includes("range"), told.broken().join());
    // Both in range; what was acknowledged before the first read can't be what it grew by.
    const late = new Told()
      .write([0, 5], "acked", 2)
      .write([12, 100], "unknown", 1)
      .read([6, 9], 0)
      .read([30, 40], 3);
    assert.ok(late.broken().includes("increment"), late.broken().join());
  });

  it("finds a status that is not the one of the counts", () => {
    const told = new Told().write([0, 1], "acked", 11);
    assert.deepEqual(told.read([2, 3], 11, 0, "unknown").broken(), ["status"]);
    const exactly = new Told().write([0, 1], "acked", 10).read([2, 3], 10, 0, "catch-all");
    assert.deepEqual(exactly.broken(), ["status"]);
    const bounced = new Told().write([0, 1], "acked", 1, "bounced").read([2, 3], 0, 1, "unknown");
    assert.deepEqual(bounced.broken(), ["status"]);
  });

  it("finds a status alone that no possible count has", () => {
    const known = new Told().write([0, 1], "acked", 1, "bounced");
    assert.deepEqual(known.readStatus([2, 3], "catch-all").broken(), ["status"]);
    const possible = new Told().write([0, 1], "acked", 10).write([2, 30], "acked", 1);
    assert.deepEqual(possible.readStatus([5, 6], "catch-all").broken(), []);
    assert.deepEqual(possible.readStatus([7, 8], "unknown").broken(), []);
    assert.deepEqual(possible.readStatus([9, 10], "not catch-all").broken(), ["status"]);
  });
});

describe("checkSameEverywhere", () => {
  it("finds nodes that disagree", () => {
    const read = { domain: DOMAIN, startMs: 0, endMs: 1, status: "unknown" as const };
    const one = { ...read, node: "n1", counts: { delivered: 1, bounced: 0 } };
    const other = { ...read, node: "n2", counts: { delivered: 2, bounced: 0 } };
    assert.deepEqual(checkSameEverywhere(DOMAIN, [one, { ...one, node: "n2" }]), []);
    assert.equal(checkSameEverywhere(DOMAIN, [one, other]).length, 1);
  });
});

describe("History", () => {
  it("calls a write refused only while no attempt could have been applied", () => {
    const history = new History(null);
    const write = history.write({ domain: DOMAIN, type: "delivered", count: 1, key: "k" });
    assert.equal(write.outcome, "none");
    history.attempt(write, "n1", 1);
    assert.equal(write.outcome, "unknown");
    history.settle(write, "none", 2, "503");
    assert.equal(write.outcome, "none");
    history.attempt(write, "n1", 3);
    assert.equal(write.startMs, 3);
    history.settle(write, "unknown", 4, "504");
    history.attempt(write, "n2", 5);
    history.settle(write, "none", 6, "503");
    assert.deepEqual([write.outcome, write.startMs], ["unknown", 3]);
    assert.equal(isExact(history.of(DOMAIN)), false);
    history.attempt(write, "n2", 7);
    history.settle(write, "acked", 8, "204");
    assert.deepEqual([write.outcome, write.startMs, write.endMs], ["acked", 3, 8]);
    history.attempt(write, "n3", 9);
    history.settle(write, "unknown", 10, "cut");
    assert.deepEqual([write.outcome, write.endMs], ["acked", 8]);
    assert.equal(isExact(history.of(DOMAIN)), true);
    assert.equal(excerptOf(history.of(DOMAIN)).length, 1);
  });

  it("keeps a write that never ended as unknown", () => {
    const history = new History(null);
    const write = history.write({ domain: DOMAIN, type: "delivered", count: 2, key: null });
    history.attempt(write, "n1", 1);
    history.read({
      ...{ domain: DOMAIN, node: "n1", startMs: 5, endMs: 6 },
      ...{ counts: { delivered: 2, bounced: 0 }, status: "unknown" },
    });
    assert.deepEqual(checkDomain(history.of(DOMAIN), RULE), []);
    assert.equal(isExact(history.of(DOMAIN)), false);
  });
});

describe("checkShare", () => {
  const domains = JUDGED_DOMAINS_MIN;

  it("finds a run of which too little is known, and tells the share", () => {
    assert.equal(SHARE_MIN, 95);
    const enough = { domains, exactDomains: 0.95 * domains };
    assert.deepEqual([shareOf(enough), checkShare(enough)], [95, []]);
    const [violation] = checkShare({ domains, exactDomains: enough.exactDomains - 1 });
    assert.equal(violation?.rule, "share");
    assert.match(violation?.text ?? "", /only 94\.98 % of 5000 domains/);
  });

  it("judges no run that is too short", () => {
    assert.deepEqual(checkShare({ domains: domains - 1, exactDomains: 0 }), []);
    assert.equal(shareOf({ domains: 0, exactDomains: 0 }), 100);
  });
});
