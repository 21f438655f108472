/** Goal: a disk that is to be full takes not a block more, and has all its room again afterwards. */
import assert from "node:assert/strict";
import { appendFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { FullDisk, whyNoFullDisk } from "../../scripts/chaos/full-disk.ts";

const DISK_BYTES = 64 * 1024 * 1024;
const BLOCK = "x".repeat(4096);

describe("FullDisk", () => {
  it("takes nothing while it is full, loses nothing, and takes all afterwards", async (context) => {
    const why = whyNoFullDisk();
    if (why !== null) return context.skip(why);
    const disk = await FullDisk.create(DISK_BYTES);
    try {
      const file = join(disk.path, "store");
      await writeFile(file, BLOCK);
      for (let i = 0; i < 2; i++) {
        await disk.fill();
        await assert.rejects(appendFile(file, BLOCK), { code: "ENOSPC" });
        await disk.free();
        await appendFile(file, BLOCK);
      }
      assert.equal(await readFile(file, "utf8"), BLOCK.repeat(3));
    } finally {
      await disk.dispose();
    }
  });
});
