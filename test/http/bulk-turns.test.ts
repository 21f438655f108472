/** Bulks under overload: few at a time, the rest waits or is refused, and the loop is never held for long. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { BulkTurns, type BulkWork } from "../../src/http/bulk-turns.ts";
import { DEFAULT_HTTP_LIMITS } from "../../src/http/http-deps.ts";
import type { CatchallError } from "../../src/model/errors.ts";
import type { TurnBudget } from "../../src/runtime/turn-budget.ts";
import { ManualTime } from "../support/http-fixture.ts";

const LIMITS = {
  ...DEFAULT_HTTP_LIMITS,
  turnMs: 4,
  bulkActiveMax: 2,
  bulkStandingMs: 100,
  bulkDelayMs: 50,
  bulkWaitMs: 2000,
};

/** Bodies that take `costMs` of work each; `soon` is driven by hand. */
class Bench {
  readonly time: ManualTime = new ManualTime();
  readonly turns: BulkTurns;
  readonly done: number[] = [];
  readonly refused: { readonly body: number; readonly error: CatchallError }[] = [];
  #due: (() => void)[] = [];
  #entered = 0;

  constructor() {
    this.time.soon = (work) => void this.#due.push(work);
    this.turns = new BulkTurns(this.time, this.time, LIMITS);
  }

  /** Bodies that never finish have an infinite cost. */
  enter(count: number, costMs: number): void {
    for (let i = 0; i < count; i++) this.turns.enter(this.#body(this.#entered++, costMs));
  }

  /** One turn of the event loop. */
  turn(): void {
    const due = this.#due;
    this.#due = [];
    for (const work of due) work();
  }

  turnsUntilIdle(): number {
    let turns = 0;
    while (this.#due.length > 0) {
      this.turn();
      turns++;
      assert.ok(turns < 10_000, "the work never ends");
    }
    return turns;
  }

  get refusedBodies(): readonly number[] {
    return this.refused.map(({ body }) => body);
  }

  #body(body: number, costMs: number): BulkWork {
    return {
      takeTurn: (_budget: TurnBudget) => {
        if (costMs === Number.POSITIVE_INFINITY) return;
        this.time.nowMs += costMs;
        this.done.push(body);
        this.turns.leave();
      },
      refuse: (error) => void this.refused.push({ body, error }),
    };
  }
}

/** An overload in which two bodies arrive for each one that is finished, a budget each, until that is noticed. */
function overloadedBench(): Bench {
  const bench = new Bench();
  for (let i = 0; i < 50; i++) {
    bench.enter(2, LIMITS.turnMs);
    bench.turn();
  }
  return bench;
}

describe("BulkTurns", () => {
  it("works on a body at once when nobody else is there", () => {
    const bench = new Bench();
    bench.enter(1, 1);
    assert.deepEqual(bench.done, [0]);
    assert.equal(bench.turns.admit(), null);
  });

  it("holds the event loop no longer than one budget and one body, however many there are", () => {
    const bench = new Bench();
    bench.enter(100, 3);
    assert.ok(bench.time.nowMs <= 6, `${bench.time.nowMs} ms in the first turn`);
    for (let turn = 0; turn < 40; turn++) {
      const beforeMs = bench.time.nowMs;
      bench.turn();
      assert.ok(bench.time.nowMs - beforeMs <= 6, `${bench.time.nowMs - beforeMs} ms in a turn`);
    }
  });

  it("serves a burst that is worked off before it stands for long", () => {
    const bench = new Bench();
    bench.enter(60, 1);
    assert.equal(bench.turns.admit(), null);
    bench.turnsUntilIdle();
    assert.equal(bench.done.length, 60);
    assert.deepEqual(bench.refused, []);
  });

  it("refuses unread what comes to a queue that stands, and takes bodies again when it is gone", () => {
    const bench = overloadedBench();
    bench.enter(60, 1);
    assert.equal(bench.turns.admit()?.code, "overloaded");
    bench.turnsUntilIdle();
    assert.equal(bench.turns.admit(), null);
    const doneBefore = bench.done.length;
    bench.enter(60, 1);
    bench.turnsUntilIdle();
    assert.equal(bench.done.length - doneBefore, 60);
  });

  it("keeps no more waiting than it finished lately, and refuses the oldest", () => {
    const bench = new Bench();
    bench.enter(2, Number.POSITIVE_INFINITY);
    bench.enter(400, 1);
    bench.time.nowMs += 150;
    bench.turns.leave();
    assert.deepEqual(bench.refusedBodies.slice(0, 3), [2, 3, 4]);
    assert.ok(bench.refused.length > 350, `${bench.refused.length} refused`);
    assert.ok(bench.refused.every(({ error }) => error.effect === "none"));
    bench.turnsUntilIdle();
    assert.equal(bench.done.length + bench.refused.length, 400);
  });

  it("finishes as many bodies as ever while it refuses the rest", () => {
    const bench = overloadedBench();
    const [doneBefore, startMs] = [bench.done.length, bench.time.nowMs];
    for (let i = 0; i < 300; i++) {
      for (let arrival = 0; arrival < 10; arrival++) {
        if (bench.turns.admit() === null) bench.enter(1, LIMITS.turnMs);
      }
      bench.turn();
    }
    assert.equal(bench.done.length - doneBefore, 300);
    assert.equal(bench.time.nowMs - startMs, 300 * LIMITS.turnMs);
  });

  it("lets in no more than it finished, also when all come before the first has arrived", () => {
    const bench = overloadedBench();
    const doneBefore = bench.done.length;
    let admitted = 0;
    for (let i = 0; i < 50; i++) {
      let arriving = 0;
      for (let arrival = 0; arrival < 100; arrival++) {
        if (bench.turns.admit() === null) arriving++;
      }
      bench.enter(arriving, LIMITS.turnMs);
      admitted += arriving;
      bench.turn();
    }
    assert.equal(bench.done.length - doneBefore, 50);
    assert.ok(admitted <= 50 + LIMITS.bulkActiveMax, `${admitted} admitted`);
    assert.ok(admitted >= 50 - LIMITS.bulkActiveMax - 12, `${admitted} admitted`);
  });

  it("does not refuse everybody because the process stood still", () => {
    const bench = overloadedBench();
    for (let i = 0; i < 20; i++) {
      bench.time.nowMs += 500;
      const doneBefore = bench.done.length;
      for (let arrival = 0; arrival < 100; arrival++) {
        if (bench.turns.admit() === null) bench.enter(1, 1);
      }
      bench.turn();
      assert.ok(bench.done.length > doneBefore, "something is done after every pause");
    }
  });

  it("refuses what has waited for too long also when nobody in front of it ends", () => {
    const bench = new Bench();
    bench.enter(2, Number.POSITIVE_INFINITY);
    bench.enter(3, 1);
    bench.time.advance(1999);
    assert.deepEqual(bench.refused, []);
    bench.time.advance(1);
    assert.deepEqual(bench.refusedBodies, [2, 3, 4]);
  });
});
