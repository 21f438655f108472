/**
 * What a client notices of a planned move: a fourth node joins three under an open-loop load, partitions move to it, then
 * another node is drained. Prints latencies and errors of three stretches of the same length: without moves, while
 * partitions move to the fourth, while the third is drained. Usage: `moves.ts [--rate 2000] [--seconds 3]`.
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { LoadOutcome } from "../../src/cli/load/load-engine.ts";
import { ClusterRig } from "../../test/support/cluster-rig.ts";
import { scheduleAsBatch } from "../shared-cores.ts";
import { type Disturbed, during, move } from "./cluster-changes.ts";
import { runLoadTool } from "./load-tool.ts";

const NODES = ["n1", "n2", "n3"] as const;
const FOURTH = "n4";
const LEASE_TTL_MS = 5000;
/** Enough that none has to wait for a request before it: arrivals do not slow down with the cluster. */
const CONNECTIONS = 512;
const WARMUP_S = 3;
/** The load tool needs so long to start. */
const LEAD_MS = 500;
const SETTLE_S = 30;

function load(urls: string, flags: readonly string[]): Promise<LoadOutcome> {
  const target = ["--url", urls, "--connections", String(CONNECTIONS), "--mix", "challenge"];
  return runLoadTool([...target, ...flags]);
}

function print(title: string, outcome: LoadOutcome, movedMs: number | null): void {
  const { p50, p95, p99, p999, max } = outcome.latency;
  const moved = movedMs === null ? "" : `, moved within ${Math.round(movedMs)} ms`;
  process.stdout.write(
    `${title}: ${Math.round(outcome.eventsPerSecond)} events/s, P50 ${p50} P95 ${p95} P99 ${p99} ` +
      `P99.9 ${p999} max ${max} ms, errors ${JSON.stringify(outcome.errors)}${moved}\n`,
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rate: { type: "string", default: "2000" },
      seconds: { type: "string", default: "3" },
    },
  });
  const flags = ["--log-level", "warn", "--checkpoint-interval", "20s"];
  const rig = await ClusterRig.start({ nodes: NODES, leaseTtlMs: LEASE_TTL_MS, flags });
  try {
    const urls = NODES.map((id) => rig.url(id)).join(",");
    await load(urls, ["--duration", `${SETTLE_S}s`, "--rate", values.rate]);
    const measured = ["--warmup", `${WARMUP_S}s`, "--duration", `${values.seconds}s`];
    measured.push("--rate", values.rate);
    print("no move", await load(urls, measured), null);
    await rig.startNode(FOURTH);
    const disturbed = (path: string, request?: object): Promise<Disturbed> =>
      during(
        WARMUP_S * 1000 + LEAD_MS,
        () => load(urls, measured),
        () => move(rig, path, request),
      );
    const grown = await disturbed("/cluster/rebalance", {});
    print("rebalance to a fourth node", grown.outcome, grown.tookMs);
    const drained = await disturbed("/cluster/nodes/n3/drain");
    print("drain of a node", drained.outcome, drained.tookMs);
  } finally {
    await rig.dispose();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  scheduleAsBatch();
  await main();
}
