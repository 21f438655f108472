/**
 * Nodes die and freeze under load: what was acknowledged is counted once, and the others take over by themselves.
 * Order matters: each test leaves three nodes that serve.
 */
import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import { after, before, describe, it } from "node:test";
import {
  assertExact,
  type ClusterAnswer,
  ClusterRig,
  LEASE_TTL_MS,
  pass,
  until,
} from "../support/cluster-rig.ts";

/** Bound for machines that do many other things; the figure itself is printed. */
const RECOVERY_LIMIT_MS = 30_000;

describe("a cluster whose nodes fail", { timeout: 200_000 }, () => {
  let rig: ClusterRig;
  before(async () => {
    rig = await ClusterRig.start();
  });
  after(async () => {
    await rig?.dispose();
  });

  it("loses and doubles nothing when an owner is killed under load, and every range answers again", async (t) => {
    const domains = rig.domainsByPartition("kill");
    const { result, value } = await rig.loadDuring(
      ["n1", "n2", "n3"],
      { seed: 21, mix: "duplicates", domains: 400 },
      async () => {
        await rig.kill("n3");
        return await rig.answersAgain("n1", domains, RECOVERY_LIMIT_MS);
      },
    );
    t.diagnostic(`every range took events again ${Math.round(value)} ms after kill -9`);
    assertExact(result);
    const { owners, nodes } = await rig.allOpen();
    assert.ok(owners.every(({ node }) => node !== "n3"));
    assert.equal(nodes.find(({ id }) => id === "n3")?.state, "dead");
    for (const { delivered } of await rig.counted("n2", domains)) assert.equal(delivered, 1);
  });

  it("remembers keys of before a failover", async () => {
    await rig.startNode("n3");
    const domains = rig.domainsByPartition("keyed");
    const keyed = { headers: { "idempotency-key": "before-the-failover" } };
    for (const domain of domains) {
      assert.equal((await rig.send("n1", "PUT", `/events/${domain}/delivered`, keyed)).status, 204);
    }
    await rig.kill("n2");
    for (const domain of domains) {
      const { status, headers } = await until(
        `${domain} takes events`,
        RECOVERY_LIMIT_MS,
        async () => {
          const answer = await rig.send("n1", "PUT", `/events/${domain}/delivered`, keyed);
          return answer.status === 204 ? answer : null;
        },
      );
      assert.deepEqual([status, headers.get("idempotency-replayed")], [204, "true"], domain);
    }
    for (const { delivered } of await rig.counted("n1", domains)) assert.equal(delivered, 1);
  });

  it("takes a node in again that was killed, with a new incarnation and without ranges", async (t) => {
    const before = (await rig.cluster("n1")).nodes.find(({ id }) => id === "n2")?.incarnation ?? 0;
    const startMs = performance.now();
    await rig.startNode("n2");
    t.diagnostic(`ready ${Math.round(performance.now() - startMs)} ms after its start`);
    const row = rowOf(await rig.cluster("n1"), "n2");
    assert.ok(row.incarnation > before);
    assert.equal(row.partitionsOwned, 0);
  });

  it("answers nothing stale after a freeze past its lease, and joins again by itself", async (t) => {
    const domains = rig.domainsByPartition("freeze");
    for (const domain of domains) await rig.ask("n2", "PUT", `/events/${domain}/delivered`);
    const { nodes, owners } = await rig.cluster("n2");
    const frozen = "n1";
    const { incarnation } = rowOf({ nodes, owners, handoffs: [] }, frozen);
    assert.ok(
      owners.some(({ node }) => node === frozen),
      "it owns ranges",
    );
    const { result } = await rig.loadDuring(
      ["n2", "n3"],
      { seed: 22, mix: "duplicates", domains: 400 },
      async () => {
        rig.freeze(frozen);
        await pass(LEASE_TTL_MS);
        await rig.answersAgain("n2", domains, RECOVERY_LIMIT_MS);
        const asked = domains.map((domain) => readOrRefusal(rig, frozen, domain));
        rig.thaw(frozen);
        // Two events by now; what was asked of it while it was frozen must not say one.
        const early = await Promise.all(asked);
        const late = await Promise.all(domains.map((one) => readOrRefusal(rig, frozen, one)));
        for (const read of [...early, ...late]) assert.ok(read === null || read === 2, `${read}`);
        const thawedMs = performance.now();
        await until("it joins again", RECOVERY_LIMIT_MS, async () => {
          const row = (await rig.cluster("n2")).nodes.findLast(({ id }) => id === frozen);
          const isBack = row?.state === "alive" && row.incarnation > incarnation;
          return isBack && (await rig.ask(frozen, "GET", "/readyz")).status === 200 ? row : null;
        });
        t.diagnostic(
          `joined again ${Math.round(performance.now() - thawedMs)} ms after the freeze`,
        );
      },
    );
    assertExact(result);
    await rig.sameEverywhere(22, 400);
  });

  it("counts on when every node in turn is killed", async () => {
    const { result } = await rig.loadDuring(
      ["n1", "n2", "n3"],
      { seed: 23, isKeyed: true, domains: 400 },
      async () => {
        for (const id of ["n1", "n2", "n3"]) {
          await rig.kill(id);
          await rig.startNode(id);
          await rig.allOpen(RECOVERY_LIMIT_MS);
        }
      },
    );
    assertExact(result);
    await rig.sameEverywhere(23, 400);
  });
});

/** Delivered events, or null for an answer that says nothing of the domain. */
async function readOrRefusal(rig: ClusterRig, id: string, domain: string): Promise<number | null> {
  const { status, body } = await rig.ask(id, "GET", `/domains/${domain}`);
  if (status === 200) return body.delivered;
  assert.equal(status, 503);
  assert.equal(body.effect, "none");
  return null;
}

function rowOf(answer: ClusterAnswer, id: string): ClusterAnswer["nodes"][number] {
  const row = answer.nodes.findLast((node) => node.id === id);
  assert.ok(row !== undefined, id);
  return row;
}
