/** Whether what was built is older than what it is built from, by the times of the files. */

import { existsSync, readdirSync, statSync } from "node:fs";
import path from "node:path";

/** True when `output` is missing or older than anything in `sources`. */
export function isStale(output: string, sources: readonly string[]): boolean {
  if (!existsSync(output)) return true;
  const builtMs = statSync(output).mtimeMs;
  return sources.some((source) => newestMs(source) > builtMs);
}

function newestMs(source: string): number {
  const stat = statSync(source);
  if (!stat.isDirectory()) return stat.mtimeMs;
  const inside = readdirSync(source).map((name) => newestMs(path.join(source, name)));
  return Math.max(stat.mtimeMs, ...inside);
}
