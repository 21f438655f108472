/**
 * What stands on a disk whose power is cut: one node with its file log, or a nats-server, a mongod and two nodes, all
 * on one disk, so that everybody loses power at once.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { ClusterRig, until } from "../../test/support/cluster-rig.ts";
import { freeze } from "../../test/support/freeze.ts";
import { KILL_LOOP_FLAGS, KilledNode, START_TIMEOUT_MS, type Victim } from "../kill-loop.ts";
import { CuttableDisk } from "./cuttable-disk.ts";

const DISK_BYTES: number = 2 * 1024 ** 3;
const NODES = ["n1", "n2"] as const;
const LEASE_TTL_MS = 2000;

/** A victim on a disk: its end, also during its start, is the end of the disk's power, then of its processes. */
abstract class PoweredVictim implements Victim {
  abstract readonly url: string;
  abstract readonly lifeMsMax: number;
  protected readonly disk: CuttableDisk;
  #isOff = false;

  constructor(disk: CuttableDisk) {
    this.disk = disk;
  }

  async start(): Promise<void> {
    if (this.#isOff) this.disk.mount();
    this.#isOff = false;
    await this.startProcesses();
  }

  async end(): Promise<void> {
    // Everybody stands still first: an fsync that is under way when ext4 is shut down may return success for what is not
    // there afterwards (5 of 180 files of a plain loop of write and fsync), which no power cut does.
    for (const pid of this.pids()) freeze(pid);
    this.disk.cut();
    this.#isOff = true;
    await this.killProcesses();
    await this.disk.unmount();
  }

  async dispose(): Promise<void> {
    await this.killProcesses();
    await this.disk.dispose();
  }

  protected abstract pids(): readonly number[];
  protected abstract startProcesses(): Promise<void>;
  protected abstract killProcesses(): Promise<void>;
}

export class PoweredNode extends PoweredVictim {
  readonly #node: KilledNode;

  private constructor(disk: CuttableDisk, node: KilledNode) {
    super(disk);
    this.#node = node;
  }

  /** `command`: default `catchall serve`. */
  static async create(command?: readonly string[]): Promise<PoweredNode> {
    const disk = await CuttableDisk.create(DISK_BYTES);
    const options = command === undefined ? { flags: KILL_LOOP_FLAGS } : { command, flags: [] };
    return new PoweredNode(disk, await KilledNode.create(options, disk.path));
  }

  get url(): string {
    return this.#node.url;
  }

  get lifeMsMax(): number {
    return this.#node.lifeMsMax;
  }

  protected pids(): readonly number[] {
    return this.#node.pid === null ? [] : [this.#node.pid];
  }

  protected startProcesses(): Promise<void> {
    return this.#node.start();
  }

  protected killProcesses(): Promise<void> {
    return this.#node.end();
  }
}

export class PoweredCluster extends PoweredVictim {
  readonly url: string;
  readonly lifeMsMax: number = 3000;
  readonly #rig: ClusterRig;
  #starting: Promise<void> = Promise.resolve();
  /** Since the start that is under way, or was the last. */
  #isCut = false;

  private constructor(disk: CuttableDisk, rig: ClusterRig) {
    super(disk);
    this.#rig = rig;
    this.url = NODES.map((id) => rig.url(id)).join(",");
  }

  /** Already running. `natsSync`: the server's `sync_interval`, default `always`. */
  static async create(natsSync?: string): Promise<PoweredCluster> {
    const disk = await CuttableDisk.create(DISK_BYTES);
    try {
      const folder = join(disk.path, "cluster");
      await mkdir(folder);
      const rig = await ClusterRig.start({
        nodes: NODES,
        leaseTtlMs: LEASE_TTL_MS,
        flags: ["--log-level", "warn", "--idempotency-window", "24h"],
        parent: folder,
        ...(natsSync === undefined ? {} : { natsSync }),
      });
      // What is installed once, such as the servers' files of configuration, nobody syncs but the operator.
      disk.sync();
      return new PoweredCluster(disk, rig);
    } catch (error) {
      await disk.dispose();
      throw error;
    }
  }

  protected pids(): readonly number[] {
    return this.#rig.pids;
  }

  protected async startProcesses(): Promise<void> {
    if (this.#rig.running.length > 0) return;
    this.#isCut = false;
    this.#starting = this.#startAll();
    await this.#starting;
  }

  protected async killProcesses(): Promise<void> {
    this.#isCut = true;
    await this.#rig.killAll();
    // A start that was under way has noticed, and goes no further.
    await this.#starting.catch(() => undefined);
  }

  async #startAll(): Promise<void> {
    const { nats, mongod } = this.#rig;
    const timeout = { readyTimeoutMs: START_TIMEOUT_MS };
    const steps: readonly (() => Promise<unknown>)[] = [
      () => nats.restart(),
      () => mongod.restart(),
      () => Promise.all(NODES.map((id) => this.#rig.startNode(id, timeout))),
      () =>
        until("every partition is open", START_TIMEOUT_MS, async () =>
          this.#isCut ? "cut" : await this.#rig.ifAllOpen(),
        ),
    ];
    for (const step of steps) {
      await step();
      if (this.#isCut) throw new Error("The power was cut during the start");
    }
  }
}
