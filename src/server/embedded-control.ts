/**
 * The operators' side of a node that is alone: it owns every partition for as long as it lives, so that rebalances have
 * nothing to move and a drain has nowhere to go. The rule is durable in the control table before any partition sees it.
 */

import type { Checkpointer } from "../checkpoint/checkpointer.ts";
import type { ControlTable, LocalControlStore } from "../control-plane/local-control-store.ts";
import type { DomainName } from "../model/domain-name.ts";
import { CatchallError } from "../model/errors.ts";
import { partitionOf } from "../model/partition-id.ts";
import type { Rule } from "../model/status.ts";
import {
  addTransitions,
  emptyTransitions,
  type PartitionHost,
} from "../partition/partition-host.ts";
import { SECTION_RULE } from "../partition/section-codec.ts";
import type {
  ClusterView,
  DomainLocation,
  Readiness,
  RebalancePlan,
  RebalanceProgress,
} from "../router/ingress.ts";
import type { OperatorControl } from "../router/operator-control.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Timers } from "../runtime/timers.ts";
import type { NodeLog } from "../wal/node-log.ts";
import type { ServiceGate } from "./service-gate.ts";

export interface EmbeddedControlOptions {
  readonly nodeId: string;
  readonly clusterName: string;
  readonly store: LocalControlStore;
  readonly table: ControlTable;
  readonly host: PartitionHost;
  readonly checkpointer: () => Checkpointer;
  readonly gate: ServiceGate;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: NodeLog;
}

const RULE_RETRY_MS = 1000;
/** Rule changes of this many partitions fit one entry of the log. */
const CHANGES_PER_ENTRY_MAX = 1024;

/** Finished rebalances that are remembered. */
const REBALANCES_MAX = 100;

export class EmbeddedControl implements OperatorControl {
  readonly #options: EmbeddedControlOptions;
  #table: ControlTable;
  #isRuleChanging = false;
  readonly #rebalances: Set<string> = new Set();
  #rebalanceCount = 0;

  constructor(options: EmbeddedControlOptions) {
    this.#options = options;
    this.#table = options.table;
  }

  rule(): Rule {
    return this.#table.rule;
  }

  async setRule(rule: Rule, by: string): Promise<number[][]> {
    if (this.#isRuleChanging) throw new CatchallError("conflict", "A rule change is under way");
    this.#isRuleChanging = true;
    try {
      const revision = this.#table.ruleRevision + 1;
      const table = { ...this.#table, rule, ruleRevision: revision };
      await this.#options.store.write(table);
      this.#table = table;
      return await this.#applyRule(by);
    } catch (cause) {
      this.#retryRule(by);
      throw new CatchallError(
        "outcome_unknown",
        "The rule could not be applied to every partition yet; this goes on until it is",
        { cause },
      );
    } finally {
      this.#isRuleChanging = false;
    }
  }

  /** Ends a rule change that a crash cut short: the table has it, some partitions do not. Later, when the log is full. */
  async resumeRuleChange(): Promise<void> {
    try {
      await this.#applyRule("recovery");
    } catch (error) {
      // Only a node that serves makes room.
      if (!(error instanceof CatchallError) || error.code !== "log_full") throw error;
      this.#retryRule("recovery");
    }
  }

  readiness(): Readiness {
    const { gate } = this.#options;
    const reasons = gate.reasons();
    return {
      ready: reasons.length === 0,
      reasons,
      checks: { state: gate.state, mode: "embedded", log: "file, synced before each answer" },
    };
  }

  cluster(): ClusterView {
    const { host, nodeId, clusterName, gate, clock, log } = this.#options;
    const checkpointer = this.#options.checkpointer();
    const { incarnation, partitions } = this.#table;
    const lastMs = checkpointer.lastCheckpointMs;
    return {
      cluster: clusterName,
      mode: "embedded",
      epoch: incarnation,
      partitions,
      nodes: [
        {
          id: nodeId,
          incarnation,
          state: gate.state === "draining" ? "draining" : "alive",
          partitionsOwned: partitions,
          leaseRemainingMs: null,
          walLagEvents: checkpointer.lagEntries,
          checkpointAgeMs: lastMs === null ? null : clock.wallMs() - lastMs,
        },
      ],
      owners: host.actors.map((actor) => ({
        partition: actor.state.partition,
        node: nodeId,
        epoch: actor.epoch,
        state: "open",
      })),
      handoffs: [],
      log: { kind: "file", synced: true, sizeBytes: log.sizeBytes },
    };
  }

  locate(domain: DomainName, hash: number): DomainLocation {
    const { incarnation, partitions } = this.#table;
    const partition = partitionOf(hash, partitions);
    return { domain, hash, partition, owner: this.#options.nodeId, epoch: incarnation };
  }

  rebalance(isDryRun: boolean): RebalancePlan {
    const id = `r${this.#table.incarnation}-${this.#rebalanceCount + 1}`;
    if (!isDryRun) {
      this.#rebalanceCount++;
      this.#rebalances.add(id);
      if (this.#rebalances.size > REBALANCES_MAX) {
        for (const oldest of this.#rebalances) {
          this.#rebalances.delete(oldest);
          break;
        }
      }
    }
    return { id, moves: [] };
  }

  rebalanceProgress(id: string): RebalanceProgress {
    if (!this.#rebalances.has(id)) throw new CatchallError("rebalance_not_found");
    return { id, state: "done", done: 0, total: 0, bytes: 0, etaMs: 0 };
  }

  cancelRebalance(id: string): RebalanceProgress {
    if (!this.#rebalances.has(id)) throw new CatchallError("rebalance_not_found");
    throw new CatchallError("conflict", `"${id}" is done: it had nothing to move`);
  }

  drain(node: string): RebalancePlan {
    if (node !== this.#options.nodeId) {
      throw new CatchallError("node_not_found", `There is no node "${node}"`);
    }
    throw new CatchallError(
      "drain_impossible",
      "This node is alone: no other node can take its partitions; stop it with SIGTERM instead",
    );
  }

  #retryRule(by: string): void {
    if (this.#options.gate.state !== "serving") return;
    this.#options.timers.after(RULE_RETRY_MS, () => {
      this.#applyRule(by).catch(() => this.#retryRule(by));
    });
  }

  /** In one entry where that has room, so that all partitions change their rule in one tick; statuses in slices. */
  async #applyRule(by: string): Promise<number[][]> {
    const { rule, ruleRevision: revision } = this.#table;
    const { host } = this.#options;
    const due = host.actors.filter((actor) => actor.state.ruleRevision !== revision);
    for (let start = 0; start < due.length; start += CHANGES_PER_ENTRY_MAX) {
      const some = due.slice(start, start + CHANGES_PER_ENTRY_MAX);
      await Promise.all(
        some.map((actor) => actor.change({ kind: SECTION_RULE, rule, revision, by })),
      );
    }
    await host.settleRule();
    const sum = emptyTransitions();
    for (const actor of due) addTransitions(sum, actor.state.ruleTransitions);
    return sum;
  }
}
