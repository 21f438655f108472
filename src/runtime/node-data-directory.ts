/**
 * Adapter: makes the data directory. A path that can't be one is a mistake of configuration, told in one sentence.
 * Not `mkdir` with `recursive`, which never returns where a file system takes no directories (`/proc`).
 */

import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { CatchallError } from "../model/errors.ts";

/** Resolves when there is a directory. Errors: CatchallError `conflict`. */
export async function makeDataDirectory(path: string): Promise<void> {
  try {
    await make(path);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CatchallError("conflict", `--data-dir "${path}" can't be used: ${reason}`, { cause });
  }
}

async function make(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : null;
    const parent = dirname(path);
    if (code === "ENOENT" && parent !== path && !(await isDirectory(parent))) {
      await make(parent);
      await mkdir(path);
    } else if (code !== "EEXIST" || !(await isDirectory(path))) {
      throw error;
    }
  }
}

async function isDirectory(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
