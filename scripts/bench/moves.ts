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
/** Whom the rig asks for moves. */
const ASKED = "n1";
const MOVE_LIMIT_MS = 120_000;

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

/** What a client saw, and how long the change took. */
interface Disturbed {
  readonly outcome: LoadOutcome;
  readonly tookMs: number;
}

/** Starts a load and, after `leadMs`, a change; resolves when both are over. */
export async function during(
  leadMs: number,
  load: () => Promise<LoadOutcome>,
  change: () => Promise<unknown>,
): Promise<Disturbed> {
  const changing = async (): Promise<number> => {
    await new Promise((resolve) => setTimeout(resolve, leadMs));
    const startMs = performance.now();
    await change();
    return performance.now() - startMs;
  };
  const [outcome, tookMs] = await Promise.all([load(), changing()]);
  return { outcome, tookMs };
}

/** Has partitions moved by a request; resolves when they have. Errors: there was nothing to move, a move that failed. */
export async function move(rig: ClusterRig, path: string, request?: object): Promise<void> {
  const { status, body } = await rig.ask(ASKED, "POST", path, request);
  if (status >= 300) throw new Error(`No move: ${JSON.stringify(body)}`);
  const { state } = await rig.movesEnded(ASKED, (body as { id: string }).id, MOVE_LIMIT_MS);
  if (state !== "done") throw new Error(`The moves ended as "${state}"`);
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
