import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { cpuSecondsBetween, parseNodeCpu } from "../../src/cli/load/node-cpu.ts";
import { PrometheusMetrics } from "../../src/runtime/prometheus-metrics.ts";

const START = 1_700_000_000;

describe("cpuSecondsBetween", () => {
  it("is the difference of two readings of one process", () => {
    const before = { startedSeconds: START, cpuSeconds: 1.5 };
    assert.equal(cpuSecondsBetween(before, { startedSeconds: START, cpuSeconds: 4 }), 2.5);
  });

  it("tells nothing when the node restarted, whichever way the figures went", () => {
    const before = { startedSeconds: START, cpuSeconds: 5 };
    for (const cpuSeconds of [0.4, 9]) {
      assert.equal(cpuSecondsBetween(before, { startedSeconds: START + 3, cpuSeconds }), null);
    }
  });

  it("is never negative, even when the restart took less than the clock's second", () => {
    const before = { startedSeconds: START, cpuSeconds: 5 };
    assert.equal(cpuSecondsBetween(before, { startedSeconds: START, cpuSeconds: 0.4 }), null);
  });

  it("tells nothing when a reading is missing", () => {
    const reading = { startedSeconds: null, cpuSeconds: 1 };
    assert.equal(cpuSecondsBetween(null, reading), null);
    assert.equal(cpuSecondsBetween(reading, null), null);
    assert.equal(cpuSecondsBetween(reading, reading), 0);
  });
});

describe("parseNodeCpu", () => {
  it("reads the node's own metrics", async () => {
    const { body } = await new PrometheusMetrics().text();
    const cpu = parseNodeCpu(body);
    assert.ok(cpu !== null && cpu.startedSeconds !== null);
    assert.ok(cpu.cpuSeconds > 0);
    assert.ok(Math.abs(cpu.startedSeconds - (Date.now() / 1000 - process.uptime())) < 2);
  });

  it("reads labels and exponents, and is null without the metric", () => {
    assert.deepEqual(parseNodeCpu('process_cpu_seconds_total{node="n1"} 1.5e-2\n'), {
      startedSeconds: null,
      cpuSeconds: 0.015,
    });
    assert.equal(parseNodeCpu("other 1\n# process_cpu_seconds_total 3\n"), null);
  });
});
