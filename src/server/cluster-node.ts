/** What a life of a cluster node is made of, and what it offers to whoever started it. */

import type { CheckpointStore } from "../checkpoint/checkpoint-store.ts";
import type { Checkpointer } from "../checkpoint/checkpointer.ts";
import type { ControlStore } from "../control-plane/control-store.ts";
import type { Rule } from "../model/status.ts";
import type { ChangeSink } from "../notifications/change-outbox.ts";
import type { Router } from "../router/router.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Metrics } from "../runtime/metrics.ts";
import type { Random } from "../runtime/random.ts";
import type { Timers } from "../runtime/timers.ts";
import type { Transport } from "../transport/transport.ts";
import type { NodeLog } from "../wal/node-log.ts";
import type { ServiceGate } from "./service-gate.ts";

export interface ClusterPorts {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly log: NodeLog;
  readonly control: ControlStore;
  readonly checkpoints: CheckpointStore;
  /** Where status changes are kept; no checkpoint covers what a required one has not stored. */
  readonly changeSinks: readonly ChangeSink[];
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
  /**
   * False while neither the log nor another node can be reached, as far as the process knows: events, and reads of other
   * nodes' partitions, are then refused at once, and what is in flight is answered about a second later.
   */
  readonly isLogReachable?: () => boolean;
}

export interface ClusterNode {
  readonly incarnation: number;
  readonly router: Router;
  readonly gate: ServiceGate;
  readonly checkpointer: Checkpointer;
  isOpen(partition: number): boolean;
  /** Not ready any more, but serving: gives every partition to others. Resolves when done, late, or nobody is there. */
  handOver(timeoutMs: number): Promise<void>;
  /** Admits nothing more; resolves when what was admitted here has been answered, or late. */
  drain(timeoutMs: number): Promise<void>;
  /** Hands over what it owns (within `timeoutMs`), writes a checkpoint, leaves. Repeatable. */
  stop(timeoutMs: number): Promise<void>;
}
