/**
 * Three nodes, one answer: whatever node is asked, the owner counts and answers.
 * Real processes; nothing fails here.
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { type Answer, assertExact, ClusterRig, until } from "../support/cluster-rig.ts";
import { StatusStream } from "../support/status-stream.ts";

const NODES = ["n1", "n2", "n3"];

describe("a cluster of three nodes", { timeout: 100_000 }, () => {
  let rig: ClusterRig;
  before(async () => {
    rig = await ClusterRig.start();
  });
  after(async () => {
    await rig?.dispose();
  });

  it("gives every node its share of the ranges", async () => {
    const { nodes, owners } = await rig.cluster("n2");
    const shares = nodes.map(({ partitionsOwned }) => partitionsOwned).sort((a, b) => a - b);
    assert.deepEqual(shares, [21, 21, 22]);
    assert.deepEqual(await rig.cluster("n3").then((answer) => answer.owners), owners);
  });

  it("counts the challenge exactly through any node, and all nodes say the same", async () => {
    const result = await rig.load(NODES, { seed: 11, mix: "challenge", events: 6000 });
    assertExact(result);
    assert.deepEqual(result.outcome.errors, {});
    assert.equal(result.outcome.ackedTotal, 6000);
    await rig.sameEverywhere(11, 60);
  });

  it("counts bulk requests exactly, whose lines belong to all owners", async () => {
    const result = await rig.load(NODES, { seed: 12, events: 20_000, bulk: 500, connections: 3 });
    assertExact(result);
    assert.deepEqual(result.outcome.errors, {});
  });

  it("shows on every node at once what another node has acknowledged", async () => {
    const domains = rig.domainsByPartition("ryw");
    for (const [partition, domain] of domains.entries()) {
      const [writer, reader] = [NODES[partition % 3] ?? "", NODES[(partition + 1) % 3] ?? ""];
      const kind = partition % 4 === 0 ? "bounced" : "delivered";
      assert.equal((await rig.ask(writer, "PUT", `/events/${domain}/${kind}`)).status, 204);
      const { status, body } = await rig.ask(reader, "GET", `/domains/${domain}`);
      assert.equal(status, 200);
      assert.equal(body[kind], 1, `${domain} on ${reader}`);
    }
  });

  it("counts a key once, whichever nodes it is sent to", async () => {
    const domain = "keys.example";
    const replayed: (string | null)[] = [];
    for (const id of [...NODES, ...NODES]) {
      const headers = { "idempotency-key": "one-and-the-same" };
      const { status, headers: got } = await rig.send(id, "PUT", `/events/${domain}/delivered`, {
        headers,
      });
      assert.equal(status, 204);
      replayed.push(got.get("idempotency-replayed"));
    }
    assert.deepEqual(replayed, [null, "true", "true", "true", "true", "true"]);
    assert.equal((await rig.ask("n1", "GET", `/domains/${domain}`)).body.delivered, 1);
    const other = await rig.send("n2", "PUT", `/events/${domain}/bounced`, {
      headers: { "idempotency-key": "one-and-the-same" },
    });
    assert.equal(other.status, 422);
    assert.equal(other.body.effect, "none");
  });

  it("counts keys once that are sent to all nodes at the same time", async () => {
    const result = await rig.load(NODES, { seed: 13, mix: "duplicates", events: 4000 });
    assertExact(result);
    assert.ok(result.outcome.replayed > 500, `${result.outcome.replayed} replayed`);
  });

  it("answers the same of a domain from every node, owner included", async () => {
    const domain = "owner.example";
    await rig.ask("n3", "PUT", `/events/${domain}/delivered`);
    const answers = await Promise.all(NODES.map((id) => rig.ask(id, "GET", `/domains/${domain}`)));
    const seen = answers.map(({ body: { asOf: _asOf, ...rest } }) => rest);
    assert.deepEqual(seen, [seen[0], seen[0], seen[0]]);
    const where = await rig.ask("n1", "GET", `/cluster/domains/${domain}`);
    assert.equal(where.body.owner, seen[0].node);
  });

  it("takes an override, its removal and a reset through a node that owns nothing of the domain", async () => {
    const domain = "operator.example";
    const owner: string = (await rig.ask("n1", "GET", `/cluster/domains/${domain}`)).body.owner;
    const [first = "", second = ""] = NODES.filter((id) => id !== owner);
    await rig.ask(first, "PUT", `/events/${domain}/bounced`);
    const pinned = await rig.ask(first, "PUT", `/domains/${domain}/override`, {
      status: "catch-all",
      reason: "known",
    });
    assert.equal(pinned.status, 200, JSON.stringify(pinned.body));
    const read = await rig.ask(second, "GET", `/domains/${domain}`);
    assert.deepEqual([read.body.status, read.body.overridden], ["catch-all", true]);
    assert.equal((await rig.ask(second, "DELETE", `/domains/${domain}/override`)).status, 204);
    const unpinned = await rig.ask(owner, "GET", `/domains/${domain}`);
    assert.deepEqual([unpinned.body.status, unpinned.body.overridden], ["not catch-all", false]);
    assert.equal((await rig.ask(first, "POST", `/domains/${domain}/reset`)).status, 204);
    const reset = await rig.ask(second, "GET", `/domains/${domain}`);
    assert.deepEqual([reset.body.status, reset.body.bounced], ["unknown", 0]);
  });

  it("tells of status changes on every node", async () => {
    const domain = "watched.example";
    const streams = await Promise.all(
      NODES.map((id) => StatusStream.open(rig.url(id), "/changes")),
    );
    try {
      await rig.ask("n1", "PUT", `/events/${domain}/bounced`);
      for (const stream of streams) {
        await until("the change arrives", 5000, async () =>
          stream.text.includes(domain) ? true : null,
        );
        const line = stream.text.split("\n").find((one) => one.includes(domain)) ?? "";
        const change = JSON.parse(line.slice(line.indexOf("{")));
        assert.equal(change.domain, domain);
        assert.match(line, /not catch-all/);
      }
    } finally {
      for (const stream of streams) stream.close();
    }
  });

  it("lists every domain once, and its totals add up, on every node", async () => {
    const expected = new Set(rig.domainsByPartition("ryw"));
    const lists: string[][] = [];
    for (const id of NODES) {
      const listed = await everyDomain(rig, id);
      const names = listed.map(({ domain }) => domain);
      assert.equal(new Set(names).size, names.length, "each once");
      for (const domain of expected) assert.ok(names.includes(domain), `${domain} on ${id}`);
      lists.push([...names].sort());
      const { body: stats } = await rig.ask(id, "GET", "/domains/stats");
      const sum = (field: "delivered" | "bounced") =>
        listed.reduce((total, row) => total + row[field], 0);
      assert.deepEqual([stats.delivered, stats.bounced], [sum("delivered"), sum("bounced")]);
      const counts = stats.domains as Record<string, number>;
      for (const [status, count] of Object.entries(counts)) {
        const rows = listed.filter(
          (row) => row.status === status && row.delivered + row.bounced > 0,
        );
        assert.equal(count, rows.length, status);
      }
      assert.deepEqual((stats.nodes as { node: string }[]).map(({ node }) => node).sort(), NODES);
    }
    assert.deepEqual(lists[1], lists[0]);
    assert.deepEqual(lists[2], lists[0]);
  });

  it("changes the rule everywhere, whichever node is asked, and reports what changed", async () => {
    const domain = "rule.example";
    for (let i = 0; i < 3; i++) await rig.ask("n1", "PUT", `/events/${domain}/delivered`);
    const rule = { deliveredThreshold: 2, bouncedThreshold: 1, maxBounceRatio: null };
    const tried = await rig.ask("n2", "PUT", "/cluster/rule?dryRun=true", rule);
    assert.equal(tried.status, 200, JSON.stringify(tried.body));
    const changed = await rig.ask("n3", "PUT", "/cluster/rule", rule);
    assert.equal(changed.status, 200, JSON.stringify(changed.body));
    assert.deepEqual(changed.body.transitions, tried.body.transitions);
    for (const id of NODES) {
      const read: Answer = await rig.ask(id, "GET", `/domains/${domain}`);
      assert.deepEqual([read.body.status, read.body.threshold], ["catch-all", 2], id);
      assert.equal((await rig.ask(id, "GET", "/cluster/rule")).body.deliveredThreshold, 2);
    }
  });
});

interface Row {
  readonly domain: string;
  readonly delivered: number;
  readonly bounced: number;
  readonly status: string;
}

async function everyDomain(rig: ClusterRig, id: string): Promise<readonly Row[]> {
  const rows: Row[] = [];
  let cursor: string | null = null;
  do {
    const query: string = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
    const { status, body } = await rig.ask(id, "GET", `/domains?limit=100${query}`);
    assert.equal(status, 200, JSON.stringify(body));
    rows.push(...body.items);
    cursor = body.nextCursor;
  } while (cursor !== null);
  return rows;
}
