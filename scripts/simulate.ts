/**
 * Runs the production wiring of a cluster node in the simulator, seed after seed, and prints every broken promise.
 * Usage: `simulate.ts [--seed S] [--seeds N] [--minutes M [--calm C]] [--hurry H] [--families kill,pause]
 * [--unbiased] [--twice] [--twice-every K] [--progress] [--verbose]`.
 * Without `--minutes`: one minute of storms and nine of calm a seed; with it, M minutes of storms and C of calm (0).
 * `--unbiased`: faults hit any node at any time, as in seeds that are older than the bias to owners and moves.
 * `--hurry 3`: a third of the time, faults three times as often. `--twice` runs each seed a second time and compares the
 * traces, `--twice-every K` each K-th. A seed that fails is printed with its plan, its last steps and the command that
 * repeats it; `--verbose` prints as much of all, with what nodes said.
 * `--embedded`: a node that is alone (simulate-embedded.ts).
 */
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { startClusterNode } from "../src/server/assemble-cluster-node.ts";
import { batchedDrain } from "../src/simulation/batched-drain.ts";
import { describeFailure, repeatCommand } from "../src/simulation/failure-report.ts";
import {
  DEFAULT_PLAN_OPTIONS,
  describePlan,
  FAULT_FAMILIES,
  type FaultFamily,
  hurriedOptions,
  type PlanOptions,
  WEATHER_PLAN_OPTIONS,
} from "../src/simulation/fault-plan.ts";
import type { StartNode } from "../src/simulation/sim-node.ts";
import { type SimulationResult, simulate } from "../src/simulation/simulator.ts";
import { currentCommit } from "./commit.ts";
import { simulateEmbeddedSeeds } from "./simulate-embedded.ts";

const STACK_LINES = 10;
const MINUTE_MS = 60_000;

interface Run {
  readonly result: SimulationResult;
  /** What nobody caught. */
  readonly stray: readonly string[];
}

const drain = batchedDrain(setImmediate);
const stray: string[] = [];

async function run(seed: number, plan: PlanOptions, isVerbose: boolean): Promise<Run> {
  stray.length = 0;
  const start: StartNode = startClusterNode;
  const result = await simulate(seed, {
    start,
    drain,
    keepsChanges: true,
    plan,
    isVerbose,
  });
  return { result, stray: [...stray] };
}

function isBad({ result, stray }: Run): boolean {
  return result.failures.length > 0 || stray.length > 0;
}

function print({ result, stray }: Run, flags: Flags): void {
  const { seed, traceHash, statistics, plan } = result;
  const mark = isBad({ result, stray }) ? "FAILED" : "ok";
  process.stdout.write(`${seed} ${mark} ${traceHash} ${JSON.stringify(statistics)}\n`);
  if (mark === "FAILED") {
    const command = repeatCommand(seed, planFlags(flags));
    const context = { commit: currentCommit(), command, stray };
    process.stdout.write(`${describeFailure(result, context)}\n`);
  } else if (flags["verbose"] === true) {
    process.stdout.write(`${describePlan(plan)}\n${result.notes.join("\n")}\n`);
    process.stdout.write(`last steps:\n${result.trace.join("\n")}\n`);
  }
}

type Flags = Readonly<Record<string, string | boolean | undefined>>;

/** Say which seeds run and what is said of them, not what a seed does. */
const FLAGS_OF_RUN = ["seed", "seeds", "twice", "twice-every", "verbose", "progress"];

function planFlags(flags: Flags): string[] {
  return Object.entries(flags).flatMap(([name, value]) => {
    if (FLAGS_OF_RUN.includes(name) || value === undefined || value === false) return [];
    return value === true ? [`--${name}`] : [`--${name} ${value}`];
  });
}

interface PlanValues {
  readonly minutes?: string | undefined;
  readonly calm?: string | undefined;
  readonly families?: string | undefined;
  readonly unbiased?: boolean | undefined;
}

function planOf({ minutes, calm, families, unbiased = false }: PlanValues): PlanOptions {
  const plan =
    minutes === undefined
      ? { ...WEATHER_PLAN_OPTIONS, isUnbiased: unbiased }
      : {
          ...DEFAULT_PLAN_OPTIONS,
          faultsMs: Number(minutes) * MINUTE_MS,
          calmMs: Number(calm ?? 0) * MINUTE_MS,
          isUnbiased: unbiased,
        };
  if (families === undefined) return plan;
  const named = families.split(",").filter((name) => name !== "");
  const unknown = named.filter((name) => !FAULT_FAMILIES.some((family) => family === name));
  if (unknown.length > 0) throw new Error(`Not a family of faults: ${unknown.join(", ")}`);
  return { ...plan, families: named as FaultFamily[] };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: "string", default: "1" },
      seeds: { type: "string", default: "10" },
      minutes: { type: "string" },
      calm: { type: "string" },
      hurry: { type: "string", default: "1" },
      families: { type: "string" },
      unbiased: { type: "boolean", default: false },
      twice: { type: "boolean", default: false },
      "twice-every": { type: "string", default: "0" },
      verbose: { type: "boolean", default: false },
      progress: { type: "boolean", default: false },
    },
  });
  const options = planOf(values);
  const hurry = Number(values.hurry);
  if (!(hurry >= 1)) throw new Error(`--hurry must be a number from 1 on, not "${values.hurry}"`);
  const twiceEvery = values.twice ? 1 : Number(values["twice-every"]);
  const first = Number(values.seed);
  const count = Number(values.seeds);
  // Stacks cost more than the simulation; a verbose run has them.
  Error.stackTraceLimit = values.verbose ? STACK_LINES : 0;
  process.on("unhandledRejection", (error) => {
    stray.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
  });
  const startedMs = performance.now();
  const startedCpu = process.cpuUsage();
  let failed = 0;
  const sums = new Map<string, number>();
  for (let seed = first; seed < first + count; seed++) {
    const plan = hurriedOptions(seed, options, hurry);
    const once = await run(seed, plan, values.verbose);
    for (const [name, value] of Object.entries(once.result.statistics)) {
      sums.set(name, (sums.get(name) ?? 0) + value);
    }
    const isTwice = twiceEvery > 0 && (seed - first) % twiceEvery === 0;
    const second = isTwice ? await run(seed, plan, values.verbose) : once;
    const differs = second.result.traceHash !== once.result.traceHash;
    if (differs) {
      const command = repeatCommand(seed, [...planFlags(values), "--twice"]);
      process.stdout.write(`${seed} FAILED: two runs differ\nagain: ${command}\n`);
    }
    if (isBad(once) || differs) failed++;
    if (isBad(once) || values.verbose || values.progress) print(once, values);
  }
  const seconds = (performance.now() - startedMs) / 1000;
  const { user, system } = process.cpuUsage(startedCpu);
  const sum = (name: string): number => sums.get(name) ?? 0;
  const virtualMinutes = (sum("virtualMs") / MINUTE_MS / count).toFixed(1);
  const cpuMs = ((user + system) / 1000 / count).toFixed(0);
  process.stdout.write(
    `${sum("hits")} faults of nodes: ${sum("hitsOfOwners")} hit an owner, ` +
      `${sum("hitsDuringMoves")} came while a partition moved, ${sum("hitsOfMovers")} of them to ` +
      `a node of that move (${sum("fault moveStrike")} armed by one); ${sum("coordinatorActs")} ` +
      `acts of coordinators, ${sum("coordinatorsAtOnce")} while another one was acting; ` +
      `${sum("acknowledgedWithoutMongo")} events acknowledged with nothing but MongoDB away; ` +
      `${sum("pages")} pages compared; ${sum("refusedStarts")} starts refused and ` +
      `${sum("saidOutdated")} nodes not ready over a newer format\n` +
      `${count} seeds, ${failed} failed; ${virtualMinutes} virtual minutes a seed; ` +
      `${seconds.toFixed(1)} s, ${cpuMs} ms of processor time a seed\n`,
  );
  if (failed > 0) process.exitCode = 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const args = process.argv.slice(2);
  if (args.includes("--embedded")) process.exitCode = await simulateEmbeddedSeeds(args);
  else await main();
}
