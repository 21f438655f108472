import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SimCheckpointStore } from "../../src/simulation/sim-checkpoint-store.ts";
import { NO_SERVICE_FAULTS } from "../../src/simulation/sim-service.ts";
import { historyOf } from "../../src/simulation/store-history.ts";
import { contentOf, pageOf, save, setOf } from "../conformance/checkpoint-store.ts";
import { TestWorld } from "./test-world.ts";

const BOTH: ReadonlySet<number> = new Set([0, 1]);

describe("SimCheckpointStore", () => {
  it("keeps the newest page and manifest of a key, whatever comes later", async () => {
    const world = new TestWorld();
    const shared = new SimCheckpointStore(world.world, NO_SERVICE_FAULTS, historyOf([]));
    const store = shared.connect(world.boot(0));
    await world.play(async () => {
      await save(store, true, [pageOf(0, 1, 5)], setOf(5));
      await save(store, false, [pageOf(0, 1, 3), pageOf(1, 2, 3)], setOf(3));
      assert.deepEqual(await store.readManifests(BOTH), setOf(5));
      const content = await contentOf(store);
      assert.match(content.get("0/counters/1") ?? "", /^5:/);
      assert.match(content.get("1/counters/2") ?? "", /^3:/);
    });
  });

  it("keeps half a checkpoint of a life that dies in it", async () => {
    const world = new TestWorld();
    const shared = new SimCheckpointStore(world.world, NO_SERVICE_FAULTS, historyOf([]));
    const life = world.boot(0);
    const pages = Array.from({ length: 100 }, (_, id) => pageOf(0, id, 1));
    void save(shared.connect(life), true, pages, setOf(1));
    await world.world.run(3.5);
    life.kill();
    await world.world.run(60_000);
    const kept = shared.pages(0).length;
    assert.ok(kept > 0 && kept < 100, `${kept} pages`);
    assert.equal(shared.manifest(0), null);
  });

  it("answers checkpoint_unavailable while it is away", async () => {
    const world = new TestWorld();
    const shared = new SimCheckpointStore(world.world, NO_SERVICE_FAULTS, historyOf([]));
    shared.service.isAway = true;
    const store = shared.connect(world.boot(0));
    await world.play(() =>
      assert.rejects(store.readManifests(BOTH), { code: "checkpoint_unavailable" }),
    );
  });
});
