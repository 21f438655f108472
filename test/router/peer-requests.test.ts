import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { DomainName } from "../../src/model/domain-name.ts";
import { CatchallError } from "../../src/model/errors.ts";
import { BOUNCED, DELIVERED } from "../../src/model/event.ts";
import type { ImportChunk } from "../../src/model/import-chunk.ts";
import { DEFAULT_RULE } from "../../src/model/status.ts";
import type { StatusChange } from "../../src/model/status-change.ts";
import { COMMITTED, REPLAYED } from "../../src/router/ingress.ts";
import { FRAME_BYTES_MAX } from "../../src/transport/transport.ts";
import { PeerNodes } from "../support/peer-nodes.ts";

const OWNERS = [1, 2, 3, 2];
const NAMES = Array.from({ length: 40 }, (_, i) => `d${i}.example` as DomainName);

async function cluster(): Promise<PeerNodes> {
  const nodes = await PeerNodes.start(3, OWNERS);
  for (const name of NAMES) await nodes.node(1).send(name, DELIVERED);
  return nodes;
}

function ownerOf(nodes: PeerNodes, domain: DomainName): number {
  const { host } = nodes.node(1).owner.assembled;
  return OWNERS[Math.floor((host.hashOf(domain) / 2 ** 32) * OWNERS.length)] as number;
}

function aDomainOf(nodes: PeerNodes, owner: number): DomainName {
  return NAMES.find((name) => ownerOf(nodes, name) === owner) as DomainName;
}

describe("Router over peers", () => {
  it("counts any domain through any node, and reads it on every node from its owner", async () => {
    const nodes = await cluster();
    for (const name of NAMES) assert.equal(await nodes.node(2).send(name, BOUNCED), COMMITTED);
    for (const { router } of nodes.nodes.values()) {
      const found = await nodes.during(router.statuses(NAMES));
      assert.deepEqual(
        found.map(({ domain, delivered, bounced, node }) => [domain, delivered, bounced, node]),
        NAMES.map((name) => [name, 1, 1, `n${ownerOf(nodes, name)}`]),
      );
    }
  });

  it("asks each owner once for the lookups of one turn", async () => {
    const nodes = await cluster();
    nodes.wire.sent.length = 0;
    const { router } = nodes.node(1);
    await nodes.during(Promise.all([...NAMES, ...NAMES].map((name) => router.status(name))));
    assert.deepEqual(nodes.wire.sent.map(({ to }) => to).sort(), [2, 3]);
  });

  it("counts a key once, whatever nodes it comes through", async () => {
    const nodes = await cluster();
    const domain = aDomainOf(nodes, 2);
    assert.equal(await nodes.node(1).send(domain, DELIVERED, "k"), COMMITTED);
    assert.equal(await nodes.node(3).send(domain, DELIVERED, "k"), REPLAYED);
    assert.equal(await nodes.node(2).send(domain, DELIVERED, "k"), REPLAYED);
    assert.equal((await nodes.during(nodes.node(1).router.status(domain))).delivered, 2);
  });

  it("counts an event once when the answer of its owner is lost", async () => {
    const nodes = await cluster();
    const domain = aDomainOf(nodes, 2);
    let lost = 0;
    nodes.wire.onReply = (_to, reply) => (lost++ < 3 ? null : reply);
    assert.equal(await nodes.node(1).send(domain, DELIVERED), COMMITTED);
    assert.ok(lost > 3);
    assert.equal((await nodes.during(nodes.node(1).router.status(domain))).delivered, 2);
  });

  it("imports through any node, once though answers are lost, and says unknown when nobody answers", async () => {
    const nodes = await cluster();
    const domain = aDomainOf(nodes, 2);
    const counts = { delivered: 7, bounced: 0, firstSeenMs: 5, lastSeenMs: 6, statusSinceMs: 5 };
    const first: ImportChunk = {
      source: { storeId: 1, digest: "0".repeat(64) },
      previous: null,
      domains: [{ domain, ...counts, status: "unknown" }],
    };
    let lost = 0;
    nodes.wire.onReply = (_to, reply) => (lost++ < 2 ? null : reply);
    const { router } = nodes.node(1);
    assert.deepEqual(await nodes.during(router.importChunk(first, "me")), { domains: 1, added: 0 });
    assert.equal(lost, 3);
    assert.equal((await nodes.during(router.status(domain))).delivered, 8);
    const other = { ...first, source: { storeId: 1, digest: "1".repeat(64) } };
    await assert.rejects(nodes.during(router.importChunk(other, "me")), { code: "import_changed" });
    const { host } = nodes.node(2).owner.assembled;
    assert.equal(await host.actorOf(domain).importChunk(first, "me"), 0);
    nodes.wire.onReply = () => null;
    await assert.rejects(nodes.during(router.importChunk(first, "me")), {
      code: "outcome_unknown",
    });
    for (const [partition, owner] of OWNERS.entries()) {
      if (owner === 2) nodes.node(1).view.move(partition, 0);
    }
    await assert.rejects(nodes.during(router.importChunk(first, "me")), { code: "no_owner" });
  });

  it("answers lookups whose readings do not fit one frame", async () => {
    const nodes = await PeerNodes.start(2, [2]);
    const names = Array.from({ length: 1_500 }, (_, i) => `l${i}.example` as DomainName);
    for (const name of names) {
      const override = { status: "catch-all", reason: "ü".repeat(500) } as const;
      await nodes.node(2).owner.assembled.router.setOverride(name, override, "me");
    }
    let largest = 0;
    nodes.wire.onReply = (_to, reply) => {
      largest = Math.max(largest, reply.length);
      return reply;
    };
    const found = await nodes.during(nodes.node(1).router.statuses(names));
    assert.deepEqual(
      found.map(({ domain }) => domain),
      names,
    );
    assert.ok(largest <= FRAME_BYTES_MAX && largest > FRAME_BYTES_MAX / 4);
    const { items } = await nodes.during(
      nodes.node(1).router.page({ status: null, cursor: null, limit: 1_000 }),
    );
    assert.equal(new Set(items.map(({ domain }) => domain)).size, 1_000);
  });

  it("pages through all domains of all owners in one order, each once", async () => {
    const nodes = await cluster();
    const orders: string[][] = [];
    for (const [node, limit] of [
      [1, 7],
      [2, 40],
      [3, 1],
    ] as const) {
      const seen: string[] = [];
      let cursor: string | null = null;
      let pages = 0;
      do {
        const query = { status: null, cursor, limit };
        const page: { items: readonly { domain: string }[]; nextCursor: string | null } =
          await nodes.during(nodes.node(node).router.page(query));
        assert.ok(page.items.length <= limit);
        seen.push(...page.items.map(({ domain }) => domain));
        cursor = page.nextCursor;
        pages++;
      } while (cursor !== null);
      assert.equal(pages, Math.ceil(NAMES.length / limit), "no empty page at the end");
      orders.push(seen);
    }
    assert.deepEqual([...(orders[0] as string[])].sort(), [...NAMES].sort());
    assert.deepEqual(orders[1], orders[0]);
    assert.deepEqual(orders[2], orders[0]);
  });

  it("sums the totals of all owners, with a row for each node", async () => {
    const nodes = await cluster();
    const stats = await nodes.during(nodes.node(3).router.stats());
    assert.equal(stats.delivered, NAMES.length);
    assert.equal(stats.domains.unknown, NAMES.length);
    assert.deepEqual(
      stats.nodes.map(({ node, delivered }) => [node, delivered]),
      [1, 2, 3].map((owner) => [
        `n${owner}`,
        NAMES.filter((name) => ownerOf(nodes, name) === owner).length,
      ]),
    );
  });

  it("sets, removes and resets through any node, once", async () => {
    const nodes = await cluster();
    const domain = aDomainOf(nodes, 3);
    const { router } = nodes.node(1);
    const override = { status: "catch-all", reason: "known" } as const;
    const set = await nodes.during(router.setOverride(domain, override, "me"));
    assert.deepEqual([set.status, set.overridden, set.node], ["catch-all", true, "n3"]);
    await nodes.during(nodes.node(2).router.removeOverride(domain, "me"));
    await assert.rejects(nodes.during(router.removeOverride(domain, "me")), {
      code: "override_not_found",
    });
    await nodes.during(router.reset(domain, "me"));
    assert.equal((await nodes.during(router.status(domain))).delivered, 0);
  });

  it("tells an unknown outcome of a change to its caller, and does not try it again", async () => {
    const nodes = await cluster();
    const domain = aDomainOf(nodes, 3);
    await nodes.during(nodes.node(1).router.status(domain));
    let changes = 0;
    nodes.wire.onReply = (_to, reply) => {
      const isChange = Buffer.from(nodes.wire.sent.at(-1)?.frame ?? []).includes('"change"');
      if (isChange) changes++;
      return isChange ? null : reply;
    };
    await assert.rejects(nodes.during(nodes.node(1).router.reset(domain, "me")), {
      code: "outcome_unknown",
      effect: "unknown",
    });
    assert.equal(changes, 1);
  });

  it("follows a partition that moves, for reads, changes, totals and listings", async () => {
    const nodes = await cluster();
    const domain = aDomainOf(nodes, 3);
    const asker = nodes.node(1);
    // Node 2 opens it from nothing, which is enough to see who is asked.
    const { host } = nodes.node(3).owner.assembled;
    const actor = host.actorAt(2);
    assert.ok(actor !== undefined);
    host.close(2);
    const work = Promise.all([
      asker.router.status(domain),
      asker.router.stats(),
      asker.router.page({ status: null, cursor: null, limit: 100 }),
      asker.router.setOverride(domain, { status: "catch-all", reason: "x" }, "me"),
    ]);
    setImmediate(() => {
      nodes.timers.after(50, () => {
        nodes.node(2).owner.assembled.host.open(actor);
        for (const { view } of nodes.nodes.values()) view.move(2, 2);
      });
    });
    const [status, stats, page, set] = await nodes.during(work);
    assert.deepEqual([status.node, status.delivered], ["n2", 1]);
    assert.equal(stats.delivered, NAMES.length);
    assert.equal(page.items.length, NAMES.length);
    assert.equal(set.node, "n2");
  });

  it("answers 503 with effect none, nothing partial, for an owner that cannot be reached", async () => {
    const nodes = await cluster();
    await nodes.node(3).link.transport.close();
    const { router } = nodes.node(1);
    const domain = aDomainOf(nodes, 3);
    const startedMs = nodes.timers.nowMs;
    const works: Promise<unknown>[] = [
      router.status(domain),
      router.statuses(NAMES),
      router.stats(),
      router.page({ status: null, cursor: null, limit: 100 }),
      router.tryRule(DEFAULT_RULE),
      router.reset(domain, "me"),
    ];
    const all = Promise.allSettled(works);
    for (const outcome of await nodes.during(all)) {
      assert.equal(outcome.status, "rejected");
      const { code, status, effect } = outcome.reason as CatchallError;
      assert.deepEqual([code, status, effect], ["no_owner", 503, "none"]);
    }
    assert.ok(nodes.timers.nowMs - startedMs < 10_000, "before the HTTP request ends");
  });

  it("answers 503 for an owner that is silent, or answers what cannot be read", async () => {
    for (const reply of [null, Uint8Array.of(1, 2, 3)]) {
      const nodes = await cluster();
      nodes.wire.onReply = () => reply;
      await assert.rejects(
        nodes.during(nodes.node(1).router.status(aDomainOf(nodes, 3))),
        { code: "no_owner", effect: "none" },
        String(reply),
      );
    }
  });

  it("asks again for a reading whose answer was lost", async () => {
    const nodes = await cluster();
    let lost = 0;
    nodes.wire.onReply = (_to, reply) => (lost++ < 2 ? null : reply);
    const found = await nodes.during(nodes.node(1).router.status(aDomainOf(nodes, 3)));
    assert.deepEqual([found.delivered, lost], [1, 3]);
  });

  it("answers at once when this node itself may not answer", async () => {
    const nodes = await cluster();
    nodes.node(1).refusal = new CatchallError("lease_lost");
    await assert.rejects(nodes.node(1).router.status(aDomainOf(nodes, 3)), { code: "lease_lost" });
  });

  it("refuses at once what needs another node while none can be reached, and reads its own", async () => {
    const nodes = await cluster();
    const asker = nodes.node(1);
    asker.outage = new CatchallError("log_unavailable");
    nodes.wire.sent.length = 0;
    const { router } = asker;
    const domain = aDomainOf(nodes, 3);
    const works: Promise<unknown>[] = [
      router.status(domain),
      router.stats(),
      router.page({ status: null, cursor: null, limit: 100 }),
      router.tryRule(DEFAULT_RULE),
      router.reset(domain, "me"),
    ];
    const startMs = nodes.timers.nowMs;
    for (const outcome of await nodes.during(Promise.allSettled(works))) {
      assert.equal(outcome.status, "rejected");
      const { code, status, effect } = outcome.reason as CatchallError;
      assert.deepEqual([code, status, effect], ["log_unavailable", 503, "none"]);
    }
    assert.ok(nodes.timers.nowMs - startMs < 100);
    assert.equal(nodes.wire.sent.length, 0);
    assert.equal((await router.status(aDomainOf(nodes, 1))).delivered, 1);
    asker.outage = null;
    assert.equal((await nodes.during(router.status(domain))).delivered, 1);
  });

  it("tells what waits for an owner soon after the servers went away", async () => {
    const nodes = await cluster();
    const asker = nodes.node(1);
    nodes.wire.onReply = () => null;
    const { router } = asker;
    const works = Promise.allSettled([
      router.status(aDomainOf(nodes, 3)),
      router.stats(),
      router.page({ status: null, cursor: null, limit: 100 }),
    ]);
    await nodes.timers.advance(2_000);
    asker.outage = new CatchallError("log_unavailable");
    await nodes.timers.advance(200);
    for (const outcome of await works) {
      assert.equal(outcome.status, "rejected");
      assert.equal((outcome.reason as CatchallError).code, "log_unavailable");
    }
  });

  it("tries and applies a rule on every owner, again without effect", async () => {
    const nodes = await cluster();
    const rule = { ...DEFAULT_RULE, deliveredThreshold: 0 };
    const { requests, router } = nodes.node(2);
    const report = await nodes.during(router.tryRule(rule));
    assert.equal(report.domainsChanged, NAMES.length);
    const change = { rule, revision: 1, by: "me" };
    const transitions = await nodes.during(requests.applyRule(change));
    assert.deepEqual(
      transitions.flat().filter((count) => count > 0),
      [NAMES.length],
    );
    const appends = [...nodes.nodes.values()].map(({ world }) => world.log.appends);
    assert.deepEqual(await nodes.during(requests.applyRule(change)), transitions);
    assert.deepEqual(
      [...nodes.nodes.values()].map(({ world }) => world.log.appends),
      appends,
    );
    const found = await nodes.during(router.statuses(NAMES));
    assert.ok(found.every(({ status }) => status === "catch-all"));
  });

  it("puts operators' questions to one node", async () => {
    const nodes = await cluster();
    nodes.queries.set("add", async ({ a, b }) => Number(a) + Number(b));
    nodes.queries.set("fail", () => Promise.reject(new CatchallError("conflict")));
    const { requests } = nodes.node(1);
    assert.equal(await requests.query(2, "add", { a: 1, b: 2 }), 3);
    await assert.rejects(requests.query(2, "fail", {}), { code: "conflict" });
    await assert.rejects(requests.query(2, "what", {}), { code: "not_implemented" });
    await assert.rejects(requests.query(9, "add", {}), { code: "no_responder" });
  });

  it("tells the status changes of all nodes on every node, each once", async () => {
    const nodes = await cluster();
    const told = new Map<number, StatusChange[]>();
    for (const [incarnation, { router }] of nodes.nodes) {
      const changes: StatusChange[] = [];
      told.set(incarnation, changes);
      router.onStatusChange((change) => {
        changes.push(change);
      });
    }
    for (const name of NAMES) await nodes.node(1).send(name, BOUNCED);
    await nodes.timers.advance(10);
    for (const changes of told.values()) {
      assert.deepEqual(changes.map(({ domain }) => domain).sort(), [...NAMES].sort());
    }
    assert.deepEqual(
      told.get(2)?.find(({ domain }) => domain === NAMES[0]),
      told.get(1)?.find(({ domain }) => domain === NAMES[0]),
    );
  });
});
