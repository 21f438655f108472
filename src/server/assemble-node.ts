/**
 * The one wiring of a node: ports in, a recovered node out. Production and simulation call it; it chooses no adapter.
 *
 * Order: tables → recovery (checkpoint, then logs to their ends) → own log → group commit → actors → router →
 * checkpointer. Nothing is admitted before the gate is moved to "serving" by the caller.
 */

import type { CheckpointStore } from "../checkpoint/checkpoint-store.ts";
import { Checkpointer } from "../checkpoint/checkpointer.ts";
import { LogTrimmer } from "../checkpoint/log-trimmer.ts";
import { GroupCommit } from "../commit/group-commit.ts";
import type { Rule } from "../model/status.ts";
import { KeyBudget } from "../partition/idempotency-window.ts";
import { PartitionHost } from "../partition/partition-host.ts";
import type { PartitionState, StateChange } from "../partition/partition-state.ts";
import { lineageOfLogs, type RecoveryReport, recover } from "../partition/recovery.ts";
import { EventRouter } from "../router/event-router.ts";
import type { OperatorControl } from "../router/operator-control.ts";
import { SoleOwner } from "../router/ownership-view.ts";
import { PeerLink } from "../router/peer-link.ts";
import { Router } from "../router/router.ts";
import { SubBatchForwarder } from "../router/sub-batch-forwarder.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Metrics } from "../runtime/metrics.ts";
import type { Random } from "../runtime/random.ts";
import type { Timers } from "../runtime/timers.ts";
import { LoopbackTransport } from "../transport/loopback-transport.ts";
import { chainSeed } from "../wal/entry-codec.ts";
import type { NodeLog } from "../wal/node-log.ts";
import { checkpointIdentity, checkpointSource } from "./checkpoint-source.ts";
import { tellLeap, tellStall } from "./commit-reports.ts";
import { NodeMetrics } from "./node-metrics.ts";
import { PartitionFactory } from "./partition-factory.ts";
import type { ServiceGate } from "./service-gate.ts";

export interface NodePorts {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: NodeLog;
  readonly checkpoints: CheckpointStore;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

export interface NodeSettings {
  readonly nodeId: string;
  /** This life of the node; its log does not exist yet. */
  readonly incarnation: number;
  readonly storeId: number;
  readonly partitions: number;
  /** The rule of a partition that has never seen a rule change. */
  readonly initialRule: Rule;
  readonly idempotencyWindowMs: number;
  readonly idempotencyKeysMax: number;
  readonly checkpointIntervalMs: number;
  readonly logRetentionMs: number;
  readonly pendingEventsMax: number;
}

export interface AssembledNode {
  readonly router: Router;
  readonly host: PartitionHost;
  readonly commit: GroupCommit;
  readonly checkpointer: Checkpointer;
  readonly recovery: RecoveryReport;
}

export interface NodeHooks {
  readonly gate: ServiceGate;
  /** Makes the operators' side, which needs the host. */
  readonly createControl: (parts: {
    readonly host: PartitionHost;
    readonly checkpointer: () => Checkpointer;
  }) => OperatorControl;
  readonly onLogFailed: (reason: string) => void;
}

/** Recovers and wires a node. Errors: `checkpoint_damaged`, `log_damaged`, disk failures. */
export async function assembleNode(
  ports: NodePorts,
  settings: NodeSettings,
  hooks: NodeHooks,
): Promise<AssembledNode> {
  const metrics = new NodeMetrics(ports.metrics);
  const keyBudget = new KeyBudget(settings.idempotencyKeysMax);
  let announce: (change: StateChange) => void = () => undefined;
  const factory = new PartitionFactory({
    partitions: settings.partitions,
    idempotencyWindowMs: settings.idempotencyWindowMs,
    keyBudget,
    random: ports.random,
    eventCounters: metrics.eventCounters(),
    initialRule: () => settings.initialRule,
    refusal: () => hooks.gate.refusal(),
    onChange: (change) => announce(change),
  });
  const states = Array.from({ length: settings.partitions }, (_, partition) =>
    factory.createState(partition),
  );
  const recovery = await recoverStates(ports, settings, states);
  await ports.log.create(settings.incarnation);
  const logFull = (): void => checkpointer.hurry();
  const commit = createCommit(ports, settings, { ...hooks, logFull }, metrics, recovery);
  const host = new PartitionHost(settings.partitions, ports.timers);
  for (const state of states) {
    host.open(factory.createActor(state, settings.incarnation, commit));
  }
  const checkpointer = createCheckpointer(ports, settings, { states, commit, metrics, recovery });
  const control = hooks.createControl({ host, checkpointer: () => checkpointer });
  const router = createRouter(ports, settings, hooks, { host, control, metrics });
  announce = (change) => {
    metrics.changed(change);
    router.announce(change);
  };
  metrics.register({
    ...{ host, keyBudget, checkpointer, commit, clock: ports.clock },
    // A node that is alone holds its directory, not a lease.
    leaseRemainingMs: () => Number.POSITIVE_INFINITY,
    epoch: () => settings.incarnation,
    // Of files: no option makes them anything else.
    isLogSynced: true,
    partitionStates: () => new Map([["open", host.actors.length]]),
  });
  return { router, host, commit, checkpointer, recovery };
}

async function recoverStates(
  ports: NodePorts,
  settings: NodeSettings,
  states: readonly PartitionState[],
): Promise<RecoveryReport> {
  const lineage = await lineageOfLogs(ports.log);
  const report = await recover({
    tasks: states.map((state) => ({ state, lineage })),
    store: ports.checkpoints,
    log: ports.log,
    hasClaims: false,
    expected: checkpointIdentity(settings.partitions),
  });
  for (const state of states) state.endRecovery();
  return report;
}

function createCommit(
  ports: NodePorts,
  settings: NodeSettings,
  hooks: NodeHooks & { readonly logFull: () => void },
  metrics: NodeMetrics,
  recovery: RecoveryReport,
): GroupCommit {
  return new GroupCommit({
    log: ports.log,
    clock: ports.clock,
    timers: ports.timers,
    random: ports.random,
    incarnation: settings.incarnation,
    chainSeed: chainSeed(settings.incarnation, settings.storeId),
    timeMsMin: recovery.lastTimeMs,
    observer: {
      appended: (durationMs, eventCount) => metrics.appended(durationMs, eventCount),
      logFailed: (reason) => {
        hooks.gate.moveTo("failed", reason);
        hooks.onLogFailed(reason);
      },
      clockLeapt: (aheadMs) => tellLeap(ports.logger, aheadMs),
      logStalled: (reason) => tellStall(ports.logger, reason),
      logFull: hooks.logFull,
    },
  });
}

function createRouter(
  ports: NodePorts,
  settings: NodeSettings,
  hooks: NodeHooks,
  parts: {
    readonly host: PartitionHost;
    readonly control: OperatorControl;
    readonly metrics: NodeMetrics;
  },
): Router {
  const { host, control, metrics } = parts;
  const { incarnation, nodeId } = settings;
  const view = new SoleOwner(incarnation, nodeId);
  const link = new PeerLink(view, new LoopbackTransport(incarnation));
  const forwarder = new SubBatchForwarder({
    ...{ link, host, timers: ports.timers },
    // Nothing is forwarded, and the one producer is here.
    observer: { frameSent: () => undefined, resync: () => undefined },
  });
  const events = new EventRouter({
    partitions: settings.partitions,
    producer: settings.incarnation,
    pendingEventsMax: settings.pendingEventsMax,
    timers: ports.timers,
    refusal: () => hooks.gate.refusalOfEvents(),
    deliver: (partition, batch) => forwarder.deliver(partition, batch),
    rejected: (code, events) => metrics.rejected(code, events),
  });
  return new Router({
    nodeId: settings.nodeId,
    host,
    events,
    control,
    clock: ports.clock,
    timers: ports.timers,
    logger: ports.logger,
    pendingEventsMax: settings.pendingEventsMax,
    refusal: () => hooks.gate.refusalOfEvents(),
  });
}

function createCheckpointer(
  ports: NodePorts,
  settings: NodeSettings,
  parts: {
    readonly states: readonly PartitionState[];
    readonly commit: GroupCommit;
    readonly metrics: NodeMetrics;
    readonly recovery: RecoveryReport;
  },
): Checkpointer {
  const { states, commit, metrics, recovery } = parts;
  const { incarnation, logRetentionMs } = settings;
  const { log, clock } = ports;
  const trimmer = new LogTrimmer({ log, clock, logRetentionMs, restored: recovery.checkpoint });
  const sources = states.map((state) =>
    checkpointSource(state, incarnation, () => pruneProducers(state, settings, commit)),
  );
  return new Checkpointer({
    store: ports.checkpoints,
    clock: ports.clock,
    timers: ports.timers,
    logger: ports.logger,
    intervalMs: settings.checkpointIntervalMs,
    incarnation: settings.incarnation,
    sources: () => sources,
    appliedSequence: () => commit.sequence,
    entryTimeMs: () => commit.nowMs(),
    identity: checkpointIdentity(settings.partitions),
    observer: { checkpointed: (durationMs) => metrics.checkpointed(durationMs) },
    confirmed: ({ timeMs, sequence }) => trimmer.confirmed({ timeMs, incarnation, sequence }),
  });
}

/** A node that is alone: every incarnation but its own is gone. A row outlives its producer by the window. */
function pruneProducers(state: PartitionState, settings: NodeSettings, commit: GroupCommit): void {
  const beforeMs = commit.nowMs() - settings.idempotencyWindowMs;
  state.pruneProducers((producer) => producer !== settings.incarnation, beforeMs);
}
