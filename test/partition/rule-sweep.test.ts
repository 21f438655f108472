/** Goal: between a rule's entry and the last status that follows from it, nobody sees anything of the old rule. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { DomainName } from "../../src/model/domain-name.ts";
import { BOUNCED, DELIVERED } from "../../src/model/event.ts";
import { DEFAULT_RULE, type Rule } from "../../src/model/status.ts";
import type { StatusChange } from "../../src/model/status-change.ts";
import { RuleSweep } from "../../src/partition/rule-sweep.ts";
import {
  SECTION_OVERRIDE,
  SECTION_RESET,
  SECTION_RULE,
} from "../../src/partition/section-codec.ts";
import { type TestNode, TestWorld } from "../support/test-node.ts";

const DOMAINS = 3000;
const LOW: Rule = { ...DEFAULT_RULE, deliveredThreshold: 1 };
const HIGH: Rule = { ...DEFAULT_RULE, deliveredThreshold: 5000 };
const NAMES: readonly string[] = Array.from({ length: DOMAINS }, (_, i) => `d${i}.example.com`);

async function filled(world: TestWorld, partitions: number): Promise<TestNode> {
  const node = await world.start({ partitions, pendingEventsMax: DOMAINS });
  await Promise.all(NAMES.map((name) => node.send(name, DELIVERED, { count: 2 })));
  return node;
}

/** Resolves when the entry is applied; no status was worked out then. */
async function setRule(node: TestNode, rule: Rule, revision: number): Promise<void> {
  const { actors } = node.assembled.host;
  const change = { kind: SECTION_RULE, rule, revision, by: "ops" } as const;
  await Promise.all(actors.map((actor) => actor.change(change)));
}

function isSweeping(node: TestNode): boolean {
  return node.assembled.host.actors.some((actor) => actor.state.isSweeping);
}

async function statusesOf(node: TestNode): Promise<string[]> {
  const all = await node.assembled.router.statuses(NAMES as readonly DomainName[]);
  return all.map((one) => `${one.domain} ${one.status} ${one.statusSince} ${one.delivered}`);
}

function changesOf(node: TestNode): StatusChange[] {
  const changes: StatusChange[] = [];
  node.assembled.router.onStatusChange((change) => changes.push(change));
  return changes;
}

describe("RuleSweep", () => {
  it("visits each entry once, in slices of at most the size asked for", () => {
    const sweep = new RuleSweep({ epoch: 1, incarnation: 1, sequence: 1 }, 0, 5, 10);
    const seen: number[] = [];
    assert.equal(
      sweep.run(4, (entry) => seen.push(entry)),
      4,
    );
    assert.deepEqual(
      [3, 4, 9, 10].map((entry) => sweep.isDue(entry)),
      [false, true, true, false],
    );
    while (!sweep.isDone) assert.ok(sweep.run(4, (entry) => seen.push(entry)) <= 4);
    assert.deepEqual(seen, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });
});

describe("A rule change", () => {
  for (const partitions of [1, 8]) {
    it(`shows the new rule alone from its entry on, in every kind of read (${partitions})`, async () => {
      const node = await filled(new TestWorld(), partitions);
      const { router, host } = node.assembled;
      await setRule(node, LOW, 1);
      assert.ok(isSweeping(node), "nothing was worked out in the tick of the entry");
      const [some] = await router.statuses(["d2999.example.com" as DomainName]);
      assert.equal(some?.status, "catch-all");
      assert.equal(some?.threshold, 1);
      assert.match(some?.reason ?? "", /delivered 2 > 1/);
      const page = await router.page({ status: "catch-all", cursor: null, limit: 100 });
      assert.equal(page.items.length, 100);
      assert.ok(isSweeping(node));
      const dry = await router.tryRule(LOW);
      assert.equal(dry.domainsChanged, 0);
      await setRule(node, HIGH, 2);
      const stats = await router.stats();
      assert.deepEqual(stats.domains, { "catch-all": 0, "not catch-all": 0, unknown: DOMAINS });
      assert.equal(isSweeping(node), false);
      assert.equal(host.totals().byStatus[1], DOMAINS);
    });
  }

  it("decides a domain that changes before its turn under the rule first, then by its event", async () => {
    const world = new TestWorld();
    const node = await filled(world, 1);
    const changes = changesOf(node);
    await setRule(node, LOW, 1);
    const ruleMs = world.clock.nowMs;
    world.clock.nowMs += 5000;
    await node.send("d2999.example.com", BOUNCED);
    const mine = () => changes.filter((change) => change.domain === "d2999.example.com");
    assert.deepEqual(
      mine().map((change) => [change.from, change.to, Date.parse(change.at) - ruleMs]),
      [
        ["unknown", "catch-all", 0],
        ["catch-all", "not catch-all", 5000],
      ],
    );
    await node.assembled.host.settleRule();
    assert.equal(mine().length, 2);
    assert.equal(changes.length, DOMAINS + 1);
    assert.equal(new Set(changes.map((change) => change.id)).size, DOMAINS + 1);
  });

  it("tells the same changes whatever was read or changed before its turn", async () => {
    const told = async (disturb: (node: TestNode) => Promise<unknown>) => {
      const node = await filled(new TestWorld(), 1);
      const changes = changesOf(node);
      await setRule(node, LOW, 1);
      await disturb(node);
      await node.assembled.host.settleRule();
      return changes.map(({ id, domain, to }) => `${id} ${domain} ${to}`).sort();
    };
    const quiet = await told(async () => undefined);
    assert.equal(quiet.length, DOMAINS);
    assert.deepEqual(await told((node) => statusesOf(node)), quiet);
    const reversed = async (node: TestNode) => {
      for (const name of [...NAMES].reverse()) await node.counts(name);
    };
    assert.deepEqual(await told(reversed), quiet);
  });

  it("is whole in a checkpoint written before its statuses were", async () => {
    const world = new TestWorld();
    const node = await filled(world, 4);
    await node.assembled.checkpointer.run();
    await setRule(node, LOW, 1);
    await node.assembled.checkpointer.run();
    world.clock.nowMs += 60_000;
    const again = await world.start({ partitions: 4 });
    assert.equal(again.assembled.recovery.entries, 0, "the checkpoint covers the rule's entry");
    assert.equal(again.assembled.host.totals().byStatus[2], DOMAINS);
    assert.deepEqual(await statusesOf(again), await statusesOf(node));
  });

  it("equals its replay, with events, overrides and resets before its statuses were worked out", async () => {
    const world = new TestWorld();
    const node = await filled(world, 2);
    const change = (name: string, kind: typeof SECTION_OVERRIDE | typeof SECTION_RESET) => {
      const domain = name as DomainName;
      const actor = node.assembled.host.actorOf(domain);
      const override = { status: "not catch-all", reason: "r" } as const;
      return kind === SECTION_RESET
        ? actor.change({ kind, domain, by: "ops" })
        : actor.change({ kind, domain, override, by: "ops" });
    };
    await change("d7.example.com", SECTION_OVERRIDE);
    for (const [i, rule] of [LOW, HIGH, LOW, DEFAULT_RULE, LOW].entries()) {
      world.clock.nowMs += 1000;
      await setRule(node, rule, i + 1);
      world.clock.nowMs += 1000;
      await node.send(`d${2900 + i}.example.com`, i % 2 === 0 ? BOUNCED : DELIVERED);
      await node.send(`new${i}.example.com`, DELIVERED, { count: 10 });
      await change(`d${2800 + i}.example.com`, SECTION_RESET);
      await change(`d${2700 + i}.example.com`, SECTION_OVERRIDE);
      if (i % 2 === 0) await node.assembled.host.settleRule();
      if (i === 2) await node.assembled.checkpointer.run();
    }
    const again = await world.start({ partitions: 2 });
    assert.ok(again.assembled.recovery.entries > 0);
    assert.deepEqual(await statusesOf(again), await statusesOf(node));
    await node.assembled.host.settleRule();
    const shown = (one: TestNode) => one.assembled.host.totals().byStatus.slice(1);
    assert.deepEqual(shown(again), shown(node));
  });

  it("visits at most 1,024 domains in a tick, over all partitions", async () => {
    for (const partitions of [1, 64]) {
      const node = await filled(new TestWorld(), partitions);
      await setRule(node, LOW, 1);
      let ticks = 0;
      let isOver = false;
      const count = (): void => {
        ticks++;
        if (!isOver) setImmediate(count);
      };
      setImmediate(count);
      await node.assembled.host.settleRule();
      isOver = true;
      assert.ok(ticks >= Math.floor(DOMAINS / 1024), `${ticks} ticks with ${partitions}`);
    }
  });
});
