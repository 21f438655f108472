/**
 * A node that needs no server: file log, file checkpoints, a control table in a file. Chooses adapters, calls
 * `assembleNode`, and gives back a node that serves until it is stopped.
 */

import type { CheckpointStore } from "../checkpoint/checkpoint-store.ts";
import { FileCheckpointStore } from "../checkpoint/file-checkpoint-store.ts";
import type { Config } from "../config/config-type.ts";
import {
  CONTROL_FORMAT_VERSION,
  type ControlTable,
  LocalControlStore,
} from "../control-plane/local-control-store.ts";
import { CatchallError } from "../model/errors.ts";
import { DEFAULT_RULE } from "../model/status.ts";
import type { Router } from "../router/router.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Disk } from "../runtime/disk.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Metrics } from "../runtime/metrics.ts";
import { NodeClock } from "../runtime/node-clock.ts";
import { makeDataDirectory } from "../runtime/node-data-directory.ts";
import { lockDataDirectory } from "../runtime/node-data-lock.ts";
import { NodeDisk } from "../runtime/node-disk.ts";
import { NodeRandom } from "../runtime/node-random.ts";
import { NodeTimers } from "../runtime/node-timers.ts";
import type { Random } from "../runtime/random.ts";
import type { Timers } from "../runtime/timers.ts";
import { FileNodeLog } from "../wal/file-node-log.ts";
import type { NodeLog } from "../wal/node-log.ts";
import { openStoreIdentity } from "../wal/store-identity.ts";
import { type AssembledNode, assembleNode, type NodeSettings } from "./assemble-node.ts";
import { EmbeddedControl } from "./embedded-control.ts";
import type { RunningNode } from "./lifecycle.ts";
import { ServiceGate } from "./service-gate.ts";

export interface EmbeddedOptions {
  readonly config: Config;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly onLogFailed: (reason: string) => void;
}

export interface EmbeddedNode extends AssembledNode, RunningNode {
  readonly router: Router;
  readonly gate: ServiceGate;
  readonly incarnation: number;
  /** Commits what is pending, writes a checkpoint, gives the directory free. Repeatable. */
  stop(): Promise<void>;
}

/**
 * Opens the data directory, recovers, and serves.
 * Errors: CatchallError `data_dir_locked`, `log_damaged`, `checkpoint_damaged`, `conflict` (another --partitions, a
 * --data-dir that can't be one).
 */
export async function startEmbeddedNode(options: EmbeddedOptions): Promise<EmbeddedNode> {
  const { config } = options;
  await makeDataDirectory(config.dataDir);
  const disk = new NodeDisk(config.dataDir);
  const lock = await lockDataDirectory(config.dataDir);
  const system = { clock: new NodeClock(), timers: new NodeTimers(), random: new NodeRandom() };
  const release = () => lock.release();
  try {
    return await startEmbeddedOn({ disk, ...system, release }, options);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** What a node that is alone stands on. The simulator brings its own. */
export interface EmbeddedPorts {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  /** Of the log; default: that of the file log. */
  readonly segmentBytes?: number;
  /** Gives the directory free, after everything in it is closed. */
  readonly release: () => Promise<void>;
}

/** `startEmbeddedNode` in a directory that is held already, with its errors. */
export async function startEmbeddedOn(
  ports: EmbeddedPorts,
  options: EmbeddedOptions,
): Promise<EmbeddedNode> {
  const { config, logger, metrics } = options;
  const { disk, clock, timers, random, segmentBytes, release } = ports;
  const { storeId } = await openStoreIdentity(disk, random);
  const controlStore = new LocalControlStore(disk);
  const { logBytesMax } = config;
  const segments = segmentBytes === undefined ? {} : { segmentBytes };
  const log = await FileNodeLog.open(disk, { storeId, logBytesMax, ...segments });
  const checkpoints = await FileCheckpointStore.open(disk, { storeId, logger });
  const used = await highestIncarnation(log, checkpoints);
  const table = await nextIncarnation(controlStore, config, used);
  const gate = new ServiceGate();
  let control: EmbeddedControl | undefined;
  const node = await assembleNode(
    { clock, timers, random, log, checkpoints, logger, metrics },
    settingsOf(config, table, storeId),
    {
      gate,
      onLogFailed: options.onLogFailed,
      createControl: ({ host, checkpointer }) => {
        const { nodeId, clusterName } = config;
        const parts = { store: controlStore, table, host, checkpointer, gate, clock, timers, log };
        control = new EmbeddedControl({ nodeId, clusterName, ...parts });
        return control;
      },
    },
  );
  gate.moveTo("serving");
  await control?.resumeRuleChange();
  // What was replayed is covered soon, so that a node that keeps crashing does not replay ever more.
  if (node.recovery.entries > 0) void node.checkpointer.run();
  node.checkpointer.start();
  let stopping: Promise<void> | null = null;
  const stop = async () => {
    gate.moveTo("draining");
    await node.commit.drained();
    // Events of this very tick have not reached the commit yet.
    while (node.router.pendingEvents > 0 && gate.state !== "failed") {
      await new Promise<void>((resolve) => timers.soon(resolve));
      await node.commit.drained();
    }
    await node.checkpointer.stop();
    if (gate.state !== "failed") await node.checkpointer.run();
    await checkpoints.close();
    await log.close();
    await release();
  };
  return {
    ...node,
    gate,
    clock,
    timers,
    incarnation: table.incarnation,
    description: {
      pages: node.recovery.pages,
      entries: node.recovery.entries,
      incarnation: table.incarnation,
    },
    handOver: async () => undefined,
    drain: () => {
      gate.moveTo("draining");
      return node.commit.drained();
    },
    stop: () => {
      stopping ??= stop();
      return stopping;
    },
  };
}

function settingsOf(config: Config, table: ControlTable, storeId: number): NodeSettings {
  return {
    nodeId: config.nodeId,
    incarnation: table.incarnation,
    storeId,
    partitions: config.partitions,
    initialRule: table.initialRule,
    idempotencyWindowMs: config.idempotencyWindowMs,
    idempotencyKeysMax: config.idempotencyMaxKeys,
    checkpointIntervalMs: config.checkpointIntervalMs,
    logRetentionMs: config.logRetentionMs,
    pendingEventsMax: config.maxPendingEvents,
  };
}

/** The highest incarnation that left a trace in the directory, 0 for none. */
async function highestIncarnation(log: NodeLog, checkpoints: CheckpointStore): Promise<number> {
  const set = await checkpoints.readManifests(null);
  const watermarks = (set?.manifests ?? []).map((manifest) => manifest.watermark.incarnation);
  return Math.max(0, ...(await log.list()), ...watermarks);
}

/** Takes a new incarnation, durably, before anything is written under it. */
async function nextIncarnation(
  store: LocalControlStore,
  config: Config,
  used: number,
): Promise<ControlTable> {
  const before = await store.read();
  if ((before?.incarnation ?? 0) < used) {
    // Starting anyway would write under an incarnation that recovery takes for an older one.
    throw new CatchallError(
      "checkpoint_damaged",
      `"control.json" is missing or older than the log (incarnation ${used}): restore it`,
    );
  }
  if (before !== null && before.partitions !== config.partitions) {
    throw new CatchallError(
      "conflict",
      `The data directory was made with --partitions ${before.partitions}, ` +
        `not ${config.partitions}: the number is fixed at the first start`,
    );
  }
  const rule = { ...DEFAULT_RULE, deliveredThreshold: config.deliveredThreshold };
  const table: ControlTable =
    before === null
      ? {
          formatVersion: CONTROL_FORMAT_VERSION,
          partitions: config.partitions,
          incarnation: 1,
          initialRule: rule,
          rule,
          ruleRevision: 0,
        }
      : { ...before, incarnation: before.incarnation + 1 };
  await store.write(table);
  return table;
}
