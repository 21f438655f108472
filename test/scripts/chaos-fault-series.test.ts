/** Goal: a series counts what happened, and each of its faults hits a cluster that is whole again. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { FaultFigures } from "../../scripts/chaos/fault-driver.ts";
import type { Fault } from "../../scripts/chaos/fault-plan.ts";
import { runSeries, type SeriesName } from "../../scripts/chaos/fault-series.ts";
import { SeededRandom } from "../../src/cli/load/seeded-random.ts";

const LEASE_TTL_MS = 2000;

interface Rig {
  readonly faults: Fault[];
  readonly steps: string[];
  run(name: SeriesName, faults: number, times: number): Promise<readonly number[]>;
}

/** Every second fault comes to nothing, as that of a node which lost its ranges meanwhile. */
function rig(): Rig {
  const figures: FaultFigures = {
    ...{ ownerKills: 0, pausesPastLease: 0, natsRestarts: 0, mongoRestarts: 0, orderlyStops: 0 },
    stepDowns: 0,
  };
  const faults: Fault[] = [];
  const steps: string[] = [];
  const owners = ["n3", "n1", "n3"].map((node) => ({ node, state: "open" }));
  const driver = {
    figures,
    run: async (plan: readonly Fault[]): Promise<void> => {
      faults.push(...plan);
      steps.push("fault");
      if (faults.length % 2 === 0) return;
      figures.ownerKills++;
      figures.pausesPastLease++;
      figures.natsRestarts++;
    },
    finish: async (): Promise<void> => void steps.push("undone"),
  };
  const cluster = { view: async () => ({ nodes: [], owners, handoffs: [] }) };
  const heal = async (): Promise<void> => void steps.push("whole");
  const run = (name: SeriesName, most: number, times: number): Promise<readonly number[]> => {
    const random = new SeededRandom(5, 1);
    const around = { cluster, driver, random, leaseTtlMs: LEASE_TTL_MS, heal, restMaxMs: 1 };
    return runSeries({ name, times }, around, { faults: most, isOver: () => false });
  };
  return { faults, steps, run };
}

describe("runSeries", () => {
  it("goes on until so many faults have happened, whole between them", async () => {
    const { faults, steps, run } = rig();
    assert.equal((await run("owner-kills", 20, 3)).length, 5);
    assert.deepEqual(steps.slice(0, 6), ["fault", "undone", "whole", "fault", "undone", "whole"]);
    assert.deepEqual([...new Set(faults.map(({ kind }) => kind))], ["kill"]);
  });

  it("ends a round after so many faults", async () => {
    assert.equal((await rig().run("owner-kills", 4, 100)).length, 4);
  });

  it("freezes owners alone, and past their lease", async () => {
    const { faults, run } = rig();
    await run("owner-pauses", 20, 8);
    assert.deepEqual([...new Set(faults.map(({ node }) => node))].sort(), ["n1", "n3"]);
    for (const { durationMs } of faults) assert.equal(durationMs > LEASE_TTL_MS, true);
  });

  it("kills and stops NATS in turn or not, as the seed says", async () => {
    const { faults, run } = rig();
    await run("nats-restarts", 20, 8);
    assert.deepEqual(new Set(faults.map(({ kind }) => kind)), new Set(["nats-kill", "nats-stop"]));
  });
});
