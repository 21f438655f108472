/**
 * `npm run bench`: this node beside a bare uWebSockets.js server and beside Fastify with MongoDB, in one go.
 * Goal: what durability costs. Method: every target and the load tool are processes of their own; the targets take
 * turns over the rounds, so that a slow minute of the machine hits all; medians. Each run's counts are verified.
 * Options: `--only single,bulk,open-loop,memory`, `--targets bare,catchall,cluster,mongo,gubernator`, `--rounds`, `--events` or
 * `--duration`, `--settle` (a load before the one that is measured), `--domains-10m`, `--no-write`. Writes docs/benchmarks.md.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { scheduleAsBatch } from "../shared-cores.ts";
import { type LimitsResult, measureLimits } from "./limits.ts";
import { runLoadTool } from "./load-tool.ts";
import { startMongoPeer } from "./peers.ts";
import { startGubernator } from "./peers-gubernator.ts";
import { type Measurement, markdownOf, medianOf, type Section } from "./report.ts";
import {
  cpuMsOf,
  rssMibOf,
  startBare,
  startCatchall,
  type Target,
  type TargetName,
  type TargetOutcome,
} from "./targets.ts";
import { startCluster } from "./targets-cluster.ts";

const PARTS = ["single", "bulk", "open-loop", "memory"] as const;
type Part = (typeof PARTS)[number];

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "single,bulk,open-loop" },
    targets: { type: "string", default: "bare,catchall,cluster,mongo" },
    rounds: { type: "string", default: "3" },
    events: { type: "string" },
    duration: { type: "string", default: "8s" },
    warmup: { type: "string", default: "2s" },
    settle: { type: "string", default: "20s" },
    connections: { type: "string", default: "512" },
    "bulk-connections": { type: "string", default: "12" },
    mix: { type: "string", default: "challenge" },
    "domains-10m": { type: "boolean", default: false },
    domains: { type: "string", default: "10000000" },
    "no-write": { type: "boolean", default: false },
  },
});

// All targets and the load tool alike, as `npm run cluster` does.
scheduleAsBatch();

const STARTERS: Readonly<Record<TargetName, (flags?: readonly string[]) => Promise<Target>>> = {
  bare: () => startBare(),
  catchall: (flags) => startCatchall(flags),
  cluster: (flags) => startCluster(flags),
  mongo: () => startMongoPeer(),
  gubernator: () => startGubernator(),
};

const BULK_LINES = 1000;
const CHECKPOINT_FLAGS = ["--checkpoint-interval", "5s"];
const OPEN_LOOP_SHARE = 0.5;

function load(
  target: Target,
  flags: readonly string[],
  warmup: string,
  duration: string,
): Promise<TargetOutcome> {
  if (target.load !== undefined) {
    return target.load(Number(values.connections), msOf(warmup), msOf(duration));
  }
  const amount =
    values.events === undefined
      ? ["--duration", duration, "--warmup", warmup]
      : ["--events", values.events];
  return runLoadTool(["--url", target.url, ...amount, ...flags]);
}

function msOf(seconds: string): number {
  return Number.parseFloat(seconds) * 1000;
}

async function measure(
  name: TargetName,
  loadFlags: readonly string[],
  targetFlags: readonly string[] = [],
): Promise<Measurement> {
  const target = await STARTERS[name](targetFlags);
  try {
    const cpu = (): number => target.pids.reduce((sum, pid) => sum + cpuMsOf(pid), 0);
    // A load of its own before the one that is measured: the processor time of compilation is paid once in a process.
    if (values.settle !== "0s") await load(target, loadFlags, "0s", values.settle);
    const cpuBefore = cpu();
    const outcome = await load(target, loadFlags, values.warmup, values.duration);
    // Includes the verifying reads, which are few beside the events.
    const serverCpuMs = cpu() - cpuBefore;
    const { latency } = outcome;
    const measurement = {
      eventsPerSecond: outcome.eventsPerSecond,
      ...{ p50: latency.p50, p95: latency.p95, p99: latency.p99, p999: latency.p999 },
      serverUsPerEvent: (serverCpuMs * 1000) / outcome.ackedTotal,
      clientUsPerEvent: (outcome.clientCpuMs * 1000) / outcome.acked,
      rssMib: target.pids.reduce((sum, pid) => sum + rssMibOf(pid), 0),
    };
    process.stdout.write(
      `  ${name}: ${Math.round(measurement.eventsPerSecond)} events/s, ` +
        `P50 ${latency.p50} P95 ${latency.p95} P99 ${latency.p99} P99.9 ${latency.p999} ms, ` +
        `CPU ${measurement.serverUsPerEvent.toFixed(2)} + ` +
        `${measurement.clientUsPerEvent.toFixed(2)} µs/event, RSS ${Math.round(measurement.rssMib)} MiB\n`,
    );
    return measurement;
  } finally {
    await target.stop();
  }
}

/** All targets in turn, so many rounds. */
async function compare(options: {
  readonly title: string;
  readonly text: string;
  readonly targets: readonly TargetName[];
  readonly loadFlags: readonly string[];
  readonly targetFlags?: readonly string[];
}): Promise<Section> {
  const rounds = Number(values.rounds);
  const rows = options.targets.map((target) => ({ target, rounds: [] as Measurement[] }));
  for (let round = 1; round <= rounds; round++) {
    process.stdout.write(`${options.title}, round ${round} of ${rounds}\n`);
    for (const row of rows) {
      row.rounds.push(await measure(row.target, options.loadFlags, options.targetFlags));
    }
  }
  return { title: options.title, text: options.text, rows };
}

function rateOf(section: Section | undefined, target: TargetName): number | null {
  const row = section?.rows.find((candidate) => candidate.target === target);
  return row === undefined ? null : medianOf(row.rounds).eventsPerSecond;
}

async function main(): Promise<void> {
  const parts = new Set(values.only.split(",") as Part[]);
  for (const part of parts) {
    if (!PARTS.includes(part)) throw new Error(`--only knows ${PARTS.join(", ")}`);
  }
  if (values["domains-10m"]) parts.add("memory");
  const targets = values.targets.split(",") as TargetName[];
  const { connections, mix } = values;
  const sections: Section[] = [];
  const singleFlags = ["--connections", connections, "--mix", mix];
  if (parts.has("single")) {
    const title = `Single PUTs, ${connections} connections`;
    const text = `\`PUT /events/{domain}/{type}\`, mix \`${mix}\`, closed loop, keep-alive.`;
    sections.push(await compare({ title, text, targets, loadFlags: singleFlags }));
  }
  const single = sections[0];
  if (parts.has("bulk")) {
    const title = `Bulk, ${BULK_LINES} lines a request`;
    const count = values["bulk-connections"];
    const text = `\`POST /events\`, NDJSON, mix \`${mix}\`, ${count} connections; latency a request.`;
    const loadFlags = ["--bulk", String(BULK_LINES), "--connections", count, "--mix", mix];
    // It would count a request of many hits as one.
    const able = targets.filter((target) => target !== "gubernator");
    sections.push(await compare({ title, text, targets: able, loadFlags }));
  }
  if (parts.has("open-loop")) {
    const peak =
      rateOf(single, "catchall") ?? (await measure("catchall", singleFlags)).eventsPerSecond;
    const rate = Math.round(peak * OPEN_LOOP_SHARE);
    const title = `Open loop at half the peak, ${rate} events/s`;
    const text =
      "Intended start times, latencies corrected for coordinated omission; " +
      "the node writes a checkpoint every 5 s.";
    const loadFlags = [...singleFlags, "--rate", String(rate)];
    const options = { title, text, loadFlags, targetFlags: CHECKPOINT_FLAGS };
    // Half the peak of one node is over the peak of the others.
    const fast = targets.filter((target) => target === "bare" || target === "catchall");
    sections.push(await compare({ ...options, targets: fast }));
  }
  let limits: LimitsResult | null = null;
  if (parts.has("memory")) {
    limits = await measureLimits(Number(values.domains), 1);
    process.stdout.write(`${JSON.stringify(limits, null, 1)}\n`);
  }
  const argv = process.argv.slice(2);
  const command = ["npm run bench", ...(argv.length === 0 ? [] : ["--", ...argv])].join(" ");
  const date = new Date().toISOString().slice(0, 10);
  const markdown = markdownOf({ command, date, sections, limits });
  process.stdout.write(`\n${markdown}`);
  if (values["no-write"]) return;
  const docs = new URL("../../docs/", import.meta.url);
  await mkdir(docs, { recursive: true });
  await writeFile(new URL("benchmarks.md", docs), markdown);
}

await main();
