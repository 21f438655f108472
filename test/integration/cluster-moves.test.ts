/**
 * Planned moves under load: joining, rebalancing, draining and stopping cost no client an error.
 * Order matters: each test goes on from the one before.
 */
import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import { after, before, describe, it, type TestContext } from "node:test";
import type { LoadRunResult } from "../../src/cli/load/load-run.ts";
import { assertExact, ClusterRig, type Owner } from "../support/cluster-rig.ts";

const MOVES_LIMIT_MS = 60_000;

describe("a cluster whose ranges move", { timeout: 200_000 }, () => {
  let rig: ClusterRig;
  before(async () => {
    rig = await ClusterRig.start();
  });
  after(async () => {
    await rig?.dispose();
  });

  it("gives a fourth node a quarter of the ranges, moves nothing else and fails no request", async (t) => {
    const { result, value } = await rig.loadDuring(
      ["n1", "n2", "n3"],
      { seed: 31, domains: 400 },
      async () => {
        const before = (await rig.cluster()).owners;
        await rig.startNode("n4");
        const joined = (await rig.cluster()).owners;
        assert.deepEqual(joined, before, "a node that joins waits for an operator");
        const after = await moved(rig, await rig.ask("n2", "POST", "/cluster/rebalance"));
        return { before, after };
      },
    );
    assertNoFailure(result, t);
    const gone = value.before.filter(({ node }, i) => value.after[i]?.node !== node);
    assert.equal(gone.length, 16, "a quarter of 64 moves");
    for (const { partition } of gone) assert.equal(value.after[partition]?.node, "n4");
    assert.deepEqual(shares(value.after), [16, 16, 16, 16]);
    const stayed = value.after.filter(({ node }) => node !== "n4");
    for (const { partition, epoch } of stayed) {
      assert.equal(epoch, value.before[partition]?.epoch, `${partition} stayed`);
    }
    await rig.sameEverywhere(31, 400);
  });

  it("plans the same moves in a dry run and moves nothing", async () => {
    const before = (await rig.cluster()).owners;
    const { status, body } = await rig.ask("n1", "POST", "/cluster/rebalance?dryRun=true");
    assert.equal(status, 200);
    assert.deepEqual(body.moves, []);
    assert.deepEqual((await rig.cluster()).owners, before);
  });

  it("drains a node under load, fails no request, and counts a key once across the move", async (t) => {
    const domains = rig.domainsByPartition("drain");
    const keyed = { headers: { "idempotency-key": "before-the-drain" } };
    for (const [i, domain] of domains.entries()) {
      await rig.send(i % 2 === 0 ? "n2" : "n3", "PUT", `/events/${domain}/delivered`, keyed);
    }
    const { result } = await rig.loadDuring(
      ["n1", "n2", "n3", "n4"],
      { seed: 32, domains: 400 },
      async () => {
        const after = await moved(rig, await rig.ask("n3", "POST", "/cluster/nodes/n2/drain"));
        assert.ok(after.every(({ node }) => node !== "n2"));
        assert.deepEqual(shares(after), [21, 21, 22]);
      },
    );
    assertNoFailure(result, t);
    for (const [i, domain] of domains.entries()) {
      const id = i % 2 === 0 ? "n1" : "n2";
      const { status, headers } = await rig.send(id, "PUT", `/events/${domain}/delivered`, keyed);
      assert.deepEqual([status, headers.get("idempotency-replayed")], [204, "true"], domain);
    }
    for (const { delivered } of await rig.counted("n4", domains)) assert.equal(delivered, 1);
    const row = (await rig.cluster()).nodes.find(({ id }) => id === "n2");
    assert.deepEqual([row?.state, row?.partitionsOwned], ["draining", 0]);
  });

  it("stops a node under load without an error for clients of the others", async (t) => {
    const { result } = await rig.loadDuring(["n1", "n4"], { seed: 33, domains: 400 }, async () => {
      const startMs = performance.now();
      assert.equal(await rig.stop("n3"), 0);
      t.diagnostic(`stopped in ${Math.round(performance.now() - startMs)} ms`);
      const { owners } = await rig.allOpen();
      assert.ok(owners.every(({ node }) => node !== "n3"));
    });
    assertNoFailure(result, t);
    await rig.sameEverywhere(33, 400);
  });

  it("tells clients of a stopping node nothing worse than 503 with effect none", async (t) => {
    const { result } = await rig.loadDuring(["n1", "n4"], { seed: 34, domains: 400 }, async () => {
      assert.equal(await rig.stop("n4"), 0);
    });
    t.diagnostic(JSON.stringify(result.outcome.errors));
    assertExact(result);
    const errors = new Set(Object.keys(result.outcome.errors));
    for (const code of ["shutting_down", "econnrefused"]) errors.delete(code);
    assert.deepEqual([...errors], []);
    assert.equal(result.outcome.maybe, 0);
    await rig.sameEverywhere(34, 400);
  });
});

interface Planned {
  readonly status: number;
  readonly body: { readonly id: string; readonly moves: readonly unknown[] };
}

/** Waits until every planned move is done; owners after. */
async function moved(rig: ClusterRig, planned: Planned): Promise<readonly Owner[]> {
  assert.equal(planned.status, 202, JSON.stringify(planned.body));
  const { id, moves } = planned.body;
  assert.ok(moves.length > 0);
  const { state, total, bytes } = await rig.movesEnded("n1", id, MOVES_LIMIT_MS);
  assert.deepEqual([state, total], ["done", moves.length]);
  assert.ok(bytes > 0, "bytes were moved");
  return (await rig.allOpen()).owners;
}

function shares(owners: readonly Owner[]): readonly number[] {
  const counts = new Map<string, number>();
  for (const { node } of owners) counts.set(node, (counts.get(node) ?? 0) + 1);
  return [...counts.values()].sort((a, b) => a - b);
}

function assertNoFailure(result: LoadRunResult, t: TestContext): void {
  const { outcome } = result;
  const { p50, p99, max } = outcome.latency;
  const ms = [p50, p99, max].map((one) => one.toFixed(0));
  t.diagnostic(`${outcome.ackedTotal} events; P50 ${ms[0]} ms, P99 ${ms[1]} ms, max ${ms[2]} ms`);
  assertExact(result);
  assert.deepEqual(outcome.errors, {});
  assert.deepEqual([outcome.retries, outcome.reconnects, outcome.maybe], [0, 0, 0]);
}
