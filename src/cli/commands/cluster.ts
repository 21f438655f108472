/**
 * Commands about nodes and ranges: `status`, `ring`, `rebalance`, `drain`. A move goes on in the cluster whatever becomes
 * of the command that watches it.
 */

import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import {
  type CatchallClient,
  CatchallClientError,
  type ClusterView,
  type RebalancePlan,
  type RebalanceProgress,
  type Stats,
} from "../../client/index.ts";
import {
  type CliContext,
  CommandFailure,
  type ConnectionFlags,
  clientOf,
  UsageError,
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
import { newestLives, showRing } from "./ring.ts";

const WATCH_INTERVAL_MS = 500;
/** A node that does not answer for so long ends the watching; the node that is asked may itself be stopping. */
const SILENCE_MAX_MS = 60_000;

interface MoveFlags extends ConnectionFlags {
  readonly dryRun?: boolean;
  readonly watch?: boolean;
  readonly cancel?: string;
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
    .description("show which node owns which hash ranges, and how evenly")
    .action((flags: ConnectionFlags) => showRing(flags, context));
  const rebalance = program
    .command("rebalance")
    .description("spread the partitions evenly over the nodes")
    .option("--dry-run", "only show the moves")
    .option("--watch", "wait for the end and show the progress")
    .option("--cancel <id>", "end a rebalance or a drain before its moves are done")
    .addHelpText(
      "after",
      "\nExamples:\n  catchall rebalance --dry-run\n  catchall rebalance --watch" +
        "\n  catchall rebalance --cancel r1abc",
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
  const { log } = cluster;
  printLine(context, `mode        ${cluster.mode} (${cluster.cluster}), epoch ${cluster.epoch}`);
  printLine(
    context,
    `nodes       ${nodesText(cluster)}, ${countOf(cluster.partitions, "partition")}`,
  );
  const sync = log.synced ? "synced before every answer" : "NOT synced before answers";
  printLine(context, `log         ${log.kind}, ${sync}, ${formatCount(log.sizeBytes)} bytes`);
}

function nodesText(cluster: ClusterView): string {
  const states = newestLives(cluster.nodes).map(({ state }) => state);
  const living = states.filter((state) => state !== "dead");
  const draining = living.filter((state) => state === "draining").length;
  const alive = `${living.length} of ${states.length} alive`;
  return draining === 0 ? alive : `${alive} (${draining} draining)`;
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

async function rebalanceRing(flags: MoveFlags, context: CliContext): Promise<void> {
  const client = clientOf(flags);
  const isDryRun = flags.dryRun === true;
  if (flags.cancel !== undefined) {
    if (isDryRun || flags.watch === true) throw new UsageError("--cancel stands alone");
    return cancel(client, flags.cancel, flags, context);
  }
  const plan = await client.rebalance({ isDryRun, signal: context.signal });
  await showPlan(client, plan, flags, context);
}

async function cancel(
  client: CatchallClient,
  id: string,
  flags: MoveFlags,
  context: CliContext,
): Promise<void> {
  const progress = await client.cancelRebalance(id, { signal: context.signal });
  if (flags.json === true) return printJson(context, progress);
  const { done, total } = progress;
  printLine(context, `${id} is cancelled: ${done} of ${countOf(total, "partition")} moved`);
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
  let answeredMs = performance.now();
  let done = 0;
  try {
    while (true) {
      const now = await progressOf(client, id, answeredMs, context);
      if (now !== null) {
        answeredMs = performance.now();
        // Another node behind the balancer may not have heard of the last move yet.
        done = now.state === "done" ? now.total : Math.max(done, now.done);
        const eta = now.etaMs === null ? "" : `, ${Math.ceil(now.etaMs / 1000)} s left`;
        const bytes = now.bytes === 0 ? "" : `, ${formatCount(now.bytes)} bytes`;
        progress.update(done, now.total, `partitions${bytes}${eta}`);
        if (now.state === "done") break;
        if (now.state !== "running") throw notDone(now, done);
      }
      await sleep(WATCH_INTERVAL_MS, undefined, { signal });
    }
  } finally {
    progress.stop();
  }
  note(context, `Moved ${countOf(done, "partition")}`);
}

/** Null while nobody answers, which a move may well outlast. */
async function progressOf(
  client: CatchallClient,
  id: string,
  answeredMs: number,
  { signal }: CliContext,
): Promise<RebalanceProgress | null> {
  try {
    return await client.rebalanceProgress(id, { signal });
  } catch (error) {
    const isPassing = error instanceof CatchallClientError && error.retryable;
    if (!isPassing || performance.now() - answeredMs > SILENCE_MAX_MS) throw error;
    return null;
  }
}

/** `done` is the most that was seen: what had moved to a node that then died is nowhere in the last answer. */
function notDone({ id, state, total }: RebalanceProgress, done: number): CommandFailure {
  const what = state === "cancelled" ? "was cancelled" : "failed";
  return new CommandFailure(`${id} ${what}: ${done} of ${countOf(total, "partition")} moved`, {
    next: "see: catchall ring",
  });
}
