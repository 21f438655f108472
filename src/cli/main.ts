#!/usr/bin/env node
/**
 * The `catchall` command: hands the process's arguments, environment, streams and signals to `runCli`, and its exit
 * code back. The only file of the command line that sees `process`.
 */

import type { CliContext } from "./context.ts";
import { runCli } from "./program.ts";

const argv = process.argv.slice(2);
const interrupt = new AbortController();
const context: CliContext = {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  signal: interrupt.signal,
  exitCode: 0,
};

// A reader that has seen enough (`| head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});

// `serve` and `load` end in their own way; a second signal always ends at once, as nobody listens any more.
if (argv[0] !== "serve" && argv[0] !== "load") {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => interrupt.abort());
  }
}

process.exitCode = await runCli(argv, context);
// A node that has stopped must end now, whatever timer or socket it may have left behind.
if (argv[0] === "serve") process.exit();
