/**
 * Goal: what a cluster acknowledged survives a power cut of the disk that carries its nats-server, its mongod and its
 * nodes. Method: scripts/power-cut.ts over few cuts; the harness itself is checked against a nats-server that syncs every
 * two minutes. Where no power can be cut, the test says why it did not run.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runKillLoop } from "../../scripts/kill-loop.ts";
import { whyNoPowerCuts } from "../../scripts/power-cut/cuttable-disk.ts";
import { PoweredCluster } from "../../scripts/power-cut/victims.ts";

const CUTS = 4;
const CUTS_UNSYNCED = 2;
/** nats-server's own default. */
const UNSYNCED = '"2m"';

describe("power cut of a cluster", { skip: whyNoPowerCuts() ?? false }, () => {
  it("loses what a nats-server stored and did not sync", async () => {
    const victim = await PoweredCluster.create(UNSYNCED);
    const cycles = CUTS_UNSYNCED;
    const report = await runKillLoop({ cycles, seed: 20261121, verifyEvery: cycles, victim });
    assert.equal(report.lost > 0, true, `${report.lost} of ${report.acked} lost`);
  });

  it("loses and doubles nothing", async () => {
    const victim = await PoweredCluster.create();
    const report = await runKillLoop({ cycles: CUTS, seed: 20261121, verifyEvery: CUTS, victim });
    assert.deepEqual(report.firstWrong, []);
    assert.deepEqual([report.lost, report.doubled, report.wrongStatuses], [0, 0, 0]);
    assert.equal(report.acked > 100, true, `${report.acked} acknowledged`);
  });
});
