/**
 * Preloaded before `catchall serve` in tests: from SIGUSR2 on, the disk is broken for this process. What is written may
 * well arrive, but every write and sync is answered with EIO, as by a kernel that lost pages. Only tests load this.
 */
import { open } from "node:fs/promises";
import { devNull } from "node:os";

let isBroken = false;
process.on("SIGUSR2", () => {
  isBroken = true;
});

const handle = await open(devNull, "r");
const prototype = Object.getPrototypeOf(handle) as Record<string, (...args: unknown[]) => unknown>;
await handle.close();

for (const name of ["write", "writev", "sync", "datasync"]) {
  const original = prototype[name];
  if (original === undefined) throw new Error(`FileHandle has no ${name}`);
  prototype[name] = async function (this: unknown, ...args: unknown[]): Promise<unknown> {
    const result = await original.apply(this, args);
    if (!isBroken) return result;
    throw Object.assign(new Error(`EIO: i/o error, ${name}`), { code: "EIO", errno: -5 });
  };
}
