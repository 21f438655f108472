/**
 * Goal: what a real node acknowledged survives SIGKILL at any instant, and is counted once.
 * Method: scripts/kill-loop.ts over 50 kills. The harness itself is checked against a toy node whose defects are known.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { KilledNode, type KillLoopReport, runKillLoop } from "../../scripts/kill-loop.ts";

const TOY = fileURLToPath(new URL("../support/toy-node-main.ts", import.meta.url));

async function killToy(defect: string | null): Promise<KillLoopReport> {
  const command = ["--import", "tsx", TOY];
  const flags = defect === null ? [] : ["--defect", defect];
  // A key comes again thousands of events later, on a busy machine as well.
  const victim = await KilledNode.create({ command, flags, lifeMsMax: 3000 });
  return await runKillLoop({ cycles: 3, seed: 7, verifyEvery: 3, victim });
}

describe("kill loop", () => {
  it("accepts a node that writes before it answers", async () => {
    const report = await killToy(null);
    assert.deepEqual([report.lost, report.doubled, report.wrongStatuses], [0, 0, 0]);
    assert.ok(report.acked > 100);
  });

  it("finds a node that answers before it writes", async () => {
    assert.ok((await killToy("late-write")).lost > 0);
  });

  it("finds a node that forgets its keys", async () => {
    assert.ok((await killToy("forget-keys")).doubled > 0);
  });

  it("loses and doubles nothing over 50 kills of the real node", async () => {
    const victim = await KilledNode.create();
    const report = await runKillLoop({ cycles: 50, seed: 20261121, verifyEvery: 25, victim });
    assert.deepEqual(report.firstWrong, []);
    assert.deepEqual([report.lost, report.doubled, report.wrongStatuses], [0, 0, 0]);
    assert.equal(report.cycles, 50);
    assert.equal(report.startEnds > 0, true, `${report.startEnds} ended a start`);
    // How much is acknowledged between two kills depends on the machine; the shares are printed, not judged.
    assert.ok(report.acked > 1000, `${report.acked} acknowledged`);
    assert.ok(report.exactDomains > report.domains / 2);
  });
});
