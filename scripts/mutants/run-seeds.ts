/**
 * Runs the simulator of the tree that it lies in over dense seeds, one JSON line a seed, until enough of them failed.
 * Usage: `run-seeds.ts --seed S --seeds N --catches K [--expects I1,I2]`: only seeds that break one of these are enough. Started by scripts/mutants.ts in a copy of the tree.
 */
import { parseArgs } from "node:util";
import { startClusterNode } from "../../src/server/assemble-cluster-node.ts";
import { batchedDrain } from "../../src/simulation/batched-drain.ts";
import { simulate } from "../../src/simulation/simulator.ts";
import { densePlan } from "./dense-plan.ts";

/** What a seed showed; `rules` in the order in which they broke. */
export interface SeedReport {
  readonly seed: number;
  readonly rules: readonly string[];
  readonly text: string;
}

const drain = batchedDrain(setImmediate);
const stray: string[] = [];

async function runSeed(seed: number): Promise<SeedReport> {
  stray.length = 0;
  const options = {
    start: startClusterNode,
    drain,
    keepsChanges: true,
    plan: densePlan(seed),
  };
  const { failures } = await simulate(seed, options);
  const rules = [...failures.map(({ rule }) => rule), ...stray.map(() => "assertion")];
  const text = failures[0]?.text ?? stray[0] ?? "";
  return { seed, rules: [...new Set(rules)], text: text.slice(0, 300) };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: "string", default: "1" },
      seeds: { type: "string", default: "60" },
      catches: { type: "string", default: "3" },
      expects: { type: "string" },
    },
  });
  const first = Number(values.seed);
  const expected = values.expects?.split(",");
  let left = Number(values.catches);
  Error.stackTraceLimit = 0;
  process.on("unhandledRejection", (error) => stray.push(String(error)));
  for (let seed = first; seed < first + Number(values.seeds) && left > 0; seed++) {
    const report = await runSeed(seed);
    if (report.rules.some((rule) => expected?.includes(rule) ?? true)) left--;
    process.stdout.write(`${JSON.stringify(report)}\n`);
  }
}

await main();
