/**
 * Runs test files of the tree in a process of its own and names the tests that failed: for defects where the simulator
 * does not go, such as the files of the embedded node.
 * Invariant: a tree that does not load has caught nothing, it is an error.
 */
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface TestRun {
  /** Names of the tests that failed before the run was ended for it. */
  readonly failed: readonly string[];
  readonly isLate: boolean;
  /** Why the run says nothing; empty otherwise. */
  readonly errors: string;
}

/** A line of the TAP reporter for a test: a suite and a file tell of their tests' failures once more. */
const LINE = /^( *)(not ok|ok) \d+ - (.*)$/;
const SIGNALS = ["SIGINT", "SIGTERM"] as const;
/** Tests lie within `describe`, within nothing else. */
const INDENT_MIN = 4;

/** `files` below `tree`, one after the other, until a test fails: a defect that is seen may hang what comes after. */
export async function runTests(
  tree: string,
  files: readonly string[],
  limitMs: number,
): Promise<TestRun> {
  let run: TestRun = { failed: [], isLate: false, errors: "no test ran" };
  for (const file of files) {
    run = await runFile(tree, file, limitMs);
    if (run.failed.length > 0 || run.isLate || run.errors !== "") break;
  }
  return run;
}

/** A group of its own, servers that it starts among it, and a folder for what these store: nothing of it is left. */
async function runFile(tree: string, file: string, limitMs: number): Promise<TestRun> {
  const folder = await mkdtemp(join(tmpdir(), "catchall-mutant-test-"));
  const child = spawn(process.execPath, ["--import", "tsx", "--test-reporter", "tap", file], {
    cwd: tree,
    detached: true,
    env: { ...process.env, TMPDIR: folder },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const end = (): void => endGroup(child.pid);
  for (const signal of SIGNALS) process.on(signal, end);
  let isLate = false;
  let output = "";
  const timer = setTimeout(() => {
    isLate = true;
    end();
  }, limitMs);
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
    if (resultsOf(output).failed.length > 0) end();
  });
  child.stderr.resume();
  await new Promise((resolve) => child.once("close", resolve));
  clearTimeout(timer);
  for (const signal of SIGNALS) process.off(signal, end);
  end();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  return { ...resultsOf(output), isLate };
}

function endGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch {
    // Nobody of it is left.
  }
}

function resultsOf(output: string): Omit<TestRun, "isLate"> {
  const failed: string[] = [];
  let tests = 0;
  for (const line of output.split("\n")) {
    const [, indent = "", verdict, name = ""] = LINE.exec(line) ?? [];
    if (verdict === undefined || indent.length < INDENT_MIN) continue;
    tests++;
    if (verdict === "not ok") failed.push(name);
  }
  return { failed, errors: tests === 0 ? "no test ran" : "" };
}
