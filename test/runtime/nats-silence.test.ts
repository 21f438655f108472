import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { NatsSilence } from "../../src/runtime/nats-silence.ts";
import { VirtualTimers } from "../support/virtual-timers.ts";

/** A server that answers pings when the test says so. */
class Bench {
  readonly timers = new VirtualTimers();
  isWaiting = true;
  isAnswering = true;
  pings = 0;
  #unanswered: (() => void)[] = [];
  readonly silence = new NatsSilence({
    timers: this.timers,
    ping: () => {
      this.pings++;
      if (this.isAnswering) return Promise.resolve();
      return new Promise((resolve) => this.#unanswered.push(resolve));
    },
    isWaiting: () => this.isWaiting,
  });

  async thaw(): Promise<void> {
    this.isAnswering = true;
    for (const answer of this.#unanswered.splice(0)) answer();
    await this.timers.settle();
  }
}

describe("NatsSilence", () => {
  it("knows within a second that a server is silent, and at once that it is back", async () => {
    const bench = new Bench();
    bench.silence.watch();
    await bench.timers.advance(250);
    bench.isAnswering = false;
    await bench.timers.advance(700);
    assert.equal(bench.silence.isSilent, false, "a slow answer is none");
    await bench.timers.advance(300);
    assert.equal(bench.silence.isSilent, true);
    await bench.timers.advance(5_000);
    assert.equal(bench.silence.isSilent, true);
    await bench.thaw();
    assert.equal(bench.silence.isSilent, false);
  });

  it("pings at most once in 100 ms, one at a time, and only while something waits", async () => {
    const bench = new Bench();
    for (let i = 0; i < 10; i++) {
      for (let j = 0; j < 50; j++) bench.silence.watch();
      await bench.timers.advance(100);
    }
    assert.ok(bench.pings >= 10 && bench.pings <= 11, String(bench.pings));
    bench.isAnswering = false;
    bench.pings = 0;
    await bench.timers.advance(3_000);
    assert.equal(bench.pings, 1);
    await bench.thaw();
    bench.isWaiting = false;
    bench.pings = 0;
    await bench.timers.advance(1_000);
    assert.deepEqual([bench.pings, bench.timers.count], [0, 0]);
  });

  it("starts anew with the next connection, whatever became of the pings of the last", async () => {
    const bench = new Bench();
    bench.isAnswering = false;
    bench.silence.watch();
    await bench.timers.advance(1_000);
    assert.equal(bench.silence.isSilent, true);
    bench.silence.reset();
    assert.deepEqual([bench.silence.isSilent, bench.timers.count], [false, 0]);
    bench.silence.watch();
    await bench.timers.advance(500);
    const late = bench.thaw();
    await late;
    assert.equal(bench.silence.isSilent, false);
  });
});
