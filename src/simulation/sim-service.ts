/**
 * The way from a life to a shared store and back: delays, lost requests, lost answers, requests that arrive after the
 * caller gave up, times when the store is away or cut off.
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

/** Later than this after the caller's timeout nothing arrives. */
const LATE_MAX_MS = 20_000;

export class SimService {
  readonly world: SimWorld;
  faults: ServiceFaults;
  /** While true nothing is answered, as when the server is down. */
  isAway = false;
  /** Machines without a way to it. */
  readonly cutOff: Set<number> = new Set();
  readonly random: SimRandom;

  constructor(world: SimWorld, name: string, faults: ServiceFaults) {
    this.world = world;
    this.faults = faults;
    this.random = world.random(`service/${name}`);
  }

  heal(): void {
    this.faults = { ...NO_SERVICE_FAULTS };
    this.isAway = false;
    this.cutOff.clear();
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
    const machine = life.machine.index;
    const startedMs = world.nowMs;
    const giveUp = (): void => {
      // Sometimes the connection breaks before the timeout.
      const waitMs = random.chance(0.3) ? random.between(0, timeoutMs) : timeoutMs;
      life.later(Math.max(0, startedMs + waitMs - world.nowMs), () => answered(null));
    };
    const isLate = random.chance(faults.late);
    // What was written into a dead connection may still get through, seldom.
    const isSent = this.canReach(machine) || random.chance(0.05);
    if (!isSent || random.chance(faults.requestLost)) {
      giveUp();
      return;
    }
    if (isLate) {
      giveUp();
      world.after(
        random.between(0, timeoutMs + LATE_MAX_MS),
        () => void this.#arrive(effect),
        true,
      );
      return;
    }
    const arrive = (): void => {
      const result = this.#arrive(effect);
      const isLost = random.chance(faults.answerLost) || !this.canReach(machine);
      const backMs = this.delayMs();
      if (result === null || isLost || world.nowMs + backMs > startedMs + timeoutMs) giveUp();
      else life.later(backMs, () => answered(result));
    };
    world.after(this.delayMs(), arrive, true);
  }

  #arrive<T>(effect: () => T): Answer<T> {
    return this.isAway ? null : { value: effect() };
  }
}
