/**
 * `simulate.ts --embedded`: the production wiring of a node that is alone, over a disk that fails as disks do, seed after
 * seed; every broken promise is printed with its plan, the last steps and the command that repeats it.
 * Flags: `--seed S --seeds N --minutes M` (virtual, 0.5), `--families crash,rot`, `--twice`, `--twice-every K`,
 * `--progress`, `--verbose`.
 */
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { startEmbeddedOn } from "../src/server/embedded.ts";
import { recoverDisk } from "../src/server/recover-directory.ts";
import { batchedDrain } from "../src/simulation/batched-drain.ts";
import {
  EMBEDDED_FAULT_FAMILIES,
  EMBEDDED_PLAN_OPTIONS,
  type EmbeddedFaultFamily,
  type EmbeddedPlanOptions,
} from "../src/simulation/embedded-plan.ts";
import { type EmbeddedResult, simulateEmbedded } from "../src/simulation/embedded-simulator.ts";
import { describeFailure, repeatCommand } from "../src/simulation/failure-report.ts";
import { describePlan } from "../src/simulation/fault-plan.ts";
import { currentCommit } from "./commit.ts";

const MINUTE_MS = 60_000;
const STACK_LINES = 10;

interface Run {
  readonly result: EmbeddedResult;
  /** What nobody caught. */
  readonly stray: readonly string[];
}

const drain = batchedDrain(setImmediate);
const stray: string[] = [];

async function run(seed: number, plan: EmbeddedPlanOptions): Promise<Run> {
  stray.length = 0;
  const parts = { start: startEmbeddedOn, recover: recoverDisk };
  const result = await simulateEmbedded(seed, { ...parts, drain, plan });
  return { result, stray: [...stray] };
}

function isBad({ result, stray }: Run): boolean {
  return result.failures.length > 0 || stray.length > 0;
}

function print(run: Run, flags: readonly string[], isVerbose: boolean): void {
  const { seed, traceHash, statistics, plan, notes, trace } = run.result;
  const mark = isBad(run) ? "FAILED" : "ok";
  process.stdout.write(`${seed} ${mark} ${traceHash} ${JSON.stringify(statistics)}\n`);
  if (isBad(run)) {
    const context = { commit: currentCommit(), command: repeatCommand(seed, flags) };
    process.stdout.write(`${describeFailure(run.result, { ...context, stray: run.stray })}\n`);
  } else if (isVerbose) {
    process.stdout.write(`${describePlan(plan)}\n${notes.join("\n")}\n`);
    process.stdout.write(`last steps:\n${trace.join("\n")}\n`);
  }
}

function familiesOf(text: string): EmbeddedFaultFamily[] {
  const named = text.split(",").filter((name) => name !== "");
  const known: readonly string[] = EMBEDDED_FAULT_FAMILIES;
  const unknown = named.filter((name) => !known.includes(name));
  if (unknown.length > 0) throw new Error(`Not a family of faults: ${unknown.join(", ")}`);
  return named as EmbeddedFaultFamily[];
}

/** Resolves to the exit code. */
export async function simulateEmbeddedSeeds(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      embedded: { type: "boolean" },
      seed: { type: "string", default: "1" },
      seeds: { type: "string", default: "10" },
      minutes: { type: "string", default: "0.5" },
      families: { type: "string" },
      twice: { type: "boolean", default: false },
      "twice-every": { type: "string", default: "0" },
      verbose: { type: "boolean", default: false },
      progress: { type: "boolean", default: false },
    },
  });
  const { minutes, families, verbose } = values;
  const plan: EmbeddedPlanOptions = {
    ...EMBEDDED_PLAN_OPTIONS,
    faultsMs: Number(minutes) * MINUTE_MS,
    ...(families === undefined ? {} : { families: familiesOf(families) }),
  };
  const flags = ["--embedded", `--minutes ${minutes}`];
  if (families !== undefined) flags.push(`--families ${families}`);
  const twiceEvery = values.twice ? 1 : Number(values["twice-every"]);
  const [first, count] = [Number(values.seed), Number(values.seeds)];
  Error.stackTraceLimit = verbose ? STACK_LINES : 0;
  process.on("unhandledRejection", (error) => {
    stray.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
  });
  const startedMs = performance.now();
  const startedCpu = process.cpuUsage();
  const sums = new Map<string, number>();
  let failed = 0;
  for (let seed = first; seed < first + count; seed++) {
    const once = await run(seed, plan);
    const isTwice = twiceEvery > 0 && (seed - first) % twiceEvery === 0;
    const again = isTwice ? await run(seed, plan) : once;
    const differs = again.result.traceHash !== once.result.traceHash;
    for (const [name, value] of Object.entries(once.result.statistics)) {
      sums.set(name, (sums.get(name) ?? 0) + value);
    }
    if (isBad(once) || differs) failed++;
    if (isBad(once) || verbose || values.progress) print(once, flags, verbose);
    if (differs) process.stdout.write(`${seed} FAILED: two runs differ\n`);
  }
  const { user, system } = process.cpuUsage(startedCpu);
  const sum = (name: string): number => sums.get(name) ?? 0;
  process.stdout.write(`sums: ${JSON.stringify(Object.fromEntries(sums))}\n`);
  process.stdout.write(
    `${count} seeds of an embedded node, ${failed} failed; ${sum("acknowledged")} events ` +
      `acknowledged, ${sum("starts")} starts; ${((performance.now() - startedMs) / 1000).toFixed(1)} s, ` +
      `${((user + system) / 1000 / count).toFixed(0)} ms of processor time a seed\n`,
  );
  return failed > 0 ? 1 : 0;
}
