/**
 * `npm test`: checks types, then runs every test with node:test and passes its exit code through.
 *
 * The files are listed one by one: on Node 20 a folder or a quoted glob runs nothing and still exits 0.
 * Must never succeed without having run a test, and never run longer than RUN_LIMIT_MS.
 *
 * Arguments: test files (then only these run, and types are not checked). `test/long/` runs only when named.
 */

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const ROOT = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
/** Under ten minutes on a quiet machine; this only ends a run that hangs. */
const RUN_LIMIT_MS = 45 * 60_000;
/** Of one process with all its tests, on a machine that is busy with other work too. */
const TEST_LIMIT_MS: number = 25 * 60_000;
const CONCURRENCY = 3;
/** Long ones that compute all the time: begun first. */
const BUSY =
  /\/(production-node|mutated-requests|recovery-torture|segment-scan|domain-name|file-checkpoint-store)\.test\.ts$/;
/** Long ones that start servers and wait: begun early, and between others, that they wait at the same time. */
const WAITING = /^test\/(integration|cluster)\//;
/** Rooms whose small files share a process: half a second of processor time is saved for each but the first. */
const ROOMS =
  /^test\/(api|checkpoint|cli|client|commit|config|control-plane|counters|http|model|notifications|partition|router|runtime|scripts|server|simulation|transport|wal)\//;
/** Tests that need their process for themselves: with processes and servers of their own, hooks and handlers of the process. */
const ALONE =
  /support\/(http-|raw-http|served-surface|smuggling|stub-|nats-server|mongod|cluster-rig|control-rig|node-process|cli-run|local-cluster)|node:child_process|\bprocess\.|\n(before|after)(Each)?\(/;
/** Share of the run by which every waiting file has begun. */
const WAITING_BEGUN_SHARE = 0.7;
const TSC: string = path.join(ROOT, "node_modules", "typescript", "bin", "tsc");

/** Test files of the tree in a fixed order, as paths relative to the root. */
export function listTestFiles(): readonly string[] {
  return readdirSync(path.join(ROOT, "test"), { recursive: true, encoding: "utf8" })
    .map((name) => path.join("test", name).split(path.sep).join("/"))
    .filter((name) => name.endsWith(".test.ts") && !name.startsWith("test/long/"))
    .sort();
}

/** What one process runs: a name, and its test files. */
export interface TestProcess {
  readonly name: string;
  readonly files: readonly string[];
}

/** The small files of each room share a process. Waiting ones lie between others, and all begin before the last third. */
export function planProcesses(files: readonly string[]): readonly TestProcess[] {
  const rooms = new Map<string, string[]>();
  const busy: TestProcess[] = [];
  const waiting: TestProcess[] = [];
  const alone: TestProcess[] = [];
  for (const file of files) {
    const room = ROOMS.exec(file)?.[1];
    const name = file.replace("test/", "").replaceAll("/", "-").replace(".test.ts", "");
    const process = { name, files: [file] };
    if (BUSY.test(file)) busy.push(process);
    else if (WAITING.test(file)) waiting.push(process);
    else if (room === undefined || needsItsProcess(file)) alone.push(process);
    else rooms.set(room, [...(rooms.get(room) ?? []), file]);
  }
  const shared = [...rooms].map(([name, own]) => ({ name, files: own }));
  const planned = [...busy, ...shared, ...alone];
  const step = 1 + Math.floor((planned.length * WAITING_BEGUN_SHARE) / Math.max(1, waiting.length));
  for (const [i, process] of waiting.entries()) planned.splice(i * step, 0, process);
  return planned;
}

function needsItsProcess(file: string): boolean {
  return ALONE.test(readFileSync(path.join(ROOT, file), "utf8"));
}

/** A file in `folder` for each process, that imports its tests; node:test runs files in the order of their names. */
function writeProcesses(processes: readonly TestProcess[], folder: string): readonly string[] {
  return processes.map(({ name, files }, i) => {
    const lines = files.map((file) => `import "${pathToFileURL(path.join(ROOT, file)).href}";\n`);
    const file = path.join(folder, `${String(i).padStart(3, "0")}-${name}.test.mjs`);
    writeFileSync(file, lines.join(""));
    return file;
  });
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
  if (named.length > 0) return await runTests(files);
  const folder = mkdtempSync(path.join(tmpdir(), "catchall-tests-"));
  try {
    return await runTests(writeProcesses(planProcesses(files), folder));
  } finally {
    rmSync(folder, { recursive: true });
  }
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

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = await main();
