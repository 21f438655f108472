/**
 * The command line: what ends with which exit code (0 done, 1 failed, 2 wrong usage). `serve` is passed through unread:
 * its options have one parser (config/config.ts). Everything else is imported only when it runs: a node that starts
 * needs no commands, and commands need no server (a fifth of a second of modules, either way).
 */

import type { CliContext } from "./context.ts";

/** Runs `catchall ...argv` and resolves to the exit code. Never rejects. */
export async function runCli(argv: readonly string[], context: CliContext): Promise<number> {
  if (argv[0] !== "serve") {
    const { runCommand } = await import("./command-line.ts");
    return runCommand(argv, context);
  }
  try {
    return await serve(argv.slice(1), context);
  } catch (error) {
    const { showFailure } = await import("./output.ts");
    return showFailure(context, error, argv.includes("--json"));
  }
}

async function serve(argv: readonly string[], context: CliContext): Promise<number> {
  if (argv.includes("--help") || argv.includes("-h")) {
    const { serveHelp } = await import("./serve-help.ts");
    context.stdout.write(serveHelp());
    return 0;
  }
  const server = await import("../server/main.ts");
  return await server.serve(argv, context.env);
}
