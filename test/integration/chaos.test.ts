/**
 * Goal: a cluster that is killed, frozen, stopped, moved, cut off and told nothing loses and doubles nothing and never
 * lies. Method: scripts/chaos.ts, twenty faults and more; `npm run chaos` goes on for as long as one likes.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runChaos } from "../../scripts/chaos/chaos-run.ts";
import { shareOf } from "../../scripts/chaos/checkers.ts";
import { FAULT_KINDS } from "../../scripts/chaos/fault-plan.ts";

/** A disk of its own for NATS makes every sync slow; test/long/chaos-nats-cluster.test.ts has one. */
const KINDS = FAULT_KINDS.filter((kind) => kind !== "nats-full");

describe("chaos", { timeout: 580_000 }, () => {
  it("finds no wrong answer in a cluster under twenty faults and more", async (t) => {
    const lines: string[] = [];
    const report = await runChaos({
      ...{ seed: 20261122, durationMs: 16_000, roundMs: 16_000, gapMaxMs: 700 },
      ...{ nodes: 3, rate: 200, leaseTtlMs: 2000, kinds: KINDS },
      onLine: (line) => lines.push(line),
    });
    const share = `${shareOf(report).toFixed(2)} % of ${report.domains} domains exact`;
    t.diagnostic(`faults ${JSON.stringify(report.faults)}, ${report.acked} acknowledged, ${share}`);
    const said = [...lines, JSON.stringify(report.violations, null, 1)].join("\n");
    assert.deepEqual(
      report.violations.map(({ text }) => text),
      [],
      said,
    );
    const faults = Object.values(report.faults).reduce((sum, times) => sum + times, 0);
    assert.ok(faults >= 20, `${faults} faults`);
    assert.ok(report.acked > 100, `${report.acked} acknowledged`);
    // Too short for the share that longer runs are held to, with a fault every half second.
    assert.ok(shareOf(report) > 50, share);
  });
});
