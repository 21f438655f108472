/**
 * What a client notices of a planned move: a fourth node joins three under an open-loop load, partitions move to it, then
 * another node is drained. Prints latencies and errors of three stretches of the same length: without moves, while
 * partitions move to the fourth, while the third is drained. Usage: `moves.ts [--rate 2000] [--seconds 3]`.
 */
import { parseArgs } from "node:util";
import type { LoadOutcome } from "../../src/cli/load/load-engine.ts";
import { ClusterRig } from "../../test/support/cluster-rig.ts";
import { scheduleAsBatch } from "../shared-cores.ts";
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
const POLL_MS = 100;

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

/** Starts a change by `begin` under load; resolves when both are over. */
async function during(
  rig: ClusterRig,
  urls: string,
  flags: readonly string[],
  begin: () => ReturnType<ClusterRig["ask"]>,
): Promise<{ readonly outcome: LoadOutcome; readonly movedMs: number }> {
  const loading = load(urls, flags);
  await new Promise((resolve) => setTimeout(resolve, WARMUP_S * 1000 + LEAD_MS));
  const startMs = performance.now();
  const { status, body } = await begin();
  if (status >= 300) throw new Error(`No move: ${JSON.stringify(body)}`);
  const { id } = body as { id: string };
  for (let state = "running"; state === "running"; ) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    const answer = await rig.ask("n1", "GET", `/cluster/rebalances/${id}`);
    ({ state } = answer.body as { state: string });
  }
  const movedMs = performance.now() - startMs;
  return { outcome: await loading, movedMs };
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
    const grown = await during(rig, urls, measured, () =>
      rig.ask("n1", "POST", "/cluster/rebalance", {}),
    );
    print("rebalance to a fourth node", grown.outcome, grown.movedMs);
    const drained = await during(rig, urls, measured, () =>
      rig.ask("n1", "POST", "/cluster/nodes/n3/drain"),
    );
    print("drain of a node", drained.outcome, drained.movedMs);
  } finally {
    await rig.dispose();
  }
}

scheduleAsBatch();
await main();
