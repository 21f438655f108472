import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ClusterSettings } from "../../src/server/cluster-node.ts";
import { type ReadinessFacts, readinessOf } from "../../src/server/cluster-readiness.ts";
import { ServiceGate } from "../../src/server/service-gate.ts";
import { assignedTable } from "../support/table-builder.ts";

const LOG = { kind: "test", synced: true };

function facts(changed: Partial<ReadinessFacts>): ReadinessFacts {
  const gate = new ServiceGate();
  gate.moveTo("serving");
  return {
    settings: { log: LOG, expectNodes: 1 } as unknown as ClusterSettings,
    table: assignedTable(2),
    tableDamage: null,
    gate,
    isLeaving: false,
    leaseRemainingMs: 1000,
    isLogStalled: false,
    openFailure: null,
    openCount: 0,
    ...changed,
  };
}

describe("readinessOf", () => {
  it("is not ready while none of the node's partitions can be opened", () => {
    const { ready, reasons } = readinessOf(facts({ openFailure: "it belongs to others" }));
    assert.equal(ready, false);
    assert.deepEqual(reasons, [
      "None of the partitions of this node can be opened: it belongs to others",
    ]);
  });

  it("is not ready while it cannot read the newest table, and says of which format that is", () => {
    const tableDamage = "The control table of revision 9 can't be used: it is of format 2";
    const { ready, reasons } = readinessOf(facts({ tableDamage, openCount: 2 }));
    assert.deepEqual([ready, reasons], [false, [tableDamage]]);
  });

  it("is ready while it owns nothing, opens for the first time, or serves some", () => {
    assert.equal(readinessOf(facts({})).ready, true);
    const some = readinessOf(facts({ openFailure: "page 7 is damaged", openCount: 1 }));
    assert.equal(some.ready, true);
    assert.equal(some.checks["partitions"], "not open: page 7 is damaged");
  });
});
