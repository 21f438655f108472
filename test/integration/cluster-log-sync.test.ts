/** A cluster node on a NATS that acknowledges before it syncs: it serves, and never without saying so. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { ClusterRig } from "../support/cluster-rig.ts";

describe("A cluster node on a log that is not synced", () => {
  let rig: ClusterRig;

  before(async () => {
    rig = await ClusterRig.start({ nodes: ["n1"], natsSync: '"2m"' });
  });

  after(async () => {
    await rig?.dispose();
  });

  it("says so in /readyz, though it is ready", async () => {
    const { status, body } = await rig.ask("n1", "GET", "/readyz");
    assert.deepEqual([status, body.ready], [200, true]);
    assert.match(body.checks.log, /NOT known to be synced before each answer/);
  });

  it("says so in its log, as an error with the reason", () => {
    const lines = rig.node("n1").output.split("\n");
    const told = lines.filter((line) => line.includes("is not known to be synced before each"));
    assert.equal(told.length, 1, rig.node("n1").output);
    const { level, reason } = JSON.parse(told[0] ?? "");
    assert.equal(level, "error");
    assert.match(reason, /every 120 s.*set sync_interval to always/);
  });

  it("says so as a metric, and in /cluster", async () => {
    const { body } = await rig.ask("n1", "GET", "/metrics");
    assert.match(body, /^catchall_wal_synced 0$/m);
    const cluster = await rig.ask("n1", "GET", "/cluster");
    assert.equal(cluster.body.log.synced, false);
  });
});
