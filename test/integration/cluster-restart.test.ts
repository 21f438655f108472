/**
 * All nodes of a cluster end, orderly or not, also with their servers, and start again: everything that was
 * acknowledged is there, once.
 */
import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import { after, before, describe, it, type TestContext } from "node:test";
import { assertExact, ClusterRig, type Counted } from "../support/cluster-rig.ts";

const NODES = ["n1", "n2", "n3"];
const RETURN_LIMIT_MS = 30_000;
const KEYED = { headers: { "idempotency-key": "before-the-end" } };

describe("a cluster that starts again", { timeout: 150_000 }, () => {
  let rig: ClusterRig;
  before(async () => {
    rig = await ClusterRig.start();
  });
  after(async () => {
    await rig?.dispose();
  });

  it("recovers exactly from checkpoints and logs after all nodes were killed", async (t) => {
    const seen = await filled(rig, 51, "killed");
    // Behind the last checkpoint of most ranges.
    await Promise.all(NODES.map((id) => rig.kill(id)));
    await started(rig, t);
    await expectSame(rig, 51, "killed", seen);
  });

  it("recovers exactly when all nodes, NATS and MongoDB were killed at once, under load", async (t) => {
    const seen = await filled(rig, 52, "all");
    let ended: Promise<unknown> = Promise.resolve();
    const { result } = await rig.loadDuring(NODES, { seed: 53, isKeyed: true }, async () => {
      ended = Promise.all([...NODES.map((id) => rig.kill(id)), rig.nats.kill(), rig.mongod.kill()]);
      await ended;
      await Promise.all([rig.nats.restart(), rig.mongod.restart()]);
      await started(rig, t);
    });
    assertExact(result);
    await expectSame(rig, 52, "all", seen);
    await rig.sameEverywhere(53, 300);
  });

  it("starts again quickly after all nodes were stopped in order", async (t) => {
    const seen = await filled(rig, 54, "stopped");
    const stopMs = performance.now();
    assert.deepEqual(await Promise.all(NODES.map((id) => rig.stop(id))), [0, 0, 0]);
    t.diagnostic(`stopped in ${Math.round(performance.now() - stopMs)} ms`);
    await started(rig, t);
    await expectSame(rig, 54, "stopped", seen);
  });

  it("keeps overrides, resets and the rule over a restart of all nodes", async (t) => {
    const rule = { deliveredThreshold: 1, bouncedThreshold: 1, maxBounceRatio: null };
    assert.equal((await rig.ask("n1", "PUT", "/cluster/rule", rule)).status, 200);
    for (const name of ["kept.example", "reset.example"]) {
      for (let i = 0; i < 2; i++) await rig.ask("n2", "PUT", `/events/${name}/delivered`);
    }
    const override = { status: "not catch-all", reason: "known" };
    await rig.ask("n3", "PUT", "/domains/pinned.example/override", override);
    await rig.ask("n1", "POST", "/domains/reset.example/reset");
    await Promise.all(NODES.map((id) => rig.kill(id)));
    await started(rig, t);
    for (const id of NODES) {
      const read = async (name: string) => (await rig.ask(id, "GET", `/domains/${name}`)).body;
      assert.equal((await read("kept.example")).status, "catch-all");
      assert.equal((await read("reset.example")).delivered, 0);
      const pinned = await read("pinned.example");
      assert.deepEqual([pinned.status, pinned.override.reason], ["not catch-all", "known"]);
      assert.equal((await rig.ask(id, "GET", "/cluster/rule")).body.deliveredThreshold, 1);
    }
  });
});

/** A verified load and one keyed event for every range; what is counted then. */
async function filled(rig: ClusterRig, seed: number, salt: string): Promise<readonly Counted[]> {
  assertExact(await rig.load(NODES, { seed, mix: "challenge", events: 1500, connections: 64 }));
  const domains = rig.domainsByPartition(salt);
  for (const domain of domains) {
    assert.equal((await rig.send("n1", "PUT", `/events/${domain}/delivered`, KEYED)).status, 204);
  }
  return await rig.counted("n2", [...rig.domainsOfLoad(seed, 40), ...domains]);
}

async function started(rig: ClusterRig, t: TestContext): Promise<void> {
  const startMs = performance.now();
  await rig.startNodes(NODES);
  await rig.allOpen(RETURN_LIMIT_MS);
  t.diagnostic(`every range open ${Math.round(performance.now() - startMs)} ms after the start`);
}

async function expectSame(
  rig: ClusterRig,
  seed: number,
  salt: string,
  expected: readonly Counted[],
): Promise<void> {
  const domains = rig.domainsByPartition(salt);
  for (const id of NODES) {
    const all = [...rig.domainsOfLoad(seed, 40), ...domains];
    assert.deepEqual(await rig.counted(id, all), expected, id);
  }
  for (const domain of domains) {
    const { status, headers } = await rig.send("n3", "PUT", `/events/${domain}/delivered`, KEYED);
    assert.deepEqual([status, headers.get("idempotency-replayed")], [204, "true"], domain);
  }
}
