/**
 * A real node as a child process: started on a given port and data directory, killed or stopped by its own pid.
 * Invariant: `kill` and `stop` resolve only after the process is gone, so that its port and files are free.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const READY_POLL_MS = 5;
const READY_TIMEOUT_MS = 20_000;
const OUTPUT_CHARS_MAX = 8000;

/** Arguments for `process.execPath` up to the command's own: the built command where there is one, else the source. */
export function catchallArguments(): readonly string[] {
  const built = `${ROOT}dist/cli/main.js`;
  if (existsSync(built)) return [built, "serve"];
  return ["--import", "tsx", `${ROOT}src/cli/main.ts`, "serve"];
}

export interface NodeProcessOptions {
  readonly port: number;
  readonly dataDir: string;
  /** Default: `catchall serve`. */
  readonly command?: readonly string[];
  readonly flags?: readonly string[];
  /** Default: READY_TIMEOUT_MS. */
  readonly readyTimeoutMs?: number;
}

export class NodeProcess {
  readonly #child: ChildProcess;
  readonly #exited: Promise<number | null>;
  #output = "";
  readonly url: string;

  private constructor(options: NodeProcessOptions) {
    const { port, dataDir } = options;
    const command = options.command ?? catchallArguments();
    const flags = ["--port", String(port), "--data-dir", dataDir, ...(options.flags ?? [])];
    this.url = `http://127.0.0.1:${port}`;
    this.#child = spawn(process.execPath, [...command, ...flags], {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const keep = (chunk: Buffer): void => {
      this.#output = (this.#output + chunk.toString()).slice(-OUTPUT_CHARS_MAX);
    };
    this.#child.stdout?.on("data", keep);
    this.#child.stderr?.on("data", keep);
    this.#exited = new Promise((resolve) => {
      this.#child.once("exit", (code) => resolve(code));
    });
  }

  /** Resolves when `/readyz` answers 200. Errors: the process ended, or was not ready in time; with its output. */
  static async start(options: NodeProcessOptions): Promise<NodeProcess> {
    const node = NodeProcess.spawn(options);
    await node.ready(options.readyTimeoutMs);
    return node;
  }

  /** It has only begun to start: `ready` waits for it, `kill` hits its start. */
  static spawn(options: NodeProcessOptions): NodeProcess {
    return new NodeProcess(options);
  }

  /** Resolves when `/readyz` answers 200. Errors: it ended, or was killed, or was not ready in time; it is gone then. */
  async ready(timeoutMs: number = READY_TIMEOUT_MS): Promise<void> {
    const giveUpMs = performance.now() + timeoutMs;
    while (!(await this.#isReady())) {
      if (!this.isRunning || performance.now() > giveUpMs) {
        await this.kill();
        throw new Error(`Node did not become ready:\n${this.#output}`);
      }
      await new Promise((resolve) => setTimeout(resolve, READY_POLL_MS));
    }
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The last of what it printed. */
  get output(): string {
    return this.#output;
  }

  /** Resolves to the exit code once the process has ended by itself. */
  get exited(): Promise<number | null> {
    return this.#exited;
  }

  /** SIGKILL: the process gets no chance to do anything. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#exited;
  }

  /** SIGTERM; resolves to the exit code. */
  async stop(): Promise<number | null> {
    this.#child.kill("SIGTERM");
    return await this.#exited;
  }

  async #isReady(): Promise<boolean> {
    try {
      const response = await fetch(`${this.url}/readyz`, { signal: AbortSignal.timeout(2000) });
      await response.arrayBuffer();
      return response.status === 200;
    } catch {
      return false;
    }
  }
}
