/** The control table over every power cut and every kind of damage. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  CONTROL_FORMAT_VERSION,
  type ControlTable,
  LocalControlStore,
} from "../../src/control-plane/local-control-store.ts";
import { DEFAULT_RULE } from "../../src/model/status.ts";
import { SimDisk } from "../../src/simulation/sim-disk.ts";

function tableOf(incarnation: number): ControlTable {
  return {
    formatVersion: CONTROL_FORMAT_VERSION,
    partitions: 64,
    incarnation,
    initialRule: DEFAULT_RULE,
    rule: { ...DEFAULT_RULE, deliveredThreshold: incarnation },
    ruleRevision: incarnation,
  };
}

function encode(value: unknown): Uint8Array {
  return new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
}

describe("LocalControlStore", () => {
  it("has nothing at first, then what was written last, over restarts", async () => {
    const disk = new SimDisk();
    assert.equal(await new LocalControlStore(disk).read(), null);
    for (const incarnation of [1, 2, 3]) {
      await new LocalControlStore(disk).write(tableOf(incarnation));
      assert.deepEqual(await new LocalControlStore(disk).read(), tableOf(incarnation));
      const afterCut = disk.afterPowerCut(() => false);
      assert.deepEqual(await new LocalControlStore(afterCut).read(), tableOf(incarnation));
    }
  });

  it("is refused with any bit flipped, or says what it said", async () => {
    const clean = new SimDisk();
    await new LocalControlStore(clean).write(tableOf(7));
    const bits = (await clean.size("control.json")) * 8;
    let refused = 0;
    for (let bit = 0; bit < bits; bit++) {
      const disk = clean.afterPowerCut(() => true);
      disk.flipBit("control.json", bit);
      try {
        const { formatVersion, partitions, incarnation, initialRule, rule, ruleRevision } =
          (await new LocalControlStore(disk).read()) as ControlTable;
        const read = { formatVersion, partitions, incarnation, initialRule, rule, ruleRevision };
        assert.deepEqual(read, tableOf(7), `bit ${bit}`);
      } catch (error) {
        assert.equal(Reflect.get(error as object, "code"), "checkpoint_damaged", `bit ${bit}`);
        refused++;
      }
    }
    // All but the name of the checksum itself, in which it is lost.
    assert.equal(refused > bits - 8 * "checksum".length - 1, true, `${refused} of ${bits} refused`);
  });

  it("reads a table that was written without a checksum", async () => {
    const disk = new SimDisk();
    disk.plant("control.json", encode(tableOf(4)));
    assert.deepEqual(await new LocalControlStore(disk).read(), tableOf(4));
  });

  it("has the old table or the new one, whole, after a power cut at any step of a write", async () => {
    const steps = new SimDisk();
    await new LocalControlStore(steps).write(tableOf(1));
    const before = steps.operations.length;
    await new LocalControlStore(steps).write(tableOf(2));
    const count = steps.operations.length - before;
    assert.ok(count >= 3);
    for (let step = 0; step < count; step++) {
      for (const keeps of [true, false]) {
        const disk = new SimDisk({
          faultAt: ({ index }) => (index === before + step ? "crash" : null),
        });
        const store = new LocalControlStore(disk);
        await store.write(tableOf(1));
        await assert.rejects(store.write(tableOf(2)));
        const after = new LocalControlStore(disk.afterPowerCut(() => keeps));
        const { incarnation } = (await after.read()) as ControlTable;
        assert.ok(incarnation === 1 || incarnation === 2, `step ${step}`);
        await after.write(tableOf(3));
        assert.deepEqual(await after.read(), tableOf(3));
      }
    }
  });

  it("keeps the old table when the disk is full or fails, and says so", async () => {
    for (const fault of ["io", "full"] as const) {
      let isFailing = false;
      const disk = new SimDisk({ faultAt: () => (isFailing ? fault : null) });
      const store = new LocalControlStore(disk);
      await store.write(tableOf(1));
      isFailing = true;
      await assert.rejects(store.write(tableOf(2)));
      isFailing = false;
      assert.deepEqual(await store.read(), tableOf(1));
    }
  });

  it("refuses what is not a control table with checkpoint_damaged, never with another error", async () => {
    const good = tableOf(1);
    const wrong: unknown[] = [
      "",
      "{",
      "null",
      "[]",
      "5",
      '"text"',
      "\ufeff{}",
      { ...good, formatVersion: 2 },
      { ...good, formatVersion: undefined },
      { ...good, incarnation: "1" },
      { ...good, incarnation: 1.5 },
      { ...good, incarnation: -1 },
      { ...good, partitions: null },
      { ...good, ruleRevision: 1e300 },
      { ...good, rule: null },
      { ...good, rule: {} },
      { ...good, rule: { ...DEFAULT_RULE, maxBounceRatio: "0.5" } },
      { ...good, initialRule: { ...DEFAULT_RULE, bouncedThreshold: "1" } },
      { ...good, initialRule: undefined },
    ];
    for (const value of wrong) {
      const disk = new SimDisk();
      disk.plant("control.json", encode(value));
      const read = new LocalControlStore(disk).read();
      await assert.rejects(read, { code: "checkpoint_damaged" }, JSON.stringify(value));
    }
    const disk = new SimDisk();
    disk.plant("control.json", Uint8Array.of(0x7b, 0xff, 0x7d));
    await assert.rejects(new LocalControlStore(disk).read(), { code: "checkpoint_damaged" });
  });

  it("survives any truncation as damage", async () => {
    const whole = encode(tableOf(1));
    for (let length = 0; length < whole.length; length++) {
      const disk = new SimDisk();
      disk.plant("control.json", whole.subarray(0, length));
      await assert.rejects(new LocalControlStore(disk).read(), { code: "checkpoint_damaged" });
    }
  });
});
