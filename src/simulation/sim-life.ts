/**
 * Machines and the lives of the processes on them: clocks, timers, crash, pause, suspension.
 * Invariants: after a crash nothing of that life runs again, neither timers nor continuations of what it waited for,
 * since every port settles through `SimLife.later`. While frozen nothing runs; what fell due runs at the resume, in
 * order. A paused machine's clocks go on; a suspended one's monotonic clock stands still, the wall clock goes on.
 */

import type { Clock } from "../runtime/clock.ts";
import type { TimerHandle, Timers } from "../runtime/timers.ts";
import type { SimRandom } from "./sim-random.ts";
import { IDLE, type SimWorld } from "./sim-world.ts";

/** Wall time at virtual time 0. */
const EPOCH_MS = 1_800_000_000_000;
/** Remaining delay under which a timer counts as due, ms: only rounding errors are smaller. */
const TIMER_SLACK_MS = 1e-6;

export interface MachineClock {
  /** Speed of the monotonic and of the wall clock against true time; 1 ± 0.01. */
  readonly rate: number;
  readonly wallRate: number;
  readonly wallOffsetMs: number;
  readonly monotonicStartMs: number;
  /** A turn of the event loop takes up to this long; default: none has to wait. */
  readonly turnMaxMs?: number;
}

/** Longer than any lease. */
const SUSPENSION_ECHO_MS = 60_000;

export class SimMachine {
  readonly index: number;
  readonly world: SimWorld;
  life: SimLife | null = null;
  readonly clock: Clock;
  readonly #rates: MachineClock;
  #wallOffsetMs: number;
  #suspendedMs = 0;
  /** When the wall clock was last set back, and whether it has stood still since. */
  #setBackMs = Number.NEGATIVE_INFINITY;
  #isSetBackFrozen = false;
  #suspendedSinceMs: number | null = null;
  #resumedMs: number = Number.NEGATIVE_INFINITY;
  #isFrozen = false;
  #postponed: (() => unknown)[] = [];
  #lives = 0;
  readonly #turns: SimRandom;
  #turnAtMs = 0;

  constructor(world: SimWorld, index: number, rates: MachineClock) {
    this.world = world;
    this.index = index;
    this.#rates = rates;
    this.#wallOffsetMs = rates.wallOffsetMs;
    this.#turns = world.random(`turns/${index}`);
    this.clock = {
      wallMs: () => this.#wallMs(),
      monotonicMs: () => this.#monotonicMs(),
    };
  }

  get isFrozen(): boolean {
    return this.#isFrozen;
  }

  get isSuspended(): boolean {
    return this.#suspendedSinceMs !== null;
  }

  get rate(): number {
    return this.#rates.rate;
  }

  /** When work for the next turn runs, from now; what was asked for earlier runs no later. */
  nextTurnMs(): number {
    const { nowMs } = this.world;
    const { turnMaxMs = 0 } = this.#rates;
    if (turnMaxMs > 0) {
      this.#turnAtMs = Math.max(this.#turnAtMs, nowMs + this.#turns.unit() * turnMaxMs);
    }
    return Math.max(0, this.#turnAtMs - nowMs);
  }

  /** A new process; the one before must be dead. */
  boot(): SimLife {
    this.life?.kill();
    this.#lives++;
    this.life = new SimLife(this, this.#lives);
    this.world.trace("boot", this.index, this.#lives);
    return this.life;
  }

  /** SIGSTOP: nothing runs, clocks go on. */
  pause(): void {
    this.#isFrozen = true;
    this.world.trace("pause", this.index);
  }

  /**
   * The virtual machine stands still, and its monotonic clock with it. After its wall clock was set back a little before,
   * or while it was paused, it is only paused: see `jumpWall`.
   */
  suspend(): void {
    const isNearSetBack =
      this.#isSetBackFrozen || this.world.nowMs - this.#setBackMs < SUSPENSION_ECHO_MS;
    this.#isFrozen = true;
    if (!isNearSetBack) this.#suspendedSinceMs ??= this.world.nowMs;
    this.world.trace("suspend", this.index);
  }

  resume(): void {
    if (!this.#isFrozen) return;
    if (this.#suspendedSinceMs !== null) {
      this.#suspendedMs += this.world.nowMs - this.#suspendedSinceMs;
      this.#suspendedSinceMs = null;
      this.#resumedMs = this.world.nowMs;
    }
    this.#isFrozen = false;
    this.#isSetBackFrozen = false;
    this.world.trace("resume", this.index, this.#postponed.length);
    const postponed = this.#postponed;
    this.#postponed = [];
    for (const work of postponed) this.world.after(0, work);
  }

  /**
   * Not back in the course of a suspension: with both clocks wrong at once nothing in the machine can tell that time has
   * passed, and what its reads are worth then is outside what we promise (ARCHITECTURE.md, failure model).
   */
  jumpWall(byMs: number): void {
    const isNearSuspension =
      this.#suspendedSinceMs !== null || this.world.nowMs - this.#resumedMs < SUSPENSION_ECHO_MS;
    if (byMs < 0 && isNearSuspension) return;
    if (byMs < 0) {
      this.#setBackMs = this.world.nowMs;
      this.#isSetBackFrozen = this.#isFrozen;
    }
    this.#wallOffsetMs += byMs;
    this.world.trace("wall jump", this.index, Math.round(byMs));
  }

  postpone(work: () => unknown): void {
    this.#postponed.push(work);
  }

  #wallMs(): number {
    const { wallRate } = this.#rates;
    return Math.floor(EPOCH_MS + this.world.nowMs * wallRate + this.#wallOffsetMs);
  }

  #monotonicMs(): number {
    const nowMs = this.#suspendedSinceMs ?? this.world.nowMs;
    return this.#rates.monotonicStartMs + (nowMs - this.#suspendedMs) * this.#rates.rate;
  }
}

/** One life of a process. */
export class SimLife {
  readonly machine: SimMachine;
  /** Counts the lives of this machine from 1. */
  readonly number: number;
  readonly timers: Timers;
  /** Called once, when it dies. */
  readonly onDeath: (() => void)[] = [];
  #isAlive = true;

  constructor(machine: SimMachine, number: number) {
    this.machine = machine;
    this.number = number;
    this.timers = {
      after: (delayMs, work) => this.#startTimer(delayMs, work),
      soon: (work) => this.later(machine.nextTurnMs(), work),
    };
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  get world(): SimWorld {
    return this.machine.world;
  }

  /** SIGKILL, power cut, failed assertion: at once and for ever. */
  kill(): void {
    if (!this.#isAlive) return;
    this.#isAlive = false;
    if (this.machine.life === this) this.machine.life = null;
    this.world.trace("kill", this.machine.index, this.number);
    for (const work of this.onDeath.splice(0)) work();
  }

  /** Runs `work` in this life `delayMs` of true time from now; never after its death, not while frozen. */
  later(delayMs: number, work: () => unknown): void {
    this.world.after(delayMs, () => this.run(work));
  }

  /** Runs `work` in this life now, or at the resume, or never. Answers what it does, IDLE when it does not run now. */
  run(work: () => unknown): unknown {
    if (!this.#isAlive) return IDLE;
    if (this.machine.isFrozen) {
      this.machine.postpone(() => this.run(work));
      return IDLE;
    }
    try {
      return work();
    } catch (error) {
      this.crash(error);
      return undefined;
    }
  }

  /** An exception that nobody caught: a process would end. */
  crash(error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.world.fail("assertion", `Node ${this.machine.index}: ${text}`);
    this.kill();
  }

  #startTimer(delayMs: number, work: () => void): TimerHandle {
    const timer = new SimTimer(this, this.machine.clock.monotonicMs() + Math.max(0, delayMs), work);
    timer.schedule();
    return timer;
  }
}

class SimTimer implements TimerHandle {
  readonly #life: SimLife;
  /** By the monotonic clock of its machine. */
  readonly #dueMs: number;
  readonly #work: () => void;
  #isCancelled = false;

  constructor(life: SimLife, dueMs: number, work: () => void) {
    this.#life = life;
    this.#dueMs = dueMs;
    this.#work = work;
  }

  schedule(): void {
    const { clock, rate } = this.#life.machine;
    this.#life.later(Math.max(0, this.#dueMs - clock.monotonicMs()) / rate, () => this.#fire());
  }

  cancel(): void {
    this.#isCancelled = true;
  }

  #fire(): unknown {
    if (this.#isCancelled) return IDLE;
    if (this.#dueMs - this.#life.machine.clock.monotonicMs() <= TIMER_SLACK_MS) {
      return this.#work();
    }
    // The machine stood still meanwhile.
    this.schedule();
    return IDLE;
  }
}
