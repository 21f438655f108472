/**
 * The simulated ports against real servers by many more random scripts than the ordinary run has: all files
 * test/simulation/differential-*.test.ts, one after the other. A difference is printed as soon as its file has ended.
 * Usage: `node --import tsx scripts/differential.ts [--scripts 2000] [--seed 1]`: scripts a port, and the first seed.
 * Exit code 1 when any differs. The last line is the summary.
 */
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const ROOT = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const FOLDER = "test/simulation";
const COUNT = /^ℹ (pass|fail|cancelled) (\d+)$/gm;

/** Tests that passed, and that did not. */
interface Counts {
  readonly passed: number;
  readonly failed: number;
}

function runFile(file: string, env: NodeJS.ProcessEnv): Promise<Counts> {
  const flags = ["--import", "tsx", "--test", "--test-reporter", "spec"];
  const child = spawn(process.execPath, [...flags, file], {
    cwd: ROOT,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  process.on("SIGINT", forward).on("SIGTERM", forward);
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
    process.stdout.write(chunk);
  });
  return new Promise((resolve) => {
    child.once("close", (code) => {
      process.off("SIGINT", forward).off("SIGTERM", forward);
      resolve(countsOf(output, code));
    });
  });
}

function countsOf(output: string, code: number | null): Counts {
  const counts = new Map([...output.matchAll(COUNT)].map(([, kind, n]) => [kind, Number(n)]));
  const failed = (counts.get("fail") ?? 0) + (counts.get("cancelled") ?? 0);
  // A file that says nothing, or ends badly all the same, has shown nothing.
  return { passed: counts.get("pass") ?? 0, failed: code === 0 ? failed : Math.max(1, failed) };
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      scripts: { type: "string", default: "2000" },
      seed: { type: "string", default: "1" },
    },
  });
  const { scripts, seed } = values;
  if (!(Number(scripts) >= 1) || !Number.isSafeInteger(Number(seed))) {
    throw new Error("Usage: differential.ts [--scripts 2000] [--seed 1]");
  }
  const env = { CATCHALL_DIFFERENTIAL_SCRIPTS: scripts, CATCHALL_DIFFERENTIAL_SEED: seed };
  const files = readdirSync(path.join(ROOT, FOLDER)).filter((name) =>
    /^differential-.*\.test\.ts$/.test(name),
  );
  let [passed, failed] = [0, 0];
  for (const name of files.sort()) {
    const counts = await runFile(`${FOLDER}/${name}`, env);
    passed += counts.passed;
    failed += counts.failed;
  }
  const which = `${scripts} scripts a port from seed ${seed}`;
  console.log(`${which}: ${passed} tests passed, ${failed} failed`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

process.exitCode = await main();
