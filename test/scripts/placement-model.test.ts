/** Goal: the figures of docs/scaling.md come from clusters that are balanced, and a join or a death moves what it must. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  afterDeaths,
  busiestOverMean,
  joinAndRebalance,
  loadsOf,
  newCluster,
  sizeOf,
  withRebalances,
  worstDeath,
} from "../../scripts/bench/placement-model.ts";

const NATS_PAYLOAD_DEFAULT_BYTES = 1024 * 1024;
const SHAPES = [3, 8, 50].flatMap((nodes) =>
  [64, 1024].map((partitions) => ({ nodes, partitions })),
);

describe("simulated placement", () => {
  it("gives nobody more than the mean, rounded up", () => {
    for (const shape of SHAPES) {
      const table = newCluster(shape);
      assert.equal(Math.max(...loadsOf(table)), Math.ceil(shape.partitions / shape.nodes));
    }
    assert.equal(busiestOverMean(newCluster({ nodes: 4, partitions: 64 })), 1);
  });

  it("moves the share of a node that joins to it, and nothing else", () => {
    for (const shape of SHAPES) {
      const join = joinAndRebalance(newCluster(shape));
      assert.equal(join.otherMoves, 0);
      assert.equal(join.moves, Math.floor(shape.partitions / (shape.nodes + 1)));
      // Two moves of a node at a time; each is begun, mostly with another one, and ended.
      assert.equal(join.rounds, Math.ceil(join.moves / 2));
      assert.ok(join.tableChanges <= 2 * join.moves + 3, `${join.tableChanges} table changes`);
    }
  });

  it("gives a dead node's partitions to all others, under the cap", () => {
    for (const shape of SHAPES) {
      const death = worstDeath(newCluster(shape));
      const cap = Math.ceil(shape.partitions / (shape.nodes - 1));
      const mean = shape.partitions / (shape.nodes - 1);
      assert.ok(death.busiestOverMean <= cap / mean, `${death.busiestOverMean}`);
      assert.ok(death.heirs >= Math.min(shape.nodes - 1, death.orphans) / 2, `${death.heirs}`);
      assert.ok(death.mostToOneHeir >= death.atBest);
    }
  });

  // NATS takes no larger message: no death could be entered any more.
  it("keeps a table of 4,096 partitions in a message after 20 deaths and 20 rebalances", () => {
    const table = afterDeaths(newCluster({ nodes: 3, partitions: 4096 }), 20);
    const { jsonBytes, storedBytes } = sizeOf(withRebalances(table, 20, 4096));
    assert.ok(jsonBytes > 4 * NATS_PAYLOAD_DEFAULT_BYTES);
    assert.ok(storedBytes < NATS_PAYLOAD_DEFAULT_BYTES, `${storedBytes} bytes`);
  });
});
