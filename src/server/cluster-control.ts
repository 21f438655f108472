/**
 * The operators' side of a cluster node. Every change is a compare-and-set on the control table, so that any node may be
 * asked; what is shown of other nodes is asked of them, and missing where they do not answer.
 */

import {
  cancelRebalance,
  drainMember,
  type MoveState,
  moveState,
  startRebalance,
} from "../control-plane/rebalance-changes.ts";
import { planRebalance } from "../control-plane/rebalance-plan.ts";
import { partitionsOf, setRule } from "../control-plane/table-changes.ts";
import type { DomainName } from "../model/domain-name.ts";
import { CatchallError } from "../model/errors.ts";
import {
  aliveMembers,
  type ControlTable,
  type Member,
  memberOf,
  NOBODY,
  type PartitionMove,
  type RebalanceRecord,
  type TableVersion,
} from "../model/ownership.ts";
import { partitionOf } from "../model/partition-id.ts";
import type { Rule } from "../model/status.ts";
import type {
  ClusterView,
  DomainLocation,
  Readiness,
  RebalancePlan,
  RebalanceProgress,
} from "../router/ingress.ts";
import type { RuleChange } from "../router/local-answers.ts";
import type { OperatorControl } from "../router/operator-control.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Random } from "../runtime/random.ts";
import type { TableSource } from "./ownership-ports.ts";

/** What a node says about itself to the others. */
export interface NodeView {
  readonly leaseRemainingMs: number;
  readonly walLagEvents: number;
  readonly checkpointAgeMs: number | null;
  /** Partitions that are not simply open, by what is done with them. */
  readonly states: readonly (readonly [partition: number, state: string])[];
  readonly logSizeBytes: number;
}

export interface ControlPeers {
  /** What a node, this one included, says about itself; null when it does not answer. */
  nodeView(incarnation: number): Promise<NodeView | null>;
  /** Has every partition take the rule; [from][to] counts. */
  applyRule(change: RuleChange): Promise<number[][]>;
}

export interface ClusterControlOptions {
  readonly self: number;
  readonly clusterName: string;
  readonly table: TableSource;
  readonly peers: ControlPeers;
  readonly readiness: () => Readiness;
  readonly clock: Clock;
  readonly random: Random;
  /** How the log is kept, for operators. */
  readonly log: { readonly kind: string; readonly synced: boolean };
}

export class ClusterControl implements OperatorControl {
  readonly #options: ClusterControlOptions;

  constructor(options: ClusterControlOptions) {
    this.#options = options;
  }

  rule(): Rule {
    return this.#now().table.rule;
  }

  async setRule(rule: Rule, by: string): Promise<number[][]> {
    const { table, peers } = this.#options;
    const revision = this.#now().table.ruleRevision + 1;
    await table.change((now) => setRule(now, { rule, revision }));
    try {
      return await peers.applyRule({ rule, revision, by });
    } catch (cause) {
      throw new CatchallError(
        "outcome_unknown",
        "The rule holds, but not every partition has said so yet; this goes on until it has",
        { cause },
      );
    }
  }

  readiness(): Readiness {
    return this.#options.readiness();
  }

  async cluster(): Promise<ClusterView> {
    const { clusterName, peers, log } = this.#options;
    const { table, revision } = this.#now();
    const alive = aliveMembers(table);
    const views = new Map<number, NodeView | null>();
    await Promise.all(
      alive.map(async ({ incarnation }) => {
        views.set(incarnation, await peers.nodeView(incarnation));
      }),
    );
    const states = new Map([...views.values()].flatMap((view) => view?.states ?? []));
    let sizeBytes = 0;
    for (const view of views.values()) sizeBytes += view?.logSizeBytes ?? 0;
    return {
      cluster: clusterName,
      mode: "cluster",
      epoch: revision,
      partitions: table.partitionCount,
      nodes: table.members
        .filter((member) => member.state !== "left")
        .map((member) => nodeRow(table, member, views.get(member.incarnation) ?? null)),
      owners: table.partitions.map(({ owner, epoch }, partition) => ({
        partition,
        node: nodeName(table, owner),
        epoch,
        state: owner === NOBODY ? "unassigned" : (states.get(partition) ?? "open"),
      })),
      handoffs: table.partitions.flatMap(({ owner, moveTo }, partition) =>
        moveTo === NOBODY
          ? []
          : [{ partition, from: nodeName(table, owner), to: nodeName(table, moveTo) }],
      ),
      log: { ...log, sizeBytes },
    };
  }

  locate(domain: DomainName, hash: number): DomainLocation {
    const { table } = this.#now();
    const partition = partitionOf(hash, table.partitionCount);
    const assignment = table.partitions[partition];
    const owner = nodeName(table, assignment?.owner ?? NOBODY);
    return { domain, hash, partition, owner, epoch: assignment?.epoch ?? 0 };
  }

  async rebalance(isDryRun: boolean): Promise<RebalancePlan> {
    const id = this.#newId("r");
    if (isDryRun) {
      const { table } = this.#now();
      return { id, moves: planRebalance(table).map((move) => namedMove(table, move)) };
    }
    const startedAtMs = this.#options.clock.wallMs();
    const { table } = await this.#options.table.change((now) =>
      startRebalance(now, { id, startedAtMs }),
    );
    return planOf(table, id);
  }

  async rebalanceProgress(id: string): Promise<RebalanceProgress> {
    if (recordOf(this.#now().table, id) === undefined) {
      // Another node may have started it just now.
      await this.#options.table.refresh();
    }
    return this.#progress(this.#now().table, id);
  }

  async cancelRebalance(id: string): Promise<RebalanceProgress> {
    const { table } = await this.#options.table.change((now) => {
      const state = recordOf(now, id)?.state;
      if (state === "done" || state === "failed") {
        const what = state === "done" ? "is done" : "has failed";
        throw new CatchallError("conflict", `"${id}" ${what}: there is nothing left to cancel`);
      }
      return cancelRebalance(now, id);
    });
    return this.#progress(table, id);
  }

  async drain(node: string): Promise<RebalancePlan> {
    const id = this.#newId("d");
    const startedAtMs = this.#options.clock.wallMs();
    const { table } = await this.#options.table.change((now) => {
      const member = aliveMembers(now).findLast(({ nodeId }) => nodeId === node);
      if (member === undefined) {
        throw new CatchallError("node_not_found", `There is no live node "${node}"`);
      }
      return drainMember(now, { id, startedAtMs, incarnation: member.incarnation });
    });
    return planOf(table, id);
  }

  #progress(table: ControlTable, id: string): RebalanceProgress {
    const record = recordOf(table, id);
    if (record === undefined) throw new CatchallError("rebalance_not_found");
    return progressOf(table, record, this.#options.clock.wallMs());
  }

  #now(): TableVersion {
    const version = this.#options.table.current();
    if (version === null) throw new CatchallError("not_ready", "The control table is not known");
    return version;
  }

  #newId(prefix: string): string {
    const { random } = this.#options;
    return `${prefix}${random.uint32().toString(36)}${random.uint32().toString(36)}`;
  }
}

function nodeName(table: ControlTable, incarnation: number): string {
  return memberOf(table, incarnation)?.nodeId ?? "";
}

function nodeRow(
  table: ControlTable,
  member: Member,
  view: NodeView | null,
): ClusterView["nodes"][number] {
  return {
    id: member.nodeId,
    incarnation: member.incarnation,
    state: member.state !== "alive" ? "dead" : member.isDraining ? "draining" : "alive",
    partitionsOwned: partitionsOf(table, member.incarnation).length,
    leaseRemainingMs: view?.leaseRemainingMs ?? null,
    walLagEvents: view?.walLagEvents ?? 0,
    checkpointAgeMs: view?.checkpointAgeMs ?? null,
  };
}

function namedMove(table: ControlTable, move: PartitionMove): RebalancePlan["moves"][number] {
  const { partition, from, to } = move;
  return { partition, from: nodeName(table, from), to: nodeName(table, to) };
}

function recordOf(table: ControlTable, id: string): RebalanceRecord | undefined {
  return table.rebalances.find((one) => one.id === id);
}

function planOf(table: ControlTable, id: string): RebalancePlan {
  const record = recordOf(table, id);
  if (record === undefined) throw new CatchallError("rebalance_not_found");
  return { id, moves: record.moves.map((move) => namedMove(table, move)) };
}

function progressOf(
  table: ControlTable,
  record: RebalanceRecord,
  nowMs: number,
): RebalanceProgress {
  const states: MoveState[] = record.moves.map((move) => moveState(table, move));
  const total = states.length;
  const done = states.filter((state) => state === "done").length;
  const ended = states.filter((state) => state === "done" || state === "dropped").length;
  const { state, bytes } = record;
  const perMoveMs = ended === 0 ? null : (nowMs - record.startedAtMs) / ended;
  const etaMs =
    state !== "running" ? 0 : perMoveMs === null ? null : Math.round(perMoveMs * (total - ended));
  return { id: record.id, state, done, total, bytes, etaMs };
}
