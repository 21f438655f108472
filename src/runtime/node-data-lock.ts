/**
 * Adapter: one process per data directory. The lock is a Unix-domain socket in the directory that the holder listens
 * on: the kernel lets go of it however the process ends, so a lock left by kill -9 refuses connections and is known to
 * be stale, while a stopped process still holds it. Pids alone are not enough: they are reused, and mean nothing
 * between containers that share a volume (sockets in the file system work there, on one kernel; not over NFS).
 * Invariant: every contender first listens on a name of its own choosing, then looks at all others, and gives up if
 * one is alive. Of two contenders at least one sees the other, so there are never two holders.
 */

import { type FileHandle, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createConnection, createServer, type Server } from "node:net";
import { join } from "node:path";
import { CatchallError } from "../model/errors.ts";

const LOCK_NAME = /^lock\.(\d{1,15})\.sock$/;
const PID_FILE = "lock.pid";

export interface DataLock {
  /** Lets go; a process that just ends does so too. */
  release(): Promise<void>;
}

/**
 * Locks an existing data directory for this process.
 * Errors: CatchallError `data_dir_locked` naming the holder's pid, or why the lock could not be made.
 */
export async function lockDataDirectory(root: string): Promise<DataLock> {
  // Socket paths end at 107 bytes; through the descriptor any directory will do.
  const directory = process.platform === "linux" ? await open(root) : null;
  const base = directory === null ? root : `/proc/self/fd/${directory.fd}`;
  let server: Server | null = null;
  try {
    const generations = await lockGenerations(root);
    const mine = Math.max(0, ...generations) + 1;
    server = await listen(socketPath(base, mine), root);
    // Looked at again after listening: who listens later looks later, and then sees this one.
    const others = (await lockGenerations(root)).filter((generation) => generation !== mine);
    for (const other of others) {
      if (await isAlive(socketPath(base, other))) throw await lockedError(root);
    }
    for (const other of others) await rm(join(root, `lock.${other}.sock`), { force: true });
    await writeFile(join(root, PID_FILE), `${process.pid}\n`);
  } catch (error) {
    await close(server, directory);
    throw error;
  }
  return { release: () => close(server, directory) };
}

function socketPath(base: string, generation: number): string {
  return `${base}/lock.${generation}.sock`;
}

async function lockGenerations(root: string): Promise<readonly number[]> {
  const names = await readdir(root);
  return names.flatMap((name) => {
    const digits = LOCK_NAME.exec(name)?.[1];
    return digits === undefined ? [] : [Number(digits)];
  });
}

function listen(path: string, root: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.unref();
    server.once("error", (cause: NodeJS.ErrnoException) => {
      // Another contender took the same name a moment ago.
      if (cause.code === "EADDRINUSE") lockedError(root).then(reject, reject);
      else reject(new CatchallError("data_dir_locked", `Cannot lock "${root}"`, { cause }));
    });
    server.listen(path, () => resolve(server));
  });
}

function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", (error: NodeJS.ErrnoException) => {
      // Only these two prove that nobody listens; a full backlog (EAGAIN) does not.
      resolve(error.code !== "ECONNREFUSED" && error.code !== "ENOENT");
    });
  });
}

async function lockedError(root: string): Promise<CatchallError> {
  const pid = await readFile(join(root, PID_FILE), "utf8").catch(() => "");
  const holder = /^\d+\n$/.test(pid) ? `process ${pid.trim()}` : "another process";
  return new CatchallError("data_dir_locked", `Data directory "${root}" is in use by ${holder}`);
}

async function close(server: Server | null, directory: FileHandle | null): Promise<void> {
  if (server !== null) await new Promise<void>((resolve) => server.close(() => resolve()));
  await directory?.close();
}
