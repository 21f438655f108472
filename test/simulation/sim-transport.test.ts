import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { NO_NETWORK_FAULTS, SimNetwork } from "../../src/simulation/sim-transport.ts";
import { describeTransport } from "../conformance/transport.ts";
import { TestWorld } from "./test-world.ts";

describeTransport("simulated", { reachesOthers: true }, async () => {
  const world = new TestWorld();
  const network = new SimNetwork(world.world, NO_NETWORK_FAULTS);
  return {
    connect: async (incarnation) => network.connect(world.boot(incarnation), incarnation),
    play: (work) => world.play(work),
    settle: () => world.world.run(world.world.nowMs + 100),
    dispose: async () => undefined,
  };
});

describe("SimNetwork", () => {
  it("loses frames one way over a cut, so that the other side acts and nobody learns", async () => {
    const world = new TestWorld();
    const network = new SimNetwork(world.world, NO_NETWORK_FAULTS);
    const one = network.connect(world.boot(1), 1);
    const two = network.connect(world.boot(2), 2);
    let handled = 0;
    two.serve(async (frame) => {
      handled++;
      return frame;
    });
    network.cut(2, 1);
    const unknown = { code: "outcome_unknown" };
    await world.play(() => assert.rejects(one.request(2, new Uint8Array(1), 500), unknown));
    assert.equal(handled, 1);
    network.cut(1, 2);
    await world.play(() => assert.rejects(one.request(2, new Uint8Array(1), 500), unknown));
    assert.equal(handled, 1);
    network.mend(1, 2);
    network.mend(2, 1);
    await world.play(() => one.request(2, new Uint8Array(1), 500));
  });

  it("handles a duplicated frame twice and replies once", async () => {
    const world = new TestWorld();
    const network = new SimNetwork(world.world, { ...NO_NETWORK_FAULTS, duplicated: 1 });
    const one = network.connect(world.boot(1), 1);
    const two = network.connect(world.boot(2), 2);
    let handled = 0;
    two.serve(async () => Uint8Array.of(++handled));
    await world.play(() => one.request(2, new Uint8Array(1), 500));
    await world.world.run(world.world.nowMs + 100);
    assert.equal(handled, 2);
  });
});
