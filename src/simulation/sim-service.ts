/**
 * The way from a life to a shared store and back: delays, lost requests, lost answers, requests that arrive after the
 * caller gave up, times when the store is away, or stands still and does afterwards what it was asked meanwhile.
 * Invariant: an effect happens at most once per call, at one instant, whether or not the caller learns of it, and also
 * when the caller is dead by then. Null means that the caller may believe nothing.
 */

import type { SimLife } from "./sim-life.ts";
import type { SimRandom } from "./sim-random.ts";
import type { SimWorld } from "./sim-world.ts";

/** Probabilities are per call. */
export interface ServiceFaults {
  readonly delayMinMs: number;
  readonly delayMaxMs: number;
  /** A delay is this often ten times longer. */
  readonly slow: number;
  readonly requestLost: number;
  readonly answerLost: number;
  /** The effect happens after the caller's timeout. */
  readonly late: number;
}

export const NO_SERVICE_FAULTS: ServiceFaults = {
  delayMinMs: 0.2,
  delayMaxMs: 2,
  slow: 0,
  requestLost: 0,
  answerLost: 0,
  late: 0,
};

/** Null: no answer came; the effect may have happened, may happen later, or never. */
export type Answer<T> = { readonly value: T } | null;

interface Call<T> {
  readonly life: SimLife;
  readonly timeoutMs: number;
  readonly effect: () => T;
  readonly answered: (answer: Answer<T>) => void;
  readonly startedMs: number;
}

/** Share of the requests under way from a machine that freezes that have not left it yet. */
const HELD_IN_MACHINE = 0.7;
/** Later than this after the caller's timeout nothing arrives. */
const LATE_MAX_MS = 20_000;
/** Share of what was sent to a store that stood still and that it finds when it goes on. */
const HELD = 0.7;

export class SimService {
  readonly world: SimWorld;
  faults: ServiceFaults;
  /** The last time that it was away from everybody; its end is Infinity while it is. */
  lastOutage: { readonly startMs: number; readonly endMs: number } | null = null;
  /** Machines without a way to it. */
  readonly cutOff: Set<number> = new Set();
  /** By machine: how much longer its answers take, ms. */
  readonly lags: Map<number, number> = new Map();
  readonly random: SimRandom;
  /** Of an outage: the store does not answer, but what it is sent waits for it. */
  isFrozen = false;
  #held: (() => void)[] = [];

  constructor(world: SimWorld, name: string, faults: ServiceFaults) {
    this.world = world;
    this.faults = faults;
    this.random = world.random(`service/${name}`);
  }

  /** While true nothing is answered, as when the server is down. */
  get isAway(): boolean {
    return this.lastOutage?.endMs === Number.POSITIVE_INFINITY;
  }

  set isAway(isAway: boolean) {
    if (isAway === this.isAway) return;
    const { nowMs } = this.world;
    this.lastOutage = isAway
      ? { startMs: nowMs, endMs: Number.POSITIVE_INFINITY }
      : { startMs: this.lastOutage?.startMs ?? nowMs, endMs: nowMs };
    if (isAway) this.isFrozen = this.random.chance(0.5);
    else this.#release();
  }

  heal(): void {
    this.faults = { ...NO_SERVICE_FAULTS };
    this.isAway = false;
    this.cutOff.clear();
    this.lags.clear();
  }

  delayMs(): number {
    const { faults, random } = this;
    const delayMs = random.between(faults.delayMinMs, faults.delayMaxMs);
    return random.chance(faults.slow) ? delayMs * 10 : delayMs;
  }

  canReach(machine: number): boolean {
    return !this.isAway && !this.cutOff.has(machine);
  }

  call<T>(life: SimLife, timeoutMs: number, effect: () => T): Promise<Answer<T>> {
    return new Promise((resolve) => {
      this.send(life, timeoutMs, effect, resolve);
    });
  }

  /** `call` without a promise. */
  send<T>(
    life: SimLife,
    timeoutMs: number,
    effect: () => T,
    answered: (answer: Answer<T>) => void,
  ): void {
    const { world, faults, random } = this;
    const call: Call<T> = { life, timeoutMs, effect, answered, startedMs: world.nowMs };
    const isLate = random.chance(faults.late);
    // What was written into a dead connection may still get through, seldom.
    const isHeld = this.isAway && this.isFrozen && !this.cutOff.has(life.machine.index);
    const isSent = isHeld || this.canReach(life.machine.index) || random.chance(0.05);
    if (!isSent || random.chance(faults.requestLost)) {
      this.#giveUp(call);
    } else if (isLate) {
      this.#giveUp(call);
      const lateMs = random.between(0, timeoutMs + LATE_MAX_MS);
      world.after(lateMs, () => this.#arrive(effect), true);
    } else {
      world.after(this.delayMs(), () => this.#carry(call), true);
    }
  }

  /** What a machine that froze meanwhile had not sent yet leaves at its resume, before anything tells it what it missed. */
  #carry<T>(call: Call<T>): void {
    const { world, random } = this;
    const { life } = call;
    const { machine } = life;
    if (!machine.isFrozen || !random.chance(HELD_IN_MACHINE)) return this.#serve(call);
    const { isSuspended } = machine;
    const heldMs = world.nowMs;
    life.run(() => {
      // The caller's time stood still with its machine.
      const passedMs = isSuspended ? world.nowMs - heldMs : 0;
      const held = { ...call, startedMs: call.startedMs + passedMs };
      world.after(random.between(0, this.faults.delayMinMs), () => this.#serve(held), true);
    });
  }

  /** The request arrives in time; its answer may not. */
  #serve<T>(call: Call<T>): void {
    const { world, random } = this;
    const { life, startedMs, timeoutMs, answered } = call;
    const result = this.#arrive(call.effect);
    const isLost = random.chance(this.faults.answerLost) || !this.canReach(life.machine.index);
    const backMs = this.delayMs() + (this.lags.get(life.machine.index) ?? 0);
    const isTooLate = world.nowMs + backMs > startedMs + timeoutMs;
    if (result === null || isLost || isTooLate) this.#giveUp(call);
    else life.later(backMs, () => answered(result));
  }

  /** At the timeout, or earlier when the connection breaks. */
  #giveUp<T>({ life, timeoutMs, startedMs, answered }: Call<T>): void {
    const { random } = this;
    const waitMs = random.chance(0.3) ? random.between(0, timeoutMs) : timeoutMs;
    life.later(Math.max(0, startedMs + waitMs - this.world.nowMs), () => answered(null));
  }

  #arrive<T>(effect: () => T): Answer<T> {
    if (!this.isAway) return { value: effect() };
    if (this.isFrozen && this.random.chance(HELD)) this.#held.push(() => void this.#arrive(effect));
    return null;
  }

  #release(): void {
    const held = this.#held;
    this.#held = [];
    for (const work of held) this.world.after(this.delayMs(), work, true);
  }
}
