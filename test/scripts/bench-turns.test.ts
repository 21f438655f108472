/** Goal: what lives over the rounds of a benchmark is started once, takes its turns, and is ended whatever happens. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { BenchContext } from "../../scripts/bench/part.ts";
import { settleMsOf, takeTurnsLiving } from "../../scripts/bench/turns.ts";

const CONTEXT: BenchContext = {
  ...{ rounds: 2, durationMs: 1, settleMs: 20_000, warmupMs: 0, events: null, scale: 1 },
  ...{ targets: [], connections: [1], bulkConnections: 1, mix: "challenge", domains: 1 },
  say: () => undefined,
};

async function turnsOf(failing: string | null): Promise<readonly string[]> {
  const steps: string[] = [];
  const note = async (step: string): Promise<void> => {
    steps.push(step);
    if (step === failing) throw new Error(step);
  };
  const turns = takeTurnsLiving(CONTEXT, ["a", "b"], {
    start: async (name) => {
      await note(`start ${name}`);
      return { name, target: { url: "", pids: [], stop: () => note(`stop ${name}`) } };
    },
    settle: ({ name }) => note(`settle ${name}`),
    measure: ({ name }) => note(name),
    verify: ({ name }) => note(`verify ${name}`),
  });
  if (failing === null) await turns;
  else await assert.rejects(turns, new Error(failing));
  return steps;
}

describe("takeTurnsLiving", () => {
  it("starts and settles each once, then alternates over the rounds", async () => {
    const started = ["start a", "settle a", "start b", "settle b"];
    const ended = ["verify a", "verify b", "stop a", "stop b"];
    assert.deepEqual(await turnsOf(null), [...started, "a", "b", "a", "b", ...ended]);
  });

  it("ends what runs when a start, a settling or a load fails", async () => {
    assert.deepEqual((await turnsOf("start b")).slice(2), ["start b", "stop a"]);
    assert.deepEqual((await turnsOf("settle b")).slice(3), ["settle b", "stop a", "stop b"]);
    assert.deepEqual((await turnsOf("b")).slice(4), ["a", "b", "stop a", "stop b"]);
  });
});

describe("settleMsOf", () => {
  it("gives a cluster twice as long", () => {
    assert.deepEqual([settleMsOf(CONTEXT, false), settleMsOf(CONTEXT, true)], [20_000, 40_000]);
  });
});
