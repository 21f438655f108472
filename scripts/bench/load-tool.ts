/**
 * Runs the load tool as a process of its own, so that its work is not counted among that of the measured servers.
 * Invariant: what it hands out was verified: the servers count what was acknowledged.
 */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { LoadOutcome } from "../../src/cli/load/load-engine.ts";

const LOAD_SCRIPT: string = fileURLToPath(new URL("../load.ts", import.meta.url));

interface LoadJson {
  readonly isSuccess: boolean;
  readonly outcome: LoadOutcome;
  readonly verification: unknown;
}

/** Domains of a load that are recounted at most: millions would take as long as the load. */
export const RECOUNTED_MAX = 100_000;

/** What the load tool says when all is sent and answered. */
const RECOUNT = "recounting";

/**
 * `flags` as of `catchall load`, among them `--url`. `onLoaded` is called when the load is over and before its counts are
 * verified. Errors: a wrong count, a failed run.
 */
export async function runLoadTool(
  flags: readonly string[],
  onLoaded?: () => void,
): Promise<LoadOutcome> {
  const argv = ["--import", "tsx", LOAD_SCRIPT, ...flags, "--json", "--verify"];
  argv.push("--verify-sample", String(RECOUNTED_MAX));
  const child = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => {
    const wasLoaded = stderr.includes(RECOUNT);
    stderr += chunk.toString();
    if (!wasLoaded && stderr.includes(RECOUNT)) onLoaded?.();
  });
  await new Promise((resolve) => child.once("close", resolve));
  if (stdout === "") throw new Error(`The load tool failed: ${stderr}`);
  const result = JSON.parse(stdout) as LoadJson;
  if (!result.isSuccess) throw new Error(`Wrong counts: ${JSON.stringify(result)}`);
  return result.outcome;
}
