/** The drain of the simulator: as thorough as a round of the event loop each, at a fraction of its cost. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { batchedDrain } from "../../src/simulation/batched-drain.ts";

const STEPS = 1000;
const DEPTH = 50;

describe("batchedDrain", () => {
  it("runs every continuation, whatever it started, before the next step", async () => {
    const drain = batchedDrain(setImmediate);
    const seen: string[] = [];
    const deep = async (step: number): Promise<void> => {
      for (let i = 0; i < DEPTH; i++) await null;
      seen.push(`end of ${step}`);
    };
    await new Promise<void>((resolve, reject) => {
      const run = (step: number): void => {
        if (step > 0 && seen.at(-1) !== `end of ${step - 1}`) reject(new Error(`early: ${step}`));
        if (step === STEPS) return resolve();
        deep(step).catch(reject);
        drain(() => run(step + 1));
      };
      drain(() => run(0));
    });
    assert.equal(seen.length, STEPS);
  });

  it("lets the host see a rejection that nobody catches before the next step", async () => {
    const drain = batchedDrain(setImmediate);
    const seen: unknown[] = [];
    const listeners = process.listeners("unhandledRejection");
    process.removeAllListeners("unhandledRejection");
    process.on("unhandledRejection", (reason) => seen.push(reason));
    try {
      const counts = await new Promise<number[]>((resolve) => {
        drain(() => {
          const before = seen.length;
          void Promise.reject("nobody's");
          drain(() => resolve([before, seen.length]));
        });
      });
      assert.deepEqual(counts, [0, 1]);
    } finally {
      process.removeAllListeners("unhandledRejection");
      for (const listener of listeners) process.on("unhandledRejection", listener);
    }
  });
});
