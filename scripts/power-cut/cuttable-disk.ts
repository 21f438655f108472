/**
 * A file system whose power can be cut: ext4 in a file, mounted over a loop device, shut down by the ioctl that its own
 * crash tests use. What was synced is there after the next mount; what was not is gone, names of files among it.
 * Linux, root, loop devices, mkfs.ext4 and perl (for the ioctl); `whyNoPowerCuts` says what is missing.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** `_IOR('X', 125, __u32)`; 2: without flushing the journal. */
const SHUTDOWN_IOCTL = 0x8004587d;
const SHUTDOWN_WITHOUT_FLUSH = 2;
const PROGRAMS = ["mkfs.ext4", "mount", "umount", "sync", "perl"] as const;
const CUT_SCRIPT =
  "sysopen(my $disk, $ARGV[0], 0) or die $!; my $flags = pack('I', $ARGV[2]); " +
  "ioctl($disk, $ARGV[1], $flags) or die $!";
/** Processes that were killed hold their files for a moment. */
const UNMOUNT_TRIES_MAX = 100;
const UNMOUNT_PAUSE_MS = 50;

/** A sentence, or null when power can be cut here. */
export function whyNoPowerCuts(): string | null {
  if (process.platform !== "linux") return "Power cuts need Linux";
  if (process.getuid?.() !== 0) return "Power cuts need root, to mount a file system";
  if (!existsSync("/dev/loop-control")) return "Power cuts need loop devices";
  const missing = PROGRAMS.filter((name) => spawnSync("which", [name]).status !== 0);
  return missing.length === 0 ? null : `Power cuts need ${missing.join(", ")}`;
}

export class CuttableDisk {
  /** Where it is mounted. */
  readonly path: string;
  readonly #root: string;
  readonly #image: string;
  #isMounted = false;

  private constructor(root: string) {
    this.#root = root;
    this.#image = join(root, "disk.img");
    this.path = join(root, "disk");
  }

  /** Mounted. Errors: a program that failed, with what it said. */
  static async create(bytes: number): Promise<CuttableDisk> {
    const disk = new CuttableDisk(await mkdtemp(join(tmpdir(), "catchall-power-")));
    try {
      await mkdir(disk.path);
      await writeFile(disk.#image, "");
      await truncate(disk.#image, bytes);
      run("mkfs.ext4", ["-q", "-F", disk.#image]);
      disk.mount();
      return disk;
    } catch (error) {
      await disk.dispose();
      throw error;
    }
  }

  mount(): void {
    run("mount", ["-o", "loop", this.#image, this.path]);
    this.#isMounted = true;
  }

  /** Everything written so far survives. */
  sync(): void {
    run("sync", ["-f", this.path]);
  }

  /** From now on nothing reaches it, and every call on it fails. */
  cut(): void {
    const [ioctl, flags] = [SHUTDOWN_IOCTL, SHUTDOWN_WITHOUT_FLUSH];
    run("perl", ["-e", CUT_SCRIPT, this.path, String(ioctl), String(flags)]);
  }

  /** Errors: somebody still uses it. */
  async unmount(): Promise<void> {
    if (!this.#isMounted) return;
    for (let i = 1; ; i++) {
      const { status, stderr } = spawnSync("umount", [this.path], { encoding: "utf8" });
      if (status === 0) break;
      if (i === UNMOUNT_TRIES_MAX) throw new Error(`umount: ${stderr}`);
      await new Promise((resolve) => setTimeout(resolve, UNMOUNT_PAUSE_MS));
    }
    this.#isMounted = false;
  }

  async dispose(): Promise<void> {
    await this.unmount();
    await rm(this.#root, { recursive: true, force: true });
  }
}

function run(program: string, args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(program, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${program} failed: ${error?.message ?? stderr}`);
}
