/**
 * Goal: what was acknowledged survives a power cut. Method: scripts/power-cut.ts over few cuts; the harness itself is
 * checked against a toy node that writes without syncing. Where no power can be cut, the tests say why they did not run.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { type KillLoopReport, runKillLoop, type Victim } from "../../scripts/kill-loop.ts";
import { whyNoPowerCuts } from "../../scripts/power-cut/cuttable-disk.ts";
import { PoweredNode } from "../../scripts/power-cut/victims.ts";

const TOY = fileURLToPath(new URL("../support/toy-node-main.ts", import.meta.url));
const obstacle = whyNoPowerCuts();

function cut(victim: Victim, cycles: number): Promise<KillLoopReport> {
  return runKillLoop({ cycles, seed: 20261121, verifyEvery: cycles, victim });
}

describe("power cut", { skip: obstacle ?? false }, () => {
  it("loses what a node wrote and did not sync", async () => {
    const report = await cut(await PoweredNode.create(["--import", "tsx", TOY]), 2);
    assert.equal(report.lost > 0, true, `${report.lost} of ${report.acked} lost`);
  });

  it("loses and doubles nothing of a node", async () => {
    const report = await cut(await PoweredNode.create(), 2);
    assert.deepEqual(report.firstWrong, []);
    assert.deepEqual([report.lost, report.doubled, report.wrongStatuses], [0, 0, 0]);
    assert.equal(report.acked > 100, true, `${report.acked} acknowledged`);
  });
});
