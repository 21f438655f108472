/**
 * The disk of a machine, as the lives of its process see it one after another: each operation takes its time, fails while
 * there is trouble, and is cut short by the death of whoever asked: not begun, in part, or done and never answered.
 * Invariants: after its death nothing of a life reaches the disk; a power cut comes after the death, and loses what
 * `SimDisk` may lose; every fault is drawn from the seed.
 */

import { CatchallError } from "../model/errors.ts";
import type { Disk, DiskFile } from "../runtime/disk.ts";
import { SimDisk } from "./sim-disk.ts";
import type { SimLife } from "./sim-life.ts";
import type { SimRandom } from "./sim-random.ts";
import { IDLE, type SimWorld } from "./sim-world.ts";

const SECTOR_BYTES = 512;
const DELAY_MIN_MS = 0.02;
const DELAY_MAX_MS = 2;
/** A disk that is full has this much left at most. */
const FULL_ROOM_BYTES = 4096;

/** What fails with EIO while it lasts; `sync` shows the bytes and never writes them. */
export type DiskError = "read" | "write" | "sync";

type CallKind = "look" | "read" | "write" | "writeSynced" | "sync" | "name";

const ERRORS: Readonly<Record<CallKind, readonly DiskError[]>> = {
  look: [],
  read: ["read"],
  write: ["write"],
  writeSynced: ["write", "sync"],
  sync: ["sync"],
  name: ["write"],
};

interface Call<T> {
  readonly kind: CallKind;
  readonly path: string;
  readonly bytes: number;
  readonly whole: () => Promise<T>;
  /** What a death in the midst leaves. */
  readonly part?: () => Promise<unknown>;
}

interface Flip {
  readonly path: string;
  readonly bit: number;
  /** Of its byte, since. */
  readonly value: number;
}

export class MachineDisk {
  readonly world: SimWorld;
  readonly random: SimRandom;
  /** EIO for paths that begin so; null: all is well. */
  error: { readonly kind: DiskError; readonly prefix: string } | null = null;
  /** How many times slower it is. */
  slowness = 1;
  /** Told when EIO hit a write of the log: that life must end. */
  onLogError: (life: SimLife) => void = () => undefined;
  #disk: SimDisk;
  #fault: "io" | null = null;
  #capacityBytes: number = Number.MAX_SAFE_INTEGER;
  #ambush: { left: number; readonly spring: () => void } | null = null;
  #flips: Flip[] = [];
  operations = 0;
  errors = 0;

  constructor(world: SimWorld) {
    this.world = world;
    this.random = world.random("disk");
    this.#disk = new SimDisk(this.#options());
  }

  /** What is on the disk now, for checks. */
  get current(): SimDisk {
    return this.#disk;
  }

  get isFull(): boolean {
    return this.#capacityBytes !== Number.MAX_SAFE_INTEGER;
  }

  set isFull(isFull: boolean) {
    const used = this.#disk.paths().reduce((sum, path) => sum + this.#disk.peek(path).length, 0);
    const room = this.random.below(FULL_ROOM_BYTES);
    this.#capacityBytes = isFull ? used + room : Number.MAX_SAFE_INTEGER;
  }

  get isTroubled(): boolean {
    return this.isFull || this.error !== null;
  }

  /** No trouble any more; what it did stays. */
  heal(): void {
    this.error = null;
    this.slowness = 1;
    this.isFull = false;
    this.#ambush = null;
  }

  connect(life: SimLife): Disk {
    return new LifeDisk(this, this.#disk, life);
  }

  /** Calls `spring` when the process asks for its `nth` operation from now. */
  ambush(nth: number, spring: () => void): void {
    this.#ambush = { left: nth, spring };
  }

  /** The process must be dead. Each unsynced change survives with the same chance, drawn anew for each cut. */
  cutPower(): void {
    const kept = this.random.pick([0, 0.1, 0.5, 0.5, 0.9, 1]);
    const choices = this.#disk.unsyncedChoices;
    this.#disk = this.#disk.afterPowerCut(() => this.random.chance(kept), this.#options());
    this.world.trace("power cut", choices, Math.round(kept * 10));
  }

  /** Flips a bit of a file, while nothing runs; what was not synced was written back before. */
  rot(): void {
    this.#disk = this.#disk.afterPowerCut(() => true, this.#options());
    const paths = this.#disk.paths().filter((path) => this.#disk.peek(path).length > 0);
    if (paths.length === 0) return;
    // Half of them in what was acknowledged last.
    const newest = this.random.chance(0.5) ? paths.filter((name) => name.startsWith("wal/")) : [];
    const path = newest.at(-1) ?? this.random.pick(paths);
    const bytes = this.#disk.peek(path);
    // Mostly where something was written: much of a segment is zero.
    const written = bytes.findLastIndex((byte) => byte !== 0) + 1;
    const end = written > 0 && this.random.chance(0.8) ? written : bytes.length;
    const bit = this.random.below(end * 8);
    this.#disk.flipBit(path, bit);
    this.#flips.push({ path, bit, value: this.#disk.peek(path)[bit >> 3] as number });
    this.world.trace("rot", bit, bytes.length);
    this.world.note(`bit ${bit} of ${path} (${bytes.length} bytes) flipped`);
  }

  /** A node serves: what it was told by small files that it reads whole is what it builds on now. */
  served(): void {
    this.#flips = this.#flips.filter(({ path }) => !path.endsWith(".json"));
  }

  /** Puts back the last flipped bit that is still there: older ones may be what later writes built on. */
  mend(): boolean {
    const paths = new Set(this.#disk.paths());
    for (let flip = this.#flips.pop(); flip !== undefined; flip = this.#flips.pop()) {
      const { path, bit, value } = flip;
      if (!paths.has(path) || this.#disk.peek(path)[bit >> 3] !== value) continue;
      this.#disk.flipBit(path, bit);
      this.world.trace("mended", bit);
      return true;
    }
    return false;
  }

  delayMs(): number {
    return this.random.between(DELAY_MIN_MS, DELAY_MAX_MS) * this.slowness;
  }

  /** Whether this very operation is the one that somebody lay in wait for. */
  springs(): boolean {
    this.operations++;
    const ambush = this.#ambush;
    if (ambush === null || --ambush.left > 0) return false;
    this.#ambush = null;
    ambush.spring();
    return true;
  }

  errorOf(kind: CallKind, path: string): DiskError | null {
    const { error } = this;
    if (error === null || !path.startsWith(error.prefix)) return null;
    return ERRORS[kind].includes(error.kind) ? error.kind : null;
  }

  /** Does it now, with a sync that fails if `isFailing`. */
  perform<T>(work: () => Promise<T>, isFailing: boolean): Promise<T> {
    this.#fault = isFailing ? "io" : null;
    const result = work();
    this.#fault = null;
    return result;
  }

  #options(): { readonly faultAt: () => "io" | null; readonly capacityBytes: number } {
    const capacity = (): number => this.#capacityBytes;
    return {
      faultAt: () => this.#fault,
      get capacityBytes(): number {
        return capacity();
      },
    };
  }
}

/** The disk in the hands of one life. */
class LifeDisk implements Disk {
  readonly #machine: MachineDisk;
  readonly #disk: SimDisk;
  readonly #life: SimLife;
  readonly #calls: Set<Call<unknown>> = new Set();

  constructor(machine: MachineDisk, disk: SimDisk, life: SimLife) {
    this.#machine = machine;
    this.#disk = disk;
    this.#life = life;
    life.onDeath.push(() => this.#cutShort());
  }

  list(directory: string): Promise<readonly string[]> {
    return this.#look(directory, () => this.#disk.list(directory));
  }

  read(path: string): Promise<Uint8Array> {
    return this.#do({ kind: "read", path, bytes: 0, whole: () => this.#disk.read(path) });
  }

  size(path: string): Promise<number> {
    return this.#look(path, () => this.#disk.size(path));
  }

  exists(path: string): Promise<boolean> {
    return this.#look(path, () => this.#disk.exists(path));
  }

  makeDirectory(path: string): Promise<void> {
    return this.#look(path, () => this.#disk.makeDirectory(path));
  }

  async create(path: string, sizeBytes: number): Promise<DiskFile> {
    const whole = (): Promise<DiskFile> => this.#disk.create(path, sizeBytes);
    return this.#file(path, await this.#do({ kind: "name", path, bytes: sizeBytes, whole }));
  }

  async open(path: string): Promise<DiskFile> {
    return this.#file(path, await this.#look(path, () => this.#disk.open(path)));
  }

  rename(from: string, to: string): Promise<void> {
    const whole = (): Promise<void> => this.#disk.rename(from, to);
    return this.#do({ kind: "name", path: from, bytes: 0, whole });
  }

  remove(path: string): Promise<void> {
    return this.#do({ kind: "name", path, bytes: 0, whole: () => this.#disk.remove(path) });
  }

  syncDirectory(path: string): Promise<void> {
    const whole = (): Promise<void> => this.#disk.syncDirectory(path);
    return this.#do({ kind: "sync", path, bytes: 0, whole });
  }

  #file(path: string, file: DiskFile): DiskFile {
    const write = (kind: "write" | "writeSynced", position: number, bytes: Uint8Array) =>
      this.#do({
        ...{ kind, path, bytes: bytes.length },
        whole: () => file[kind](position, bytes),
        part: () => file.write(position, this.#beginningOf(bytes)),
      });
    const read = <T>(whole: () => Promise<T>) => this.#do({ kind: "read", path, bytes: 0, whole });
    return {
      writeSynced: (position, bytes) => write("writeSynced", position, bytes),
      write: (position, bytes) => write("write", position, bytes),
      read: (position, length) => read(() => file.read(position, length)),
      readInto: (position, into) => read(() => file.readInto(position, into)),
      sync: () => this.#do({ kind: "sync", path, bytes: 0, whole: () => file.sync() }),
      truncate: (sizeBytes) =>
        this.#do({ kind: "write", path, bytes: 0, whole: () => file.truncate(sizeBytes) }),
      close: () => file.close(),
    };
  }

  /** Whole sectors from the start, none or all of them too. */
  #beginningOf(bytes: Uint8Array): Uint8Array {
    const sectors = Math.ceil(bytes.length / SECTOR_BYTES);
    return bytes.subarray(0, this.#machine.random.below(sectors + 1) * SECTOR_BYTES);
  }

  #look<T>(path: string, whole: () => Promise<T>): Promise<T> {
    return this.#do({ kind: "look", path, bytes: 0, whole });
  }

  #do<T>(call: Call<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (!this.#life.isAlive) return;
      this.#calls.add(call);
      this.#life.later(this.#machine.delayMs(), () => {
        if (this.#machine.springs() && !this.#life.isAlive) return IDLE;
        this.#calls.delete(call);
        this.#perform(call).then(resolve, reject);
        return undefined;
      });
    });
  }

  #perform<T>(call: Call<T>): Promise<T> {
    const machine = this.#machine;
    const { kind, path, whole, part, bytes } = call;
    machine.world.trace(`disk ${kind}`, this.#life.number, bytes);
    const error = machine.errorOf(kind, path);
    if (error === null) return machine.perform(whole, false);
    machine.errors++;
    machine.world.trace("EIO", this.#life.number);
    if (kind === "writeSynced" && path.startsWith("wal/")) machine.onLogError(this.#life);
    if (error === "sync") return machine.perform(whole, true);
    if (part !== undefined) machine.perform(part, false).catch(() => undefined);
    return Promise.reject(new CatchallError("log_failed", `Cannot use "${path}": EIO`));
  }

  /** What was asked of the disk and not answered yet happens now, or in part, or never. */
  #cutShort(): void {
    for (const { whole, part } of this.#calls) {
      const how = this.#machine.random.below(3);
      const work = how === 0 ? null : how === 1 ? part : whole;
      work?.().catch(() => undefined);
    }
    this.#calls.clear();
  }
}
