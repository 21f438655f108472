/**
 * The servers that the benchmark compares, each a child process with an address, a set of process ids whose CPU time
 * counts, and an end. Data directories are temporary and removed.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { LoadOutcome } from "../../src/cli/load/load-engine.ts";
import { NodeProcess } from "../../test/support/node-process.ts";
import { freePort } from "../free-port.ts";

/** What a load on a target came to; latencies in ms. */
export type TargetOutcome = Pick<
  LoadOutcome,
  "acked" | "ackedTotal" | "eventsPerSecond" | "latency" | "clientCpuMs"
> &
  Partial<Pick<LoadOutcome, "reads">>;

/** A load of single events in a closed loop. `onLoaded`: it is over, and its counts have not been verified. */
export type TargetLoad = (
  load: {
    readonly connections: number;
    readonly warmupMs: number;
    readonly durationMs: number;
  },
  onLoaded?: () => void,
) => Promise<TargetOutcome>;

export interface Target {
  readonly url: string;
  /** For a target that speaks another protocol than ours. */
  readonly load?: TargetLoad;
  /** Processes whose CPU time and memory are those of the target. */
  readonly pids: readonly number[];
  stop(): Promise<void>;
}

export type TargetName = "bare" | "catchall" | "cluster" | "mongo" | "redis" | "gubernator";

export const TARGET_TITLES: Readonly<Record<TargetName, string>> = {
  bare: "bare uWebSockets.js, a Map, nothing durable",
  catchall: "catchall, file log synced before each answer",
  cluster: "catchall, three nodes, JetStream log synced before each answer; all server processes",
  mongo: "Fastify + MongoDB `$inc` upsert, w: majority, j: true",
  redis: "Fastify + Redis `HINCRBY`, appendonly, appendfsync always",
  gubernator: "gubernator, six peers, in memory, nothing durable",
};

/** A child that prints `listening <port>` when it serves. */
export async function startScript(
  script: string,
  env: Readonly<Record<string, string>> = {},
): Promise<{ readonly url: string; readonly child: ChildProcess }> {
  const path = fileURLToPath(new URL(script, import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", path], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...env },
  });
  const port = await new Promise<string>((resolve, reject) => {
    let output = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      const match = /listening (\d+)\n/.exec(output);
      if (match !== null) resolve(match[1] as string);
    });
    child.once("exit", (code) => reject(new Error(`${script} ended with ${code}`)));
  });
  return { url: `http://127.0.0.1:${port}`, child };
}

export async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  await exited;
}

export async function startBare(): Promise<Target> {
  const { url, child } = await startScript("./targets-bare.ts");
  return { url, pids: [child.pid as number], stop: () => endChild(child) };
}

export async function startCatchall(flags: readonly string[] = []): Promise<Target> {
  const dataDir = await mkdtemp(join(tmpdir(), "catchall-bench-"));
  const node = await NodeProcess.start({
    port: await freePort(),
    dataDir,
    flags: ["--log-level", "warn", ...flags],
  });
  return {
    url: node.url,
    pids: [node.pid],
    stop: async () => {
      await node.kill();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

const TICK_MS = 10;

/** User and system time of a process, all threads, in milliseconds. Linux only. */
export function cpuMsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The command name may hold spaces: count fields after its closing bracket.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

/** Resident memory in MiB. */
export function rssMibOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024;
}
