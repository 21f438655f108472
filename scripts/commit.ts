/** Which source runs: named in reports of failures, so that they can be repeated. Never fails. */
import { spawnSync } from "node:child_process";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** The short hash, with `-dirty` behind it where tracked files differ; "unknown" outside a repository. */
export function currentCommit(): string {
  const { stdout, status } = spawnSync("git", ["describe", "--always", "--dirty", "--exclude=*"], {
    cwd: ROOT,
    encoding: "utf8",
  });
  const name = status === 0 ? stdout.trim() : "";
  return name === "" ? "unknown" : name;
}
