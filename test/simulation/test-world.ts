/** A simulated world for tests: perfect clocks, lives to run ports in, promises played to their end. */
import { type SimLife, SimMachine } from "../../src/simulation/sim-life.ts";
import { SimWorld } from "../../src/simulation/sim-world.ts";

export const PERFECT_CLOCK = { rate: 1, wallRate: 1, wallOffsetMs: 0, monotonicStartMs: 0 };
const PLAY_MAX_MS = 3_600_000;

export class TestWorld {
  readonly world: SimWorld;

  constructor(seed = 1) {
    this.world = new SimWorld(seed, setImmediate);
  }

  boot(index: number): SimLife {
    return new SimMachine(this.world, index, PERFECT_CLOCK).boot();
  }

  /** Runs virtual time until `work` settles, and answers what it answers. */
  async play<T>(work: () => Promise<T>): Promise<T> {
    let isDone = false;
    const result = work().finally(() => {
      isDone = true;
    });
    result.catch(() => undefined);
    const endMs = this.world.nowMs + PLAY_MAX_MS;
    // An idle world would leap to its end while continuations still run.
    const tick = (): void => this.world.after(1000, () => (isDone ? undefined : tick()));
    tick();
    await this.world.run(endMs, () => isDone);
    return result;
  }
}
