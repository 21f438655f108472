/**
 * `npm run bench`: limits of the machine, this node and cluster beside a bare uWebSockets.js server and other peers, in
 * one go or, by `--only`, in pieces; writes docs/benchmarks.md and its plots after each part. Method: every target and the load tool are processes of their own; the
 * targets take turns over the rounds, so that a slow minute of the machine hits all; medians. Each run's counts are
 * verified. Options: `--only` and `--targets` (their values: `--help`), `--rounds`, `--events` or `--duration`, `--warmup`,
 * `--settle` (a load before those that are measured), `--connections` (several with commas), `--bulk-connections`,
 * `--mix`, `--domains` (of the part `memory`, which `--domains-10m` adds to `--only`), `--scale`, `--no-write`.
 */
import { parseArgs } from "node:util";
import { MIX_NAMES, type MixName } from "../../src/cli/load/mixes.ts";
import { parseDurationMs } from "../../src/config/option-value.ts";
import { currentCommit } from "../commit.ts";
import { scheduleAsBatch } from "../shared-cores.ts";
import { bulkPart } from "./bulk-part.ts";
import { TARGET_NAMES } from "./compare.ts";
import { connectionsPart } from "./connections-part.ts";
import { disturbedPart } from "./disturbed-part.ts";
import { failoverPart } from "./failover-part.ts";
import { growthDomainsPart } from "./growth-domains-part.ts";
import { growthNodesPart } from "./growth-nodes-part.ts";
import { growthPartitionsPart } from "./growth-partitions-part.ts";
import { limitsPart } from "./limits-part.ts";
import { memoryPart } from "./memory-part.ts";
import { mixedPart } from "./mixed-part.ts";
import { mixesPart } from "./mixes-part.ts";
import type { BenchContext, BenchPart, Table } from "./part.ts";
import { readsPart } from "./reads-part.ts";
import { tableText } from "./report.ts";
import { restorePart } from "./restore-part.ts";
import { keepResult, writeDocument } from "./results.ts";
import { singlePart } from "./single-part.ts";

/** In the order of their tables. */
const PARTS: readonly BenchPart[] = [
  limitsPart,
  singlePart,
  connectionsPart,
  readsPart,
  mixedPart,
  bulkPart,
  mixesPart,
  disturbedPart,
  failoverPart,
  memoryPart,
  growthDomainsPart,
  growthNodesPart,
  growthPartitionsPart,
  restorePart,
];

const PART_NAMES = PARTS.map(({ name }) => name);

/** All that run without a program of the user's. */
const TARGETS_DEFAULT = TARGET_NAMES.filter((name) => {
  return name !== "gubernator" || process.env["GUBERNATOR_CLUSTER"] !== undefined;
});

const { values } = parseArgs({
  options: {
    help: { type: "boolean", default: false },
    only: { type: "string", default: PART_NAMES.join(",") },
    targets: { type: "string", default: TARGETS_DEFAULT.join(",") },
    rounds: { type: "string", default: "5" },
    events: { type: "string" },
    duration: { type: "string", default: "5s" },
    warmup: { type: "string", default: "1s" },
    settle: { type: "string", default: "20s" },
    connections: { type: "string", default: "512" },
    "bulk-connections": { type: "string", default: "12" },
    mix: { type: "string", default: "challenge" },
    "domains-10m": { type: "boolean", default: false },
    domains: { type: "string", default: "10000000" },
    scale: { type: "string", default: "1" },
    "no-write": { type: "boolean", default: false },
  },
});

function contextOf(): BenchContext {
  const scale = numberOf("scale");
  return {
    rounds: numberOf("rounds"),
    durationMs: durationOf("duration"),
    settleMs: durationOf("settle"),
    warmupMs: durationOf("warmup"),
    events: values.events === undefined ? null : numberOf("events"),
    scale,
    targets: listOf("targets", TARGET_NAMES),
    connections: values.connections.split(",").map((text) => aboveZero("connections", text)),
    bulkConnections: numberOf("bulk-connections"),
    mix: listOf("mix", MIX_NAMES)[0] as MixName,
    domains: Math.ceil(numberOf("domains") * scale),
    say: (line) => process.stdout.write(`${line}\n`),
  };
}

type Option = keyof typeof values;

function numberOf(option: Option): number {
  return aboveZero(option, String(values[option]));
}

function aboveZero(option: Option, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`--${option} must be a number above zero, not "${text}"`);
  return value;
}

function durationOf(option: Option): number {
  const text = String(values[option]);
  const ms = parseDurationMs(text);
  if (ms === null)
    throw new Error(`--${option} must be a time such as 500ms or 30s, not "${text}"`);
  return ms;
}

function listOf<Name extends string>(option: Option, known: readonly Name[]): readonly Name[] {
  const names = String(values[option]).split(",") as Name[];
  for (const name of names) {
    if (!known.includes(name)) throw new Error(`--${option} knows ${known.join(", ")}`);
  }
  return names;
}

function chosenParts(): readonly BenchPart[] {
  const names = new Set(listOf("only", PART_NAMES));
  if (values["domains-10m"]) names.add(memoryPart.name);
  return PARTS.filter(({ name }) => names.has(name));
}

/** Keeps null of a part that failed: it does not cost the figures of the others. */
async function runPart(
  part: BenchPart,
  context: BenchContext,
  keep: (tables: readonly Table[] | null) => Promise<void>,
): Promise<void> {
  context.say(`── ${part.name}`);
  const startMs = performance.now();
  try {
    const tables = await part.run(context);
    for (const table of tables) context.say(`\n${tableText(table)}\n`);
    await keep(tables);
    context.say(`── ${part.name} took ${Math.round((performance.now() - startMs) / 1000)} s`);
  } catch (error) {
    process.exitCode = 1;
    console.error(`Part ${part.name} failed:`, error);
    await keep(null);
  }
}

async function main(): Promise<void> {
  if (values.help) {
    console.log(`--only ${PART_NAMES.join(",")}\n--targets ${TARGET_NAMES.join(",")}`);
    return;
  }
  // All targets and the load tool alike, as `npm run cluster` does.
  scheduleAsBatch();
  const context = contextOf();
  const argv = process.argv.slice(2);
  const command = ["npm run bench", ...(argv.length === 0 ? [] : ["--", ...argv])].join(" ");
  const commit = currentCommit();
  for (const part of chosenParts()) {
    await runPart(part, context, async (tables) => {
      if (values["no-write"]) return;
      const date = new Date().toISOString().slice(0, 10);
      await keepResult({ part: part.name, command, commit, date, tables });
      await writeDocument(PART_NAMES);
    });
  }
}

await main();
