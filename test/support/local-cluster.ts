/** Local clusters for tests: free ports, a folder of their own, and whether their processes are gone. */

import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { LocalCluster, type LocalClusterOptions } from "../../scripts/cluster/local-cluster.ts";

export const ROOT: string = path.dirname(
  path.dirname(path.dirname(fileURLToPath(import.meta.url))),
);
export const TSX: readonly string[] = [process.execPath, "--import", "tsx"];
export const STUB_NODE: readonly string[] = [
  ...TSX,
  path.join(ROOT, "test/support/stub-node-main.ts"),
];

export interface TestCluster {
  readonly cluster: LocalCluster;
  readonly dataDir: string;
  /** What the launcher said. */
  readonly lines: readonly string[];
}

/** Starts one, works with it, stops it, removes its folder. */
export async function withLocalCluster(
  options: Partial<LocalClusterOptions>,
  work: (test: TestCluster) => Promise<void>,
): Promise<void> {
  const dataDir = await mkdtemp(path.join(tmpdir(), "catchall-cluster-"));
  const lines: string[] = [];
  try {
    const cluster = await LocalCluster.start({
      ...{ nodes: 2, replicas: 1, port: 0, proxy: "builtin", keepsData: false, nodeFlags: [] },
      ...{ dataDir, root: ROOT, nodeCommand: STUB_NODE, onDown: () => undefined },
      say: (line) => lines.push(line),
      ...options,
    });
    try {
      await work({ cluster, dataDir, lines });
    } finally {
      await cluster.stop();
    }
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}

/** Those of them that still run; what has ended and only waits to be collected does not. */
export function runningOf(pids: readonly number[]): readonly number[] {
  return pids.filter((pid) => {
    try {
      process.kill(pid, 0);
    } catch {
      return false;
    }
    try {
      return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
    } catch {
      return process.platform !== "linux";
    }
  });
}
