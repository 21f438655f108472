/**
 * One life of a cluster node: serve what the control table gives → end, once, for good: by leaving, or because the lease
 * is lost, the log is fenced or a partition was given away. Whoever started it starts the next life.
 * Safety: after the end nothing is admitted, read, acknowledged or appended any more.
 */

import { ChangesFirstStore } from "../checkpoint/changes-first-store.ts";
import type { CheckpointStore } from "../checkpoint/checkpoint-store.ts";
import { Checkpointer } from "../checkpoint/checkpointer.ts";
import { GroupCommit } from "../commit/group-commit.ts";
import { Coordinator } from "../control-plane/coordinator.ts";
import type { Joined, Membership } from "../control-plane/membership.ts";
import { partitionsOf, setDraining } from "../control-plane/table-changes.ts";
import type { TableKeeper } from "../control-plane/table-keeper.ts";
import { withinLimit } from "../control-plane/time-limit.ts";
import { CatchallError } from "../model/errors.ts";
import { aliveMembers, memberOf } from "../model/ownership.ts";
import { ChangeOutbox } from "../notifications/change-outbox.ts";
import { KeyBudget } from "../partition/idempotency-window.ts";
import { PartitionHost } from "../partition/partition-host.ts";
import type { PartitionState } from "../partition/partition-state.ts";
import { recover, replayBehindCheckpoints } from "../partition/recovery.ts";
import { ChangeBroadcast } from "../router/change-broadcast.ts";
import { EventRouter } from "../router/event-router.ts";
import { LocalAnswers } from "../router/local-answers.ts";
import { PeerHandler } from "../router/peer-handler.ts";
import { PeerLink } from "../router/peer-link.ts";
import { PeerRequests } from "../router/peer-requests.ts";
import { Router, statusChangeOf } from "../router/router.ts";
import { SubBatchForwarder } from "../router/sub-batch-forwarder.ts";
import type { Transport } from "../transport/transport.ts";
import { chainSeed } from "../wal/entry-codec.ts";
import { checkpointIdentity, checkpointSource } from "./checkpoint-source.ts";
import { ClusterControl, type NodeView } from "./cluster-control.ts";
import type { ClusterHooks, ClusterNode, ClusterPorts, ClusterSettings } from "./cluster-node.ts";
import { ClusterPeers, peerQueries } from "./cluster-peers.ts";
import { readinessOf } from "./cluster-readiness.ts";
import { tellLeap, tellStall } from "./commit-reports.ts";
import { LogFloors } from "./log-floors.ts";
import { NodeMetrics } from "./node-metrics.ts";
import { PartitionFactory } from "./partition-factory.ts";
import { PartitionSupervisor } from "./partition-supervisor.ts";
import { ServiceGate } from "./service-gate.ts";
import { TableOwnership } from "./table-ownership.ts";

/** An append without outcome for so long means that the log is away: events are refused at once. */
const APPEND_STALLED_MS = 1000;
/** A cluster whose expected nodes never come is given to those who did, with a warning. */
const SETTLE_MS = 300_000;
/** A planned move that takes longer, its first recovery included, is dropped by the coordinator. */
const MOVE_LIMIT_MS = 1_800_000;
/** Between two looks at whether a leaving node still owns something. */
const LEAVE_POLL_MS = 50;

export interface LifeOptions {
  readonly ports: ClusterPorts;
  readonly settings: ClusterSettings;
  readonly hooks: ClusterHooks;
  readonly keeper: TableKeeper;
  readonly membership: Membership;
  readonly joined: Joined;
}

export class ClusterLife implements ClusterNode {
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
  readonly #peers: ClusterPeers;
  readonly #metrics: NodeMetrics;
  readonly #outbox: ChangeOutbox;
  readonly #checkpoints: CheckpointStore;
  #isEnded = false;
  #isLeaving = false;
  #handingOver: Promise<void> | null = null;
  #stopping: Promise<void> | null = null;

  constructor(options: LifeOptions) {
    this.#options = options;
    const { ports, settings, keeper, joined } = options;
    const { clock, timers, logger } = ports;
    this.incarnation = joined.incarnation;
    this.#metrics = new NodeMetrics(ports.metrics);
    this.#host = new PartitionHost(settings.partitions, timers);
    this.#keyBudget = new KeyBudget(settings.idempotencyKeysMax);
    this.#commit = this.#createCommit();
    this.#transport = ports.connect(this.incarnation);
    this.#outbox = new ChangeOutbox({
      ...{ sinks: ports.changeSinks, timers, logger },
      observer: (sink, result, changes) => this.#metrics.notified(sink, result, changes),
    });
    this.#checkpoints = new ChangesFirstStore(ports.checkpoints, this.#outbox);
    const view = new TableOwnership(this.incarnation, keeper);
    const link = new PeerLink(view, this.#transport);
    const local = new LocalAnswers({ host: this.#host, nodeId: settings.nodeId, clock });
    const refusal = () => this.#refusal();
    const outage = () => (this.#isAway() ? new CatchallError("log_unavailable") : null);
    this.#requests = new PeerRequests({ link, local, clock, timers, refusal, outage });
    this.#peers = new ClusterPeers({
      self: this.incarnation,
      requests: this.#requests,
      own: () => this.#nodeView(),
    });
    this.#supervisor = this.#createSupervisor(local);
    this.#forwarder = this.#createForwarder(link);
    this.#events = this.#createEvents();
    this.checkpointer = this.#createCheckpointer();
    this.#coordinator = this.#createCoordinator();
    const broadcast = new ChangeBroadcast({ link, timers, logger });
    this.router = new Router({
      ...{ host: this.#host, events: this.#events, broadcast, clock, timers, logger },
      nodeId: settings.nodeId,
      answers: this.#requests,
      control: this.#createControl(),
      pendingEventsMax: settings.pendingEventsMax,
      refusal: () => this.#refusalOfEvents(),
    });
    const queries = peerQueries({
      committedSequence: () => this.#commit.sequence,
      prepare: (request) => this.#supervisor.prepare(request),
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

  handOver(timeoutMs: number): Promise<void> {
    this.#handingOver ??= this.#handOver(timeoutMs);
    return this.#handingOver;
  }

  stop(timeoutMs: number): Promise<void> {
    this.#stopping ??= this.#stop(timeoutMs);
    return this.#stopping;
  }

  async drain(timeoutMs: number): Promise<void> {
    const { clock } = this.#options.ports;
    const deadlineMs = clock.monotonicMs() + timeoutMs;
    this.gate.moveTo("draining");
    while (!this.#isEnded && this.#events.pendingEvents > 0 && clock.monotonicMs() < deadlineMs) {
      await this.#pause();
    }
    if (!this.#isEnded) await this.#commit.drained();
  }

  #start(): void {
    this.#options.joined.lease.onLost((reason) => this.#end(reason));
    this.gate.moveTo("serving");
    this.#supervisor.start();
    this.#coordinator.start();
    this.checkpointer.start();
  }

  async #stop(timeoutMs: number): Promise<void> {
    const { keeper, membership, joined } = this.#options;
    await this.handOver(timeoutMs);
    await this.drain(timeoutMs);
    // Without it whoever comes next replays more, nothing else: leaving must not wait for MongoDB.
    const { timers } = this.#options.ports;
    await withinLimit(timers, this.#checkpointLast(), timeoutMs / 2, () => undefined);
    if (!this.#isEnded) await membership.leave(joined);
    this.#end("it left", false);
    keeper.stop();
  }

  /** Gives every partition to others, where there are any. */
  async #handOver(timeoutMs: number): Promise<void> {
    const { keeper, ports } = this.#options;
    const { clock, logger } = ports;
    const deadlineMs = clock.monotonicMs() + timeoutMs;
    this.#isLeaving = true;
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
      await this.#pause();
    }
  }

  async #checkpointLast(): Promise<void> {
    await this.checkpointer.stop();
    if (!this.#isEnded) await this.checkpointer.run();
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#options.ports.timers.after(LEAVE_POLL_MS, resolve);
    });
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
    this.#outbox.close();
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
    if (this.#isLogStalled()) return new CatchallError("log_unavailable");
    return this.#outbox.isFull
      ? new CatchallError("overloaded", "Too many status changes wait to be stored")
      : null;
  }

  /** NATS is known to be away: what needs it, or a node behind it, is not waited for. */
  #isAway(): boolean {
    return this.#options.hooks.isLogReachable?.() === false;
  }

  #isLogStalled(): boolean {
    if (this.#isAway()) return true;
    return this.#commit.appendingMs() > APPEND_STALLED_MS;
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
        clockLeapt: (aheadMs) => tellLeap(logger, aheadMs),
        logStalled: (reason) => tellStall(logger, reason),
        logFull: () => this.checkpointer.hurry(),
      },
    });
  }

  #createSupervisor(local: LocalAnswers): PartitionSupervisor {
    const { ports, settings, keeper } = this.#options;
    const { clock, timers, logger, log, random } = ports;
    const { incarnation: self } = this;
    const store = this.#checkpoints;
    const host = this.#host;
    const commit = this.#commit;
    const { logRetentionMs, partitions, idempotencyWindowMs } = settings;
    const committedSequence = () => commit.sequence;
    const wallMs = () => clock.wallMs();
    const factory = new PartitionFactory({
      ...{ partitions, idempotencyWindowMs, random, keyBudget: this.#keyBudget },
      eventCounters: this.#metrics.eventCounters(),
      initialRule: () => keeper.current()?.table.initialRule ?? settings.initialRule,
      refusal: () => this.#refusal(),
      onChange: (change) => {
        // Also what is found again on replay: whoever made it may have died before it was stored.
        this.#outbox.take(statusChangeOf(change));
        if (host.actorAt(change.partition) === undefined) return;
        this.#metrics.changed(change);
        this.router.announce(change);
      },
    });
    const expected = checkpointIdentity(partitions);
    return new PartitionSupervisor({
      ...{ self, host, commit, clock, timers, logger, peers: this.#peers },
      table: keeper,
      floors: new LogFloors({ self, log, logRetentionMs, committedSequence, wallMs }),
      createState: (partition) => factory.createState(partition),
      createActor: (state, epoch) => factory.createActor(state, epoch, commit),
      recover: (tasks) => recover({ tasks, store, log, hasClaims: true, expected }),
      replay: (tasks) => replayBehindCheckpoints({ store, log, hasClaims: true }, tasks),
      checkpoint: (partition) => this.checkpointer.runOne(partition),
      applyRule: (change) => local.applyRuleOn(change, null),
      observer: { handoff: (result) => this.#metrics.handoff(result) },
      onFenced: (reason) => this.#end(reason),
    });
  }

  #createForwarder(link: PeerLink): SubBatchForwarder {
    const { timers, logger } = this.#options.ports;
    return new SubBatchForwarder({
      ...{ link, host: this.#host, timers },
      observer: {
        frameSent: (events) => this.#metrics.forwarded(events),
        resync: (partition) => {
          logger.error({ partition }, "An owner lacks what it had acknowledged to this node");
        },
      },
    });
  }

  #createCoordinator(): Coordinator {
    const { ports, settings, keeper, joined } = this.#options;
    const { control: store, log, clock, timers, logger } = ports;
    const { expectNodes, autoRebalance, logRetentionMs, idempotencyWindowMs } = settings;
    return new Coordinator({
      ...{ store, keeper, lease: joined.lease, log, clock, timers, logger },
      ...{ expectNodes, autoRebalance, logRetentionMs, idempotencyWindowMs },
      settleMs: SETTLE_MS,
      moveLimitMs: MOVE_LIMIT_MS,
    });
  }

  #createControl(): ClusterControl {
    const { ports, settings, keeper, joined } = this.#options;
    const { clock, random } = ports;
    const { clusterName, log } = settings;
    return new ClusterControl({
      ...{ self: this.incarnation, clusterName, log, clock, random },
      table: keeper,
      peers: {
        nodeView: (incarnation) => this.#peers.nodeView(incarnation),
        applyRule: (change) => this.#requests.applyRule(change),
      },
      readiness: () =>
        readinessOf({
          settings,
          table: keeper.current()?.table,
          tableDamage: keeper.damage(),
          gate: this.gate,
          isLeaving: this.#isLeaving,
          leaseRemainingMs: joined.lease.remainingMs(),
          isLogStalled: this.#isLogStalled(),
          openFailure: this.#supervisor.openFailure,
          openCount: this.#host.actors.length,
        }),
    });
  }

  #createEvents(): EventRouter {
    const { ports, settings } = this.#options;
    return new EventRouter({
      partitions: settings.partitions,
      producer: this.incarnation,
      pendingEventsMax: settings.pendingEventsMax,
      timers: ports.timers,
      clock: ports.clock,
      refusal: () => this.#refusalOfEvents(),
      deliver: (partition, batch) => this.#forwarder.deliver(partition, batch),
      expire: (partition) => this.#forwarder.expire(partition),
      isAway: () => this.#isAway(),
      rejected: (code, events) => this.#metrics.rejected(code, events),
    });
  }

  #createCheckpointer(): Checkpointer {
    const { ports, settings } = this.#options;
    const { clock, timers, logger } = ports;
    const store = this.#checkpoints;
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
    const { ports, keeper, joined, settings } = this.#options;
    this.#metrics.register({
      host: this.#host,
      checkpointer: this.checkpointer,
      keyBudget: this.#keyBudget,
      commit: this.#commit,
      clock: ports.clock,
      leaseRemainingMs: () => joined.lease.remainingMs(),
      epoch: () => keeper.current()?.revision ?? 0,
      isLogSynced: settings.log.synced,
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
}
