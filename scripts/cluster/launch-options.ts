/**
 * What may follow `npm run cluster --`: flags of the cluster, options of the nodes (those of docs/configuration.md, but
 * for what the cluster sets itself), or one command to a cluster that runs. Pure; all mistakes at once.
 */

import { resolve } from "node:path";
import { OPTIONS } from "../../src/config/options.ts";

export const PROXIES = ["auto", "haproxy", "builtin"] as const;
export type ProxyKind = (typeof PROXIES)[number];

export interface LaunchOptions {
  readonly nodes: number;
  readonly replicas: 1 | 3;
  /** Of the balancer; 0: every port is a free one. */
  readonly port: number;
  readonly dataDir: string;
  /** The data stays when the cluster ends. */
  readonly keepsData: boolean;
  readonly proxy: ProxyKind;
  /** Given to every node as they are. */
  readonly nodeFlags: readonly string[];
}

export type Launch =
  | { readonly kind: "start"; readonly options: LaunchOptions }
  | { readonly kind: "command"; readonly dataDir: string; readonly words: readonly string[] }
  | { readonly kind: "help" }
  | { readonly kind: "mistakes"; readonly mistakes: readonly string[] };

const NODES_MAX = 16;
const PORT_DEFAULT = 8080;
const DATA_DIR_DEFAULT = ".cache/cluster";

/** Commands to a cluster that runs, and whether they take a name. */
export const COMMANDS: Readonly<Record<string, boolean>> = {
  status: false,
  join: false,
  down: false,
  start: true,
  stop: true,
  restart: true,
  kill: true,
  pause: true,
  resume: true,
};

/** Set by the cluster for each node. */
const OWN_NODE_FLAGS: readonly string[] = [
  "host",
  "node-id",
  "nats-url",
  "nats-monitor-url",
  "mongo-url",
  "wal-replicas",
  "config",
];

export const USAGE: string = `Usage: npm run cluster -- [flags] [options of the nodes]
  --nodes N         nodes to start (3)
  --replicas 1|3    nats-servers, and replicas of every log (1)
  --port PORT       of the balancer (${PORT_DEFAULT}); 0: free ports for everything
  --data-dir DIR    keep the data there (else ${DATA_DIR_DEFAULT}, removed at the end)
  --keep            don't remove the data at the end; the next start goes on with it
  --proxy KIND      auto (HAProxy where it is installed), haproxy or builtin
Options of the nodes: see docs/configuration.md, for example --partitions 128 --lease-ttl 3s.
While it runs, from another terminal: npm run cluster -- COMMAND [NAME] [--data-dir DIR]
  status · join (adds a node) · down
  start NAME · stop NAME · restart NAME · kill NAME (kill -9) · pause NAME · resume NAME
`;

/** `root`: folder of the project, where relative defaults lie. */
export function parseLaunch(argv: readonly string[], root: string): Launch {
  const mistakes: string[] = [];
  const own = new Map<string, string>();
  const nodeFlags: string[] = [];
  const words: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i] as string;
    if (!argument.startsWith("--")) {
      words.push(argument);
      continue;
    }
    const equals = argument.indexOf("=");
    const flag = argument.slice(2, equals === -1 ? undefined : equals);
    const takesValue = !["keep", "join", "help"].includes(flag);
    const option = OPTIONS.find((row) => row.flag === flag);
    const isOwn = OWN_FLAGS.includes(flag);
    if (OWN_NODE_FLAGS.includes(flag)) {
      mistakes.push(`--${flag} is set by the cluster for each node`);
    } else if (!isOwn && option === undefined) {
      mistakes.push(`--${flag} is neither a flag of the cluster nor an option of a node`);
    }
    let value = equals === -1 ? null : argument.slice(equals + 1);
    const next = argv[i + 1];
    const isBoolean = !takesValue || (!isOwn && option?.kind.type === "boolean");
    const isValueNext = isBoolean ? next === "true" || next === "false" : next !== undefined;
    if (value === null && isValueNext) {
      value = next as string;
      i++;
    }
    if (value === null && !isBoolean) mistakes.push(`--${flag} needs a value`);
    if (isOwn) own.set(flag, value ?? "true");
    else nodeFlags.push(`--${flag}=${value ?? "true"}`);
  }
  if (own.get("help") === "true") return { kind: "help" };
  const options = readOptions(own, nodeFlags, root, mistakes);
  if (own.get("join") === "true" && words.length === 0) words.push("join");
  checkCommand(words, mistakes);
  if (mistakes.length > 0) return { kind: "mistakes", mistakes };
  if (words.length > 0) return { kind: "command", dataDir: options.dataDir, words };
  return { kind: "start", options };
}

const OWN_FLAGS: readonly string[] = [
  "nodes",
  "replicas",
  "port",
  "data-dir",
  "keep",
  "proxy",
  "join",
  "help",
];

function readOptions(
  own: ReadonlyMap<string, string>,
  nodeFlags: readonly string[],
  root: string,
  mistakes: string[],
): LaunchOptions {
  const whole = (flag: string, text: string, min: number, max: number): number => {
    const value = /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    mistakes.push(`--${flag} must be a whole number from ${min} to ${max}, not "${text}"`);
    return min;
  };
  const nodes = whole("nodes", own.get("nodes") ?? "3", 1, NODES_MAX);
  const port = whole("port", own.get("port") ?? String(PORT_DEFAULT), 0, 65_535);
  const replicas = own.get("replicas") ?? "1";
  if (replicas !== "1" && replicas !== "3") mistakes.push("--replicas must be 1 or 3");
  const proxy = PROXIES.find((kind) => kind === (own.get("proxy") ?? "auto"));
  if (proxy === undefined) mistakes.push(`--proxy must be one of ${PROXIES.join(", ")}`);
  const dataDir = own.get("data-dir");
  return {
    nodes,
    replicas: replicas === "3" ? 3 : 1,
    port,
    dataDir: resolve(root, dataDir ?? DATA_DIR_DEFAULT),
    keepsData: dataDir !== undefined || own.get("keep") === "true",
    proxy: proxy ?? "auto",
    nodeFlags,
  };
}

function checkCommand(words: readonly string[], mistakes: string[]): void {
  const [command, ...names] = words;
  if (command === undefined) return;
  const takesName = COMMANDS[command];
  if (takesName === undefined) {
    mistakes.push(`"${command}" is no command; there are ${Object.keys(COMMANDS).join(", ")}`);
  } else if (names.length !== (takesName ? 1 : 0)) {
    mistakes.push(takesName ? `${command} needs one name` : `${command} takes no name`);
  }
}
