import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { DomainName } from "../../src/model/domain-name.ts";
import { BOUNCED, DELIVERED } from "../../src/model/event.ts";
import { DEFAULT_RULE, type Rule } from "../../src/model/status.ts";
import {
  SECTION_OVERRIDE,
  SECTION_RESET,
  SECTION_RULE,
} from "../../src/partition/section-codec.ts";
import { type TestNode, TestWorld } from "../support/test-node.ts";

const DOMAIN = "a.com" as DomainName;
const ONE = { partitions: 1 };
const LOW: Rule = { ...DEFAULT_RULE, deliveredThreshold: 1 };
const HIGH: Rule = { ...DEFAULT_RULE, deliveredThreshold: 50 };

function actorOf(node: TestNode) {
  return node.assembled.host.actorOf(DOMAIN);
}

function setRule(node: TestNode, rule: Rule, revision: number): Promise<void> {
  return actorOf(node).change({ kind: SECTION_RULE, rule, revision, by: "ops" });
}

async function viewOf(node: TestNode): Promise<unknown> {
  const { asOf: _, ...view } = await node.assembled.router.status(DOMAIN);
  return view;
}

/** Leaves pages in the store that are newer than its manifest. */
async function abandonCheckpoint(world: TestWorld, node: TestNode): Promise<void> {
  world.checkpoints.failures = 1;
  await node.assembled.checkpointer.run();
}

describe("recover", () => {
  it("replays what a trimmed log still has over the checkpoint, over several lives", async () => {
    const world = new TestWorld();
    for (let life = 1; life <= 4; life++) {
      const node = await world.start(ONE);
      for (let i = 0; i < 3; i++) {
        await node.send(DOMAIN, DELIVERED);
        await node.assembled.checkpointer.run();
      }
      await node.send(DOMAIN, BOUNCED);
      assert.deepEqual(await node.counts(DOMAIN), [3 * life, life, "not catch-all"]);
    }
    assert.ok(world.log.firstKept.size > 0);
    assert.deepEqual(await (await world.start(ONE)).counts(DOMAIN), [12, 4, "not catch-all"]);
  });

  it("replays several dead logs in order when there never was a checkpoint", async () => {
    const world = new TestWorld();
    for (let life = 0; life < 5; life++) {
      await (await world.start()).send(DOMAIN, DELIVERED, { id: `k${life}` });
    }
    const node = await world.start();
    assert.deepEqual(await node.counts(DOMAIN), [5, 0, "unknown"]);
    assert.equal(node.assembled.recovery.entries, 5);
    assert.equal(node.assembled.recovery.pages, 0);
  });

  it("counts nothing twice where an abandoned checkpoint left pages ahead of the manifest", async () => {
    const world = new TestWorld();
    const node = await world.start(ONE);
    await node.send(DOMAIN, DELIVERED, { id: "k1" });
    await node.assembled.checkpointer.run();
    await node.send(DOMAIN, DELIVERED, { id: "k2" });
    await node.send("b.com", BOUNCED);
    await abandonCheckpoint(world, node);
    await node.send(DOMAIN, DELIVERED);
    const before = await viewOf(node);
    const again = await world.start(ONE);
    assert.deepEqual(await viewOf(again), before);
    assert.deepEqual(await again.counts("b.com"), [0, 1, "not catch-all"]);
    assert.deepEqual(await again.counts(DOMAIN), [3, 0, "unknown"]);
  });

  it("replays each event under the rule of its time", async () => {
    const world = new TestWorld();
    const node = await world.start(ONE);
    await node.send(DOMAIN, DELIVERED, { count: 10 });
    world.clock.nowMs += 1000;
    await setRule(node, LOW, 1);
    world.clock.nowMs += 1000;
    await node.send(DOMAIN, DELIVERED);
    world.clock.nowMs += 1000;
    await setRule(node, HIGH, 2);
    const before = await viewOf(node);
    const again = await world.start(ONE);
    assert.deepEqual(await viewOf(again), before);
    assert.equal(actorOf(again).state.ruleRevision, 2);
  });

  it("leaves pages ahead alone when a rule of before them is replayed", async () => {
    const world = new TestWorld();
    const node = await world.start(ONE);
    await node.send(DOMAIN, DELIVERED, { count: 10 });
    await node.assembled.checkpointer.run();
    world.clock.nowMs += 1000;
    await setRule(node, LOW, 1);
    world.clock.nowMs += 1000;
    await actorOf(node).change({
      kind: SECTION_OVERRIDE,
      domain: DOMAIN,
      override: { status: "not catch-all", reason: "by hand" },
      by: "ops",
    });
    const before = await viewOf(node);
    // The page of counters got out, the page of overrides did not.
    const meta = world.checkpoints.pages.get("0/meta/0");
    await abandonCheckpoint(world, node);
    assert.ok(meta !== undefined);
    world.checkpoints.pages.set("0/meta/0", meta);
    assert.deepEqual(await viewOf(await world.start(ONE)), before);
  });

  it("gives back overrides, their removal and resets, with and without a checkpoint", async () => {
    for (const isCheckpointed of [false, true]) {
      const world = new TestWorld();
      const node = await world.start(ONE);
      const actor = actorOf(node);
      const step = async (): Promise<void> => {
        world.clock.nowMs += 1000;
        if (isCheckpointed) await node.assembled.checkpointer.run();
        const before = await viewOf(node);
        const other = new TestWorld();
        other.incarnation = world.incarnation;
        for (const [key, log] of world.log.logs) other.log.logs.set(key, [...log]);
        for (const [key, page] of world.checkpoints.pages) other.checkpoints.pages.set(key, page);
        other.checkpoints.manifest = world.checkpoints.manifest;
        assert.deepEqual(await viewOf(await other.start(ONE)), before);
      };
      const override = { status: "catch-all", reason: "by hand" } as const;
      const by = "ops";
      await actor.change({ kind: SECTION_OVERRIDE, domain: DOMAIN, override, by });
      await step();
      await node.send(DOMAIN, BOUNCED);
      await step();
      await actor.change({ kind: SECTION_RESET, domain: DOMAIN, by });
      await step();
      await actor.change({ kind: SECTION_OVERRIDE, domain: DOMAIN, override: null, by });
      await step();
      assert.deepEqual(await node.counts(DOMAIN), [0, 0, "unknown"]);
    }
  });

  it("knows the last sequence of each producer after a checkpoint of changes only", async () => {
    const world = new TestWorld();
    const node = await world.start(ONE);
    await node.send(DOMAIN, DELIVERED);
    await node.assembled.checkpointer.run();
    await node.send(DOMAIN, DELIVERED);
    await node.assembled.checkpointer.run();
    const again = await world.start(ONE);
    assert.equal(actorOf(again).state.producers.get(1), 2);
  });

  it("never lets entry times go back when the wall clock did before the checkpoint", async () => {
    const world = new TestWorld();
    const node = await world.start(ONE);
    await node.send(DOMAIN, DELIVERED);
    const latestMs = world.clock.nowMs;
    world.clock.nowMs -= 60_000;
    await node.assembled.checkpointer.run();
    const again = await world.start(ONE);
    assert.ok(again.assembled.commit.nowMs() >= latestMs);
  });
});
