import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SimDisk } from "../../src/simulation/sim-disk.ts";

const ONES: Uint8Array = new Uint8Array(1536).fill(1);

describe("SimDisk", () => {
  it("keeps what was synced and any subset of the sectors that were not", async () => {
    const disk = new SimDisk();
    const file = await disk.create("a", 1536);
    await disk.syncDirectory(".");
    await file.write(0, ONES);
    assert.equal(disk.unsyncedChoices, 3);
    const seen = new Set<string>();
    for (let subset = 0; subset < 8; subset += 1) {
      let choice = 0;
      const after = disk.afterPowerCut(() => ((subset >> choice++) & 1) === 1);
      const bytes = await after.read("a");
      seen.add(
        [0, 512, 1024]
          .map((at) => bytes.subarray(at, at + 512).every((b) => b === bytes[at]) && bytes[at])
          .join(""),
      );
    }
    assert.deepEqual([...seen].sort(), ["000", "001", "010", "011", "100", "101", "110", "111"]);
    await file.sync();
    assert.equal(disk.unsyncedChoices, 0);
    assert.deepEqual(await disk.afterPowerCut(() => false).read("a"), ONES);
  });

  it("loses creates and renames whose directory was not synced", async () => {
    const disk = new SimDisk();
    await disk.create("d/a", 10);
    await disk.syncDirectory("d");
    await disk.rename("d/a", "d/b");
    await disk.create("d/c", 10);
    assert.deepEqual(disk.afterPowerCut(() => false).paths(), ["d/a"]);
    assert.deepEqual(disk.afterPowerCut(() => true).paths(), ["d/b", "d/c"]);
    await disk.syncDirectory("d");
    assert.deepEqual(disk.afterPowerCut(() => false).paths(), ["d/b", "d/c"]);
  });

  it("drops the bytes of a failed sync, goes on showing them, and never writes them later", async () => {
    const disk = new SimDisk({ faultAt: ({ index }) => (index === 2 ? "io" : null) });
    const file = await disk.create("a", 512);
    await disk.syncDirectory(".");
    await assert.rejects(file.writeSynced(0, ONES.subarray(0, 512)), { code: "log_failed" });
    await file.sync();
    assert.equal((await disk.read("a"))[0], 1);
    assert.equal((await disk.afterPowerCut(() => true).read("a"))[0], 0);
    await file.writeSynced(0, ONES.subarray(0, 512));
    assert.equal((await disk.afterPowerCut(() => false).read("a"))[0], 1);
  });

  it("rejects everything after a crash, with nothing of the last call synced", async () => {
    const disk = new SimDisk({ faultAt: ({ index }) => (index === 2 ? "crash" : null) });
    const file = await disk.create("a", 512);
    await disk.syncDirectory(".");
    await assert.rejects(file.writeSynced(0, ONES.subarray(0, 512)));
    assert.equal(disk.isCrashed, true);
    await assert.rejects(disk.read("a"));
    assert.equal((await disk.afterPowerCut(() => false).read("a"))[0], 0);
    assert.equal((await disk.afterPowerCut(() => true).read("a"))[0], 1);
  });

  it("runs out of space and has room again after a removal", async () => {
    const disk = new SimDisk({ capacityBytes: 1000 });
    const file = await disk.create("a", 600);
    await assert.rejects(disk.create("b", 500), { code: "log_full" });
    await assert.rejects(file.write(600, ONES.subarray(0, 401)), { code: "log_full" });
    assert.equal(await disk.size("a"), 600);
    await disk.remove("a");
    await disk.create("b", 1000);
  });

  it("rots the bit that it is told to", async () => {
    const disk = new SimDisk();
    await disk.create("a", 4);
    disk.flipBit("a", 9);
    assert.deepEqual(await disk.read("a"), Uint8Array.of(0, 2, 0, 0));
  });
});
