import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { CatchallError } from "../../src/model/errors.ts";
import { type DataLock, lockDataDirectory } from "../../src/runtime/node-data-lock.ts";

const MODULE = fileURLToPath(new URL("../../src/runtime/node-data-lock.ts", import.meta.url));
const HOLDER = `import { lockDataDirectory } from ${JSON.stringify(MODULE)};
await lockDataDirectory(process.argv[1]);
console.log("locked");
setInterval(() => {}, 1000);`;

async function isLocked(root: string, pid: number): Promise<void> {
  await assert.rejects(lockDataDirectory(root), (error: unknown) => {
    assert.ok(error instanceof CatchallError);
    assert.equal(error.code, "data_dir_locked");
    assert.match(error.message, new RegExp(`process ${pid}$`));
    return true;
  });
}

async function holderOf(root: string): Promise<ChildProcess> {
  const args = ["--import", "tsx", "--input-type=module", "-e", HOLDER, root];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  return child;
}

describe("lockDataDirectory", () => {
  let root: string;
  before(async () => {
    root = await mkdtemp(join(tmpdir(), "catchall-lock-"));
  });
  after(() => rm(root, { recursive: true }));

  it("refuses a second holder, and can be taken again once released", async () => {
    const lock = await lockDataDirectory(root);
    await isLocked(root, process.pid);
    await lock.release();
    await (await lockDataDirectory(root)).release();
  });

  it("refuses while another process lives, stopped or not, and takes over after kill -9", async () => {
    const child = await holderOf(root);
    const ended = once(child, "exit");
    try {
      await isLocked(root, child.pid as number);
      child.kill("SIGSTOP");
      await isLocked(root, child.pid as number);
    } finally {
      child.kill("SIGKILL");
    }
    await ended;
    const lock = await lockDataDirectory(root);
    const sockets = (await readdir(root)).filter((name) => name.endsWith(".sock"));
    assert.equal(sockets.length, 1);
    await lock.release();
  });

  it("never has two holders when many contend at once", async () => {
    for (let round = 0; round < 20; round += 1) {
      const contenders = Array.from({ length: 8 }, () => lockDataDirectory(root));
      const outcomes = await Promise.allSettled(contenders);
      const locks = outcomes.flatMap((o): DataLock[] =>
        o.status === "fulfilled" ? [o.value] : [],
      );
      assert.ok(locks.length <= 1);
      await Promise.all(locks.map((lock) => lock.release()));
    }
  });

  it("locks a directory whose path is longer than a socket's may be", async () => {
    const long = join(root, "d".repeat(120));
    await mkdir(long);
    const lock = await lockDataDirectory(long);
    await isLocked(long, process.pid);
    await lock.release();
  });
});
