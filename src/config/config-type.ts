/**
 * The settings of one node, checked and frozen. Made only by `loadConfig` (config.ts) from the option table
 * (options.ts); nothing else in the product reads flags, the environment or the configuration file.
 * Units are in the names: times in milliseconds, sizes in bytes. `null` means "not given".
 */

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export const HTTP_ADAPTERS = ["auto", "uws", "node"] as const;
export type HttpAdapter = (typeof HTTP_ADAPTERS)[number];

export interface Config {
  readonly host: string;
  /** 0 asks the system for a free port. */
  readonly port: number;
  readonly http: HttpAdapter;
  readonly dataDir: string;
  readonly nodeId: string;
  /** Comma-separated servers; not null makes this a cluster node. */
  readonly natsUrl: string | null;
  /** Comma-separated; null asks port 8222 of every server. */
  readonly natsMonitorUrl: string | null;
  readonly natsUser: string | null;
  /** Secret. */
  readonly natsPassword: string | null;
  /** Secret. */
  readonly natsToken: string | null;
  /** Path of a credentials file (JWT and seed). */
  readonly natsCreds: string | null;
  /** Paths of PEM files. */
  readonly natsTlsCa: string | null;
  readonly natsTlsCert: string | null;
  readonly natsTlsKey: string | null;
  /** May hold a password; never printed as it is. */
  readonly mongoUrl: string | null;
  readonly clusterName: string;
  /** A power of two, 1 to 65536. */
  readonly partitions: number;
  readonly walReplicas: number;
  readonly leaseTtlMs: number;
  readonly autoRebalance: boolean;
  readonly expectNodes: number;
  readonly idempotencyWindowMs: number;
  readonly idempotencyMaxKeys: number;
  readonly logRetentionMs: number;
  /** Of this node's write-ahead log; null: as much as the store takes. */
  readonly logBytesMax: number | null;
  readonly checkpointIntervalMs: number;
  readonly deliveredThreshold: number;
  readonly maxBodyBytes: number;
  readonly maxPendingEvents: number;
  readonly tokensFile: string | null;
  readonly tlsCert: string | null;
  readonly tlsKey: string | null;
  readonly shutdownTimeoutMs: number;
  readonly logLevel: LogLevel;
  readonly otlpEndpoint: string | null;
}
