/**
 * `npm test`: checks types, then runs every test with node:test and passes its exit code through.
 *
 * The files are listed one by one: on Node 20 a folder or a quoted glob runs nothing and still exits 0.
 * Must never succeed without having run a test, and never run longer than RUN_LIMIT_MS.
 *
 * Arguments: test files (then only these run, and types are not checked). `test/long/` runs only when named.
 */

import { spawn, spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
/** Under ten minutes on a quiet machine; this only ends a run that hangs. */
const RUN_LIMIT_MS = 45 * 60_000;
/** One test, not one file: those with servers of their own need a while to start them. */
const TEST_LIMIT_MS = 300_000;
const CONCURRENCY = 3;
const TSC: string = path.join(ROOT, "node_modules", "typescript", "bin", "tsc");

/** Test files of the tree in a fixed order, as paths relative to the root. */
export function listTestFiles(): readonly string[] {
  return readdirSync(path.join(ROOT, "test"), { recursive: true, encoding: "utf8" })
    .map((name) => path.join("test", name).split(path.sep).join("/"))
    .filter((name) => name.endsWith(".test.ts") && !name.startsWith("test/long/"))
    .sort();
}

async function main(): Promise<number> {
  const named = process.argv.slice(2);
  const files = named.length > 0 ? named : listTestFiles();
  if (files.length === 0) {
    console.error("No test files found under test/");
    return 1;
  }
  if (named.length === 0) {
    const types = spawnSync(process.execPath, [TSC, "-p", "."], { cwd: ROOT, stdio: "inherit" });
    if (types.status !== 0) {
      console.error("Type errors; no test was run");
      return types.status ?? 1;
    }
  }
  return await runTests(files);
}

async function runTests(files: readonly string[]): Promise<number> {
  const runner = spawn(
    process.execPath,
    [
      "--import",
      "tsx",
      "--test",
      `--test-concurrency=${CONCURRENCY}`,
      `--test-timeout=${TEST_LIMIT_MS}`,
      "--test-reporter=spec",
      ...files,
    ],
    { cwd: ROOT, stdio: "inherit" },
  );
  const limit = setTimeout(() => {
    console.error(`The tests took longer than ${RUN_LIMIT_MS / 1000} s and were stopped`);
    runner.kill("SIGTERM");
  }, RUN_LIMIT_MS);
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => runner.kill(signal));
  }
  const code = await new Promise<number>((resolve, reject) => {
    runner.on("error", reject);
    runner.on("exit", (exitCode) => resolve(exitCode ?? 1));
  });
  clearTimeout(limit);
  return code;
}

process.exitCode = await main();
