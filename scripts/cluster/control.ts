/**
 * How another terminal reaches the launcher: a socket file next to the data, one line in, lines out. Only the user who
 * started the cluster may use it (the file's mode). The state file says which process runs the cluster, so that no two
 * share one folder.
 */

import { createHash } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Addresses } from "./addresses.ts";

const STATE_FILE = "cluster.json";
/** Paths of sockets are at most this long on Linux and macOS. */
const SOCKET_PATH_MAX = 100;
const LINE_CHARS_MAX = 1000;
/** Longer than nodes, mongod and nats-server take together. */
const STOP_LIMIT_MS = 120_000;
const STOP_POLL_MS = 100;

export interface ClusterState {
  /** Of the launcher. */
  readonly pid: number;
  readonly addresses: Addresses;
}

export function readState(dataDir: string): ClusterState | null {
  try {
    return JSON.parse(readFileSync(join(dataDir, STATE_FILE), "utf8")) as ClusterState;
  } catch {
    return null;
  }
}

export function writeState(dataDir: string, state: ClusterState): void {
  writeFileSync(join(dataDir, STATE_FILE), `${JSON.stringify(state, null, 2)}\n`);
}

function socketPath(dataDir: string): string {
  const path = join(dataDir, "control.sock");
  if (path.length <= SOCKET_PATH_MAX) return path;
  const name = createHash("sha256").update(dataDir).digest("hex").slice(0, 16);
  return join(tmpdir(), `catchall-cluster-${name}.sock`);
}

export type CommandHandler = (words: readonly string[]) => Promise<string>;

export class ControlServer {
  readonly #server: Server;
  readonly #path: string;

  private constructor(server: Server, path: string) {
    this.#server = server;
    this.#path = path;
  }

  /** Errors: a cluster runs in this folder. */
  static async open(dataDir: string, handle: CommandHandler): Promise<ControlServer> {
    const path = socketPath(dataDir);
    if ((await ask(path, "status")) !== null) {
      throw new Error(`A cluster runs already with its data in ${dataDir}`);
    }
    rmSync(path, { force: true });
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      let line = "";
      socket.on("error", () => undefined);
      socket.setEncoding("utf8");
      socket.on("data", (text: string) => {
        line = (line + text).slice(0, LINE_CHARS_MAX);
      });
      socket.on("end", () => {
        handle(line.trim().split(/\s+/)).then(
          (answer) => socket.end(`ok\n${answer}\n`),
          (error: unknown) => socket.end(`failed\n${messageOf(error)}\n`),
        );
      });
    });
    const mask = process.umask(0o077);
    try {
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(path, resolve);
      });
    } finally {
      process.umask(mask);
    }
    return new ControlServer(server, path);
  }

  close(): void {
    this.#server.close();
    rmSync(this.#path, { force: true });
  }
}

/** The answer of the cluster that runs in this folder. Errors: none does; the command failed. */
export async function sendCommand(dataDir: string, words: readonly string[]): Promise<string> {
  const answer = await ask(socketPath(dataDir), words.join(" "));
  if (answer === null) {
    throw new Error(`No cluster runs with its data in ${dataDir} (another one: --data-dir DIR)`);
  }
  const end = answer.indexOf("\n");
  const text = answer.slice(end + 1).trimEnd();
  if (answer.slice(0, end) !== "ok") throw new Error(text);
  return text;
}

/** What became of a launcher that was told to stop. Errors: it still runs after STOP_LIMIT_MS. */
export async function untilEnded(pid: number): Promise<string> {
  const endMs = performance.now() + STOP_LIMIT_MS;
  while (isRunning(pid)) {
    if (performance.now() > endMs) throw new Error(`It still stops, as process ${pid}`);
    await sleep(STOP_POLL_MS);
  }
  return "Stopped";
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Null when nobody listens. */
function ask(path: string, line: string): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect(path);
    let answer = "";
    socket.setEncoding("utf8");
    socket.once("connect", () => socket.end(`${line}\n`));
    socket.on("data", (text: string) => {
      answer += text;
    });
    socket.once("end", () => resolve(answer));
    socket.once("error", () => resolve(null));
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
