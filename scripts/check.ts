/**
 * `npm run check`: every gate in order, stopping at the first that fails. CI runs the same ones.
 *
 * `--static` leaves out the tests (CI runs them last, through the command that the README gives).
 * Must never turn a failing gate into a warning.
 */

import { spawnSync } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

interface Gate {
  readonly name: string;
  readonly command: readonly string[];
  readonly isTest: boolean;
}

const GATES: readonly Gate[] = [
  { name: "types", command: [bin("typescript", "tsc"), "-p", "."], isTest: false },
  { name: "style", command: [bin("@biomejs/biome", "biome"), "check"], isTest: false },
  {
    name: "architecture and documents",
    command: ["--import", "tsx", "--test", "test/architecture.test.ts", "test/docs.test.ts"],
    isTest: true,
  },
  { name: "tests", command: ["--import", "tsx", "scripts/test.ts"], isTest: true },
  { name: "unused files, exports and packages", command: [bin("knip", "knip.js")], isTest: false },
];

function bin(packageName: string, file: string): string {
  return path.join(ROOT, "node_modules", packageName, "bin", file);
}

const isStatic = process.argv.includes("--static");
for (const gate of GATES) {
  if (isStatic && gate.isTest) continue;
  console.log(`\n── ${gate.name}`);
  const result = spawnSync(process.execPath, gate.command, { cwd: ROOT, stdio: "inherit" });
  if (result.status !== 0) {
    console.error(`\nGate failed: ${gate.name}`);
    process.exit(result.status ?? 1);
  }
}
console.log("\nAll gates passed");
