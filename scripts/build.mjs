#!/usr/bin/env node
/**
 * Builds `dist/`: TypeScript to JavaScript, other files of `src/` copied, the command made executable.
 *
 * Plain JavaScript, because it runs inside `npm ci` and before anything else of the project does.
 * Must never leave a half-built command behind silently: a type error ends with a code other than 0.
 */

import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const command = path.join(root, "dist", "cli", "main.js");

const compiler = findCompiler();
if (compiler === null) {
  // Installed without development packages (a container's last stage): what was built before is what runs.
  if (existsSync(command)) process.exit(0);
  console.error("catchall: typescript is not installed and dist/ is missing; run npm ci first");
  process.exit(1);
}

const compiled = spawnSync(process.execPath, [compiler, "-p", "tsconfig.build.json"], {
  cwd: root,
  stdio: "inherit",
});
if (compiled.status !== 0) process.exit(compiled.status ?? 1);

cpSync(path.join(root, "src"), path.join(root, "dist"), {
  recursive: true,
  filter: (source) => statSync(source).isDirectory() || !source.endsWith(".ts"),
});
if (existsSync(command)) chmodSync(command, 0o755);

function findCompiler() {
  try {
    const manifest = createRequire(import.meta.url).resolve("typescript/package.json");
    return path.join(path.dirname(manifest), "bin", "tsc");
  } catch {
    return null;
  }
}
