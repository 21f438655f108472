/**
 * The six-peer cluster of gubernator (its own `gubernator-cluster`, one process) as a target: one hit of a rate limit
 * an event, in memory, nothing durable. Its program can't be had from a registry: build it from its sources and name it
 * in GUBERNATOR_CLUSTER. It speaks another protocol, so it has a load loop of its own, checked by the hits that
 * it counted.
 */
import { spawn } from "node:child_process";
import { createConnection, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { LatencyRecorder } from "../../src/cli/load/latency-recorder.ts";
import { ResponseParser } from "../../src/cli/load/response-parser.ts";
import { SeededRandom } from "../../src/cli/load/seeded-random.ts";
import { endChild, type Target, type TargetLoad } from "./targets.ts";

/** Fixed in the program. */
const HTTP_PORTS = [9980, 9981, 9982, 9983, 9984, 9985] as const;
const DOMAINS = 10_000;
const HITS_MAX = 1_000_000_000;
const LIMITS_PER_REQUEST = 1000;
const START_ATTEMPTS_MAX = 200;
const START_POLL_MS = 50;
/** It ends within so many polls when its ports are taken. */
const START_SETTLE_POLLS = 20;

export async function startGubernator(): Promise<Target> {
  const program = process.env["GUBERNATOR_CLUSTER"];
  if (program === undefined) {
    throw new Error("Build gubernator-cluster and name it in GUBERNATOR_CLUSTER");
  }
  const child = spawn(program, [], { stdio: "ignore" });
  for (let i = 0; i < START_SETTLE_POLLS || !(await isUp()); i++) {
    // Its ports are fixed, so another one on this machine would answer for it.
    const hasEnded = child.exitCode !== null || child.signalCode !== null;
    if (hasEnded || i >= START_ATTEMPTS_MAX) throw new Error("gubernator-cluster did not start");
    await delay(START_POLL_MS);
  }
  // Nobody else sends hits.
  let hits = 0;
  return {
    url: "",
    pids: [child.pid as number],
    load: async (load, onLoaded) => {
      const outcome = await runLoad(load);
      onLoaded?.();
      hits += outcome.ackedTotal;
      const counted = await hitsOf();
      if (counted !== hits) throw new Error(`gubernator counted ${counted} of ${hits} hits`);
      return outcome;
    },
    stop: async () => {
      child.kill("SIGINT");
      await endChild(child);
    },
  };
}

async function isUp(): Promise<boolean> {
  try {
    return (await fetch(`http://127.0.0.1:${HTTP_PORTS[5]}/v1/HealthCheck`)).ok;
  } catch {
    return false;
  }
}

/** Closed loop, one event a request, domains at random. */
async function runLoad({ connections, warmupMs, durationMs }: Parameters<TargetLoad>[0]) {
  const latency = new LatencyRecorder();
  const random = new SeededRandom(1, 0);
  const cpuBefore = process.cpuUsage();
  const startMs = performance.now();
  const warmMs = startMs + warmupMs;
  const endMs = warmMs + durationMs;
  const counts = { acked: 0, ackedTotal: 0 };
  const loops = Array.from({ length: connections }, (_, index) => {
    const port = HTTP_PORTS[index % HTTP_PORTS.length] as number;
    return loop(
      port,
      endMs,
      () => random.below(DOMAINS),
      (sentMs, nowMs) => {
        counts.ackedTotal++;
        if (nowMs < warmMs) return;
        counts.acked++;
        latency.record(nowMs - sentMs);
      },
    );
  });
  await Promise.all(loops);
  const seconds = (performance.now() - warmMs) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  const clientCpuMs = (cpu.user + cpu.system) / 1000;
  const eventsPerSecond = counts.acked / seconds;
  return { ...counts, eventsPerSecond, latency: latency.summary(), clientCpuMs } satisfies Awaited<
    ReturnType<TargetLoad>
  >;
}

/** One connection: the next request leaves when the answer is here. */
function loop(
  port: number,
  endMs: number,
  nextDomain: () => number,
  answered: (sentMs: number, nowMs: number) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket: Socket = createConnection({ host: "127.0.0.1", port, noDelay: true });
    const parser = new ResponseParser();
    let sentMs = 0;
    const send = (): void => {
      sentMs = performance.now();
      if (sentMs >= endMs) {
        socket.destroy();
        resolve();
        return;
      }
      const body = JSON.stringify({ requests: [limitOf(nextDomain(), 1)] });
      const head =
        "POST /v1/GetRateLimits HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
      socket.write(`${head}Content-Length: ${body.length}\r\n\r\n${body}`);
    };
    socket.once("connect", send);
    socket.on("error", reject);
    socket.on("data", (chunk: Buffer) => {
      if (!parser.push(chunk)) return;
      if (parser.status !== 200) reject(new Error(`gubernator answered ${parser.status}`));
      answered(sentMs, performance.now());
      send();
    });
  });
}

function limitOf(domain: number, hits: number): object {
  const uniqueKey = `d${domain}.example.com`;
  const duration = "86400000";
  return { name: "events", uniqueKey, hits: String(hits), limit: String(HITS_MAX), duration };
}

/** Hits of all domains, asked without hitting. */
async function hitsOf(): Promise<number> {
  let hits = 0;
  for (let first = 0; first < DOMAINS; first += LIMITS_PER_REQUEST) {
    const requests = Array.from({ length: LIMITS_PER_REQUEST }, (_, i) => limitOf(first + i, 0));
    const answer = await fetch(`http://127.0.0.1:${HTTP_PORTS[0]}/v1/GetRateLimits`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ requests }),
    });
    const { responses } = (await answer.json()) as { responses: { remaining: string }[] };
    for (const { remaining } of responses) hits += HITS_MAX - Number(remaining);
  }
  return hits;
}
