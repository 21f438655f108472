/**
 * Cuts the power of a disk again and again under load, and proves that nothing acknowledged was lost or counted twice.
 * Method: kill-loop.ts with another victim; see power-cut/cuttable-disk.ts for how the power is cut.
 * Usage: `power-cut.ts --target node|cluster --cuts 300 [--seed S] [--verify-every K]`. Exit code 2: not possible here.
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { exitCodeOf, runKillLoop, textOf } from "./kill-loop.ts";
import { whyNoPowerCuts } from "./power-cut/cuttable-disk.ts";
import { PoweredCluster, PoweredNode } from "./power-cut/victims.ts";

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      target: { type: "string", default: "node" },
      cuts: { type: "string", default: "20" },
      seed: { type: "string", default: "1" },
      "verify-every": { type: "string", default: "10" },
    },
  });
  const obstacle = whyNoPowerCuts();
  if (obstacle !== null) {
    process.stderr.write(`${obstacle}; nothing was tried\n`);
    return 2;
  }
  if (values.target !== "node" && values.target !== "cluster") {
    process.stderr.write("--target knows node and cluster\n");
    return 2;
  }
  const create = values.target === "node" ? PoweredNode.create : PoweredCluster.create;
  const report = await runKillLoop({
    cycles: Number(values.cuts),
    seed: Number(values.seed),
    verifyEvery: Number(values["verify-every"]),
    victim: await create(),
    onProgress: (progress) => process.stdout.write(`${values.target}: ${textOf(progress)}\n`),
  });
  return exitCodeOf(report);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = await main();
