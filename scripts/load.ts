/** Runs `catchall load` alone, without the rest of the command line. Takes the flags of `load`. */
import { Command } from "commander";
import { registerLoad } from "../src/cli/commands/load.ts";

const program = new Command("catchall").exitOverride((error) => {
  process.exit(error.exitCode === 0 ? 0 : 2);
});
registerLoad(program);
await program.parseAsync(["load", ...process.argv.slice(2)], { from: "user" });
