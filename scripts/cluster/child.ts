/**
 * A process of the local cluster: started in a process group of its own (Ctrl-C in the terminal reaches only the
 * launcher, which then stops everything in order), output in a file, ended by its process id and nothing else.
 * The reaper knows of every child, so none outlives a launcher that was killed.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";

const REAPER = fileURLToPath(new URL("./reaper.mjs", import.meta.url));
const SHOWN_LINES = 15;
const SHOWN_BYTES = 8192;

/** What is ended first when everything ends. */
export type Stage = 0 | 1 | 2 | 3;

/** Ends the children when this process is killed. One for the whole cluster. */
export class Reaper {
  readonly #process: ChildProcess;

  constructor() {
    this.#process = spawn(process.execPath, [REAPER], {
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
    });
    // Without it the cluster works all the same.
    this.#process.stdin?.on("error", () => undefined);
    this.#process.on("error", () => undefined);
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  started(pid: number, stage: Stage): void {
    this.#process.stdin?.write(`+ ${pid} ${stage}\n`);
  }

  ended(pid: number): void {
    this.#process.stdin?.write(`- ${pid}\n`);
  }

  /** Resolves when it is gone; with it everything that it still knew of. */
  async close(): Promise<void> {
    const running = this.#process;
    if (running.exitCode !== null || running.signalCode !== null) return;
    const ended = new Promise((resolve) => running.once("exit", resolve));
    running.stdin?.end();
    await ended;
  }
}

export interface ChildOptions {
  readonly name: string;
  readonly stage: Stage;
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly logFile: string;
  readonly reaper: Reaper;
  /** Told when it ends without having been asked to. */
  readonly onEnded: (child: Child, how: string) => void;
}

export class Child {
  readonly options: ChildOptions;
  #process: ChildProcess | null = null;
  #exited: Promise<void> = Promise.resolve();
  #isExpected = false;
  #isPaused = false;

  constructor(options: ChildOptions) {
    this.options = options;
  }

  get name(): string {
    return this.options.name;
  }

  get isRunning(): boolean {
    return this.#process !== null;
  }

  get pid(): number | null {
    return this.#process?.pid ?? null;
  }

  get state(): string {
    if (this.#process === null) return "not running";
    return `${this.#isPaused ? "paused" : "running"}, pid ${this.#process.pid}`;
  }

  /** The command as one would type it. */
  get command(): string {
    return [this.options.program, ...this.options.args].map(quoted).join(" ");
  }

  /** Errors: it runs already; it can't be started. */
  async start(): Promise<void> {
    const { program, args, env, cwd, logFile, reaper, stage, onEnded } = this.options;
    if (this.#process !== null) throw new Error(`${this.name} runs already`);
    this.#isExpected = false;
    this.#isPaused = false;
    const output = openSync(logFile, "a");
    const started = spawn(program, args, {
      cwd,
      detached: true,
      env: { ...process.env, ...env },
      stdio: ["ignore", output, output],
    });
    closeSync(output);
    const { pid } = started;
    if (pid === undefined) {
      throw await new Promise<unknown>((resolve) => started.once("error", resolve));
    }
    // In the same tick as the start: a stop that comes next must see it.
    started.on("error", () => undefined);
    this.#process = started;
    reaper.started(pid, stage);
    this.#exited = new Promise((resolve) => {
      started.once("exit", (code, signal) => {
        this.#process = null;
        reaper.ended(pid);
        resolve();
        if (!this.#isExpected) onEnded(this, signal ?? `exit code ${code}`);
      });
    });
  }

  /** SIGTERM, also to one that is paused; SIGKILL after `graceMs`. Resolves to false when that was needed. */
  async stop(graceMs: number): Promise<boolean> {
    const running = this.#process;
    if (running === null) return true;
    this.#isExpected = true;
    running.kill("SIGCONT");
    running.kill("SIGTERM");
    let isForced = false;
    const timer = setTimeout(() => {
      isForced = true;
      running.kill("SIGKILL");
    }, graceMs);
    await this.#exited;
    clearTimeout(timer);
    return !isForced;
  }

  /** kill -9. */
  async kill(): Promise<void> {
    this.#isExpected = true;
    this.#process?.kill("SIGKILL");
    await this.#exited;
  }

  pause(): void {
    this.#process?.kill("SIGSTOP");
    this.#isPaused = this.#process !== null;
  }

  resume(): void {
    this.#process?.kill("SIGCONT");
    this.#isPaused = false;
  }

  signal(name: NodeJS.Signals): void {
    this.#process?.kill(name);
  }

  /** The end of its output. */
  lastLines(): string {
    try {
      const size = statSync(this.options.logFile).size;
      const text = readFileSync(this.options.logFile).subarray(Math.max(0, size - SHOWN_BYTES));
      return text.toString().trimEnd().split("\n").slice(-SHOWN_LINES).join("\n");
    } catch {
      return "";
    }
  }
}

function quoted(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
