/**
 * Recounts a cluster from its checkpoints and logs and holds the answers of its nodes against that, while it serves.
 *
 * Method: everything is read from memory (through any node), then recounted from what is stored, then read from memory
 * again. Counts only grow, and a node answers with what is in a log already, so of each domain and kind
 *   memory before ≤ recount ≤ memory after,
 * exactly: what did not change in between must be recounted to the same number, and so must its status. A domain that an
 * operator reset meanwhile, or whose last entry its owner had not applied yet, breaks that once; a wrong count breaks it
 * every time. So what differs is looked at again, and only what differs each time is told.
 * Never changes anything that is stored.
 */

import type { CheckpointStore } from "../checkpoint/checkpoint-store.ts";
import { type ControlStore, TABLE_KEY } from "../control-plane/control-store.ts";
import { parseTable } from "../control-plane/control-table-codec.ts";
import { CatchallError, type ErrorCode } from "../model/errors.ts";
import { type ControlTable, type LineageStretch, NOBODY } from "../model/ownership.ts";
import type { StatusName } from "../model/status.ts";
import { recover } from "../partition/recovery.ts";
import type { Random } from "../runtime/random.ts";
import type { NodeLog } from "../wal/node-log.ts";
import { checkpointIdentity } from "./checkpoint-source.ts";
import { LogTail } from "./log-tail.ts";
import { createStates } from "./recover-directory.ts";
import { type Recount, recountOf } from "./verify.ts";

/** A log may be deleted, once its partitions have moved on, before it was read: then it is done again. */
const TRIES_MAX = 5;
/** What that looks like: a hole, or a log that is gone. */
const PASSING: readonly ErrorCode[] = ["log_damaged", "log_unavailable"];

export interface StoredCluster {
  readonly control: Pick<ControlStore, "read">;
  readonly log: Pick<NodeLog, "read" | "lastSequence">;
  readonly checkpoints: CheckpointStore;
  readonly random: Random;
}

export interface ClusterRecount {
  readonly epoch: number;
  /** Log entries replayed over the checkpoints. */
  readonly entries: number;
  readonly domains: ReadonlyMap<string, Recount>;
}

/**
 * Counts everything that is stored up to the ends that the logs have now, or a little later.
 * Errors: `conflict` when there is no cluster, `log_damaged`, `checkpoint_damaged`, `…_unavailable`.
 */
export async function recountCluster(stored: StoredCluster): Promise<ClusterRecount> {
  for (let tries = 1; ; tries++) {
    try {
      return await recountOnce(stored);
    } catch (error) {
      const isPassing = error instanceof CatchallError && PASSING.includes(error.code);
      if (!isPassing || tries === TRIES_MAX) throw error;
    }
  }
}

async function recountOnce(stored: StoredCluster): Promise<ClusterRecount> {
  const { log, checkpoints, random } = stored;
  const record = await stored.control.read(TABLE_KEY);
  if (record === null) throw new CatchallError("conflict", "There is no cluster of this name");
  const { ok: table, damage } = parseTable(record.value);
  if (table === undefined) {
    throw new CatchallError("checkpoint_damaged", `The control table can't be read: ${damage}`);
  }
  const seed = [random.uint32(), random.uint32()] as const;
  const states = createStates(table.partitionCount, seed, table.initialRule);
  const ends = await endsOf(table, log);
  const histories = states.map(({ partition }) => historyOf(table, partition, ends));
  // Safety: the logs before the manifests, since checkpoints go on meanwhile; see log-tail.ts.
  const tail = await LogTail.take(log, histories, await checkpoints.readManifests(null));
  const report = await recover({
    tasks: states.map((state, partition) => ({ state, lineage: histories[partition] ?? [] })),
    store: checkpoints,
    log: tail,
    hasClaims: true,
    expected: checkpointIdentity(table.partitionCount),
  });
  for (const state of states) state.endRecovery();
  return { epoch: record.revision, entries: report.entries, domains: recountOf(states) };
}

/** Last sequence of each owner's log, by incarnation. */
async function endsOf(
  table: ControlTable,
  log: StoredCluster["log"],
): Promise<Map<number, number>> {
  const owners = new Set(table.partitions.map(({ owner }) => owner));
  owners.delete(NOBODY);
  const ends = new Map<number, number>();
  for (const owner of owners) ends.set(owner, await log.lastSequence(owner));
  return ends;
}

/** What the table says of the past, and the present owner's log so far. */
function historyOf(
  table: ControlTable,
  partition: number,
  ends: ReadonlyMap<number, number>,
): LineageStretch[] {
  const assignment = table.partitions[partition];
  if (assignment === undefined) return [];
  const { owner, epoch, lineage } = assignment;
  const endSequence = ends.get(owner);
  if (endSequence === undefined) return [...lineage];
  return [...lineage, { epoch, incarnation: owner, endSequence }];
}

/** What a node answered of a domain. */
export interface Answered {
  readonly delivered: number;
  readonly bounced: number;
  readonly status: StatusName;
  readonly statusSince: string | null;
}

export interface ClusterDifference {
  readonly domain: string;
  readonly before: Answered | null;
  readonly recounted: Recount | null;
  readonly after: Answered | null;
}

export interface VerifyClusterOptions {
  readonly recount: () => Promise<ClusterRecount>;
  /** Every domain, from memory. */
  readonly readAll: () => Promise<ReadonlyMap<string, Answered>>;
  /** Lets the owners apply what is in their logs already. */
  readonly pause: () => Promise<void>;
  /** Times that a difference must be seen. */
  readonly rounds: number;
}

export interface VerifiedCluster {
  readonly epoch: number;
  readonly entries: number;
  readonly domains: number;
  readonly rounds: number;
  /** Of the last round; wrong in every one. */
  readonly differences: readonly ClusterDifference[];
}

export async function verifyCluster(options: VerifyClusterOptions): Promise<VerifiedCluster> {
  let before = await options.readAll();
  let suspects: ReadonlySet<string> | null = null;
  for (let round = 1; ; round++) {
    const { epoch, entries, domains } = await options.recount();
    await options.pause();
    const after = await options.readAll();
    const seen = differencesOf(before, domains, after);
    const earlier: ReadonlySet<string> | null = suspects;
    const differences: ClusterDifference[] = seen.filter(
      ({ domain }) => earlier?.has(domain) ?? true,
    );
    if (differences.length === 0 || round >= options.rounds) {
      return { epoch, entries, domains: domains.size, rounds: round, differences };
    }
    suspects = new Set(differences.map(({ domain }) => domain));
    before = after;
  }
}

/** Domains whose recount does not lie between the two answers. */
export function differencesOf(
  before: ReadonlyMap<string, Answered>,
  recount: ReadonlyMap<string, Recount>,
  after: ReadonlyMap<string, Answered>,
): ClusterDifference[] {
  const names = new Set([...before.keys(), ...recount.keys()]);
  const differences: ClusterDifference[] = [];
  for (const domain of names) {
    const difference = {
      domain,
      before: before.get(domain) ?? null,
      recounted: recount.get(domain) ?? null,
      after: after.get(domain) ?? null,
    };
    if (!isBounded(difference)) differences.push(difference);
  }
  return differences;
}

const NOTHING = { delivered: 0, bounced: 0, status: null, statusSince: null };

function isBounded(difference: ClusterDifference): boolean {
  const before = difference.before ?? NOTHING;
  const recounted = difference.recounted ?? NOTHING;
  const after = difference.after ?? NOTHING;
  for (const kind of ["delivered", "bounced"] as const) {
    if (recounted[kind] < before[kind] || recounted[kind] > after[kind]) return false;
  }
  // A domain without counts has a status all the same: an override.
  if (difference.before !== null && difference.recounted === null) return false;
  if (difference.recounted !== null && difference.after === null) return false;
  const isStill = before.status === after.status && before.statusSince === after.statusSince;
  return !isStill || recounted.status === after.status;
}
