import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { encodeTable, parseTable } from "../../src/control-plane/control-table-codec.ts";
import { encodeLease, type LeaseRecord, parseLease } from "../../src/control-plane/lease-record.ts";
import {
  drainMember,
  startRebalance,
  stepRebalances,
} from "../../src/control-plane/rebalance-changes.ts";
import { endMember } from "../../src/control-plane/table-changes.ts";
import type { ControlTable } from "../../src/model/ownership.ts";
import { assignedTable, must, withNode } from "../support/table-builder.ts";

/** A table with everything in it: an ended member, a lineage, a rebalance, a drain, moves under way. */
function richTable(): ControlTable {
  const end = { incarnation: 2, endSequence: 7, state: "dead", endedAtMs: 1000 } as const;
  let table = must(endMember(assignedTable(3, 16), end));
  table = must(startRebalance(withNode(table, "n4"), { id: "r1", startedAtMs: 5 }));
  table = must(drainMember(table, { id: "d1", startedAtMs: 6, incarnation: 3 }));
  return must(stepRebalances(table));
}

function bytesOf(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

describe("parseTable", () => {
  it("gives back what was encoded", () => {
    const table = richTable();
    assert.deepEqual(parseTable(encodeTable(table)), { ok: table });
  });

  it("refuses another format and names both", () => {
    const { damage } = parseTable(bytesOf({ ...richTable(), formatVersion: 2 }));
    assert.match(damage ?? "", /format 2.*knows 1/);
  });

  it("refuses what is no table, without throwing", () => {
    for (const text of ["", "null", "[]", "{}", "7", '{"formatVersion":1}', "\u0000"]) {
      assert.notEqual(parseTable(new TextEncoder().encode(text)).damage, undefined);
    }
    assert.notEqual(parseTable(Uint8Array.of(0xff, 0xfe)).damage, undefined);
  });

  it("refuses a table with any field missing or of another kind", () => {
    const table = richTable() as unknown as Record<string, unknown>;
    for (const field of Object.keys(table)) {
      for (const wrong of [undefined, { a: 1 }, -1, 1.5]) {
        assert.notEqual(parseTable(bytesOf({ ...table, [field]: wrong })).damage, undefined, field);
      }
    }
  });

  it("refuses owners, targets and lineages that do not fit the members", () => {
    const table = richTable();
    const [p0] = table.partitions;
    assert.ok(p0 !== undefined);
    const wrong = [
      { ...p0, owner: 99 },
      { ...p0, owner: 2 },
      { ...p0, owner: 0 },
      { ...p0, epoch: 0 },
      { ...p0, moveTo: p0.owner },
      { ...p0, moveTo: 2 },
      { ...p0, lineage: [{ epoch: p0.epoch, incarnation: 1, endSequence: 1 }] },
      { ...p0, epoch: 9, lineage: [{ epoch: 1, incarnation: 98, endSequence: 1 }] },
    ];
    for (const assignment of wrong) {
      const partitions = table.partitions.with(0, assignment);
      assert.notEqual(parseTable(bytesOf({ ...table, partitions })).damage, undefined);
    }
  });

  it("never throws on any JSON", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(...Object.keys(richTable())), (value, field) => {
        parseTable(bytesOf(value));
        parseTable(bytesOf({ ...richTable(), [field]: value }));
      }),
    );
  });
});

describe("parseLease", () => {
  const record: LeaseRecord = {
    incarnation: 3,
    nodeId: "n1",
    state: "held",
    renewal: 4,
    ttlMs: 5000,
  };

  it("gives back what was encoded", () => {
    assert.deepEqual(parseLease(encodeLease(record), 3), { ok: record });
  });

  it("refuses a record under the key of another incarnation", () => {
    assert.match(parseLease(encodeLease(record), 4).damage ?? "", /another incarnation/);
  });

  it("refuses fields out of range and another format", () => {
    const wrong = [
      { ttlMs: 1 },
      { ttlMs: 1e9 },
      { state: "gone" },
      { renewal: -1 },
      { nodeId: "" },
    ];
    for (const fields of [...wrong, { formatVersion: 2 }, { formatVersion: undefined }]) {
      const bytes = bytesOf({ formatVersion: 1, ...record, ...fields });
      assert.notEqual(parseLease(bytes, 3).damage, undefined, JSON.stringify(fields));
    }
  });
});
