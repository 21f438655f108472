/**
 * Commands about nodes and ranges: `status`, `ring`, `rebalance`, `drain`.
 */

import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import type {
  CatchallClient,
  ClusterView,
  PartitionOwner,
  RebalancePlan,
  Stats,
} from "../../client/index.ts";
import {
  type CliContext,
  CommandFailure,
  type ConnectionFlags,
  clientOf,
  withConnection,
} from "../context.ts";
import {
  countOf,
  formatCount,
  note,
  printJson,
  printLine,
  printTable,
  startProgress,
} from "../output.ts";

const WATCH_INTERVAL_MS = 500;

interface MoveFlags extends ConnectionFlags {
  readonly dryRun?: boolean;
  readonly watch?: boolean;
}

export function registerCluster(program: Command, context: CliContext): void {
  const status = program
    .command("status")
    .description(
      "show whether the node is ready, the cluster and the totals; exit 1 when not ready",
    )
    .action((flags: ConnectionFlags) => showStatus(flags, context));
  const ring = program
    .command("ring")
    .description("show nodes and which partitions they own")
    .action((flags: ConnectionFlags) => showRing(flags, context));
  const rebalance = program
    .command("rebalance")
    .description("spread the partitions evenly over the nodes")
    .option("--dry-run", "only show the moves")
    .option("--watch", "wait for the end and show the progress")
    .addHelpText(
      "after",
      "\nExamples:\n  catchall rebalance --dry-run\n  catchall rebalance --watch",
    )
    .action((flags: MoveFlags) => rebalanceRing(flags, context));
  const drain = program
    .command("drain <node>")
    .description("move everything off a node")
    .option("--watch", "wait for the end and show the progress")
    .addHelpText("after", "\nExample:\n  catchall drain n2 --watch")
    .action((node: string, flags: MoveFlags) => drainNode(node, flags, context));
  for (const command of [status, ring, rebalance, drain]) withConnection(command, context);
}

async function showStatus(flags: ConnectionFlags, context: CliContext): Promise<void> {
  const { signal } = context;
  const client = clientOf(flags);
  const readiness = await client.readiness({ signal });
  if (!readiness.ready) context.exitCode = 1;
  // A node that is not ready can't answer for domains; its own view of the cluster may still help.
  const cluster = await optional(readiness.ready, () => client.cluster({ signal }));
  const stats = await optional(readiness.ready, () => client.stats({ signal }));
  if (flags.json === true) return printJson(context, { readiness, cluster, stats });
  printLine(context, readiness.ready ? "ready" : "not ready");
  for (const reason of readiness.reasons ?? []) printLine(context, `  ${reason}`);
  if (cluster !== null) printCluster(context, cluster);
  if (stats !== null) printTotals(context, stats);
}

async function optional<Value>(
  isNeeded: boolean,
  ask: () => Promise<Value>,
): Promise<Value | null> {
  if (isNeeded) return ask();
  return ask().catch(() => null);
}

function printCluster(context: CliContext, cluster: ClusterView): void {
  const alive = cluster.nodes.filter((node) => node.state === "alive").length;
  const { log } = cluster;
  printLine(context, `mode        ${cluster.mode} (${cluster.cluster}), epoch ${cluster.epoch}`);
  printLine(
    context,
    `nodes       ${alive} of ${cluster.nodes.length} alive, ${cluster.partitions} partitions`,
  );
  const sync = log.synced ? "synced before every answer" : "NOT synced before answers";
  printLine(context, `log         ${log.kind}, ${sync}, ${formatCount(log.sizeBytes)} bytes`);
}

function printTotals(context: CliContext, stats: Stats): void {
  const { domains } = stats;
  const parts = (["catch-all", "not catch-all", "unknown"] as const).map(
    (name) => `${formatCount(domains[name])} ${name}`,
  );
  printLine(context, `domains     ${parts.join(", ")}`);
  const { delivered, bounced } = stats;
  printLine(
    context,
    `events      ${formatCount(delivered)} delivered, ${formatCount(bounced)} bounced`,
  );
}

async function showRing(flags: ConnectionFlags, context: CliContext): Promise<void> {
  const view = await clientOf(flags).cluster({ signal: context.signal });
  if (flags.json === true) return printJson(context, view);
  await printTable(
    context,
    ["NODE", "STATE", "PARTITIONS", "LEASE", "RANGES"],
    view.nodes.map((node) => [
      node.id,
      node.state,
      node.partitionsOwned,
      node.leaseRemainingMs === null ? null : `${(node.leaseRemainingMs / 1000).toFixed(1)}s`,
      rangesOf(view.owners, node.id),
    ]),
  );
}

/** Partitions of one node as ranges: "0-20,43". */
function rangesOf(owners: readonly PartitionOwner[], node: string): string {
  const owned = owners.filter((owner) => owner.node === node).map((owner) => owner.partition);
  owned.sort((left, right) => left - right);
  const ranges: { first: number; last: number }[] = [];
  for (const partition of owned) {
    const range = ranges.at(-1);
    if (range !== undefined && range.last === partition - 1) range.last = partition;
    else ranges.push({ first: partition, last: partition });
  }
  return ranges
    .map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`))
    .join(",");
}

async function rebalanceRing(flags: MoveFlags, context: CliContext): Promise<void> {
  const client = clientOf(flags);
  const isDryRun = flags.dryRun === true;
  const plan = await client.rebalance({ isDryRun, signal: context.signal });
  await showPlan(client, plan, flags, context);
}

async function drainNode(node: string, flags: MoveFlags, context: CliContext): Promise<void> {
  const client = clientOf(flags);
  const plan = await client.drain(node, { signal: context.signal });
  await showPlan(client, plan, flags, context);
}

async function showPlan(
  client: CatchallClient,
  plan: RebalancePlan,
  flags: MoveFlags,
  context: CliContext,
): Promise<void> {
  if (flags.json === true) printJson(context, plan);
  else if (plan.moves.length === 0) printLine(context, "Nothing to move");
  else {
    const rows = plan.moves.map((move) => [move.partition, move.from, move.to]);
    await printTable(context, ["PARTITION", "FROM", "TO"], rows);
  }
  if (flags.dryRun === true || plan.moves.length === 0) return;
  if (flags.watch === true) await watchMoves(client, plan.id, context);
  else note(context, `Started ${plan.id}; it goes on without this command`);
}

async function watchMoves(client: CatchallClient, id: string, context: CliContext): Promise<void> {
  const { signal } = context;
  const progress = await startProgress(context, `moving ${id}`);
  try {
    while (true) {
      const now = await client.rebalanceProgress(id, { signal });
      const eta = now.etaMs === null ? "" : `, ${Math.ceil(now.etaMs / 1000)} s left`;
      progress.update(now.done, now.total, `partitions, ${formatCount(now.bytes)} bytes${eta}`);
      if (now.state === "done") return;
      if (now.state === "failed") {
        const left = now.total - now.done;
        throw new CommandFailure(`${id} failed with ${countOf(left, "partition")} left`, {
          next: "see: catchall ring",
        });
      }
      await sleep(WATCH_INTERVAL_MS, undefined, { signal });
    }
  } finally {
    progress.stop();
  }
}
