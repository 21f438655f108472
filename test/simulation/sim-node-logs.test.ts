import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SIM_STORE_ID, SimNodeLogs } from "../../src/simulation/sim-node-logs.ts";
import { NO_SERVICE_FAULTS, type ServiceFaults } from "../../src/simulation/sim-service.ts";
import { historyOf } from "../../src/simulation/store-history.ts";
import { EntryChain, readAll } from "../conformance/node-log.ts";
import { TestWorld } from "./test-world.ts";

function logsOf(world: TestWorld, faults: Partial<ServiceFaults> = {}): SimNodeLogs {
  return new SimNodeLogs(world.world, { ...NO_SERVICE_FAULTS, ...faults }, historyOf([]));
}

describe("SimNodeLogs", () => {
  it("stores in order, refuses another expectation, seals for ever", async () => {
    const world = new TestWorld();
    const log = logsOf(world).connect(world.boot(0));
    const chain = new EntryChain(5, SIM_STORE_ID);
    await world.play(async () => {
      await log.create(5);
      const entry = chain.next(10);
      assert.deepEqual(await log.append(entry, 0), { kind: "committed" });
      assert.equal((await log.append(entry, 0)).kind, "conflict");
      assert.equal(await log.seal(5), 2);
      assert.equal(await log.seal(5), 2);
      assert.equal((await log.append(chain.next(10), 1)).kind, "conflict");
      assert.equal((await readAll(log, 5)).length, 2);
    });
  });

  it("stores at most once whatever the caller learns, and lets it find out", async () => {
    const world = new TestWorld(7);
    const faults = { requestLost: 0.2, answerLost: 0.2, late: 0.2 };
    const log = logsOf(world, faults).connect(world.boot(0));
    const chain = new EntryChain(5, SIM_STORE_ID);
    const seen = new Set<string>();
    await world.play(async () => {
      for (let isThere = false; !isThere; )
        isThere = await log.create(5).then(
          () => true,
          () => false,
        );
      for (let sequence = 1; sequence <= 40; sequence++) {
        const entry = chain.next(8);
        for (let kind = "unknown"; kind === "unknown"; ) {
          kind = (await log.append(entry, sequence - 1)).kind;
          seen.add(kind);
        }
      }
      let last = -1;
      while (last < 0) last = await log.lastSequence(5).catch(() => -1);
      assert.equal(last, 40);
    });
    assert.deepEqual([...seen].sort(), ["committed", "conflict", "unknown"]);
  });

  it("answers nothing to the dead", async () => {
    const world = new TestWorld();
    const logs = logsOf(world);
    const life = world.boot(0);
    const log = logs.connect(life);
    let isAnswered = false;
    void log.create(5).then(() => {
      isAnswered = true;
    });
    life.kill();
    await world.world.run(60_000);
    assert.equal(isAnswered, false);
    assert.deepEqual(logs.list(), [5], "the request was on its way");
  });
});
