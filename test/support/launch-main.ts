/**
 * A launcher with stub nodes, to be killed by a test: prints its process ids as one line of JSON, then waits.
 * Arguments: the data folder.
 */

import { fileURLToPath } from "node:url";
import { LocalCluster } from "../../scripts/cluster/local-cluster.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const cluster = await LocalCluster.start({
  ...{ nodes: 1, replicas: 1, port: 0, proxy: "builtin", keepsData: true, nodeFlags: [] },
  dataDir: process.argv[2] as string,
  root: ROOT,
  nodeCommand: [process.execPath, "--import", "tsx", `${ROOT}test/support/stub-node-main.ts`],
  say: () => undefined,
  onDown: () => undefined,
});
console.log(JSON.stringify(cluster.pids));
