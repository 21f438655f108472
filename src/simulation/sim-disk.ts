/**
 * A disk in memory that fails as disks do, deterministically: a power cut keeps any subset of the sectors and of the
 * directory changes that were not synced; a failed sync drops the bytes but goes on showing them; space runs out;
 * bits rot. Sectors of 512 bytes are kept old or new, never mixed: the one promise the file formats build on.
 */

import { CatchallError } from "../model/errors.ts";
import type { Disk, DiskFile } from "../runtime/disk.ts";

const SECTOR_BYTES = 512;

export interface DiskOperation {
  /** Counts all operations that change something, from 0. */
  readonly index: number;
  readonly kind:
    | "create"
    | "write"
    | "writeSynced"
    | "sync"
    | "truncate"
    | "rename"
    | "remove"
    | "syncDirectory";
  readonly path: string;
}

/** `crash`: the operation happens but nothing of it is synced, and all that follow are rejected. */
export type DiskFault = "io" | "full" | "crash" | null;

export interface SimDiskOptions {
  readonly faultAt?: (operation: DiskOperation) => DiskFault;
  /** Bytes that all files together may have. */
  readonly capacityBytes?: number;
}

interface Inode {
  current: Uint8Array;
  durable: Uint8Array;
  /** Sectors of `current` that a sync would write; a failed sync forgets them. */
  readonly dirty: Set<number>;
}

/** One change of directory entries; `null` removes. */
type NameChange = ReadonlyMap<string, Inode | null>;

export class SimDisk implements Disk {
  readonly #options: SimDiskOptions;
  readonly #names: Map<string, Inode> = new Map();
  readonly #durableNames: Map<string, Inode> = new Map();
  readonly #directories: Set<string> = new Set(["."]);
  #unsyncedNames: NameChange[] = [];
  #operations: DiskOperation[] = [];
  #isCrashed = false;

  constructor(options: SimDiskOptions = {}) {
    this.#options = options;
  }

  /** All changing operations so far. */
  get operations(): readonly DiskOperation[] {
    return this.#operations;
  }

  get isCrashed(): boolean {
    return this.#isCrashed;
  }

  /** How many independent choices a power cut would make now. */
  get unsyncedChoices(): number {
    let choices = this.#unsyncedNames.length;
    for (const inode of this.#inodes()) choices += unsyncedSectors(inode).length;
    return choices;
  }

  /** The disk after a power cut now: `keeps` is asked once for each unsynced change, in a fixed order. */
  afterPowerCut(keeps: () => boolean, options: SimDiskOptions = {}): SimDisk {
    const next = new SimDisk(options);
    const names = new Map(this.#durableNames);
    for (const change of this.#unsyncedNames) {
      if (keeps()) applyNames(names, change);
    }
    const copies = new Map<Inode, Inode>();
    for (const inode of this.#inodes()) copies.set(inode, settle(inode, keeps));
    for (const [path, inode] of names) {
      const copy = copies.get(inode);
      if (copy === undefined) continue;
      next.#names.set(path, copy);
      next.#durableNames.set(path, copy);
    }
    for (const directory of this.#directories) next.#directories.add(directory);
    return next;
  }

  /** Bit rot: flips one bit of a file, on the disk and in the cache. */
  flipBit(path: string, bit: number): void {
    const inode = this.#inode(path);
    for (const bytes of [inode.current, inode.durable]) {
      const byte = bytes[bit >> 3];
      if (byte !== undefined) bytes[bit >> 3] = byte ^ (1 << (bit & 7));
    }
  }

  /** Replaces a file's bytes, durably, behind everybody's back. */
  plant(path: string, bytes: Uint8Array): void {
    const inode: Inode = { current: bytes.slice(), durable: bytes.slice(), dirty: new Set() };
    this.#names.set(path, inode);
    this.#durableNames.set(path, inode);
  }

  /** A file's bytes as they are now, not to be changed. */
  peek(path: string): Uint8Array {
    return this.#inode(path).current;
  }

  /** Paths of all files, sorted. */
  paths(): readonly string[] {
    return [...this.#names.keys()].sort();
  }

  async list(directory: string): Promise<readonly string[]> {
    this.#live();
    const prefix = directory === "." ? "" : `${directory}/`;
    const names = new Set<string>();
    for (const path of [...this.#names.keys(), ...this.#directories]) {
      const name = path.startsWith(prefix) ? path.slice(prefix.length).split("/")[0] : undefined;
      if (name !== undefined && name !== "" && path !== ".") names.add(name);
    }
    return [...names].sort();
  }

  async read(path: string): Promise<Uint8Array> {
    this.#live();
    return this.#inode(path).current.slice();
  }

  async size(path: string): Promise<number> {
    this.#live();
    return this.#inode(path).current.length;
  }

  async exists(path: string): Promise<boolean> {
    this.#live();
    return this.#names.has(path) || this.#directories.has(path);
  }

  async makeDirectory(path: string): Promise<void> {
    this.#live();
    const parts = path.split("/");
    parts.forEach((_, i) => void this.#directories.add(parts.slice(0, i + 1).join("/")));
  }

  async create(path: string, sizeBytes: number): Promise<DiskFile> {
    const fault = this.#begin("create", path);
    if (fault === null || fault === "crash") this.#checkSpace(sizeBytes, path);
    const inode: Inode = {
      current: new Uint8Array(sizeBytes),
      durable: new Uint8Array(sizeBytes),
      dirty: new Set(),
    };
    this.#changeNames(new Map([[path, inode]]));
    this.#end(fault, path);
    return this.#fileOf(path, inode);
  }

  async open(path: string): Promise<DiskFile> {
    this.#live();
    return this.#fileOf(path, this.#inode(path));
  }

  async rename(from: string, to: string): Promise<void> {
    const fault = this.#begin("rename", from);
    if (fault !== "io")
      this.#changeNames(
        new Map([
          [from, null],
          [to, this.#inode(from)],
        ]),
      );
    this.#end(fault, from);
  }

  async remove(path: string): Promise<void> {
    const fault = this.#begin("remove", path);
    const below = [...this.#names.keys()].filter((name) => name.startsWith(`${path}/`));
    const gone = this.#names.has(path) ? [path, ...below] : below;
    if (fault !== "io" && gone.length > 0) {
      this.#changeNames(new Map(gone.map((name) => [name, null])));
    }
    this.#directories.delete(path);
    this.#end(fault, path);
  }

  async syncDirectory(path: string): Promise<void> {
    const fault = this.#begin("syncDirectory", path);
    if (fault === null) {
      const isOfDirectory = (change: NameChange): boolean =>
        [...change.keys()].some((name) => directoryOf(name) === path);
      for (const change of this.#unsyncedNames) {
        if (isOfDirectory(change)) applyNames(this.#durableNames, change);
      }
      this.#unsyncedNames = this.#unsyncedNames.filter((change) => !isOfDirectory(change));
    }
    this.#end(fault, path);
  }

  #fileOf(path: string, inode: Inode): DiskFile {
    const write = (position: number, bytes: Uint8Array): void => {
      const end = position + bytes.length;
      if (end > inode.current.length) {
        this.#checkSpace(end - inode.current.length, path);
        inode.current = resized(inode.current, end);
      }
      inode.current.set(bytes, position);
      const last = Math.floor((end - 1) / SECTOR_BYTES);
      for (let i = Math.floor(position / SECTOR_BYTES); i <= last; i += 1) inode.dirty.add(i);
    };
    const change = (kind: DiskOperation["kind"], work: () => void, isSync: boolean): void => {
      const fault = this.#begin(kind, path);
      if (fault !== "full") work();
      if (isSync && fault === null) syncInode(inode);
      // A failed sync: the kernel shows the bytes, takes them for clean, and never writes them.
      if (isSync && fault === "io") inode.dirty.clear();
      this.#end(fault, path);
    };
    return {
      writeSynced: async (position, bytes) =>
        change("writeSynced", () => write(position, bytes), true),
      write: async (position, bytes) => change("write", () => write(position, bytes), false),
      read: async (position, length) => {
        this.#live();
        return inode.current.slice(position, position + length);
      },
      readInto: async (position, into) => {
        this.#live();
        const bytes = inode.current.subarray(position, position + into.length);
        into.set(bytes);
        return bytes.length;
      },
      sync: async () => change("sync", () => undefined, true),
      truncate: async (sizeBytes) =>
        change(
          "truncate",
          () => {
            inode.current = resized(inode.current, sizeBytes);
          },
          false,
        ),
      close: async () => undefined,
    };
  }

  #begin(kind: DiskOperation["kind"], path: string): DiskFault {
    this.#live();
    const operation: DiskOperation = { index: this.#operations.length, kind, path };
    this.#operations.push(operation);
    return this.#options.faultAt?.(operation) ?? null;
  }

  #end(fault: DiskFault, path: string): void {
    if (fault === "crash") this.#isCrashed = true;
    this.#live();
    if (fault === "io") throw new CatchallError("log_failed", `Cannot write "${path}": EIO`);
    if (fault === "full") throw new CatchallError("log_full", `Cannot write "${path}": ENOSPC`);
  }

  #live(): void {
    if (this.#isCrashed) throw new CatchallError("log_failed", "The power is cut");
  }

  #checkSpace(moreBytes: number, path: string): void {
    let used = 0;
    for (const inode of this.#names.values()) used += inode.current.length;
    if (used + moreBytes <= (this.#options.capacityBytes ?? Number.MAX_SAFE_INTEGER)) return;
    throw new CatchallError("log_full", `Cannot write "${path}": ENOSPC`);
  }

  #changeNames(change: NameChange): void {
    applyNames(this.#names, change);
    this.#unsyncedNames.push(change);
  }

  #inode(path: string): Inode {
    const inode = this.#names.get(path);
    if (inode === undefined) throw new CatchallError("log_failed", `Cannot open "${path}": ENOENT`);
    return inode;
  }

  #inodes(): ReadonlySet<Inode> {
    const inodes = new Set([...this.#names.values(), ...this.#durableNames.values()]);
    for (const change of this.#unsyncedNames) {
      for (const inode of change.values()) if (inode !== null) inodes.add(inode);
    }
    return inodes;
  }
}

function directoryOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : path.slice(0, slash);
}

function applyNames(names: Map<string, Inode>, change: NameChange): void {
  for (const [path, inode] of change) {
    if (inode === null) names.delete(path);
    else names.set(path, inode);
  }
}

function resized(bytes: Uint8Array, sizeBytes: number): Uint8Array {
  const next = new Uint8Array(sizeBytes);
  next.set(bytes.subarray(0, sizeBytes));
  return next;
}

function syncInode(inode: Inode): void {
  inode.durable = resized(inode.durable, inode.current.length);
  for (const sector of inode.dirty) copySector(inode.current, inode.durable, sector);
  inode.dirty.clear();
}

function copySector(from: Uint8Array, to: Uint8Array, sector: number): void {
  const start = sector * SECTOR_BYTES;
  const bytes = from.subarray(start, Math.min(start + SECTOR_BYTES, from.length));
  if (start < to.length) to.set(bytes.subarray(0, to.length - start), start);
}

/** Sectors that a power cut may keep or lose; -1 stands for a changed size. */
function unsyncedSectors(inode: Inode): readonly number[] {
  const sectors = [...inode.dirty].sort((a, b) => a - b);
  return inode.current.length === inode.durable.length ? sectors : [-1, ...sectors];
}

function settle(inode: Inode, keeps: () => boolean): Inode {
  let bytes: Uint8Array = inode.durable.slice();
  for (const sector of unsyncedSectors(inode)) {
    if (!keeps()) continue;
    if (sector === -1) bytes = resized(bytes, inode.current.length);
    else copySector(inode.current, bytes, sector);
  }
  return { current: bytes, durable: bytes.slice(), dirty: new Set() };
}
