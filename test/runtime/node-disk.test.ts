import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { CatchallError } from "../../src/model/errors.ts";
import type { Disk } from "../../src/runtime/disk.ts";
import { NodeDisk } from "../../src/runtime/node-disk.ts";
import { SimDisk } from "../../src/simulation/sim-disk.ts";

/** What both disks promise, so that the simulated one is no kinder than the real one. */
function describeDisk(name: string, diskOf: () => Disk): void {
  describe(`Disk: ${name}`, () => {
    it("creates zeros, writes, reads, truncates and lists", async () => {
      const disk = diskOf();
      await disk.makeDirectory("d/e");
      const file = await disk.create("d/e/a", 3_000_000);
      assert.equal(await disk.size("d/e/a"), 3_000_000);
      assert.ok((await disk.read("d/e/a")).every((byte) => byte === 0));
      await file.writeSynced(2_999_990, new Uint8Array(10).fill(7));
      await file.write(3_000_000, Uint8Array.of(8, 9));
      await file.sync();
      assert.deepEqual([...(await file.read(2_999_998, 100))], [7, 7, 8, 9]);
      await file.truncate(5);
      await file.close();
      assert.equal(await disk.size("d/e/a"), 5);
      assert.deepEqual(await disk.list("d"), ["e"]);
      assert.deepEqual(await disk.list("d/e"), ["a"]);
    });

    it("writes on, synced, to a file that was renamed", async () => {
      const disk = diskOf();
      await disk.makeDirectory("r");
      const file = await disk.create("r/old", 100);
      await file.writeSynced(0, Uint8Array.of(1));
      await disk.rename("r/old", "r/new");
      await disk.syncDirectory("r");
      await file.writeSynced(1, Uint8Array.of(2));
      await file.close();
      assert.deepEqual([...(await disk.read("r/new")).subarray(0, 3)], [1, 2, 0]);
      assert.equal(await disk.exists("r/old"), false);
      await disk.remove("r");
      assert.equal(await disk.exists("r/new"), false);
      await disk.remove("r");
    });

    it("reports a missing file as log_failed", async () => {
      const disk = diskOf();
      const works = [() => disk.read("none"), () => disk.open("none"), () => disk.size("none")];
      for (const work of works) {
        await assert.rejects(work(), (error: unknown) => {
          assert.ok(error instanceof CatchallError);
          assert.equal(error.code, "log_failed");
          assert.match(error.message, /"none".*ENOENT/);
          return true;
        });
      }
    });
  });
}

let root = "";
before(async () => {
  root = await mkdtemp(join(tmpdir(), "catchall-disk-"));
});
after(() => rm(root, { recursive: true }));

describeDisk("NodeDisk", () => new NodeDisk(root));
const simulated: SimDisk = new SimDisk();
describeDisk("SimDisk", () => simulated);

describe("NodeDisk", () => {
  it("stays in its directory", async () => {
    await assert.rejects(new NodeDisk(root).read("../x"));
    await assert.rejects(new NodeDisk(root).read("/etc/hostname"));
  });

  it("keeps the system's error as the cause", async () => {
    await assert.rejects(new NodeDisk(root).read("none"), (error: unknown) => {
      const cause = error instanceof Error ? error.cause : null;
      return cause instanceof Error && "code" in cause && cause.code === "ENOENT";
    });
  });
});
