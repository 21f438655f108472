import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { DomainName } from "../../src/model/domain-name.ts";
import { CatchallError } from "../../src/model/errors.ts";
import { BOUNCED, DELIVERED, type EventKind } from "../../src/model/event.ts";
import type { StatusChange } from "../../src/model/status-change.ts";
import { COMMITTED, type EventOutcome, REPLAYED } from "../../src/router/ingress.ts";
import { type TestNode, TestWorld } from "../support/test-node.ts";

function codeOf(outcome: EventOutcome): string {
  return outcome instanceof CatchallError ? outcome.code : String(outcome);
}

/** A small seeded generator (Lehmer), enough to choose operations. */
function randomOf(seed: number): (below: number) => number {
  let state = (seed % 2_147_483_646) + 1;
  return (below) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
}

describe("assembleNode", () => {
  it("counts an event once and shows it to the next read", async () => {
    const node = await new TestWorld().start();
    assert.equal(await node.send("Example.COM", DELIVERED), COMMITTED);
    assert.deepEqual(await node.counts("example.com"), [1, 0, "unknown"]);
    assert.equal(await node.send("example.com", BOUNCED, { count: 3 }), COMMITTED);
    assert.deepEqual(await node.counts("example.com"), [1, 3, "not catch-all"]);
  });

  it("keeps 1000 deliveries unknown and makes 1001 catch-all", async () => {
    const node = await new TestWorld().start();
    await node.send("a.com", DELIVERED, { count: 1000 });
    assert.deepEqual(await node.counts("a.com"), [1000, 0, "unknown"]);
    await node.send("a.com", DELIVERED);
    assert.deepEqual(await node.counts("a.com"), [1001, 0, "catch-all"]);
    await node.send("a.com", BOUNCED);
    assert.deepEqual(await node.counts("a.com"), [1001, 1, "not catch-all"]);
  });

  it("counts a key once, also while the first is in flight, and refuses it for another event", async () => {
    const node = await new TestWorld().start();
    const [first, second] = await Promise.all([
      node.send("a.com", DELIVERED, { id: "k" }),
      node.send("a.com", DELIVERED, { id: "k" }),
    ]);
    assert.deepEqual([first, second], [COMMITTED, REPLAYED]);
    assert.equal(await node.send("a.com", DELIVERED, { id: "k" }), REPLAYED);
    assert.equal(codeOf(await node.send("a.com", BOUNCED, { id: "k" })), "idempotency_key_reused");
    assert.equal(
      codeOf(await node.send("a.com", DELIVERED, { id: "k", count: 2 })),
      "idempotency_key_reused",
    );
    assert.equal(await node.send("b.com", BOUNCED, { id: "k" }), COMMITTED);
    assert.deepEqual(await node.counts("a.com"), [1, 0, "unknown"]);
  });

  it("remembers keys over a restart, from the log and from a checkpoint", async () => {
    const world = new TestWorld();
    const first = await world.start();
    await first.send("a.com", DELIVERED, { id: "k1" });
    await first.assembled.checkpointer.run();
    await first.send("a.com", DELIVERED, { id: "k2" });
    const second = await world.start();
    assert.equal(await second.send("a.com", DELIVERED, { id: "k1" }), REPLAYED);
    assert.equal(await second.send("a.com", DELIVERED, { id: "k2" }), REPLAYED);
    assert.deepEqual(await second.counts("a.com"), [2, 0, "unknown"]);
  });

  it("forgets keys after the window, and not before", async () => {
    const world = new TestWorld();
    const node = await world.start();
    await node.send("a.com", DELIVERED, { id: "k" });
    world.clock.nowMs += 600_000;
    assert.equal(await node.send("a.com", DELIVERED, { id: "k" }), REPLAYED);
    world.clock.nowMs += 120_000;
    await node.send("a.com", DELIVERED);
    assert.equal(await node.send("a.com", DELIVERED, { id: "k" }), COMMITTED);
  });

  it("refuses new keys when the window is full, and no event without a key", async () => {
    const world = new TestWorld();
    const node = await world.start({ idempotencyKeysMax: 2 });
    const outcomes = await Promise.all(
      ["k1", "k2", "k3"].map((id) => node.send("a.com", DELIVERED, { id })),
    );
    assert.deepEqual(outcomes.map(codeOf), ["0", "0", "idempotency_window_full"]);
    assert.equal(await node.send("a.com", DELIVERED, { id: "k1" }), REPLAYED);
    assert.equal(await node.send("a.com", DELIVERED), COMMITTED);
    assert.deepEqual(await node.counts("a.com"), [3, 0, "unknown"]);
    world.clock.nowMs += 720_000;
    assert.equal(await node.send("b.com", DELIVERED, { id: "k4" }), COMMITTED);
  });

  it("refuses events over the pending limit with effect none", async () => {
    const node = await new TestWorld().start({ pendingEventsMax: 2 });
    const outcomes = await Promise.all(
      ["a.com", "b.com", "c.com"].map((domain) => node.send(domain, DELIVERED)),
    );
    assert.deepEqual(outcomes.map(codeOf), ["0", "0", "overloaded"]);
    assert.deepEqual(await node.counts("c.com"), [0, 0, "unknown"]);
    assert.equal(node.assembled.router.pendingEvents, 0);
  });

  it("stops acknowledging and reading when the log fails", async () => {
    const world = new TestWorld();
    const node = await world.start();
    await node.send("a.com", DELIVERED);
    world.log.outcomes.push({ kind: "unknown", reason: "fsync failed" });
    assert.equal(codeOf(await node.send("a.com", DELIVERED)), "outcome_unknown");
    assert.equal(codeOf(await node.send("a.com", DELIVERED)), "log_failed");
    await assert.rejects(node.counts("a.com"), { code: "log_failed" });
    assert.deepEqual(node.failures, ["fsync failed"]);
    const again = await world.start();
    assert.deepEqual(await again.counts("a.com"), [2, 0, "unknown"]);
  });

  it("goes on after a full log, with the producer's sequence whole", async () => {
    const world = new TestWorld();
    const node = await world.start();
    world.log.outcomes.push({ kind: "notApplied", code: "log_full", reason: "full" });
    assert.equal(codeOf(await node.send("a.com", DELIVERED, { id: "k" })), "log_full");
    assert.equal(await node.send("a.com", DELIVERED, { id: "k" }), COMMITTED);
    assert.deepEqual(await node.counts("a.com"), [1, 0, "unknown"]);
  });

  it("keeps overrides and resets, and replays them", async () => {
    const world = new TestWorld();
    const node = await world.start();
    const changes: StatusChange[] = [];
    const { router } = node.assembled;
    router.onStatusChange((change) => changes.push(change));
    const domain = "a.com" as DomainName;
    await node.send("a.com", BOUNCED);
    const told = await router.setOverride(domain, { status: "catch-all", reason: "known" }, "ops");
    assert.equal(told.status, "catch-all");
    assert.equal(told.override?.by, "ops");
    await node.send("a.com", BOUNCED);
    assert.equal((await node.counts("a.com"))[2], "catch-all");
    const restarted = await world.start();
    assert.deepEqual(await restarted.counts("a.com"), [0, 2, "catch-all"]);
    await restarted.assembled.router.removeOverride(domain, "ops");
    assert.deepEqual(await restarted.counts("a.com"), [0, 2, "not catch-all"]);
    await assert.rejects(restarted.assembled.router.removeOverride(domain, "ops"), {
      code: "override_not_found",
    });
    await restarted.assembled.router.reset(domain, "ops");
    assert.deepEqual(await restarted.counts("a.com"), [0, 0, "unknown"]);
    assert.deepEqual(await (await world.start()).counts("a.com"), [0, 0, "unknown"]);
    assert.deepEqual(
      changes.map((change) => [change.from, change.to]),
      [
        ["unknown", "not catch-all"],
        ["not catch-all", "catch-all"],
      ],
    );
  });

  it("lists every domain once, by pages of any size", async () => {
    const node = await new TestWorld().start();
    const names = Array.from({ length: 50 }, (_, i) => `d${i}.com`).sort();
    await Promise.all(names.map((name) => node.send(name, DELIVERED)));
    for (const limit of [1, 7, 50, 1000]) {
      const listed: string[] = [];
      let cursor: string | null = null;
      do {
        const page = await node.assembled.router.page({ status: null, cursor, limit });
        listed.push(...page.items.map((item) => item.domain));
        cursor = page.nextCursor;
      } while (cursor !== null);
      assert.deepEqual(listed.sort(), names);
    }
    await assert.rejects(
      node.assembled.router.page({ status: null, cursor: "nonsense", limit: 1 }),
      { code: "invalid_parameter" },
    );
  });

  it("refuses a checkpoint of another number of partitions", async () => {
    const world = new TestWorld();
    const node = await world.start();
    await node.send("a.com", DELIVERED);
    await node.assembled.checkpointer.run();
    await assert.rejects(world.start({ partitions: 8 }), { code: "checkpoint_damaged" });
  });

  it("equals the replay of the whole history after crashes at any point (60 seeds)", async () => {
    for (let seed = 1; seed <= 60; seed++) await runHistory(seed);
  });
});

/** I1, I4, I8, I14, I16: random events, keys, checkpoints (whole, failed), crashes; counts must be exact. */
async function runHistory(seed: number): Promise<void> {
  const random = randomOf(seed);
  const world = new TestWorld();
  const expected = new Map<string, [number, number]>();
  const keys = new Set<string>();
  const settings = { partitions: [1, 4, 64][random(3)] as number };
  let node: TestNode = await world.start(settings);
  for (let step = 0; step < 60; step++) {
    const action = random(10);
    if (action === 0) {
      world.checkpoints.failures = random(2);
      await node.assembled.checkpointer.run();
    } else if (action === 1) {
      node = await world.start(settings);
    } else {
      world.clock.nowMs += random(5);
      await Promise.all(
        Array.from({ length: 1 + random(5) }, async () => {
          const domain = `d${random(12)}.com`;
          const kind: EventKind = random(4) === 0 ? BOUNCED : DELIVERED;
          const count = 1 + random(3);
          const id = random(3) === 0 ? `k${random(20)}-${kind}-${count}` : undefined;
          const outcome = await node.send(
            domain,
            kind,
            id === undefined ? { count } : { count, id },
          );
          const isNew = id === undefined || !keys.has(`${domain}/${id}`);
          assert.equal(outcome, isNew ? COMMITTED : outcome, `seed ${seed}`);
          if (id !== undefined) keys.add(`${domain}/${id}`);
          if (outcome !== COMMITTED) return assert.equal(outcome, REPLAYED, `seed ${seed}`);
          const counts = expected.get(domain) ?? [0, 0];
          counts[kind] += count;
          expected.set(domain, counts);
        }),
      );
    }
    for (const [domain, [delivered, bounced]] of expected) {
      const [d, b] = await node.counts(domain);
      assert.deepEqual([d, b], [delivered, bounced], `seed ${seed}, step ${step}, ${domain}`);
    }
  }
}
