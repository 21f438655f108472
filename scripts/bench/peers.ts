/**
 * Starts the peer stack of the benchmark: one mongod on a temporary directory, and Fastify in front of it.
 */
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { freePort } from "../../test/support/node-process.ts";
import { findMongod } from "../servers.ts";
import { endChild, startScript, type Target } from "./targets.ts";

const START_ATTEMPTS_MAX = 400;
const START_POLL_MS = 50;

export async function startMongoPeer(): Promise<Target> {
  const dataDir = await mkdtemp(join(tmpdir(), "catchall-bench-mongo-"));
  const port = await freePort();
  const flags = ["--dbpath", dataDir, "--port", String(port), "--bind_ip", "127.0.0.1"];
  const limits = ["--nounixsocket", "--wiredTigerCacheSizeGB", "1"];
  const mongod = spawn(await findMongod(), [...flags, ...limits], { stdio: "ignore" });
  for (let i = 0; !(await isListening(port)); i++) {
    if (i >= START_ATTEMPTS_MAX) throw new Error("mongod did not start");
    await delay(START_POLL_MS);
  }
  const env = { MONGO_URL: `mongodb://127.0.0.1:${port}/` };
  const { url, child } = await startScript("./peers-fastify-mongo.ts", env);
  return {
    url,
    pids: [child.pid as number, mongod.pid as number],
    stop: async () => {
      await endChild(child);
      await endChild(mongod);
      await rm(dataDir, { recursive: true, force: true });
    },
  };
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
