import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { TABLE_KEY } from "../../src/control-plane/control-store.ts";
import { encodeTable, parseTable } from "../../src/control-plane/control-table-codec.ts";
import { createTable, joinMember, setDraining } from "../../src/control-plane/table-changes.ts";
import { type TableChange, TableKeeper } from "../../src/control-plane/table-keeper.ts";
import type { ControlTable, TableVersion } from "../../src/model/ownership.ts";
import { DEFAULT_RULE } from "../../src/model/status.ts";
import { SILENT_LOGGER } from "../../src/runtime/logger.ts";
import { MemoryControlRecords, MemoryControlStore } from "../support/memory-control-store.ts";
import { assignedTable, must } from "../support/table-builder.ts";
import { VirtualTimers } from "../support/virtual-timers.ts";

describe("TableKeeper", () => {
  let time: VirtualTimers;
  let shared: MemoryControlRecords;
  let store: MemoryControlStore;
  let keeper: TableKeeper;
  let seed = 1;

  beforeEach(() => {
    time = new VirtualTimers();
    shared = new MemoryControlRecords();
    store = new MemoryControlStore(shared);
    keeper = keeperOver(store);
  });

  function keeperOver(over: MemoryControlStore): TableKeeper {
    const random = { uint32: () => (seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0) };
    return new TableKeeper({
      store: over,
      clock: time,
      timers: time,
      random,
      logger: SILENT_LOGGER,
    });
  }

  function join(name: string): TableChange {
    return (table) => joinMember(table, { nodeId: name, joinNonce: name });
  }

  function plant(table: ControlTable): void {
    shared.put(TABLE_KEY, encodeTable(table), shared.records.get(TABLE_KEY)?.revision ?? 0);
  }

  function stored(): ControlTable {
    const record = shared.records.get(TABLE_KEY);
    const table = record === undefined ? undefined : parseTable(record.value).ok;
    if (table === undefined) throw new Error("no table");
    return table;
  }

  async function finish(work: Promise<TableVersion>, ms = 1000): Promise<TableVersion> {
    work.catch(() => undefined);
    await time.advance(ms);
    return work;
  }

  it("makes the first table and joins in one change", async () => {
    const version = await finish(
      keeper.changeOrCreate((table) =>
        join("n1")(table ?? createTable({ partitionCount: 8, rule: DEFAULT_RULE })),
      ),
    );
    assert.equal(version.table.lastIncarnation, 1);
    assert.deepEqual(keeper.current(), version);
    await assert.rejects(finish(keeperOver(new MemoryControlStore()).change(join("n1")), 20_000), {
      code: "control_unavailable",
    });
  });

  it("applies every change once, whoever is in between", async () => {
    plant(assignedTable(1));
    const others = [1, 2, 3].map(() => keeperOver(new MemoryControlStore(shared)));
    const changes = [keeper, ...others].flatMap((each, k) =>
      [1, 2, 3, 4, 5].map((i) => each.change(join(`n${k}-${i}`))),
    );
    await time.advance(9000);
    await Promise.all(changes);
    assert.equal(stored().lastIncarnation, 21);
    assert.equal(new Set(stored().members.map(({ joinNonce }) => joinNonce)).size, 21);
  });

  it("finds its own change after an unknown outcome, in or not", async () => {
    plant(assignedTable(1));
    for (const [index, fault] of (["lost", "written", "silent"] as const).entries()) {
      store.faults.push({ key: /table/, fault });
      const version = await finish(keeper.change(join(fault)), 4000);
      assert.equal(version.table.lastIncarnation, index + 2);
      assert.equal(stored().lastIncarnation, index + 2);
    }
  });

  it("does not apply a change twice when a later one hides it", async () => {
    plant(assignedTable(1));
    store.faults.push({ key: /table/, fault: "written" });
    shared.listeners.add(() => {
      shared.listeners.clear();
      plant(must(joinMember(stored(), { nodeId: "other", joinNonce: "other" })));
    });
    const version = await finish(keeper.change(join("mine")));
    assert.deepEqual(
      version.table.members.map(({ nodeId }) => nodeId),
      ["n1", "mine", "other"],
    );
    assert.equal(stored().lastIncarnation, 3);
  });

  it("says that it may be in when the store stays away after a write", async () => {
    plant(assignedTable(1));
    store.beforePut = () => {
      store.isAway = true;
    };
    store.faults.push({ key: /table/, fault: "written" });
    await assert.rejects(finish(keeper.change(join("x")), 20_000), {
      code: "outcome_unknown",
      message: /^The control table may be changed: .+/,
    });
  });

  it("says that nothing was changed when the store was never there", async () => {
    store.isAway = true;
    await assert.rejects(finish(keeper.change(join("x")), 20_000), { code: "control_unavailable" });
    assert.equal(store.puts, 0);
  });

  it("believes that there is nothing to do only when a table read just now says so", async () => {
    plant(assignedTable(2));
    await keeper.refresh();
    plant(must(setDraining(stored(), 2, true)));
    const version = await finish(keeper.change((table) => setDraining(table, 2, false)));
    assert.equal(version.table.members[1]?.isDraining, false);
    assert.equal(stored().members[1]?.isDraining, false);
  });

  it("ignores older revisions from a slow copy", async () => {
    plant(assignedTable(1));
    const old = new Map(shared.records);
    plant(must(joinMember(stored(), { nodeId: "n2", joinNonce: "2" })));
    await keeper.refresh();
    store.stale = old;
    await keeper.refresh();
    assert.equal(keeper.current()?.table.lastIncarnation, 2);
  });

  it("follows by watch, by poll and by hint", async () => {
    plant(assignedTable(1));
    keeper.start();
    const seen: number[] = [];
    keeper.onChange(({ table }) => seen.push(table.lastIncarnation));
    await time.advance(10);
    plant(must(joinMember(stored(), { nodeId: "n2", joinNonce: "2" })));
    assert.deepEqual(seen, [1, 2], "the watch told");
    store.isWatchSilent = true;
    plant(must(joinMember(stored(), { nodeId: "n3", joinNonce: "3" })));
    keeper.hint((keeper.current()?.revision ?? 0) + 1);
    await time.advance(5);
    assert.deepEqual(seen, [1, 2, 3], "the hint made it look");
    plant(must(joinMember(stored(), { nodeId: "n4", joinNonce: "4" })));
    await time.advance(1100);
    assert.deepEqual(seen, [1, 2, 3, 4], "the poll found it");
    keeper.stop();
    await time.advance(5000);
    assert.equal(time.count, 0);
  });

  it("refuses a table that is damaged, of another format or of another cluster", async () => {
    plant(assignedTable(3));
    await keeper.refresh();
    const good = keeper.current();
    const table = stored();
    const wrong = [
      Uint8Array.of(1, 2, 3),
      new TextEncoder().encode(JSON.stringify({ ...table, formatVersion: 9 })),
      encodeTable(createTable({ partitionCount: 64, rule: DEFAULT_RULE })),
    ];
    for (const bytes of wrong) {
      shared.put(TABLE_KEY, bytes, shared.records.get(TABLE_KEY)?.revision ?? 0);
      await assert.rejects(keeper.refresh(), { code: "checkpoint_damaged" });
      await assert.rejects(finish(keeper.change(join("x"))), { code: "checkpoint_damaged" });
      assert.equal(keeper.current(), good);
    }
    plant(table);
    await keeper.refresh();
    assert.equal(keeper.damage(), null);
  });

  it("stops a change that would break the table before it is written", async () => {
    plant(assignedTable(1));
    const breaking = keeper.change((table) => ({
      ...table,
      partitions: table.partitions.map((assignment) => ({ ...assignment, epoch: 5 })),
    }));
    await assert.rejects(finish(breaking), { name: "InvariantViolation" });
    assert.equal(stored().partitions[0]?.epoch, 1);
  });
});
