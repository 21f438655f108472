/**
 * Does to an embedded node what the plan says: its process dies at any instant or at a given operation of its disk, its
 * machine loses power, its disk is full, slow, fails or rots. `heal` ends all of it.
 * Invariant: draws only from its own stream; a node that is down is started again, as a supervisor of processes does.
 */

import type { EmbeddedFaultFamily, EmbeddedPlan } from "./embedded-plan.ts";
import type { DiskError, MachineDisk } from "./machine-disk.ts";
import type { SimNode } from "./sim-node.ts";
import type { SimRandom } from "./sim-random.ts";
import type { SimWorld } from "./sim-world.ts";

const CLOCK_JUMP_MAX_MS = 30_000;
/** Operations of the disk until an ambush springs; a start has some tens of them. */
const AMBUSH_OPERATIONS_MAX = 60;

const ERROR_KINDS: Partial<Record<EmbeddedFaultFamily, DiskError>> = {
  readError: "read",
  writeError: "write",
  syncError: "sync",
};

export interface EmbeddedMachine {
  readonly world: SimWorld;
  readonly plan: EmbeddedPlan;
  readonly node: SimNode;
  readonly disk: MachineDisk;
}

export class EmbeddedFaults {
  readonly #on: EmbeddedMachine;
  readonly #random: SimRandom;
  readonly injected: Map<EmbeddedFaultFamily, number> = new Map();
  #isHealed = false;

  constructor(machine: EmbeddedMachine) {
    this.#on = machine;
    this.#random = machine.world.random("embedded faults");
  }

  start(): void {
    this.#on.node.boot();
    if (this.#on.plan.families.length > 0) this.#scheduleNext();
  }

  heal(): void {
    const { disk, node, world } = this.#on;
    this.#isHealed = true;
    world.trace("heal", 0);
    disk.heal();
    node.machine.resume();
    if (node.life === null) node.boot();
  }

  /** The power goes and comes back. */
  cutPower(): void {
    const { disk, node } = this.#on;
    node.kill();
    disk.cutPower();
    node.boot();
  }

  /** A process that ended is started again. */
  bootSoon(): void {
    const { node, world } = this.#on;
    world.after(this.#random.between(10, 1000), () => {
      if (node.life === null) node.boot();
    });
  }

  #scheduleNext(): void {
    this.#after(this.#random.exponential(this.#on.plan.faultGapMs), () => {
      const family = this.#random.pick(this.#on.plan.families);
      this.injected.set(family, (this.injected.get(family) ?? 0) + 1);
      this.#on.world.trace(`fault ${family}`, 0);
      this.#inject(family);
      this.#scheduleNext();
    });
  }

  #after(delayMs: number, work: () => void): void {
    this.#on.world.after(delayMs, () => {
      if (!this.#isHealed) work();
    });
  }

  #durationMs(): number {
    const random = this.#random;
    return random.chance(0.6) ? random.between(1, 200) : random.between(200, 5000);
  }

  #inject(family: EmbeddedFaultFamily): void {
    const { node, disk } = this.#on;
    const random = this.#random;
    switch (family) {
      case "crash":
      case "powerCut":
        return this.#die(family === "powerCut");
      case "ambush":
      case "powerAmbush":
        return disk.ambush(1 + random.below(AMBUSH_OPERATIONS_MAX), () => {
          if (!this.#isHealed) this.#die(family === "powerAmbush");
        });
      case "restart":
        return node.leave();
      case "full":
        disk.isFull = true;
        return this.#after(this.#durationMs() * 2, () => {
          disk.isFull = false;
        });
      case "slow":
        disk.slowness = random.pick([10, 100, 500]);
        return this.#after(this.#durationMs(), () => {
          disk.slowness = 1;
        });
      case "rot":
        return this.#rot();
      case "clockJump": {
        const maxMs = random.chance(0.7) ? 2000 : CLOCK_JUMP_MAX_MS;
        return node.machine.jumpWall(random.between(-1, 1) * maxMs);
      }
      case "pause":
        node.machine.pause();
        return this.#after(this.#durationMs(), () => node.machine.resume());
      default:
        return this.#fail(ERROR_KINDS[family] as DiskError);
    }
  }

  #die(isPowerLost: boolean): void {
    const { node, disk } = this.#on;
    node.kill();
    if (isPowerLost) disk.cutPower();
  }

  /** EIO for a while. What only a start reads needs a start to fail. */
  #fail(kind: DiskError): void {
    const { disk, node } = this.#on;
    disk.error = { kind, prefix: this.#random.pick(["", "wal/", "checkpoints/", "control"]) };
    if (kind === "read" || this.#random.chance(0.3)) node.kill();
    this.#after(this.#durationMs(), () => {
      disk.error = null;
    });
  }

  #rot(): void {
    const { node, disk } = this.#on;
    node.kill();
    if (this.#random.chance(0.3)) disk.cutPower();
    disk.rot();
  }
}
