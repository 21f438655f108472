import assert from "node:assert/strict";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { CatchallError } from "../../src/model/errors.ts";
import { makeDataDirectory } from "../../src/runtime/node-data-directory.ts";

describe("makeDataDirectory", () => {
  let root = "";
  before(async () => {
    root = await mkdtemp(join(tmpdir(), "catchall-data-directory-"));
  });
  after(() => rm(root, { recursive: true, force: true }));

  it("makes it with its parents, and takes one that is there", async () => {
    const path = join(root, "a", "b", "c");
    await makeDataDirectory(path);
    await makeDataDirectory(path);
    assert.equal((await stat(path)).isDirectory(), true);
  });

  it("says in one sentence what can't be a directory", async () => {
    const file = join(root, "file");
    await writeFile(file, "");
    const paths = [
      file,
      join(file, "below"),
      ...(process.platform === "linux" ? ["/proc/x/y"] : []),
    ];
    for (const path of paths) {
      await assert.rejects(makeDataDirectory(path), (error: unknown) => {
        assert.ok(error instanceof CatchallError);
        assert.equal(error.code, "conflict");
        assert.ok(error.message.startsWith(`--data-dir "${path}" can't be used: E`), error.message);
        return true;
      });
    }
  });
});
