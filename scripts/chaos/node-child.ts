/**
 * One node of a chaos run as a child process with its log in a file. It can be killed, stopped and frozen at any
 * instant, while it starts too. Invariant: `kill` and `stop` resolve only after the process is gone.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { freeze } from "../../test/support/freeze.ts";

export interface NodeChildOptions {
  /** Of `process.execPath`. */
  readonly args: readonly string[];
  readonly cwd: string;
  /** Appended to. */
  readonly logFile: string;
  /** Told once, when the process is gone. */
  readonly onExit: (child: NodeChild, how: string) => void;
}

export class NodeChild {
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  readonly #logFile: string;
  readonly #logStart: number;
  /** What ended it was this object. */
  isEnding = false;
  isFrozen = false;

  constructor({ args, cwd, logFile, onExit }: NodeChildOptions) {
    const log = openSync(logFile, "a");
    this.#logFile = logFile;
    this.#logStart = fstatSync(log).size;
    this.#child = spawn(process.execPath, args, { cwd, stdio: ["ignore", log, log] });
    closeSync(log);
    this.#exited = new Promise((resolve) => {
      this.#child.once("exit", () => {
        resolve();
        onExit(this, this.how ?? "");
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** "SIGKILL", "code 1"; null while it runs. */
  get how(): string | null {
    if (this.isRunning) return null;
    return this.#child.signalCode ?? `code ${this.#child.exitCode}`;
  }

  /** What this process printed, without those before it. */
  get output(): string {
    return readFileSync(this.#logFile).toString("utf8", this.#logStart);
  }

  async kill(): Promise<void> {
    this.isEnding = true;
    this.#child.kill("SIGKILL");
    await this.#exited;
  }

  /** SIGTERM; killed after `limitMs`. True when it ended by itself, in order. */
  async stop(limitMs: number): Promise<boolean> {
    this.isEnding = true;
    this.#child.kill("SIGTERM");
    const limit = setTimeout(() => this.#child.kill("SIGKILL"), limitMs);
    await this.#exited;
    clearTimeout(limit);
    return this.#child.exitCode === 0;
  }

  freeze(): void {
    if (!this.isRunning) return;
    this.isFrozen = true;
    freeze(this.pid);
  }

  thaw(): void {
    this.isFrozen = false;
    if (this.isRunning) this.#child.kill("SIGCONT");
  }
}
