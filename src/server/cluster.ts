/**
 * A cluster node on NATS JetStream and MongoDB: chooses the adapters, checks the servers, and lives one life after
 * another: a life that was fenced or found dead is followed by the next, with a new incarnation.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { MongoCheckpointStore } from "../checkpoint/mongo-checkpoint-store.ts";
import type { Config } from "../config/config-type.ts";
import { controlStream, NatsKvControlStore } from "../control-plane/nats-kv-control-store.ts";
import { CatchallError } from "../model/errors.ts";
import { DEFAULT_RULE } from "../model/status.ts";
import { MongoStatusesSink } from "../notifications/mongo-statuses-sink.ts";
import { NatsChangesSink } from "../notifications/nats-changes-sink.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Metrics } from "../runtime/metrics.ts";
import { MongoConnection } from "../runtime/mongo-connection.ts";
import type { NatsRequests } from "../runtime/nats-requests.ts";
import { NodeClock } from "../runtime/node-clock.ts";
import { NodeRandom } from "../runtime/node-random.ts";
import { NodeTimers } from "../runtime/node-timers.ts";
import { connectNats, isLoginRefused } from "../transport/nats-connection.ts";
import { NatsTransport } from "../transport/nats-transport.ts";
import { JetStreamNodeLog } from "../wal/jetstream-node-log.ts";
import { checkServers, checkStream, type ServerReport } from "../wal/jetstream-server-check.ts";
import { startClusterNode } from "./assemble-cluster-node.ts";
import type { ClusterNode, ClusterPorts, ClusterSettings } from "./cluster-node.ts";
import type { RunningNode } from "./lifecycle.ts";
import { examineMongo, refuseForeignStore } from "./mongo-start.ts";
import { RejoiningIngress } from "./rejoining-ingress.ts";

/** Between the end of a life, or a start that failed, and the next try. */
const REJOIN_DELAY_MS = 500;
/** For the end of a life that began while the process was told to stop. */
const STOP_JOINED_MS = 5000;
/** Tries to reach NATS, and to join, at the start, and the pause between them. */
const START_TRIES_MAX = 20;
const START_PAUSE_MS = 1000;
const NATS_AWAY: ReadonlySet<string> = new Set(["control_unavailable", "log_unavailable"]);
/** While a node leaves it still serves for so long at least, so that balancers see that it is not ready. */
const LEAVE_NOTICE_MS = 1500;

export interface ClusterOptions {
  readonly config: Config;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Ends the wait for NATS: a node that is told to stop before it has begun has nothing to put in order. */
  readonly stopping: AbortSignal;
}

/**
 * Connects, checks the servers, joins.
 * Errors: CatchallError `control_unavailable`, `log_unavailable`, `checkpoint_unavailable` (a server can't be reached),
 * `conflict` (settings of the servers or of the cluster that don't fit).
 */
export async function startCluster(options: ClusterOptions): Promise<RunningNode> {
  const { config, logger } = options;
  const mongo = new MongoConnection({
    mongoUrl: config.mongoUrl as string,
    database: config.clusterName,
    name: config.nodeId,
  });
  // Two connections: a lease must never queue behind entries.
  const data = await connect(options, "data");
  const leases = await connect(options, "leases");
  try {
    const report = await checkServers(data, { monitorUrls: monitorUrls(config) });
    const found = await examineMongo(mongo, logger);
    const problems = [...report.problems, ...found.problems];
    if (problems.length > 0) throw new CatchallError("conflict", problems.join("; "));
    const isMongoThere = found.isThere;
    const node = new ClusterLives({ ...options, data, leases, mongo, isMongoThere, report });
    await node.begin();
    return node;
  } catch (error) {
    await Promise.all([data.close(), leases.close(), mongo.close()]);
    throw error;
  }
}

function monitorUrls(config: Config): readonly string[] | null {
  return config.natsMonitorUrl?.split(",").map((url) => url.trim()) ?? null;
}

/** A login that they refuse is a mistake of ours. */
async function connect(options: ClusterOptions, purpose: string): Promise<NatsRequests> {
  const { config } = options;
  const { natsUrl } = config;
  if (natsUrl === null) throw new CatchallError("conflict", "A cluster node needs --nats-url");
  return await patiently(options, "NATS can't be reached yet", async () => {
    try {
      return await connectNats({ ...config, natsUrl }, `${config.nodeId}-${purpose}`);
    } catch (error) {
      const code = isLoginRefused(error) ? "conflict" : "control_unavailable";
      throw new CatchallError(code, messageOf(error), { cause: error });
    }
  });
}

/** Servers that start together with this node, or again while it joins, need a moment. Errors: the last one. */
async function patiently<T>(
  { logger, stopping }: ClusterOptions,
  complaint: string,
  work: () => Promise<T>,
): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      const mayPass = error instanceof CatchallError && NATS_AWAY.has(error.code);
      if (!mayPass || tries >= START_TRIES_MAX) throw error;
      logger.warn({ reason: messageOf(error), tries }, complaint);
      await sleep(START_PAUSE_MS, undefined, { signal: stopping }).catch(() => undefined);
      stopping.throwIfAborted();
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

interface LivesOptions extends ClusterOptions {
  readonly data: NatsRequests;
  readonly leases: NatsRequests;
  readonly mongo: MongoConnection;
  /** At the start. */
  readonly isMongoThere: boolean;
  readonly report: ServerReport;
}

class ClusterLives implements RunningNode {
  readonly router: RejoiningIngress;
  readonly clock: NodeClock = new NodeClock();
  readonly timers: NodeTimers = new NodeTimers();
  readonly #options: LivesOptions;
  readonly #random = new NodeRandom();
  #life: ClusterNode | null = null;
  #isStopping = false;

  constructor(options: LivesOptions) {
    this.#options = options;
    const { nodeId, maxPendingEvents } = options.config;
    this.router = new RejoiningIngress({ nodeId, pendingEventsMax: maxPendingEvents });
  }

  get description(): Readonly<Record<string, unknown>> {
    const { version, logSync, logSyncReason } = this.#options.report;
    const incarnation = this.#life?.incarnation;
    return { incarnation, natsVersion: version, logSync, logSyncReason };
  }

  /** The first life; what forbids it ends the process. */
  async begin(): Promise<void> {
    const { report, logger } = this.#options;
    if (report.logSync !== "always") {
      logger.error({ reason: report.logSyncReason }, NOT_SYNCED);
    }
    try {
      const live = () => this.#live({ isFirst: true });
      await patiently(this.#options, "The node could not join; it tries again", live);
    } catch (error) {
      // A table of another format, or a damaged one: starting again would only say so again.
      const isTable = error instanceof CatchallError && error.code === "checkpoint_damaged";
      throw isTable ? new CatchallError("conflict", error.message, { cause: error }) : error;
    }
  }

  async handOver(timeoutMs: number): Promise<void> {
    this.#isStopping = true;
    const noticed = new Promise<void>((resolve) => {
      this.timers.after(LEAVE_NOTICE_MS, resolve);
    });
    await Promise.all([this.#life?.handOver(timeoutMs), noticed]);
  }

  async drain(timeoutMs: number): Promise<void> {
    await this.#life?.drain(timeoutMs);
  }

  async stop(timeoutMs: number): Promise<void> {
    this.#isStopping = true;
    this.router.endForGood();
    await this.#life?.stop(timeoutMs);
    const { data, leases, mongo } = this.#options;
    await Promise.all([data.close(), leases.close(), mongo.close()]);
  }

  async #live({ isFirst }: { readonly isFirst: boolean }): Promise<void> {
    const { config, logger, report, isMongoThere } = this.#options;
    let isOver = false;
    const over = (reason: string) => {
      if (isOver) return;
      isOver = true;
      this.#life = null;
      this.router.end(`The node joins the cluster again: ${reason}`);
      this.#liveSoon();
    };
    const ports = await this.#createPorts();
    if (isFirst && isMongoThere) await refuseForeignStore(ports.checkpoints, logger);
    const life = await startClusterNode(ports, settingsOf(config, report), {
      onEnded: over,
      isLogReachable: () => this.#options.data.isAnswering,
    });
    if (isOver) return;
    this.#life = life;
    // Told to stop while it joined: nobody else knows of this life.
    if (this.#isStopping) return life.stop(STOP_JOINED_MS);
    this.router.begin(life.router);
    logger.info({ incarnation: life.incarnation }, "A life of the node has begun");
  }

  #liveSoon(): void {
    if (this.#isStopping) return;
    this.timers.after(REJOIN_DELAY_MS, () => {
      this.#live({ isFirst: false }).catch((error: unknown) => {
        this.#options.logger.warn({ err: error }, "The node could not join; it tries again");
        this.#liveSoon();
      });
    });
  }

  async #createPorts(): Promise<ClusterPorts & { readonly checkpoints: MongoCheckpointStore }> {
    const { config, data, leases, mongo, logger, metrics } = this.#options;
    const { clusterName, walReplicas: replicas, logBytesMax } = config;
    const { clock, timers } = this;
    const random = this.#random;
    const control = await NatsKvControlStore.open(leases, { clusterName, replicas });
    const logOptions = { clusterName, replicas, logBytesMax, clock, random };
    const log = await JetStreamNodeLog.open(data, logOptions);
    const problems = (await checkStream(leases, controlStream(clusterName), replicas)) ?? [];
    for (const problem of problems) logger.error({ problem }, "A stream breaks a promise");
    const { storeId } = log;
    const checkpoints = new MongoCheckpointStore({ connection: mongo, storeId, logger });
    const connect = (self: number) => new NatsTransport(data, { clusterName, self });
    const changeSinks = [
      new NatsChangesSink({ requests: data, clusterName, replicas }),
      new MongoStatusesSink(mongo),
    ];
    return {
      clock,
      timers,
      random,
      logger,
      metrics,
      log,
      control,
      checkpoints,
      connect,
      changeSinks,
    };
  }
}

const NOT_SYNCED =
  "The write-ahead log in NATS is not known to be synced before each answer: a power cut can lose what was acknowledged; set sync_interval: always";

function settingsOf(config: Config, report: ServerReport): ClusterSettings {
  return {
    nodeId: config.nodeId,
    clusterName: config.clusterName,
    partitions: config.partitions,
    initialRule: { ...DEFAULT_RULE, deliveredThreshold: config.deliveredThreshold },
    leaseTtlMs: config.leaseTtlMs,
    expectNodes: config.expectNodes,
    autoRebalance: config.autoRebalance,
    idempotencyWindowMs: config.idempotencyWindowMs,
    idempotencyKeysMax: config.idempotencyMaxKeys,
    checkpointIntervalMs: config.checkpointIntervalMs,
    logRetentionMs: config.logRetentionMs,
    pendingEventsMax: config.maxPendingEvents,
    log: {
      kind: `NATS JetStream ${report.version}, ${config.walReplicas} replica(s)`,
      synced: report.logSync === "always",
    },
  };
}
