/**
 * Preloaded before `catchall serve` in tests: SIGUSR2 breaks the disk for this process, the next one repairs it. What is
 * written may well arrive, but every write and sync is answered with EIO, as by a kernel that lost pages. Loaded with
 * `?fault=ENOSPC` the disk is full instead: files can't grow, what they have already can be written. Only tests load this.
 */
import { type FileHandle, open } from "node:fs/promises";
import { devNull } from "node:os";

type Call = (this: FileHandle, ...args: unknown[]) => Promise<unknown>;

const isFullDisk: boolean = new URL(import.meta.url).searchParams.get("fault") === "ENOSPC";
let isBroken = false;
process.on("SIGUSR2", () => {
  isBroken = !isBroken;
});

const handle = await open(devNull, "r");
const prototype = Object.getPrototypeOf(handle) as Record<string, Call>;
await handle.close();

for (const name of ["write", "writev", "sync", "datasync"]) {
  const original = prototype[name];
  if (original === undefined) throw new Error(`FileHandle has no ${name}`);
  prototype[name] = async function (...args) {
    if (isFullDisk && isBroken && (await grows(this, name, args))) {
      throw Object.assign(new Error(`ENOSPC: no space left on device, ${name}`), {
        ...{ code: "ENOSPC", errno: -28 },
      });
    }
    const result = await original.apply(this, args);
    if (isFullDisk || !isBroken) return result;
    throw Object.assign(new Error(`EIO: i/o error, ${name}`), { code: "EIO", errno: -5 });
  };
}

/** Of `write(buffer, offset, length, position)`, as the product calls it; all else is taken for growth. */
async function grows(file: FileHandle, name: string, args: readonly unknown[]): Promise<boolean> {
  if (name === "sync" || name === "datasync") return false;
  const [, , length, position] = args;
  if (typeof length !== "number" || typeof position !== "number") return true;
  return position + length > (await file.stat()).size;
}
