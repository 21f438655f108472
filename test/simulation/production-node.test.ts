/**
 * The production wiring of a cluster node under every family of faults: the short form of `npm run simulate`. Its seeds have a
 * third of the time of a dense one, and faults three times as often, so as many of them.
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { currentCommit } from "../../scripts/commit.ts";
import { startClusterNode } from "../../src/server/assemble-cluster-node.ts";
import { batchedDrain } from "../../src/simulation/batched-drain.ts";
import { describeFailure, repeatCommand } from "../../src/simulation/failure-report.ts";
import {
  DEFAULT_PLAN_OPTIONS,
  hurriedOptions,
  type PlanOptions,
} from "../../src/simulation/fault-plan.ts";
import { type SimulationResult, simulate } from "../../src/simulation/simulator.ts";

const FIRST_SEED = 1;
const SEEDS = 500;
/** Of one test: each well within its time on a busy machine. */
const SEEDS_AT_ONCE = 100;
/** Seeds that once found a bug, as `docs/findings.md` tells. */
const KNOWN_SEEDS = [
  ...[306, 15_370, 16_234, 16_549, 200_337, 201_976, 202_314, 401_756],
  ...[1_000_106, 1_000_352, 1_000_941],
];
const DENSE: PlanOptions = { ...DEFAULT_PLAN_OPTIONS, faultsMs: 60_000 };
const DENSE_FLAGS = ["--minutes 1"];
const SHORTER = 3;

function run(seed: number, plan: PlanOptions): Promise<SimulationResult> {
  const drain = batchedDrain(setImmediate);
  return simulate(seed, { start: startClusterNode, drain, keepsChanges: true, plan });
}

function assertSound(result: SimulationResult, flags: readonly string[]): void {
  if (result.failures.length === 0) return;
  const command = repeatCommand(result.seed, flags);
  assert.fail(describeFailure(result, { commit: currentCommit(), command }));
}

function faultsOf({ statistics }: SimulationResult): number {
  const faults = Object.entries(statistics).filter(([name]) => name.startsWith("fault "));
  return faults.reduce((sum, [, times]) => sum + Number(times), 0);
}

describe("a simulated cluster of production nodes", () => {
  const { stackTraceLimit } = Error;
  // Stacks cost more than the simulation.
  before(() => {
    Error.stackTraceLimit = 0;
  });
  after(() => {
    Error.stackTraceLimit = stackTraceLimit;
  });

  for (let first = FIRST_SEED; first < FIRST_SEED + SEEDS; first += SEEDS_AT_ONCE) {
    const last = first + SEEDS_AT_ONCE - 1;
    it(`breaks no promise in seeds ${first} to ${last}`, async (t) => {
      let [acknowledged, moves, faults, shaken] = [0, 0, 0, 0];
      for (let seed = first; seed <= last; seed++) {
        const result = await run(seed, hurriedOptions(seed, DENSE, SHORTER));
        assertSound(result, [...DENSE_FLAGS, `--hurry ${SHORTER}`]);
        acknowledged += Number(result.statistics["acknowledged"]);
        moves += Number(result.statistics["ownerChanges"]);
        faults += faultsOf(result);
        if (faultsOf(result) > 0) shaken++;
      }
      t.diagnostic(`${acknowledged} acknowledged, ${moves} new owners, ${faults} faults`);
      assert.equal(acknowledged > 5000, true, `${acknowledged} acknowledged`);
      assert.equal(moves > 500, true, `${moves} new owners`);
      assert.equal(shaken > 0.8 * SEEDS_AT_ONCE, true, `${shaken} seeds with faults`);
    });
  }

  it("breaks no promise in seeds that once found a bug", async () => {
    for (const seed of KNOWN_SEEDS) assertSound(await run(seed, DENSE), DENSE_FLAGS);
  });

  it("does the same again for the same seed", async () => {
    const [first, second] = [await run(7, DENSE), await run(7, DENSE)];
    assert.equal(second.traceHash, first.traceHash);
  });
});
