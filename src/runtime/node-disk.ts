/**
 * Adapter: the Disk port on Node's file system, below one data directory. A synced write is one pwrite on a descriptor
 * opened with O_DSYNC: one trip to the thread pool and, into allocated space, no journal commit (measured fastest for
 * small appends, never slower for big ones). Nothing that failed is tried again here: after a failed sync the kernel
 * may have dropped the bytes and forgotten that it did.
 */

import { constants } from "node:fs";
import {
  access,
  type FileHandle,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
} from "node:fs/promises";
import { join, normalize } from "node:path";
import { CatchallError } from "../model/errors.ts";
import { assert } from "./assert.ts";
import type { Disk, DiskFile } from "./disk.ts";

const ZERO_CHUNK: Uint8Array = new Uint8Array(1024 * 1024);
const FILE_MODE = 0o640;
const DIRECTORY_MODE = 0o750;

export class NodeDisk implements Disk {
  readonly #root: string;

  /** `root`: the data directory, which exists. */
  constructor(root: string) {
    this.#root = root;
  }

  list(directory: string): Promise<readonly string[]> {
    return failing("list", directory, async () => (await readdir(this.#path(directory))).sort());
  }

  read(path: string): Promise<Uint8Array> {
    return failing("read", path, () => readFile(this.#path(path)));
  }

  size(path: string): Promise<number> {
    return failing("size", path, async () => (await stat(this.#path(path))).size);
  }

  exists(path: string): Promise<boolean> {
    return failing("find", path, async () => {
      try {
        await access(this.#path(path));
        return true;
      } catch (error) {
        if (codeOf(error) === "ENOENT") return false;
        throw error;
      }
    });
  }

  makeDirectory(path: string): Promise<void> {
    return failing("make directory", path, async () => {
      await mkdir(this.#path(path), { recursive: true, mode: DIRECTORY_MODE });
    });
  }

  /** Zeros are really written, not left sparse, and synced: later writes change no metadata. */
  create(path: string, sizeBytes: number): Promise<DiskFile> {
    return failing("create", path, async () => {
      const flags = constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC;
      const handle = await open(this.#path(path), flags, FILE_MODE);
      try {
        for (let at = 0; at < sizeBytes; at += ZERO_CHUNK.length) {
          await writeAll(handle, at, ZERO_CHUNK.subarray(0, sizeBytes - at));
        }
        if (sizeBytes > 0) await handle.sync();
      } catch (error) {
        await handle.close();
        throw error;
      }
      return new NodeDiskFile(path, this.#path(path), handle);
    });
  }

  open(path: string): Promise<DiskFile> {
    return failing("open", path, async () => {
      const handle = await open(this.#path(path), constants.O_RDWR);
      return new NodeDiskFile(path, this.#path(path), handle);
    });
  }

  rename(from: string, to: string): Promise<void> {
    return failing("rename", from, () => rename(this.#path(from), this.#path(to)));
  }

  remove(path: string): Promise<void> {
    return failing("remove", path, () => rm(this.#path(path), { recursive: true, force: true }));
  }

  syncDirectory(path: string): Promise<void> {
    return failing("sync directory", path, async () => {
      const handle = await open(this.#path(path), constants.O_RDONLY);
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    });
  }

  #path(path: string): string {
    const clean = normalize(path);
    assert(!clean.startsWith("..") && !clean.startsWith("/"), "paths stay in the data directory");
    return join(this.#root, clean);
  }
}

class NodeDiskFile implements DiskFile {
  readonly #name: string;
  readonly #handle: FileHandle;
  readonly #path: string;
  #synced: FileHandle | null = null;

  constructor(name: string, path: string, handle: FileHandle) {
    this.#name = name;
    this.#path = path;
    this.#handle = handle;
  }

  writeSynced(position: number, bytes: Uint8Array): Promise<void> {
    return failing("write", this.#name, async () => {
      this.#synced ??= await this.#openSynced();
      await writeAll(this.#synced, position, bytes);
    });
  }

  write(position: number, bytes: Uint8Array): Promise<void> {
    return failing("write", this.#name, () => writeAll(this.#handle, position, bytes));
  }

  async read(position: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    return bytes.subarray(0, await this.readInto(position, bytes));
  }

  readInto(position: number, into: Uint8Array): Promise<number> {
    return failing("read", this.#name, async () => {
      let done = 0;
      while (done < into.length) {
        const left = into.length - done;
        const { bytesRead } = await this.#handle.read(into, done, left, position + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      return done;
    });
  }

  sync(): Promise<void> {
    return failing("sync", this.#name, () => this.#handle.sync());
  }

  truncate(sizeBytes: number): Promise<void> {
    return failing("truncate", this.#name, () => this.#handle.truncate(sizeBytes));
  }

  async close(): Promise<void> {
    const synced = this.#synced;
    this.#synced = null;
    await synced?.close();
    await this.#handle.close();
  }

  /** A renamed file is another path, so the second descriptor is opened through the first where that is possible. */
  async #openSynced(): Promise<FileHandle> {
    const flags = constants.O_RDWR | (constants.O_DSYNC ?? constants.O_SYNC);
    if (process.platform === "linux") return open(`/proc/self/fd/${this.#handle.fd}`, flags);
    const handle = await open(this.#path, flags);
    const [mine, theirs] = await Promise.all([this.#handle.stat(), handle.stat()]);
    if (mine.ino === theirs.ino) return handle;
    await handle.close();
    throw new Error("the file was renamed before its first synced write");
  }
}

async function writeAll(handle: FileHandle, position: number, bytes: Uint8Array): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done);
    if (bytesWritten === 0) throw new Error("nothing could be written");
    done += bytesWritten;
  }
}

async function failing<T>(doing: string, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw diskError(doing, path, error);
  }
}

function diskError(doing: string, path: string, cause: unknown): CatchallError {
  const code = codeOf(cause);
  const isFull = code === "ENOSPC" || code === "EDQUOT";
  const message = `Cannot ${doing} "${path}": ${cause instanceof Error ? cause.message : "failed"}`;
  return new CatchallError(isFull ? "log_full" : "log_failed", message, { cause });
}

function codeOf(error: unknown): string | null {
  return error instanceof Error && "code" in error ? String(error.code) : null;
}
