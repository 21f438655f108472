/**
 * Goal: an upgrade by one format version, there and back, loses nothing and answers nothing wrong: a node that is older
 * than what it finds refuses with a message, and everything is served again once all are of the newer version. Method:
 * seeds in which machines change their version under moves and kills; what they store is shown to older ones with its
 * format number raised.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseTable } from "../../src/control-plane/control-table-codec.ts";
import { startClusterNode } from "../../src/server/assemble-cluster-node.ts";
import { batchedDrain } from "../../src/simulation/batched-drain.ts";
import { describeFailure, repeatCommand } from "../../src/simulation/failure-report.ts";
import { DEFAULT_PLAN_OPTIONS, type FaultFamily } from "../../src/simulation/fault-plan.ts";
import { SimRandom } from "../../src/simulation/sim-random.ts";
import { simulate } from "../../src/simulation/simulator.ts";
import { type Format, SimVersions } from "../../src/simulation/versions.ts";

const FAMILIES: readonly FaultFamily[] = ["upgrade", "rebalance", "drain", "kill"];
const FLAGS = ["--minutes 0.33", `--families ${FAMILIES.join()}`];
const SEEDS = 10;

describe("SimVersions", () => {
  it("shows the next format to older machines alone, and only of what a newer one stored", () => {
    const versions = new SimVersions(new SimRandom(3, "versions"));
    versions.exchange(1);
    const old = Buffer.from('{"formatVersion":1}');
    const newer: readonly (readonly [Format, Uint8Array])[] = [
      ["table", Buffer.from('{"formatVersion":1}')],
      ["lease", Buffer.from('{"formatVersion":1}')],
      ["page", Buffer.from([1, 7])],
    ];
    versions.stored(0, "table", old);
    for (const [format, bytes] of newer) versions.stored(1, format, bytes);
    assert.equal(versions.seenBy(0, old), old);
    const seen = newer.map(([, bytes]) => versions.seenBy(0, bytes) !== bytes);
    assert.equal(seen.includes(true), true, "nothing is raised");
    for (const [, bytes] of newer) assert.equal(versions.seenBy(1, bytes), bytes);
    assert.match(String(parseTable(Buffer.from('{"formatVersion":2}')).damage), /of format 2/);
    assert.equal(versions.finish(), true);
    for (const [, bytes] of newer) assert.equal(versions.seenBy(0, bytes), bytes);
  });
});

describe("a rolling upgrade of simulated nodes", () => {
  it("breaks no promise, is refused clearly by older nodes, and serves again in the end", async (t) => {
    const sums = { refusedStarts: 0, saidOutdated: 0, acknowledged: 0 };
    for (let seed = 1; seed <= SEEDS; seed++) {
      const plan = { ...DEFAULT_PLAN_OPTIONS, faultsMs: 19_800, families: FAMILIES };
      const options = { start: startClusterNode, drain: batchedDrain(setImmediate), plan };
      const result = await simulate(seed, { ...options, keepsChanges: true });
      if (result.failures.length > 0) {
        const command = repeatCommand(seed, FLAGS);
        assert.fail(describeFailure(result, { commit: "of this tree", command }));
      }
      for (const name of Object.keys(sums) as (keyof typeof sums)[]) {
        sums[name] += result.statistics[name] ?? 0;
      }
    }
    t.diagnostic(JSON.stringify(sums));
    assert.equal(sums.refusedStarts > 0, true, "no start was refused");
    assert.equal(sums.saidOutdated > 0, true, "no node said that it is older");
    assert.equal(sums.acknowledged > 500, true, `${sums.acknowledged} acknowledged`);
  });
});
