/** A lookup of many domains at a node: in order, and never for long without a turn of the event loop. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { DomainName } from "../../src/model/domain-name.ts";
import { DELIVERED } from "../../src/model/event.ts";
import { TestWorld } from "../support/test-node.ts";

describe("Router.statuses", () => {
  it("answers in the order asked and yields by time, each reading checked in its own turn", async () => {
    const world = new TestWorld();
    const node = await world.start();
    await node.send("d7.example", DELIVERED);
    const names = Array.from({ length: 200 }, (_, i) => `d${i}.example` as DomainName);
    world.clock.monotonicMs = () => {
      world.clock.nowMs += 2;
      return world.clock.nowMs;
    };
    let turns = 0;
    let isDone = false;
    const count = (): void => {
      turns++;
      if (!isDone) setImmediate(count);
    };
    setImmediate(count);
    const found = await node.assembled.router.statuses(names);
    isDone = true;
    assert.deepEqual(
      found.map(({ domain }) => domain),
      names,
    );
    assert.equal(found[7]?.delivered, 1);
    assert.ok(turns >= 20, `${turns} turns`);
    const late = node.assembled.router.statuses(names);
    setImmediate(() => node.gate.moveTo("failed", "disk"));
    await assert.rejects(late, { code: "log_failed" });
  });
});
