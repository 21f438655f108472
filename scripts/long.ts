/**
 * `npm run test:long`: everything that the ordinary run does in small, in full number, one part after another. Each part is
 * a command of its own (`--list`); its whole output goes to a file, its last line is its summary here.
 * A part that fails does not stop the others; exit code 1 when any did. A part that can't run here says why, and counts as failed.
 *
 * `--only seeds,kills`, `--scale 0.1` (a tenth of each number), `--seed S` (1), `--list` (prints the commands alone).
 */

import { spawn, spawnSync } from "node:child_process";
import { createWriteStream, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const ROOT = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

interface Part {
  readonly name: string;
  /** What `--scale` multiplies. */
  readonly times: number;
  /** Runs the built product. */
  readonly isBuilt: boolean;
  readonly command: (times: number, seed: number) => readonly string[];
}

const SCRIPT = ["--import", "tsx"];

const PARTS: readonly Part[] = [
  {
    name: "seeds",
    times: 10_000,
    isBuilt: false,
    command: (times, seed) => simulation(times, seed * 1_000_000, []),
  },
  {
    name: "hurried-seeds",
    times: 40_000,
    isBuilt: false,
    command: (times, seed) => simulation(times, seed * 1_000_000 + 500_000, ["--hurry", "3"]),
  },
  {
    name: "embedded-seeds",
    times: 2000,
    isBuilt: false,
    command: (times, seed) =>
      simulation(times, seed * 1_000_000, ["--embedded", "--minutes", "0.5"]),
  },
  {
    name: "kills",
    times: 1000,
    isBuilt: true,
    command: (times, seed) => ["scripts/kill-loop.ts", "--cycles", `${times}`, "--seed", `${seed}`],
  },
  series("owner-kills", 300),
  series("owner-pauses", 300),
  series("nats-restarts", 200),
  {
    name: "dropped-acks",
    // Every acknowledgement of both kinds: twice as many cases.
    times: 200,
    isBuilt: true,
    command: (times) => ["scripts/chaos.ts", "--dropped-acks", `${times}`],
  },
  {
    name: "differential",
    times: 2000,
    isBuilt: false,
    command: (times, seed) => {
      return ["scripts/differential.ts", "--scripts", `${times}`, "--seed", `${seed * 1_000_000}`];
    },
  },
  powerCuts("node"),
  powerCuts("cluster"),
  {
    name: "requests",
    times: 1_000_000,
    isBuilt: false,
    command: (times, seed) => [
      ...["scripts/http-fuzz.ts", "--requests", `${times}`, "--seed", `${seed}`],
    ],
  },
  {
    name: "chaos",
    times: 60,
    isBuilt: true,
    command: (times, seed) => ["scripts/chaos.ts", "--minutes", `${times}`, "--seed", `${seed}`],
  },
  {
    name: "chaos-three-nats",
    times: 20,
    isBuilt: true,
    command: (times, seed) => [
      ...["scripts/chaos.ts", "--nats", "3", "--minutes", `${times}`, "--seed", `${seed}`],
    ],
  },
];

function simulation(seeds: number, first: number, flags: readonly string[]): readonly string[] {
  return [
    ...["--max-semi-space-size=64", ...SCRIPT, "scripts/simulate.ts", "--minutes", "1", ...flags],
    ...["--twice-every", "100", "--seed", `${first}`, "--seeds", `${seeds}`],
  ];
}

function series(name: string, times: number): Part {
  const command: Part["command"] = (count, seed) => [
    ...["scripts/chaos.ts", "--series", `${name}=${count}`, "--seed", `${seed}`],
  ];
  return { name, times, isBuilt: true, command };
}

function powerCuts(target: "node" | "cluster"): Part {
  const command: Part["command"] = (times, seed) => [
    ...["scripts/power-cut.ts", "--target", target, "--cuts", `${times}`, "--seed", `${seed}`],
  ];
  return { name: `power-cuts-${target}`, times: 300, isBuilt: true, command };
}

/** Arguments of node for a part: those of the commands in CONTRIBUTING.md. */
export function commandOf(part: Part, scale: number, seed: number): readonly string[] {
  const command = part.command(Math.max(1, Math.round(part.times * scale)), seed);
  return command[0]?.startsWith("--") === true ? command : [...SCRIPT, ...command];
}

export function partsOf(only: string | undefined): readonly Part[] {
  const names = only?.split(",").filter((name) => name !== "");
  if (names === undefined) return PARTS;
  for (const name of names) {
    if (PARTS.some((part) => part.name === name)) continue;
    throw new Error(`No part "${name}"; there are ${PARTS.map((part) => part.name).join(", ")}`);
  }
  return PARTS.filter(({ name }) => names.includes(name));
}

/** Resolves to the part's summary line. */
async function runPart(
  args: readonly string[],
  file: string,
): Promise<{ readonly code: number; readonly last: string }> {
  const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"] });
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  process.on("SIGINT", forward).on("SIGTERM", forward);
  const ended = new Promise<number>((resolve) => {
    child.once("close", (exitCode) => resolve(exitCode ?? 1));
  });
  const output = createWriteStream(file);
  const last = { out: "", error: "it said nothing" };
  for (const [name, stream] of [
    ["out", child.stdout],
    ["error", child.stderr],
  ] as const) {
    createInterface({ input: stream }).on("line", (line) => {
      output.write(`${line}\n`);
      if (line.trim() !== "") last[name] = line.trim();
    });
  }
  const code = await ended;
  output.end();
  process.off("SIGINT", forward).off("SIGTERM", forward);
  return { code, last: last.out === "" ? last.error : last.out };
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: "string" },
      scale: { type: "string", default: "1" },
      seed: { type: "string", default: "1" },
      list: { type: "boolean", default: false },
    },
  });
  const [scale, seed] = [Number(values.scale), Number(values.seed)];
  if (!(scale > 0) || !Number.isSafeInteger(seed)) {
    throw new Error("Usage: long.ts [--only seeds,kills] [--scale 0.1] [--seed 1] [--list]");
  }
  const parts = partsOf(values.only);
  if (values.list) {
    for (const part of parts) console.log(`node ${commandOf(part, scale, seed).join(" ")}`);
    return 0;
  }
  if (parts.some(({ isBuilt }) => isBuilt)) {
    const built = spawnSync(process.execPath, ["scripts/build.mjs"], {
      cwd: ROOT,
      stdio: "inherit",
    });
    if (built.status !== 0) return built.status ?? 1;
  }
  const folder = mkdtempSync(path.join(tmpdir(), "catchall-long-"));
  console.log(`Whole output of each part in ${folder}`);
  let failed = 0;
  for (const part of parts) {
    const startMs = performance.now();
    const file = path.join(folder, `${part.name}.txt`);
    const { code, last } = await runPart(commandOf(part, scale, seed), file);
    if (code !== 0) failed++;
    const minutes = ((performance.now() - startMs) / 60_000).toFixed(1);
    const outcome = code === 0 ? "passed" : `FAILED with ${code}`;
    console.log(`${part.name}: ${outcome} after ${minutes} min: ${last}`);
  }
  console.log(`${parts.length} parts, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = await main();
