import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { EVENTS_ENOUGH, FlushPacer, TURNS_MAX, TURNS_MIN } from "../../src/router/flush-pacer.ts";

/** A pacer whose turns the test ends by hand. */
class Bench {
  flushes = 0;
  readonly pacer: FlushPacer;
  #soon: (() => void)[] = [];

  constructor() {
    const timers = {
      after: () => ({ cancel: () => undefined }),
      soon: (work: () => void) => this.#soon.push(work),
    };
    this.pacer = new FlushPacer(timers, () => {
      this.flushes++;
    });
  }

  /** One turn of the loop, in which `events` are submitted before it ends. */
  turn(events: number): void {
    if (events > 0) {
      this.pacer.submitted += events;
      this.pacer.arm();
    }
    for (const work of this.#soon.splice(0)) work();
  }

  /** Turns until the next flush, when each brings `events` more. */
  turnsToFlush(events: number): number {
    const before = this.flushes;
    for (let turns = 1; turns <= 100; turns++) {
      this.turn(events);
      if (this.flushes > before) return turns;
    }
    return Number.POSITIVE_INFINITY;
  }
}

describe("FlushPacer", () => {
  it("flushes a lone event once the sockets were polled again", () => {
    const bench = new Bench();
    bench.turn(1);
    assert.equal(bench.flushes, 0);
    assert.equal(bench.turnsToFlush(0), TURNS_MIN - 1);
  });

  it("waits while every turn brings more, but not for ever", () => {
    assert.equal(new Bench().turnsToFlush(1), TURNS_MAX);
  });

  it("flushes at the first turn that brings nothing", () => {
    const bench = new Bench();
    for (let turns = 0; turns < TURNS_MIN; turns++) bench.turn(10);
    assert.equal(bench.flushes, 0);
    assert.equal(bench.turnsToFlush(0), 1);
  });

  it("does not wait for more when there are enough", () => {
    assert.equal(new Bench().turnsToFlush(EVENTS_ENOUGH), 1);
    assert.equal(new Bench().turnsToFlush(EVENTS_ENOUGH / 2), 2);
  });

  it("counts what came while the last flush was on its way", () => {
    const bench = new Bench();
    bench.turnsToFlush(EVENTS_ENOUGH);
    bench.pacer.submitted += EVENTS_ENOUGH;
    bench.pacer.arm();
    assert.equal(bench.turnsToFlush(0), 1);
  });

  it("flushes once, however often it was armed, and again when armed again", () => {
    const bench = new Bench();
    for (let i = 0; i < 5; i++) bench.pacer.arm();
    for (let turns = 0; turns < 10; turns++) bench.turn(0);
    assert.equal(bench.flushes, 1);
    bench.pacer.arm();
    for (let turns = 0; turns < 10; turns++) bench.turn(0);
    assert.equal(bench.flushes, 2);
  });
});
