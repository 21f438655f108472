/**
 * Goal: with three nats-servers, of which one at a time dies, freezes, has a full disk or gives up leading, nothing is
 * lost, doubled or told wrong. Method: a short run; `npm run chaos -- --nats 3 --minutes 5` goes on for longer.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runChaos } from "../../scripts/chaos/chaos-run.ts";

const KINDS = [
  ...["nats-kill", "nats-stop", "nats-pause", "nats-full"],
  ...["nats-step-down-log", "nats-step-down-control"],
] as const;

describe("chaos with three nats-servers", { timeout: 280_000 }, () => {
  it("finds no wrong answer while leaders of streams go", async (t) => {
    const lines: string[] = [];
    const report = await runChaos({
      ...{ seed: 20261123, durationMs: 20_000, roundMs: 20_000, gapMaxMs: 1000 },
      ...{ nodes: 3, nats: 3, rate: 200, leaseTtlMs: 2000, kinds: KINDS },
      onLine: (line) => lines.push(line),
    });
    t.diagnostic(`faults ${JSON.stringify(report.faults)}, ${report.acked} acknowledged`);
    const said = [...lines, JSON.stringify(report.violations, null, 1)].join("\n");
    assert.deepEqual(
      report.violations.map(({ text }) => text),
      [],
      said,
    );
    assert.ok(report.figures.stepDowns > 0, said);
    assert.ok(report.acked > 100, `${report.acked} acknowledged`);
  });
});
