/**
 * Goal: what a real node acknowledged survives SIGKILL at any instant, and is counted once.
 * Method: scripts/kill-loop.ts over 50 kills. The harness itself is checked against a toy node whose defects are known.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import {
  exitCodeOf,
  KilledNode,
  type KillLoopReport,
  runKillLoop,
  shortfallOf,
  textOf,
} from "../../scripts/kill-loop.ts";

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
    // A run of which too much is unknown proves too little.
    const few = { ...report, domains: 4999, exactDomains: 0 };
    assert.deepEqual([shortfallOf(few), exitCodeOf(few)], [null, 0]);
    const enough = { ...report, domains: 5000, exactDomains: 4750 };
    assert.deepEqual([shortfallOf(enough), exitCodeOf(enough)], [null, 0]);
    const vague = { ...report, domains: 5000, exactDomains: 4749 };
    assert.match(shortfallOf(vague) ?? "", /4749 of 5000/);
    assert.equal(exitCodeOf(vague), 1);
  });

  it("finds a node that answers before it writes", async () => {
    assert.ok((await killToy("late-write")).lost > 0);
  });

  it("finds a node that forgets its keys", async () => {
    assert.ok((await killToy("forget-keys")).doubled > 0);
  });

  it("loses and doubles nothing over 50 kills of the real node", async (context) => {
    const victim = await KilledNode.create();
    const report = await runKillLoop({ cycles: 50, seed: 20261121, verifyEvery: 25, victim });
    assert.deepEqual(report.firstWrong, []);
    assert.deepEqual([report.lost, report.doubled, report.wrongStatuses], [0, 0, 0]);
    assert.equal(report.cycles, 50);
    assert.equal(report.startEnds > 0, true, `${report.startEnds} ended a start`);
    assert.ok(report.acked > 1000, `${report.acked} acknowledged`);
    context.diagnostic(textOf(report));
    assert.equal(shortfallOf(report), null);
  });
});
