/**
 * Goal: the kill loop sees a node that loses what it has when it is killed while it recovers. Method: a toy node that
 * empties its file at each start and writes it again seconds later; no kill of a ready node harms it.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { KilledNode, runKillLoop } from "../../scripts/kill-loop.ts";

const TOY = fileURLToPath(new URL("../support/toy-node-main.ts", import.meta.url));
/** It ends at the first group of cycles that shows a loss. */
const CYCLES_MAX = 40;
const GROUP = 4;

describe("kill loop over starts", () => {
  it("finds a node whose recovery must not be interrupted", async () => {
    const command = ["--import", "tsx", TOY];
    const victim = await KilledNode.create({ command, flags: ["--defect", "late-rewrite"] });
    const loop = { cycles: CYCLES_MAX, verifyEvery: GROUP, seed: 7, victim };
    const report = await runKillLoop(loop);
    assert.equal(report.startEnds > 0, true, `${report.startEnds} ended a start`);
    assert.equal(report.lost > 0, true, `${report.lost} of ${report.acked} lost`);
  });
});
