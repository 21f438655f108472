/**
 * Starts the peer stacks of the benchmark: one database on a temporary directory, and Fastify in front of it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { freePort } from "../free-port.ts";
import { findMongod, findRedisServer } from "../servers.ts";
import { endChild, startScript, type Target } from "./targets.ts";

const START_ATTEMPTS_MAX = 400;
const START_POLL_MS = 50;

export async function startMongoPeer(): Promise<Target> {
  return await startPeer({
    program: await findMongod(),
    flags: (dataDir, port) => [
      ...["--dbpath", dataDir, "--port", port, "--bind_ip", "127.0.0.1"],
      ...["--nounixsocket", "--wiredTigerCacheSizeGB", "1"],
    ],
    script: "./peers-fastify-mongo.ts",
    env: (port) => ({ MONGO_URL: `mongodb://127.0.0.1:${port}/` }),
  });
}

export async function startRedisPeer(): Promise<Target> {
  return await startPeer({
    program: await findRedisServer(),
    flags: (dataDir, port) => [
      ...["--dir", dataDir, "--port", port, "--bind", "127.0.0.1"],
      ...["--appendonly", "yes", "--appendfsync", "always", "--save", ""],
    ],
    script: "./peers-fastify-redis.ts",
    env: (port) => ({ REDIS_URL: `redis://127.0.0.1:${port}` }),
  });
}

interface Peer {
  readonly program: string;
  readonly flags: (dataDir: string, port: string) => readonly string[];
  readonly script: string;
  readonly env: (port: string) => Readonly<Record<string, string>>;
}

async function startPeer(peer: Peer): Promise<Target> {
  const dataDir = await mkdtemp(join(tmpdir(), "catchall-bench-peer-"));
  const port = await freePort();
  const flags = peer.flags(dataDir, String(port));
  const database = spawn(peer.program, flags, { stdio: "ignore" });
  const children: ChildProcess[] = [database];
  const stop = async (): Promise<void> => {
    for (const child of children.splice(0).reverse()) await endChild(child);
    await rm(dataDir, { recursive: true, force: true });
  };
  try {
    for (let i = 0; !(await isListening(port)); i++) {
      const hasEnded = database.exitCode !== null || database.signalCode !== null;
      if (hasEnded || i >= START_ATTEMPTS_MAX) throw new Error(`${peer.program} did not start`);
      await delay(START_POLL_MS);
    }
    const { url, child } = await startScript(peer.script, peer.env(String(port)));
    children.push(child);
    return { url, pids: [child.pid as number, database.pid as number], stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
