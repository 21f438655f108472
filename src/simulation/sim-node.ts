/**
 * The one seam between the simulator and what it simulates: how a cluster node is started over ports, and the outer
 * loop that starts the next incarnation when one ends. The toy of the tests and the production wiring both fit.
 * Invariant: after a crash nothing of that life is called any more.
 */

import { CatchallError } from "../model/errors.ts";
import type { Ingress } from "../router/ingress.ts";
import type {
  ClusterHooks,
  ClusterPorts,
  ClusterSettings,
} from "../server/assemble-cluster-node.ts";
import type { SimLife, SimMachine } from "./sim-life.ts";
import type { SimWorld } from "./sim-world.ts";

/** What clients and operators ask of a node here. */
export type SimIngress = Pick<Ingress, "submit" | "statuses" | "status" | "rebalance" | "drain"> &
  Partial<Pick<Ingress, "setRule" | "setOverride" | "removeOverride" | "readiness">>;

export interface ClusterNode {
  readonly incarnation: number;
  readonly router: SimIngress;
  stop(timeoutMs: number): Promise<void>;
  /** True when a read of this partition would be served at this very instant: owner, open, lease valid. */
  isOpen(partition: number): boolean;
}

export type StartNode = (
  ports: ClusterPorts,
  settings: ClusterSettings,
  hooks: ClusterHooks,
) => Promise<ClusterNode>;

/** Between an incarnation's end, or a start that failed, and the next start. */
const RESTART_DELAY_MS = 500;
const STOP_TIMEOUT_MS = 20_000;
/** A stop that has not ended so long after its time is killed. */
const STOP_GRACE_MS = 10_000;

/** How a node says that something is newer than it. */
export const NEWER_FORMAT: RegExp = /of format 2|format version is unknown/;

export interface SimNodeOptions {
  readonly world: SimWorld;
  readonly machine: SimMachine;
  /** Starts an incarnation in this life. */
  readonly start: (life: SimLife, hooks: ClusterHooks) => Promise<ClusterNode>;
  /** What the process knows of its connection to the servers. */
  readonly isLogReachable: () => boolean;
  /** Takes a start that failed; default: judged here, and tried again in the same life. */
  readonly startFailed?: (error: unknown) => void;
  /** True where what is stored is of a newer version than the machine's: it may say so and not start; default: never. */
  readonly isOutdated?: () => boolean;
}

/** One machine with its node: started, killed, stopped and started again. */
export class SimNode {
  readonly machine: SimMachine;
  readonly #options: SimNodeOptions;
  /** The incarnation that serves. */
  current: ClusterNode | null = null;
  /** All incarnations of the life that runs, ended ones too: none of them may have anything open. */
  started: ClusterNode[] = [];
  isStopping = false;
  starts = 0;
  /** Starts that were refused since what is stored is of a newer version. */
  refusals = 0;

  constructor(options: SimNodeOptions) {
    this.#options = options;
    this.machine = options.machine;
  }

  get life(): SimLife | null {
    return this.machine.life;
  }

  boot(): void {
    if (this.machine.life !== null) return;
    const life = this.machine.boot();
    this.current = null;
    this.started = [];
    this.isStopping = false;
    life.onDeath.push(() => {
      this.current = null;
      this.started = [];
    });
    life.later(0, () => this.#start(life));
  }

  kill(): void {
    this.machine.life?.kill();
    // A machine that comes back is not frozen.
    this.machine.resume();
  }

  /** SIGTERM: stops in order, then ends; killed when that takes too long. */
  leave(): void {
    const { life } = this;
    if (life === null || this.isStopping) return;
    this.isStopping = true;
    this.#options.world.trace("leave", this.machine.index);
    life.timers.after(STOP_TIMEOUT_MS + STOP_GRACE_MS, () => life.kill());
    life.run(() => {
      if (this.current === null) life.kill();
      else
        this.current.stop(STOP_TIMEOUT_MS).then(
          () => life.kill(),
          () => life.kill(),
        );
    });
  }

  #start(life: SimLife): void {
    const { start, startFailed, world, isLogReachable } = this.#options;
    // Of the process that begins now: when its start fails, all may have been upgraded.
    const isOutdated = this.#options.isOutdated?.() === true;
    let isEnded = false;
    const restart = (): void => {
      if (isEnded) return;
      isEnded = true;
      this.current = null;
      if (this.isStopping) return;
      life.timers.after(RESTART_DELAY_MS, () => this.#start(life));
    };
    this.starts++;
    const onEnded = (reason: string): void => {
      world.trace("ended", this.machine.index, this.starts);
      world.note(`node ${this.machine.index} ended: ${reason}`);
      restart();
    };
    start(life, { onEnded, isLogReachable }).then(
      (node) => {
        world.trace("serving", this.machine.index, node.incarnation);
        this.started.push(node);
        if (!isEnded) this.current = node;
      },
      (error: unknown) => {
        world.trace("start failed", this.machine.index);
        if (startFailed !== undefined) return startFailed(error);
        this.#judge(error, isOutdated);
        restart();
      },
    );
  }

  /** A start may fail because a store does not answer, and for no other reason. */
  #judge(error: unknown, isOutdated: boolean): void {
    const { world } = this.#options;
    if (error instanceof CatchallError) {
      world.note(`node ${this.machine.index} could not start: ${error.code} ${error.message}`);
      if (isOutdated && NEWER_FORMAT.test(error.message)) this.refusals++;
      else if (error.code === "log_damaged" || error.code === "checkpoint_damaged") {
        world.fail("I16", `Node ${this.machine.index} cannot restore: ${error.message}`);
      }
      return;
    }
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    world.fail("assertion", `Node ${this.machine.index} could not start: ${text}`);
  }
}
