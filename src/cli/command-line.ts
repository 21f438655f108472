/**
 * The command line of all commands but `serve`, which has its own parser (config/config.ts): which commands exist, and
 * what ends with which exit code. Imported only when such a command runs, since a node should not pay for it.
 */

import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { registerCluster } from "./commands/cluster.ts";
import { registerDomains } from "./commands/domains.ts";
import { registerEvents } from "./commands/events.ts";
import { registerImport } from "./commands/import.ts";
import { registerInspect } from "./commands/inspect.ts";
import { registerRule } from "./commands/rule.ts";
import { registerVerify } from "./commands/verify.ts";
import { type CliContext, withConnection } from "./context.ts";
import { showFailure } from "./output.ts";

/** Runs `catchall ...argv` and resolves to the exit code. Never rejects. */
export async function runCommand(argv: readonly string[], context: CliContext): Promise<number> {
  try {
    const program = await buildProgram(argv, context);
    await program.parseAsync([...argv], { from: "user" });
    return context.exitCode;
  } catch (error) {
    // The parser has shown its message already; help and version end with 0.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    return showFailure(context, error, argv.includes("--json"));
  }
}

async function buildProgram(argv: readonly string[], context: CliContext): Promise<Command> {
  const program = new Command("catchall")
    .description(
      "Tells which e-mail domains accept mail for any address, from exact counts of events",
    )
    .version(versionOf())
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      writeErr: (text) => context.stderr.write(text),
    })
    .showHelpAfterError("(see --help)")
    .addHelpText(
      "after",
      "\nExamples:\n  catchall serve --port 8080\n  catchall send example.com delivered --count 1001\n" +
        "  catchall get example.com\n\nCommands that ask a node take --url <address> (or CATCHALL_URL; default " +
        "http://127.0.0.1:8080)\nand --token <token> (or CATCHALL_TOKEN).\n\nExit codes: 0 done, 1 failed, 2 wrong usage; serve: 78 wrong configuration",
    );
  program.command("serve").description("run a node (see: catchall serve --help)");
  registerEvents(program, context);
  registerDomains(program, context);
  registerCluster(program, context);
  registerRule(program, context);
  registerImport(program, context);
  registerInspect(program, context);
  registerVerify(program, context);
  if (argv[0] === "load") {
    // Its options of the connection stand on the program, so its help has to show those too.
    withConnection(program.configureHelp({ showGlobalOptions: true }), context);
    const { registerLoad } = await import("./commands/load.ts");
    registerLoad(program, {
      stdout: context.stdout,
      stderr: context.stderr as NodeJS.WritableStream & CliContext["stderr"],
      setExitCode: (code) => {
        context.exitCode = code;
      },
    });
  } else {
    program.command("load").description("send a reproducible load and check every answer");
  }
  return program;
}

function versionOf(): string {
  const manifest: unknown = JSON.parse(
    readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
  );
  const isNamed = typeof manifest === "object" && manifest !== null && "version" in manifest;
  return isNamed ? String(manifest.version) : "unknown";
}
