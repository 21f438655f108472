/**
 * The processes of a local cluster, each with its command line: nats-server and mongod on the files of `cluster/`, nodes
 * as `catchall serve` with the options of cluster/node/node.env. And when each of them is ready.
 */

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { MongoClient } from "mongodb";
import { sharedNatsEnvironment } from "../shared-cores.ts";
import { askReadiness } from "../tcp-balancer.ts";
import { type Addresses, LOOPBACK, type NatsAddress } from "./addresses.ts";
import { Child, type ChildOptions } from "./child.ts";
import {
  configurationPath,
  MONGO_FILE,
  NATS_SINGLE_FILE,
  natsFile,
  REPLICA_SET,
  readNodeEnvironment,
} from "./configuration.ts";

const POLL_MS = 50;
const PROBE_LIMIT_MS = 1000;

/** What all children have in common. */
export type ChildBase = Pick<ChildOptions, "cwd" | "reaper" | "onEnded"> & {
  readonly dataDir: string;
};

function child(
  base: ChildBase,
  options: Pick<ChildOptions, "name" | "stage" | "program" | "args" | "env">,
): Child {
  const logs = join(base.dataDir, "logs");
  mkdirSync(logs, { recursive: true });
  return new Child({ ...base, ...options, logFile: join(logs, `${options.name}.log`) });
}

export function createNats(base: ChildBase, program: string, addresses: Addresses): Child[] {
  const { nats } = addresses;
  return nats.map((address, index) => {
    const name = `nats-${index + 1}`;
    const { host, port, monitorPort } = address;
    const folder = join(base.dataDir, name);
    mkdirSync(folder, { recursive: true });
    const file = nats.length === 1 ? NATS_SINGLE_FILE : natsFile(index);
    const args = ["-c", configurationPath(file), "-sd", folder];
    args.push("-a", host, "-p", String(port), "-m", String(monitorPort));
    if (nats.length > 1) {
      args.push("--cluster", routeOf(address), "--routes", nats.map(routeOf).join(","));
    }
    return child(base, { name, stage: 2, program, args, env: sharedNatsEnvironment() });
  });
}

function routeOf({ host, routePort }: NatsAddress): string {
  return `nats-route://${host}:${routePort}`;
}

export function createMongod(base: ChildBase, program: string, addresses: Addresses): Child {
  const folder = join(base.dataDir, "mongod");
  mkdirSync(folder, { recursive: true });
  const args = ["--config", configurationPath(MONGO_FILE), "--dbpath", folder];
  args.push("--bind_ip", LOOPBACK, "--port", String(addresses.mongoPort), "--nounixsocket");
  return child(base, { name: "mongod", stage: 1, program, args });
}

export function createHaproxyChild(
  base: ChildBase,
  program: string,
  args: readonly string[],
): Child {
  return child(base, { name: "haproxy", stage: 0, program, args });
}

export interface NodeOptions {
  readonly id: string;
  readonly port: number;
  readonly addresses: Addresses;
  readonly replicas: number;
  readonly expectNodes: number;
  /** Program and first arguments of `catchall`. */
  readonly command: readonly string[];
  readonly flags: readonly string[];
}

/** Values that are given to nodes on their command line, per node. */
export function nodeFlags(options: NodeOptions): readonly string[] {
  const { id, port, addresses, replicas, expectNodes } = options;
  return [
    "serve",
    ...["--node-id", id, "--host", LOOPBACK, "--port", String(port)],
    ...["--nats-url", natsUrl(addresses), "--nats-monitor-url", monitorUrl(addresses)],
    ...["--mongo-url", mongoUrl(addresses)],
    ...["--wal-replicas", String(replicas), "--expect-nodes", String(expectNodes)],
    ...options.flags,
  ];
}

export function createNode(base: ChildBase, options: NodeOptions): Child {
  const [program = process.execPath, ...first] = options.command;
  const args = [...first, ...nodeFlags(options)];
  // What the user has set wins over the file, as `environment` does over `env_file` in compose.
  const env = { ...readNodeEnvironment(), ...ownEnvironment() };
  return child(base, { name: options.id, stage: 0, program, args, env });
}

function ownEnvironment(): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => name.startsWith("CATCHALL_")),
  );
}

export function natsUrl(addresses: Addresses): string {
  return addresses.nats.map(({ host, port }) => `nats://${host}:${port}`).join(",");
}

function monitorUrl(addresses: Addresses): string {
  return addresses.nats.map(({ host, monitorPort }) => `http://${host}:${monitorPort}`).join(",");
}

export function mongoUrl(addresses: Addresses): string {
  return `mongodb://${LOOPBACK}:${addresses.mongoPort}/?replicaSet=${REPLICA_SET}`;
}

/** JetStream of this server takes requests. */
export function isNatsReady({ host, monitorPort }: NatsAddress): Promise<boolean> {
  return answers(`http://${host}:${monitorPort}/healthz`);
}

/** Forms the replica set where there is none; true when it takes writes. */
export async function isMongodReady({ mongoPort }: Addresses): Promise<boolean> {
  const url = `mongodb://${LOOPBACK}:${mongoPort}/?directConnection=true`;
  const client = new MongoClient(url, { serverSelectionTimeoutMS: PROBE_LIMIT_MS, maxPoolSize: 1 });
  try {
    await client.connect();
    const admin = client.db("admin");
    const hello = await admin.command({ hello: 1 });
    if (hello["isWritablePrimary"] === true) return true;
    if (hello["setName"] === undefined && hello["isreplicaset"] === true) {
      const members = [{ _id: 0, host: `${LOOPBACK}:${mongoPort}` }];
      await admin.command({ replSetInitiate: { _id: REPLICA_SET, members } });
    }
  } catch {
    // Not there yet.
  } finally {
    await client.close();
  }
  return false;
}

export async function isNodeReady(port: number, isTls: boolean): Promise<boolean> {
  return (await askReadiness({ host: LOOPBACK, port }, isTls, PROBE_LIMIT_MS)) === 200;
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(PROBE_LIMIT_MS) });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}

/** Errors: the process ended, `limitMs` passed, or the launcher is stopping; with the end of its output. */
export async function waitUntilReady(
  waiting: Child,
  isReady: () => Promise<boolean>,
  limitMs: number,
  isStopping: () => boolean,
): Promise<void> {
  const giveUpMs = Date.now() + limitMs;
  while (!(await isReady())) {
    if (isStopping()) throw new Error("Stopped");
    const isLate = Date.now() > giveUpMs;
    if (!waiting.isRunning || isLate) {
      const how = isLate ? `is not ready after ${limitMs / 1000} s` : "ended";
      throw new Error(`${waiting.name} ${how}; the end of its output:\n${waiting.lastLines()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
