/** Runs the command line in this process with captured streams. */

import type { CliContext } from "../../src/cli/context.ts";
import { runCli } from "../../src/cli/program.ts";

export interface CliRun {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliRunOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly stdin?: string;
  readonly signal?: AbortSignal;
}

export async function cli(argv: readonly string[], options: CliRunOptions = {}): Promise<CliRun> {
  const out: string[] = [];
  const err: string[] = [];
  const context: CliContext = {
    stdin: (async function* () {
      yield options.stdin ?? "";
    })(),
    stdout: { write: (text) => void out.push(text) },
    stderr: { write: (text) => void err.push(text) },
    env: options.env ?? {},
    signal: options.signal ?? new AbortController().signal,
    exitCode: 0,
  };
  const code = await runCli(argv, context);
  return { code, stdout: out.join(""), stderr: err.join("") };
}
