/**
 * `simulate.ts --embedded`: the production wiring of a node that is alone, over a disk that fails as disks do, seed after
 * seed; every broken promise is printed with its plan, the last steps and the command that repeats it.
 * Flags: `--seed S --seeds N --minutes M` (virtual, 1), `--families crash,rot`, `--twice`, `--verbose`, `--progress`.
 */
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { startEmbeddedOn } from "../src/server/embedded.ts";
import { batchedDrain } from "../src/simulation/batched-drain.ts";
import {
  describeEmbeddedPlan,
  EMBEDDED_FAULT_FAMILIES,
  EMBEDDED_PLAN_OPTIONS,
  type EmbeddedFaultFamily,
  type EmbeddedPlanOptions,
} from "../src/simulation/embedded-plan.ts";
import { type EmbeddedResult, simulateEmbedded } from "../src/simulation/embedded-simulator.ts";

const MINUTE_MS = 60_000;
const TRACE_PRINTED = 40;
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
  const result = await simulateEmbedded(seed, { start: startEmbeddedOn, drain, plan });
  return { result, stray: [...stray] };
}

function print({ result, stray }: Run, isWhole: boolean): void {
  const { seed, traceHash, failures, statistics, plan, notes, trace } = result;
  const mark = failures.length + stray.length > 0 ? "FAILED" : "ok";
  process.stdout.write(`${seed} ${mark} ${traceHash} ${JSON.stringify(statistics)}\n`);
  for (const { rule, text, atMs } of failures) {
    process.stdout.write(`  ${rule} at ${atMs} ms: ${text}\n`);
  }
  for (const text of stray) process.stdout.write(`  nobody caught: ${text}\n`);
  if (!isWhole) return;
  process.stdout.write(`plan:\n${describeEmbeddedPlan(plan)}\nnotes:\n${notes.join("\n")}\n`);
  process.stdout.write(`last steps:\n${trace.slice(-TRACE_PRINTED).join("\n")}\n`);
}

function familiesOf(text: string): EmbeddedFaultFamily[] {
  const named = text.split(",").filter((name) => name !== "");
  const known: readonly string[] = EMBEDDED_FAULT_FAMILIES;
  const unknown = named.filter((name) => !known.includes(name));
  if (unknown.length > 0) throw new Error(`Not a family of faults: ${unknown.join(", ")}`);
  return named as EmbeddedFaultFamily[];
}

function repeatOf(seed: number, minutes: string, families: string | undefined): string {
  const more = families === undefined ? "" : ` --families ${families}`;
  return `npm run simulate -- --embedded --seed ${seed} --seeds 1 --minutes ${minutes}${more} --verbose`;
}

/** Resolves to the exit code. */
export async function simulateEmbeddedSeeds(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      embedded: { type: "boolean" },
      seed: { type: "string", default: "1" },
      seeds: { type: "string", default: "10" },
      minutes: { type: "string", default: "1" },
      families: { type: "string" },
      twice: { type: "boolean", default: false },
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
    const again = values.twice ? await run(seed, plan) : once;
    const differs = again.result.traceHash !== once.result.traceHash;
    const isBad = once.result.failures.length + once.stray.length > 0;
    for (const [name, value] of Object.entries(once.result.statistics)) {
      sums.set(name, (sums.get(name) ?? 0) + value);
    }
    if (isBad || differs) failed++;
    if (isBad || verbose || values.progress) print(once, isBad || verbose);
    if (differs) process.stdout.write(`${seed} FAILED: two runs differ\n`);
    if (isBad || differs) process.stdout.write(`again: ${repeatOf(seed, minutes, families)}\n`);
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
