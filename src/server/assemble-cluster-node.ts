/**
 * The one wiring of a cluster node: ports in, one incarnation out. Production and the simulator call it; it chooses no
 * adapter.
 *
 * A life: join (number, log, lease) → serve what the control table gives → end, once, for good: by leaving, or because
 * the lease is lost, the log is fenced or a partition was given away. Whoever started it starts the next life.
 * Safety: after the end nothing is admitted, read, acknowledged or appended any more.
 */

import type { CheckpointStore } from "../checkpoint/checkpoint-store.ts";
import { Checkpointer } from "../checkpoint/checkpointer.ts";
import { GroupCommit } from "../commit/group-commit.ts";
import type { ControlStore } from "../control-plane/control-store.ts";
import { Coordinator } from "../control-plane/coordinator.ts";
import { type Joined, Membership } from "../control-plane/membership.ts";
import { partitionsOf, setDraining } from "../control-plane/table-changes.ts";
import { TableKeeper } from "../control-plane/table-keeper.ts";
import { CounterTable } from "../counters/counter-table.ts";
import { CatchallError } from "../model/errors.ts";
import { aliveMembers, memberOf } from "../model/ownership.ts";
import type { Rule } from "../model/status.ts";
import { IdempotencyWindow, KeyBudget } from "../partition/idempotency-window.ts";
import { PartitionActor } from "../partition/partition-actor.ts";
import { PartitionHost } from "../partition/partition-host.ts";
import { PartitionState, type StateChange } from "../partition/partition-state.ts";
import { recover } from "../partition/recovery.ts";
import { replay } from "../partition/replay.ts";
import { ChangeBroadcast } from "../router/change-broadcast.ts";
import { EventRouter } from "../router/event-router.ts";
import type { Readiness } from "../router/ingress.ts";
import { LocalAnswers } from "../router/local-answers.ts";
import { PeerHandler } from "../router/peer-handler.ts";
import { PeerLink } from "../router/peer-link.ts";
import { PeerRequests } from "../router/peer-requests.ts";
import { Router } from "../router/router.ts";
import { SubBatchForwarder } from "../router/sub-batch-forwarder.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Metrics } from "../runtime/metrics.ts";
import type { Random } from "../runtime/random.ts";
import type { Timers } from "../runtime/timers.ts";
import type { Transport } from "../transport/transport.ts";
import { chainSeed } from "../wal/entry-codec.ts";
import type { NodeLog } from "../wal/node-log.ts";
import { checkpointIdentity, checkpointSource } from "./checkpoint-source.ts";
import { ClusterControl, type NodeView } from "./cluster-control.ts";
import { ClusterPeers, peerQueries } from "./cluster-peers.ts";
import { LogFloors } from "./log-floors.ts";
import { NodeMetrics } from "./node-metrics.ts";
import { PartitionSupervisor, type TableSource } from "./partition-supervisor.ts";
import { ServiceGate } from "./service-gate.ts";
import { TableOwnership } from "./table-ownership.ts";

/** An append without outcome for so long means that the log is away: events are refused at once. */
const APPEND_STALLED_MS = 1000;
/** After the first start of a cluster, partitions are given to whoever is there after this. */
const SETTLE_MS = 2000;
/** A planned move that takes longer is dropped by the coordinator. */
const MOVE_LIMIT_MS = 150_000;
/** Between two looks at whether a leaving node still owns something. */
const LEAVE_POLL_MS = 50;

export interface ClusterPorts {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly log: NodeLog;
  readonly control: ControlStore;
  readonly checkpoints: CheckpointStore;
  /** This end of the transport, for the incarnation that was handed out. */
  readonly connect: (incarnation: number) => Transport;
}

export interface ClusterSettings {
  readonly nodeId: string;
  readonly clusterName: string;
  readonly partitions: number;
  readonly initialRule: Rule;
  readonly leaseTtlMs: number;
  readonly expectNodes: number;
  readonly autoRebalance: boolean;
  readonly idempotencyWindowMs: number;
  readonly idempotencyKeysMax: number;
  readonly checkpointIntervalMs: number;
  readonly logRetentionMs: number;
  readonly pendingEventsMax: number;
  /** How the log is kept, for operators; see `GET /cluster`. */
  readonly log: { readonly kind: string; readonly synced: boolean };
}

export interface ClusterHooks {
  /** This life is over, not by `stop`: lease lost, fenced. Start the next one. Called at most once. */
  readonly onEnded: (reason: string) => void;
}

export interface ClusterNode {
  readonly incarnation: number;
  readonly router: Router;
  readonly gate: ServiceGate;
  readonly checkpointer: Checkpointer;
  isOpen(partition: number): boolean;
  /** Hands over what it owns (within `timeoutMs`), writes a checkpoint, leaves. Repeatable. */
  stop(timeoutMs: number): Promise<void>;
}

/** Starts a life. Errors: those of `Membership.join`; `conflict` when another process runs under this node id. */
export async function startClusterNode(
  ports: ClusterPorts,
  settings: ClusterSettings,
  hooks: ClusterHooks,
): Promise<ClusterNode> {
  const { control: store, log, clock, timers, random, logger } = ports;
  const keeper = new TableKeeper({ store, clock, timers, random, logger });
  keeper.start();
  const membership = new Membership({
    ...{ store, keeper, clock, timers, random, logger, log },
    nodeId: settings.nodeId,
    leaseTtlMs: settings.leaseTtlMs,
    partitionCount: settings.partitions,
    initialRule: settings.initialRule,
  });
  let joined: Joined | null = null;
  try {
    joined = await membership.join();
    const twin = await membership.findTwin(joined.incarnation);
    if (twin !== null) {
      throw new CatchallError(
        "conflict",
        `Another process runs as node "${settings.nodeId}": give each its own --node-id`,
      );
    }
    return new ClusterLife({ ports, settings, hooks, keeper, membership, joined });
  } catch (error) {
    joined?.lease.stop();
    keeper.stop();
    throw error;
  }
}

interface LifeOptions {
  readonly ports: ClusterPorts;
  readonly settings: ClusterSettings;
  readonly hooks: ClusterHooks;
  readonly keeper: TableKeeper;
  readonly membership: Membership;
  readonly joined: Joined;
}

class ClusterLife implements ClusterNode {
  readonly incarnation: number;
  readonly router: Router;
  readonly gate: ServiceGate = new ServiceGate();
  readonly checkpointer: Checkpointer;
  readonly #options: LifeOptions;
  readonly #host: PartitionHost;
  readonly #keyBudget: KeyBudget;
  readonly #commit: GroupCommit;
  readonly #supervisor: PartitionSupervisor;
  readonly #coordinator: Coordinator;
  readonly #transport: Transport;
  readonly #events: EventRouter;
  readonly #forwarder: SubBatchForwarder;
  readonly #requests: PeerRequests;
  readonly #metrics: NodeMetrics;
  #isEnded = false;
  #stopping: Promise<void> | null = null;

  constructor(options: LifeOptions) {
    this.#options = options;
    const { ports, settings, keeper, joined } = options;
    const { clock, timers, random, logger, log } = ports;
    const self = joined.incarnation;
    this.incarnation = self;
    this.#metrics = new NodeMetrics(ports.metrics);
    this.#host = new PartitionHost(settings.partitions, timers);
    this.#keyBudget = new KeyBudget(settings.idempotencyKeysMax);
    this.#commit = this.#createCommit();
    this.#transport = ports.connect(self);
    const view = new TableOwnership(self, keeper);
    const link = new PeerLink(view, this.#transport);
    const local = new LocalAnswers({ host: this.#host, nodeId: settings.nodeId, clock });
    const refusal = () => this.#refusal();
    this.#requests = new PeerRequests({ link, local, clock, timers, refusal });
    const peers = new ClusterPeers({
      self,
      requests: this.#requests,
      own: () => this.#nodeView(),
    });
    const table = tableSource(keeper);
    const floors = new LogFloors({
      ...{ self, log, logRetentionMs: settings.logRetentionMs },
      committedSequence: () => this.#commit.sequence,
      wallMs: () => clock.wallMs(),
    });
    const factory = this.#createFactory();
    this.#supervisor = new PartitionSupervisor({
      ...{
        self,
        host: this.#host,
        commit: this.#commit,
        table,
        peers,
        floors,
        clock,
        timers,
        logger,
      },
      ...factory,
      recover: (tasks) =>
        recover({
          ...{ tasks, store: ports.checkpoints, log, hasClaims: true },
          expected: checkpointIdentity(settings.partitions),
        }),
      replay: (tasks) => replay({ log, hasClaims: true }, tasks),
      applyRule: (change) => local.applyRuleOn(change, null),
      observer: { handoff: (result) => this.#metrics.handoff(result) },
      onFenced: (reason) => this.#end(reason),
    });
    this.#forwarder = new SubBatchForwarder({
      ...{ link, host: this.#host, timers },
      observer: {
        frameSent: (events) => this.#metrics.forwarded(events),
        resync: (partition) =>
          logger.error(
            { partition },
            "An owner lacks events of this node that it had acknowledged",
          ),
      },
    });
    this.#events = this.#createEvents();
    this.checkpointer = this.#createCheckpointer();
    this.#coordinator = new Coordinator({
      ...{ store: ports.control, keeper, lease: joined.lease, log, clock, timers, logger },
      expectNodes: settings.expectNodes,
      settleMs: SETTLE_MS,
      autoRebalance: settings.autoRebalance,
      moveLimitMs: MOVE_LIMIT_MS,
      logRetentionMs: settings.logRetentionMs,
      idempotencyWindowMs: settings.idempotencyWindowMs,
    });
    const control = new ClusterControl({
      ...{ self, clusterName: settings.clusterName, table, clock, random, log: settings.log },
      peers: {
        nodeView: (incarnation) => peers.nodeView(incarnation),
        applyRule: (change) => this.#requests.applyRule(change),
      },
      readiness: () => this.#readiness(),
    });
    this.router = new Router({
      ...{ host: this.#host, events: this.#events, control, clock, timers, logger },
      nodeId: settings.nodeId,
      answers: this.#requests,
      broadcast: new ChangeBroadcast({ link, timers, logger }),
      pendingEventsMax: settings.pendingEventsMax,
      refusal: () => this.#refusalOfEvents(),
    });
    const queries = peerQueries({
      committedSequence: () => this.#commit.sequence,
      release: (request) => this.#supervisor.release(request),
      nodeView: () => this.#nodeView(),
    });
    new PeerHandler({ link, local, queries }).serve();
    this.#registerMetrics();
    this.#start();
  }

  isOpen(partition: number): boolean {
    const actor = this.#host.actorAt(partition);
    return actor !== undefined && actor.refusal() === null;
  }

  stop(timeoutMs: number): Promise<void> {
    this.#stopping ??= this.#stop(timeoutMs);
    return this.#stopping;
  }

  #start(): void {
    this.#options.joined.lease.onLost((reason) => this.#end(reason));
    this.gate.moveTo("serving");
    this.#supervisor.start();
    this.#coordinator.start();
    this.checkpointer.start();
  }

  async #stop(timeoutMs: number): Promise<void> {
    const { keeper, membership, joined, ports } = this.#options;
    const deadlineMs = ports.clock.monotonicMs() + timeoutMs;
    this.gate.moveTo("draining");
    await this.#handOver(deadlineMs);
    if (this.#isEnded) return;
    await this.#commit.drained();
    await this.checkpointer.stop();
    await this.checkpointer.run();
    await membership.leave(joined);
    this.#end("it left", false);
    keeper.stop();
  }

  /** Gives every partition to others, where there are any. */
  async #handOver(deadlineMs: number): Promise<void> {
    const { keeper, ports } = this.#options;
    const { clock, timers, logger } = ports;
    try {
      await keeper.change((table) => setDraining(table, this.incarnation, true));
    } catch (error) {
      logger.warn({ err: error }, "The node leaves without handing its partitions over");
      return;
    }
    while (!this.#isEnded && clock.monotonicMs() < deadlineMs) {
      const table = keeper.current()?.table;
      if (table === undefined || partitionsOf(table, this.incarnation).length === 0) return;
      const others = aliveMembers(table).filter(
        (member) => member.incarnation !== this.incarnation && !member.isDraining,
      );
      if (others.length === 0) return;
      await new Promise<void>((resolve) => {
        timers.after(LEAVE_POLL_MS, resolve);
      });
    }
  }

  #end(reason: string, isUnexpected = true): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const { keeper, joined, hooks, ports } = this.#options;
    this.gate.moveTo("failed", reason);
    const error = new CatchallError("lease_lost", `This life of the node is over: ${reason}`);
    this.#supervisor.end();
    this.#commit.abandon(reason);
    this.#forwarder.abandon(error);
    this.#events.end(error);
    this.#requests.end();
    joined.lease.stop();
    keeper.stop();
    void this.#coordinator.stop();
    void this.checkpointer.stop();
    void this.#transport.close().catch(() => undefined);
    if (!isUnexpected) return;
    ports.logger.error({ reason, incarnation: this.incarnation }, "This life of the node is over");
    hooks.onEnded(reason);
  }

  /** Null while this node may commit what was admitted, answer reads and forward. */
  #refusal(): CatchallError | null {
    const refusal = this.gate.refusal();
    if (refusal !== null) return refusal;
    return this.#options.joined.lease.isValid() ? null : new CatchallError("lease_lost");
  }

  #refusalOfEvents(): CatchallError | null {
    const refusal = this.gate.refusalOfEvents() ?? this.#refusal();
    if (refusal !== null) return refusal;
    const isStalled = this.#commit.appendingMs() > APPEND_STALLED_MS;
    return isStalled ? new CatchallError("log_unavailable") : null;
  }

  #createCommit(): GroupCommit {
    const { ports, joined } = this.#options;
    const { log, clock, timers, random, logger } = ports;
    const { incarnation } = joined;
    return new GroupCommit({
      ...{ log, clock, timers, random, incarnation, timeMsMin: 0 },
      chainSeed: chainSeed(incarnation, log.storeId),
      observer: {
        appended: (durationMs, eventCount) => this.#metrics.appended(durationMs, eventCount),
        logFailed: (reason) => this.#end(reason),
        clockLeapt: (aheadMs) =>
          logger.error(
            { aheadMs },
            aheadMs > 0 ? "The wall clock leapt ahead" : "The wall clock is back",
          ),
      },
    });
  }

  #createFactory(): {
    readonly createState: (partition: number) => PartitionState;
    readonly createActor: (state: PartitionState, epoch: number) => PartitionActor;
  } {
    const { ports, settings } = this.#options;
    const keyBudget = this.#keyBudget;
    const seed = [ports.random.uint32(), ports.random.uint32()] as const;
    const eventCounters = this.#metrics.eventCounters();
    const onChange = (change: StateChange) => {
      this.#metrics.changed(change);
      this.router.announce(change);
    };
    return {
      createState: (partition) =>
        new PartitionState({
          partition,
          table: new CounterTable({ partition, partitions: settings.partitions, seed }),
          window: new IdempotencyWindow(settings.idempotencyWindowMs, keyBudget),
          rule: this.#options.keeper.current()?.table.initialRule ?? settings.initialRule,
          onChange: (change) => {
            if (this.#host.actorAt(partition) !== undefined) onChange(change);
          },
        }),
      createActor: (state, epoch) => {
        state.eventCounters = eventCounters;
        const refusal = () => this.#refusal();
        return new PartitionActor({ state, epoch, commit: this.#commit, keyBudget, refusal });
      },
    };
  }

  #createEvents(): EventRouter {
    const { ports, settings } = this.#options;
    return new EventRouter({
      partitions: settings.partitions,
      producer: this.incarnation,
      pendingEventsMax: settings.pendingEventsMax,
      timers: ports.timers,
      refusal: () => this.#refusalOfEvents(),
      deliver: (partition, batch) => this.#forwarder.deliver(partition, batch),
      expire: (partition) => this.#forwarder.expire(partition),
      rejected: (code, events) => this.#metrics.rejected(code, events),
    });
  }

  #createCheckpointer(): Checkpointer {
    const { ports, settings } = this.#options;
    const { clock, timers, logger, checkpoints: store } = ports;
    return new Checkpointer({
      ...{ store, clock, timers, logger, incarnation: this.incarnation },
      intervalMs: settings.checkpointIntervalMs,
      sources: () =>
        this.#host.actors.map(({ state, epoch }) =>
          checkpointSource(state, epoch, () => this.#pruneProducers(state)),
        ),
      appliedSequence: () => this.#commit.sequence,
      entryTimeMs: () => this.#commit.nowMs(),
      identity: checkpointIdentity(settings.partitions),
      observer: { checkpointed: (durationMs) => this.#metrics.checkpointed(durationMs) },
      confirmed: (checkpoint) => this.#supervisor.confirmed(checkpoint),
    });
  }

  /** Rows of producers that ended for good and are older than the window (design 12.7). */
  #pruneProducers(state: PartitionState): void {
    const table = this.#options.keeper.current()?.table;
    if (table === undefined) return;
    const beforeMs = this.#commit.nowMs() - this.#options.settings.idempotencyWindowMs;
    state.pruneProducers((producer) => {
      const member = memberOf(table, producer);
      return producer <= table.lastIncarnation && member?.state !== "alive";
    }, beforeMs);
  }

  #registerMetrics(): void {
    const { ports, keeper, joined } = this.#options;
    const { host, checkpointer } = { host: this.#host, checkpointer: this.checkpointer };
    this.#metrics.register({
      ...{ host, checkpointer, keyBudget: this.#keyBudget, commit: this.#commit },
      clock: ports.clock,
      leaseRemainingMs: () => joined.lease.remainingMs(),
      epoch: () => keeper.current()?.revision ?? 0,
      partitionStates: () => this.#supervisor.countsByState(),
    });
  }

  #nodeView(): NodeView {
    const { ports, joined, settings } = this.#options;
    const lastMs = this.checkpointer.lastCheckpointMs;
    const states: [number, string][] = [];
    for (let partition = 0; partition < settings.partitions; partition++) {
      const state = this.#supervisor.stateOf(partition);
      if (state !== null && state !== "open") states.push([partition, state]);
    }
    return {
      leaseRemainingMs: Math.round(joined.lease.remainingMs()),
      walLagEvents: this.checkpointer.lagEntries,
      checkpointAgeMs: lastMs === null ? null : ports.clock.wallMs() - lastMs,
      states,
      logSizeBytes: ports.log.sizeBytes,
    };
  }

  #readiness(): Readiness {
    const { keeper, joined, settings } = this.#options;
    const reasons = [...this.gate.reasons()];
    const table = keeper.current()?.table;
    if (!joined.lease.isValid()) reasons.push("The lease of this node is not valid");
    if (table === undefined) reasons.push("The control table is not known");
    else if (table.partitions.some(({ owner }) => owner === 0)) {
      reasons.push(`Partitions wait for ${settings.expectNodes} nodes before they are assigned`);
    }
    if (this.#commit.appendingMs() > APPEND_STALLED_MS) reasons.push("The log does not answer");
    const failure = this.#supervisor.openFailure;
    const log = `${settings.log.kind}, ${settings.log.synced ? "synced before each answer" : "NOT SYNCED before each answer: a power cut can lose what was acknowledged"}`;
    return {
      ready: reasons.length === 0,
      reasons,
      checks: {
        state: this.gate.state,
        mode: "cluster",
        log,
        lease: `${Math.round(joined.lease.remainingMs())} ms left`,
        partitions: failure === null ? `${this.#host.actors.length} open here` : failure,
      },
    };
  }
}

function tableSource(keeper: TableKeeper): TableSource {
  return {
    current: () => keeper.current(),
    change: (change) => keeper.change(change),
    refresh: () => keeper.refresh(),
    onChange: (listener) => keeper.onChange(listener),
  };
}
