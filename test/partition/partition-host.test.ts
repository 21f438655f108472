import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { DomainName } from "../../src/model/domain-name.ts";
import { BOUNCED, DELIVERED } from "../../src/model/event.ts";
import { pageOf, partitionOf } from "../../src/model/partition-id.ts";
import { DEFAULT_RULE } from "../../src/model/status.ts";
import type { ListingPlace } from "../../src/partition/partition-host.ts";
import { SECTION_OVERRIDE } from "../../src/partition/section-codec.ts";
import { type TestNode, TestWorld } from "../support/test-node.ts";

const NAMES: readonly string[] = Array.from({ length: 60 }, (_, i) => `d${i}.example.com`);

async function filled(partitions: number): Promise<TestNode> {
  const node = await new TestWorld().start({ partitions });
  await Promise.all(
    NAMES.map((name, i) => node.send(name, i % 3 === 0 ? BOUNCED : DELIVERED, { count: i + 1 })),
  );
  return node;
}

async function listAll(node: TestNode, limit: number): Promise<string[]> {
  const { host } = node.assembled;
  const names: string[] = [];
  let place: ListingPlace | null = null;
  do {
    const { readings, next } = await host.list(null, place, limit);
    assert.ok(readings.length <= limit);
    names.push(...readings.map((reading) => reading.domain));
    place = next;
  } while (place !== null);
  return names;
}

describe("PartitionHost", () => {
  it("finds the actor of a domain by its hash, for any number of partitions", async () => {
    for (const partitions of [1, 4, 256]) {
      const { host } = (await new TestWorld().start({ partitions })).assembled;
      for (const name of NAMES) {
        const actor = host.actorOf(name as DomainName);
        const hash = host.hashOf(name as DomainName);
        assert.equal(actor.state.partition, partitionOf(hash, partitions));
      }
    }
  });

  it("reads a domain that was never seen as unknown, and gives it no place in the table", async () => {
    const node = await filled(4);
    const { host } = node.assembled;
    const reading = host.read("never.example.com" as DomainName);
    assert.deepEqual([reading.status, reading.delivered, reading.firstSeenMs], ["unknown", 0, 0]);
    assert.equal(
      host.actorOf("never.example.com" as DomainName).state.find("never.example.com" as DomainName),
      -1,
    );
  });

  it("lists in the order of page, then name, the same for any limit and number of partitions", async () => {
    const one = await filled(1);
    const whole = await listAll(one, 1000);
    assert.deepEqual([...whole].sort(), [...NAMES].sort());
    const places = whole.map((name) => pageOf(one.assembled.host.hashOf(name as DomainName)));
    for (let i = 1; i < places.length; i++) {
      assert.ok((places[i - 1] as number) <= (places[i] as number));
    }
    for (const limit of [1, 7, 60]) assert.deepEqual(await listAll(one, limit), whole);
    assert.deepEqual(await listAll(await filled(64), 7), whole);
  });

  it("lists each domain at most once while others are counted between two pages", async () => {
    const node = await filled(4);
    const { host } = node.assembled;
    const first = await host.list(null, null, 20);
    await Promise.all(NAMES.map((name) => node.send(`new-${name}`, DELIVERED)));
    const rest = await host.list(null, first.next, 1000);
    const names = [...first.readings, ...rest.readings].map((reading) => reading.domain);
    assert.equal(new Set(names).size, names.length);
    for (const name of NAMES) assert.ok(names.includes(name), name);
  });

  it("filters by status, and leaves out no page because of it", async () => {
    const { host } = (await filled(4)).assembled;
    const { readings, next } = await host.list("not catch-all", null, 1000);
    assert.equal(next, null);
    assert.deepEqual(
      readings.map((reading) => reading.domain).sort(),
      NAMES.filter((_, i) => i % 3 === 0).sort(),
    );
  });

  it("adds up totals over all partitions", async () => {
    const { host } = (await filled(16)).assembled;
    const { delivered, bounced, byStatus } = host.totals();
    assert.equal(delivered + bounced, (60 * 61) / 2);
    assert.deepEqual(byStatus, [0, 40, 0, 20]);
  });

  it("tries a rule over all partitions, changes nothing, and leaves overrides out", async () => {
    const node = await filled(16);
    const { host } = node.assembled;
    const domain = NAMES[1] as DomainName;
    const override = { status: "unknown", reason: "by hand" } as const;
    await host.actorOf(domain).change({ kind: SECTION_OVERRIDE, domain, override, by: "ops" });
    const transitions = await host.tryRule({ ...DEFAULT_RULE, deliveredThreshold: 0 });
    assert.deepEqual(transitions, [
      [0, 0, 0, 0],
      [0, 0, 39, 0],
      [0, 0, 0, 0],
      [0, 0, 0, 0],
    ]);
    assert.deepEqual(host.totals().byStatus, [0, 40, 0, 20]);
  });

  it("refuses reads, listings and trials of rules once the node may not serve", async () => {
    const node = await filled(4);
    const { host } = node.assembled;
    node.gate.moveTo("failed", "fsync failed");
    assert.throws(() => host.read("d1.example.com" as DomainName), { code: "log_failed" });
    await assert.rejects(host.list(null, null, 10), { code: "log_failed" });
    await assert.rejects(host.tryRule(DEFAULT_RULE), { code: "log_failed" });
  });
});
