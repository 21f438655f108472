import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SimMachine } from "../../src/simulation/sim-life.ts";
import { PERFECT_CLOCK, TestWorld } from "./test-world.ts";

describe("SimLife", () => {
  it("runs nothing after its death, and the next life runs on", async () => {
    const { world } = new TestWorld();
    const machine = new SimMachine(world, 0, PERFECT_CLOCK);
    const ran: string[] = [];
    machine.boot().timers.after(100, () => ran.push("first"));
    machine.boot().timers.after(100, () => ran.push("second"));
    await world.run(1000);
    assert.deepEqual(ran, ["second"]);
  });

  it("postpones what falls due in a pause, in order, while clocks go on", async () => {
    const { world } = new TestWorld();
    const machine = new SimMachine(world, 0, PERFECT_CLOCK);
    const { timers } = machine.boot();
    const ran: [string, number][] = [];
    timers.after(300, () => ran.push(["b", machine.clock.monotonicMs()]));
    timers.after(200, () => ran.push(["a", machine.clock.monotonicMs()]));
    world.after(100, () => machine.pause());
    world.after(5000, () => machine.resume());
    await world.run(10_000);
    assert.deepEqual(ran, [
      ["a", 5000],
      ["b", 5000],
    ]);
  });

  it("stops the monotonic clock and its timers while suspended, not the wall clock", async () => {
    const { world } = new TestWorld();
    const machine = new SimMachine(world, 0, PERFECT_CLOCK);
    const wallAtStartMs = machine.clock.wallMs();
    const ran: number[] = [];
    machine.boot().timers.after(500, () => ran.push(world.nowMs));
    world.after(200, () => machine.suspend());
    world.after(3200, () => machine.resume());
    await world.run(10_000);
    assert.deepEqual(ran, [3500]);
    assert.equal(machine.clock.monotonicMs(), 7000);
    assert.equal(machine.clock.wallMs() - wallAtStartMs, 10_000);
  });

  it("drifts", async () => {
    const { world } = new TestWorld();
    const machine = new SimMachine(world, 0, { ...PERFECT_CLOCK, rate: 1.01 });
    const ran: number[] = [];
    machine.boot().timers.after(1010, () => ran.push(Math.round(world.nowMs)));
    await world.run(2000);
    assert.deepEqual(ran, [1000]);
  });

  it("takes an exception that nobody caught for the end of the process", async () => {
    const { world } = new TestWorld();
    const machine = new SimMachine(world, 0, PERFECT_CLOCK);
    machine.boot().timers.after(10, () => {
      throw new Error("a bug");
    });
    await world.run(100);
    assert.equal(machine.life, null);
    assert.equal(world.failures[0]?.rule, "assertion");
  });
});
