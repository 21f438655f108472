/** Which source runs: named in reports of failures and tables of figures, which are true of no other. Never fails. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const ROOT: string = fileURLToPath(new URL("..", import.meta.url));

/**
 * The short hash, such as "1a2b3c4" or "1a2b3c4 with uncommitted changes"; "unknown" outside a repository. Documents do not
 * count as changes: the benchmark writes them itself.
 */
export function currentCommit(): string {
  try {
    const hash = git("rev-parse", "--short", "HEAD");
    const isChanged = git("status", "--porcelain", "--", ".", ":!docs") !== "";
    return isChanged ? `${hash} with uncommitted changes` : hash;
  } catch {
    return "unknown";
  }
}

function git(...argv: readonly string[]): string {
  return execFileSync("git", argv, { cwd: ROOT, encoding: "utf8", stdio: "pipe" }).trim();
}
