/**
 * Every read of every node, through moves, deaths, freezes and an outage of NATS: never older than what was acknowledged
 * before it, never newer than what was sent (I5 to I7); and moves that are hit by faults end well (I20).
 */
import assert from "node:assert/strict";
import { after, before, describe, it, type TestContext } from "node:test";
import { ClusterRig, LEASE_TTL_MS, pass, until } from "../support/cluster-rig.ts";
import { ReadChecker, type ReadReport } from "../support/read-checker.ts";

const RETURN_LIMIT_MS = 40_000;
const WATCHED = 12;

describe("reads of a cluster", { timeout: 250_000 }, () => {
  let rig: ClusterRig;
  before(async () => {
    rig = await ClusterRig.start();
  });
  after(async () => {
    await rig?.dispose();
  });

  async function checked(
    t: TestContext,
    salt: string,
    nodes: readonly string[],
    work: () => Promise<void>,
  ): Promise<ReadReport> {
    const domains = rig.domainsByPartition(salt).filter((_, i) => i % ((64 / WATCHED) | 0) === 0);
    const checker = new ReadChecker(rig, nodes, domains);
    checker.start();
    let report: ReadReport;
    try {
      await work();
      await pass(300);
    } finally {
      report = await checker.stop();
    }
    t.diagnostic(
      `${report.reads} reads, ${report.writes} writes ${JSON.stringify(report.refusals)}`,
    );
    assert.deepEqual(report.violations, []);
    assert.ok(report.reads > 100);
    return report;
  }

  it("are exact while ranges move to a fourth node, and none is refused", async (t) => {
    await rig.startNode("n4");
    const { refusals } = await checked(t, "move", ["n1", "n2", "n3", "n4"], async () => {
      const { body } = await rig.ask("n1", "POST", "/cluster/rebalance");
      await rig.movesEnded("n2", body.id, RETURN_LIMIT_MS);
    });
    assert.deepEqual(refusals, {});
  });

  it("are exact while an owner is killed", async (t) => {
    await checked(t, "kill", ["n1", "n2", "n3", "n4"], async () => {
      await rig.kill("n2");
      await rig.allOpen(RETURN_LIMIT_MS);
    });
    await rig.startNode("n2");
  });

  it("are exact while an owner is frozen past its lease and wakes again", async (t) => {
    await checked(t, "freeze", ["n1", "n2", "n3", "n4"], async () => {
      rig.freeze("n1");
      await pass(2 * LEASE_TTL_MS);
      rig.thaw("n1");
      await until("it is ready again", RETURN_LIMIT_MS, async () =>
        (await rig.ask("n1", "GET", "/readyz")).status === 200 ? true : null,
      );
    });
  });

  it("are exact while an owner is frozen for less than its lease", async (t) => {
    await checked(t, "nap", ["n1", "n2", "n3", "n4"], async () => {
      for (const id of ["n3", "n4", "n3"]) {
        rig.freeze(id);
        await pass(LEASE_TTL_MS / 3);
        rig.thaw(id);
        await pass(200);
      }
    });
  });

  it("are exact while the source and the target of moves are killed, and the moves end", async (t) => {
    await checked(t, "moves", ["n1", "n2"], async () => {
      const { body } = await rig.ask("n1", "POST", "/cluster/rebalance");
      assert.ok(body.moves.length > 2, JSON.stringify(body));
      await rig.kill("n4");
      await rig.kill("n3");
      await rig.startNodes(["n3", "n4"]);
      await rig.movesEnded("n2", body.id, RETURN_LIMIT_MS);
      const again = await rig.ask("n2", "POST", "/cluster/rebalance");
      await rig.movesEnded("n2", again.body.id, RETURN_LIMIT_MS);
    });
    const { nodes } = await rig.allOpen(RETURN_LIMIT_MS);
    const shares = nodes
      .filter(({ state }) => state === "alive")
      .map(({ partitionsOwned }) => partitionsOwned);
    assert.deepEqual(shares, [16, 16, 16, 16]);
  });

  it("are exact while NATS is killed in the middle of a drain, which then goes on", async (t) => {
    await checked(t, "outage", ["n1", "n2", "n3", "n4"], async () => {
      const { body } = await rig.ask("n3", "POST", "/cluster/nodes/n1/drain");
      assert.ok(body.moves.length > 0, JSON.stringify(body));
      await rig.nats.kill();
      await pass(1000);
      await rig.nats.restart();
      await rig.movesEnded("n2", body.id, RETURN_LIMIT_MS);
      const { owners } = await rig.allOpen(RETURN_LIMIT_MS);
      assert.ok(owners.every(({ node }) => node !== "n1"));
    });
  });

  it("are exact while two nodes stop in order at once", async (t) => {
    const { refusals } = await checked(t, "stops", ["n2"], async () => {
      assert.deepEqual(await Promise.all([rig.stop("n3"), rig.stop("n4")]), [0, 0]);
      await rig.allOpen(RETURN_LIMIT_MS);
    });
    assert.deepEqual(refusals, {});
  });
});
