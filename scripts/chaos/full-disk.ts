/**
 * A small file system for the store of nats-server that can be full for a while: files of ballast take what is left of
 * it, and are taken away again. Nothing but ballast is ever touched. Linux, root and loop devices, as for power cuts;
 * `whyNoFullDisk` says what is missing.
 */

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { type FileHandle, open, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import { codeOf } from "../../src/runtime/error-code.ts";
import { CuttableDisk, whyNoPowerCuts } from "../power-cut/cuttable-disk.ts";

const ALLOCATE = "fallocate";
const LARGE_CHUNK = new Uint8Array(1024 * 1024);
/** One block. */
const SMALL_CHUNK = new Uint8Array(4096);
/** ext4 keeps up to 16 MiB for itself that can't be allocated ahead. */
const WRITTEN_BYTES: number = 32 * 1024 * 1024;

/** A sentence, or null when there can be a full disk here. */
export function whyNoFullDisk(): string | null {
  const why = whyNoPowerCuts();
  if (why !== null) return `A full disk needs what a power cut needs. ${why}`;
  const { status } = spawnSync("which", [ALLOCATE]);
  return status === 0 ? null : `A full disk needs ${ALLOCATE}`;
}

export class FullDisk {
  readonly path: string;
  readonly #disk: CuttableDisk;
  #files = 0;

  private constructor(disk: CuttableDisk) {
    this.#disk = disk;
    this.path = disk.path;
  }

  /** Mounted, with room for `bytes` less what the file system itself takes. */
  static async create(bytes: number): Promise<FullDisk> {
    return new FullDisk(await CuttableDisk.create(bytes));
  }

  /** Takes every block that is free now. May be called again, when somebody has freed some. */
  async fill(): Promise<void> {
    const { bavail, bsize } = await statfs(this.path);
    const bytes = bavail * bsize - WRITTEN_BYTES;
    // Nothing is written, so it is done at once. How much can be had like this is only nearly known.
    if (bytes > 0) await allocate(this.#nextFile(), bytes);
    const file = await open(this.#nextFile(), "w");
    try {
      for (const chunk of [LARGE_CHUNK, SMALL_CHUNK]) await writeUntilFull(file, chunk);
    } finally {
      await file.close();
    }
  }

  /** Gives it all back. */
  async free(): Promise<void> {
    while (this.#files > 0) await rm(this.#file(--this.#files), { force: true });
  }

  /** For the end of a process that can't wait. */
  detach(): void {
    spawnSync("umount", ["-l", this.path]);
  }

  async dispose(): Promise<void> {
    await this.#disk.dispose();
  }

  #nextFile(): string {
    return this.#file(this.#files++);
  }

  #file(i: number): string {
    return join(this.path, `ballast-${i}`);
  }
}

async function allocate(file: string, bytes: number): Promise<void> {
  const [code] = await once(spawn(ALLOCATE, ["-l", String(bytes), file]), "exit");
  if (code !== 0) throw new Error(`${ALLOCATE} of ${bytes} bytes ended with ${code}`);
}

async function writeUntilFull(file: FileHandle, chunk: Uint8Array): Promise<void> {
  try {
    for (;;) await file.write(chunk);
  } catch (error) {
    if (codeOf(error) !== "ENOSPC") throw error;
  }
}
