/**
 * `npm run bench`: limits of the machine, this node and cluster beside a bare uWebSockets.js server and other peers, in
 * one go; writes docs/benchmarks.md and its plots. Method: every target and the load tool are processes of their own; the
 * targets take turns over the rounds, so that a slow minute of the machine hits all; medians. Each run's counts are
 * verified. Options: `--only` and `--targets` (their values: `--help`), `--rounds`, `--events` or `--duration`, `--warmup`,
 * `--settle` (a load before those that are measured), `--connections` (several with commas), `--bulk-connections`,
 * `--mix`, `--domains` (of the part `memory`, which `--domains-10m` adds to `--only`), `--scale`, `--no-write`.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { MIX_NAMES, type MixName } from "../../src/cli/load/mixes.ts";
import { parseDurationMs } from "../../src/config/option-value.ts";
import { scheduleAsBatch } from "../shared-cores.ts";
import { bulkPart } from "./bulk-part.ts";
import { commitText } from "./commit-text.ts";
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
import { openLoopPart } from "./open-loop-part.ts";
import type { BenchContext, BenchPart, Table } from "./part.ts";
import { svgOf } from "./plots.ts";
import { readsPart } from "./reads-part.ts";
import { markdownOf, plotFileName, tableText } from "./report.ts";
import { restorePart } from "./restore-part.ts";
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
  openLoopPart,
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
    duration: { type: "string", default: "8s" },
    warmup: { type: "string", default: "2s" },
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

interface Results {
  readonly tables: readonly Table[];
  /** SVG by file name. */
  readonly images: ReadonlyMap<string, string>;
}

/** A part that fails does not cost the figures of the others: they are printed, and nothing is written. */
async function runParts(context: BenchContext): Promise<Results> {
  const tables: Table[] = [];
  const images = new Map<string, string>();
  for (const part of chosenParts()) {
    context.say(`── ${part.name}`);
    try {
      const made = await part.run(context);
      for (const table of made) context.say(`\n${tableText(table)}\n`);
      for (const { plot, title } of made) {
        if (plot !== undefined) images.set(plotFileName(plot), await svgOf(plot, title));
      }
      tables.push(...made);
    } catch (error) {
      process.exitCode = 1;
      console.error(`Part ${part.name} failed:`, error);
    }
  }
  return { tables, images };
}

async function main(): Promise<void> {
  if (values.help) {
    console.log(`--only ${PART_NAMES.join(",")}\n--targets ${TARGET_NAMES.join(",")}`);
    return;
  }
  // All targets and the load tool alike, as `npm run cluster` does.
  scheduleAsBatch();
  const commit = commitText();
  const { tables, images } = await runParts(contextOf());
  if (values["no-write"] || process.exitCode === 1) return;
  const argv = process.argv.slice(2);
  const command = ["npm run bench", ...(argv.length === 0 ? [] : ["--", ...argv])].join(" ");
  const date = new Date().toISOString().slice(0, 10);
  const docs = new URL("../../docs/", import.meta.url);
  await mkdir(docs, { recursive: true });
  await writeFile(new URL("benchmarks.md", docs), markdownOf({ command, commit, date, tables }));
  for (const [name, svg] of images) await writeFile(new URL(name, docs), svg);
}

await main();
