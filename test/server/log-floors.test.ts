import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ControlTable } from "../../src/model/ownership.ts";
import { LogFloors } from "../../src/server/log-floors.ts";
import { MemoryNodeLog } from "../support/memory-node-log.ts";

const SELF = 7;
const COMMITTED = 50;

function floorsOf(): LogFloors {
  return new LogFloors({
    ...{ self: SELF, log: new MemoryNodeLog(), logRetentionMs: 0 },
    committedSequence: () => COMMITTED,
    wallMs: () => 0,
  });
}

/** Partitions by owner and epoch, with stretches of this node before. */
function tableOf(...partitions: readonly (readonly [owner: number, epoch: number, ...number[]])[]) {
  return {
    partitions: partitions.map(([owner, epoch, ...before]) => ({
      ...{ owner, epoch, moveTo: 0 },
      lineage: before.map((one) => ({ epoch: one, incarnation: SELF, endSequence: COMMITTED })),
    })),
  } as unknown as ControlTable;
}

describe("LogFloors", () => {
  it("keeps what no checkpoint covers of an owned partition, from its claim on", () => {
    const floors = floorsOf();
    floors.claimed(0, 1, 11);
    assert.equal(floors.limit(tableOf([SELF, 1])), 10);
    floors.covered(0, 1, 40);
    floors.claimed(0, 1, 45);
    assert.equal(floors.limit(tableOf([SELF, 1])), 40);
  });

  it("keeps a stretch that went to another node for as long as the table names it", () => {
    const floors = floorsOf();
    floors.claimed(0, 1, 11);
    assert.equal(floors.limit(tableOf([9, 2, 1])), 10);
    assert.equal(floors.limit(tableOf([9, 2])), COMMITTED);
  });

  it("is not held up by a partition whose claim is yet to come: a full log would never take it", () => {
    const floors = floorsOf();
    floors.covered(0, 1, 40);
    const table = tableOf([SELF, 1], [SELF, 3]);
    assert.equal(floors.limit(table), 40);
    floors.claimed(1, 3, 42);
    floors.covered(0, 1, 48);
    assert.equal(floors.limit(table), 41);
  });
});
