/** Goal: what a failed seed prints is enough to repeat it and to read it, without another run. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { describeFailure, repeatCommand } from "../../src/simulation/failure-report.ts";
import { drawPlan } from "../../src/simulation/fault-plan.ts";

const RESULT = {
  seed: 7,
  plan: drawPlan(7),
  traceHash: "abcd",
  failures: [{ rule: "I12", text: "Two have it open", atMs: 99 }],
  statistics: {},
  trace: ["98.000 kill 1 2 0", "99.000 FAILED I12 0 0 0"],
  notes: ["97.000 n1 info it serves"],
};

describe("describeFailure", () => {
  it("names seed, commit, what broke, plan, notes, last steps and the command", () => {
    const command = repeatCommand(7, ["--minutes 1", "--hurry 3"]);
    const text = describeFailure(RESULT, { commit: "1234567", command, stray: ["nobody's"] });
    for (const part of [
      "seed 7 FAILED at commit 1234567, trace abcd",
      "I12 at 99 ms: Two have it open",
      "nobody caught: nobody's",
      `leaseTtlMs: ${RESULT.plan.leaseTtlMs}`,
      `families: ${JSON.stringify(RESULT.plan.families)}`,
      "97.000 n1 info it serves",
      "98.000 kill 1 2 0",
    ]) {
      assert.equal(text.includes(part), true, `without ${part}:\n${text}`);
    }
    assert.match(text, /again: npm run simulate -- --seed 7 --seeds 1 --minutes 1 --hurry 3$/);
  });
});
