/** What the checker of control records takes for a death by an outage, and what not. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { leaseKey, TABLE_KEY } from "../../src/control-plane/control-store.ts";
import { encodeTable } from "../../src/control-plane/control-table-codec.ts";
import { encodeLease } from "../../src/control-plane/lease-record.ts";
import { createTable, joinMember } from "../../src/control-plane/table-changes.ts";
import type { ControlTable } from "../../src/model/ownership.ts";
import { DEFAULT_RULE } from "../../src/model/status.ts";
import { LogChecker } from "../../src/simulation/checkers/log-checker.ts";
import { TableChecker } from "../../src/simulation/checkers/table-checker.ts";
import { TestWorld } from "./test-world.ts";

const TTL_MS = 1000;
const OUTAGE = { startMs: 7000, endMs: 8200 };
const INCARNATION = 1;

/** Joined at 400 ms, renewed when `renewedMs` says, declared dead at `deadMs`. */
function failuresOf(renewedMs: number | null, deadMs: number): readonly string[] {
  const { world } = new TestWorld();
  const checker = new TableChecker({
    world,
    logs: new LogChecker(world),
    openOf: () => [],
    lastOutage: () => OUTAGE,
    arePutsLate: false,
  });
  let revision = 0;
  const put = (nowMs: number, key: string, value: Uint8Array): void => {
    world.nowMs = nowMs;
    checker.recordPut({ key, revision: ++revision, value });
  };
  const empty = createTable({ partitionCount: 8, rule: DEFAULT_RULE });
  const table = joinMember(empty, { nodeId: "n1", joinNonce: "a" }) as ControlTable;
  put(400, TABLE_KEY, encodeTable(table));
  const lease = (state: "held" | "dead"): Uint8Array =>
    encodeLease({ incarnation: INCARNATION, nodeId: "n1", state, renewal: 1, ttlMs: TTL_MS });
  if (renewedMs !== null) put(renewedMs, leaseKey(INCARNATION), lease("held"));
  put(deadMs, leaseKey(INCARNATION), lease("dead"));
  return world.failures.map(({ rule }) => rule);
}

describe("TableChecker", () => {
  it("says that an outage killed a member which had renewed just before it", () => {
    assert.deepEqual(failuresOf(6900, 8210), ["I13"]);
  });

  it("lets a member die right after an outage that was silent for long enough before it", () => {
    assert.deepEqual(failuresOf(3000, 8210), []);
  });

  it("lets a member die that joined, and was never heard of again", () => {
    assert.deepEqual(failuresOf(null, 8210), []);
  });

  it("lets a member die a lease after an outage", () => {
    assert.deepEqual(failuresOf(6900, 8200 + TTL_MS), []);
  });
});
