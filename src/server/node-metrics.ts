/**
 * The node's metrics under the names of the contract. Hot paths add to plain numbers; gauges are read at a scrape.
 */

import type { Checkpointer } from "../checkpoint/checkpointer.ts";
import type { GroupCommit } from "../commit/group-commit.ts";
import type { ErrorCode } from "../model/errors.ts";
import { STATUS_NAMES } from "../model/status.ts";
import type { KeyBudget } from "../partition/idempotency-window.ts";
import type { PartitionHost } from "../partition/partition-host.ts";
import type { StateChange } from "../partition/partition-state.ts";
import type { Clock } from "../runtime/clock.ts";
import {
  type Counter,
  DURATION_BOUNDS_S,
  type Histogram,
  type Metrics,
  SIZE_BOUNDS,
} from "../runtime/metrics.ts";

const HANDOFFS_HELP = "Planned moves of partitions";

export class NodeMetrics {
  readonly #metrics: Metrics;
  /** By from and to. */
  readonly #changes: Counter[] = [];
  readonly #commitDuration: Histogram;
  readonly #commitEvents: Histogram;
  readonly #checkpointDuration: Histogram;
  readonly #forwardEvents: Histogram;

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
    this.#commitDuration = metrics.histogram(
      "wal_commit_duration_seconds",
      "Time from handing an entry to the log until it is durable",
      DURATION_BOUNDS_S,
    );
    this.#commitEvents = metrics.histogram(
      "wal_commit_events",
      "Events in one log entry",
      SIZE_BOUNDS,
    );
    this.#forwardEvents = metrics.histogram(
      "forward_batch_events",
      "Events in one forwarded frame",
      SIZE_BOUNDS,
    );
    metrics.counter("handoffs_total", HANDOFFS_HELP, { result: "done" });
    this.#checkpointDuration = metrics.histogram(
      "checkpoint_duration_seconds",
      "Time to write one checkpoint",
      DURATION_BOUNDS_S,
    );
  }

  /** Counters of events applied, delivered then bounced. */
  eventCounters(): readonly [Counter, Counter] {
    const help = "Events that were committed and applied";
    return [
      this.#metrics.counter("events_total", help, { type: "delivered" }),
      this.#metrics.counter("events_total", help, { type: "bounced" }),
    ];
  }

  rejected(code: ErrorCode, events: number): void {
    this.#metrics
      .counter("events_rejected_total", "Events that were refused, by code", { code })
      .add(events);
  }

  appended(durationMs: number, eventCount: number): void {
    this.#commitDuration.observe(durationMs / 1000);
    this.#commitEvents.observe(eventCount);
  }

  checkpointed(durationMs: number): void {
    this.#checkpointDuration.observe(durationMs / 1000);
  }

  changed(change: StateChange): void {
    const slot = change.from * STATUS_NAMES.length + change.to;
    this.#changes[slot] ??= this.#metrics.counter(
      "status_changes_total",
      "Status changes that were committed",
      { from: STATUS_NAMES[change.from], to: STATUS_NAMES[change.to] },
    );
    this.#changes[slot]?.add();
  }

  /** A frame with so many events was sent to another node. */
  forwarded(events: number): void {
    this.#forwardEvents.observe(events);
  }

  /** Status changes that a sink stored, failed to store, or will not be given. */
  notified(channel: string, result: "stored" | "failed" | "skipped", changes: number): void {
    const labels = { channel, result };
    this.#metrics
      .counter("notifications_total", "Status changes told outside, by channel and result", labels)
      .add(changes);
  }

  /** A planned move of a partition to this node ended. */
  handoff(result: "done" | "dropped" | "failed"): void {
    this.#metrics.counter("handoffs_total", HANDOFFS_HELP, { result }).add();
  }

  register(parts: {
    readonly host: PartitionHost;
    readonly keyBudget: KeyBudget;
    readonly checkpointer: Checkpointer;
    readonly commit: GroupCommit;
    readonly clock: Clock;
    readonly leaseRemainingMs: () => number;
    readonly epoch: () => number;
    /** Found at the start of the process. */
    readonly isLogSynced: boolean;
    /** How many partitions are in each state here. */
    readonly partitionStates: () => ReadonlyMap<string, number>;
  }): void {
    const { host, keyBudget, checkpointer, commit, clock } = parts;
    const gauge = this.#metrics.gauge.bind(this.#metrics);
    gauge("lease_remaining_seconds", "Time left of the lease", () => {
      return parts.leaseRemainingMs() / 1000;
    });
    gauge("partitions_owned", "Partitions that this node owns", () => host.actors.length);
    gauge("partition_state", "Partitions by state", () => {
      return [...parts.partitionStates()].map(([state, value]) => ({ labels: { state }, value }));
    });
    gauge("cluster_epoch", "Epoch of the control table", parts.epoch);
    gauge("domains", "Domains by status", () => {
      const { byStatus } = host.totals();
      return ([1, 2, 3] as const).map((code) => ({
        labels: { status: STATUS_NAMES[code] },
        value: byStatus[code],
      }));
    });
    gauge("table_bytes", "Memory of counters and names", () => host.totals().tableBytes);
    gauge("dedupe_window_entries", "Idempotency keys remembered", () => keyBudget.used);
    gauge("wal_lag_events", "Log entries that no checkpoint covers", () => {
      return checkpointer.lagEntries;
    });
    gauge("wal_synced", "1 when the log is known to be synced before each answer, else 0", () => {
      return parts.isLogSynced ? 1 : 0;
    });
    gauge("clock_ahead_seconds", "How far the wall clock is beyond what entries may carry", () => {
      return commit.clockAheadMs() / 1000;
    });
    gauge("checkpoint_age_seconds", "Time since the last checkpoint", () => {
      const last = checkpointer.lastCheckpointMs;
      return last === null ? 0 : (clock.wallMs() - last) / 1000;
    });
  }
}
