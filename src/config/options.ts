/**
 * Every option once: flag, field, kind, default, range, description. `--help`, the environment names, the keys of the
 * configuration file and the tables in the documents are made from this table, so they can't differ from it.
 * Pure: nothing here reads the environment or a file.
 */

import { type Config, HTTP_ADAPTERS, LOG_LEVELS } from "./config-type.ts";

/**
 * How text becomes a value. `integer`, `durationMs` and `sizeBytes` are numbers between `min` and `max`, both allowed.
 * `url` and `urls` must name one of `schemes`; `text` must match `pattern` where there is one.
 */
export type OptionKind =
  | { readonly type: "text"; readonly pattern?: RegExp; readonly rule?: string }
  | { readonly type: "path" }
  | { readonly type: "boolean" }
  | { readonly type: "choice"; readonly choices: readonly string[] }
  | { readonly type: "integer"; readonly min: number; readonly max: number }
  | { readonly type: "powerOfTwo"; readonly min: number; readonly max: number }
  | { readonly type: "durationMs"; readonly min: number; readonly max: number }
  | { readonly type: "sizeBytes"; readonly min: number; readonly max: number }
  | { readonly type: "url"; readonly schemes: readonly string[] }
  | { readonly type: "urls"; readonly schemes: readonly string[] };

export interface OptionRow {
  /** Without the two hyphens. */
  readonly flag: string;
  readonly field: keyof Config;
  readonly kind: OptionKind;
  /** As one would write it on the command line; null = not given. */
  readonly default: string | null;
  readonly description: string;
  /** Never shown: neither in the description of the configuration nor in a mistake. */
  readonly isSecret?: true;
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const KIB = 1024;
const MIB = 1024 * KIB;
const NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$/;
const NODE_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

function row(
  flag: string,
  field: keyof Config,
  kind: OptionKind,
  defaultText: string | null,
  description: string,
): OptionRow {
  return { flag, field, kind, default: defaultText, description };
}

function secret(option: OptionRow): OptionRow {
  return { ...option, isSecret: true };
}

const path: OptionKind = { type: "path" };
const text: OptionKind = { type: "text" };

function integer(min: number, max: number): OptionKind {
  return { type: "integer", min, max };
}

function duration(min: number, max: number): OptionKind {
  return { type: "durationMs", min, max };
}

const NODE_OPTIONS: readonly OptionRow[] = [
  row("host", "host", text, "127.0.0.1", "Address to listen on, for clients and operators"),
  row("port", "port", integer(0, 65_535), "8080", "Port to listen on; 0 takes a free one"),
  row(
    "http",
    "http",
    { type: "choice", choices: HTTP_ADAPTERS },
    "auto",
    "HTTP server: uws (uWebSockets.js), node (node:http), or auto: uws where its binary loads",
  ),
  row("data-dir", "dataDir", path, "./data", "Folder of the write-ahead log and the checkpoints"),
  row(
    "node-id",
    "nodeId",
    {
      type: "text",
      pattern: NODE_ID,
      rule: "1 to 128 letters, digits, dots, hyphens or underscores",
    },
    null,
    "Stable name in the ring (default: host name, a hyphen, the port)",
  ),
];

const CLUSTER_OPTIONS: readonly OptionRow[] = [
  row(
    "nats-url",
    "natsUrl",
    { type: "urls", schemes: ["nats", "tls"] },
    null,
    "NATS servers, comma-separated; giving it makes this a cluster node",
  ),
  row(
    "nats-monitor-url",
    "natsMonitorUrl",
    { type: "urls", schemes: ["http", "https"] },
    null,
    "Monitoring endpoints of the NATS servers, which tell whether the log is synced (default: port 8222 of each)",
  ),
  row("nats-user", "natsUser", text, null, "NATS user"),
  secret(row("nats-password", "natsPassword", text, null, "NATS password")),
  secret(row("nats-token", "natsToken", text, null, "NATS token")),
  row("nats-creds", "natsCreds", path, null, "NATS credentials file (JWT and seed)"),
  row(
    "nats-tls-ca",
    "natsTlsCa",
    path,
    null,
    "PEM file of the authority that signed the NATS servers",
  ),
  row("nats-tls-cert", "natsTlsCert", path, null, "PEM certificate shown to the NATS servers"),
  row("nats-tls-key", "natsTlsKey", path, null, "PEM key of that certificate"),
  secret(
    row(
      "mongo-url",
      "mongoUrl",
      { type: "url", schemes: ["mongodb", "mongodb+srv"] },
      null,
      "MongoDB for checkpoints; required with --nats-url",
    ),
  ),
  row(
    "cluster-name",
    "clusterName",
    { type: "text", pattern: NAME, rule: "1 to 32 letters, digits, hyphens or underscores" },
    "catchall",
    "Prefix of streams, buckets, subjects and the database",
  ),
  row(
    "partitions",
    "partitions",
    { type: "powerOfTwo", min: 1, max: 65_536 },
    "64",
    "Number of hash ranges; fixed at the first start",
  ),
  row(
    "wal-replicas",
    "walReplicas",
    integer(1, 5),
    "1",
    "JetStream replicas of the logs and the coordination buckets",
  ),
  row(
    "lease-ttl",
    "leaseTtlMs",
    duration(SECOND, 10 * MINUTE),
    "5s",
    "How long a silent node keeps its ranges",
  ),
  row(
    "auto-rebalance",
    "autoRebalance",
    { type: "boolean" },
    "false",
    "Give ranges to a new node at once; else it waits for an operator",
  ),
  row(
    "expect-nodes",
    "expectNodes",
    integer(1, 1024),
    "1",
    "First start of a cluster: assign ranges once so many nodes have joined",
  ),
];

const COUNTING_OPTIONS: readonly OptionRow[] = [
  row(
    "idempotency-window",
    "idempotencyWindowMs",
    duration(SECOND, 168 * HOUR),
    "10m",
    "How long an event id is remembered",
  ),
  row(
    "idempotency-max-keys",
    "idempotencyMaxKeys",
    integer(1, 1_000_000_000),
    "4000000",
    "Event ids remembered by this node; when full, new events with an id get 503",
  ),
  row(
    "log-retention",
    "logRetentionMs",
    duration(0, 8760 * HOUR),
    "0s",
    "Keep log entries at least so long after a checkpoint covers them",
  ),
  row(
    "log-bytes-max",
    "logBytesMax",
    { type: "sizeBytes", min: 64 * MIB, max: 1024 * 1024 * MIB },
    null,
    "Size of this node's log at which events get 503 until a checkpoint makes room",
  ),
  row(
    "checkpoint-interval",
    "checkpointIntervalMs",
    duration(100, 24 * HOUR),
    "60s",
    "Time between checkpoints",
  ),
  row(
    "delivered-threshold",
    "deliveredThreshold",
    integer(0, 1_000_000_000),
    "1000",
    "Initial rule: more delivered events than this, and no bounce, is catch-all",
  ),
  row(
    "max-body",
    "maxBodyBytes",
    { type: "sizeBytes", min: KIB, max: 256 * MIB },
    "8MiB",
    "Largest request body; over it: 413",
  ),
  row(
    "max-pending",
    "maxPendingEvents",
    integer(1, 100_000_000),
    "100000",
    "Events waiting for the log; over it: 503",
  ),
];

const OPERATION_OPTIONS: readonly OptionRow[] = [
  row(
    "tokens-file",
    "tokensFile",
    path,
    null,
    'JSON lines {"name","sha256","roles"}; callers send Authorization: Bearer',
  ),
  row("tls-cert", "tlsCert", path, null, "PEM certificate of the listener"),
  row("tls-key", "tlsKey", path, null, "PEM key of the listener"),
  row(
    "shutdown-timeout",
    "shutdownTimeoutMs",
    duration(100, HOUR),
    "30s",
    "Longest time that an orderly shutdown may take",
  ),
  row(
    "log-level",
    "logLevel",
    { type: "choice", choices: LOG_LEVELS },
    "info",
    "Lowest level of log lines",
  ),
  row(
    "otlp-endpoint",
    "otlpEndpoint",
    { type: "url", schemes: ["http", "https"] },
    null,
    "OpenTelemetry collector for traces (OTLP over HTTP)",
  ),
];

export interface OptionGroup {
  readonly title: string;
  readonly options: readonly OptionRow[];
}

/** In the order of help and documents. */
export const OPTION_GROUPS: readonly OptionGroup[] = [
  { title: "Node", options: NODE_OPTIONS },
  { title: "Cluster", options: CLUSTER_OPTIONS },
  { title: "Counting and limits", options: COUNTING_OPTIONS },
  { title: "Access and operation", options: OPERATION_OPTIONS },
];

export const OPTIONS: readonly OptionRow[] = OPTION_GROUPS.flatMap((group) => group.options);

/** The flag that names the configuration file; it is no field of the configuration. */
export const CONFIG_FLAG = "config";

/** `lease-ttl` → `CATCHALL_LEASE_TTL`. */
export function environmentNameOf(flag: string): string {
  return `CATCHALL_${flag.toUpperCase().replaceAll("-", "_")}`;
}

/** Names with the prefix that belong to the command line or the test launchers, not to a node. */
export const OTHER_ENVIRONMENT_NAMES: readonly string[] = [
  "CATCHALL_URL",
  "CATCHALL_TOKEN",
  "CATCHALL_NATS_SERVER",
  "CATCHALL_MONGOD",
];
