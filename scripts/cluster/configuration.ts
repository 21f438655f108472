/**
 * The files of `cluster/`, read for local processes: the same that docker-compose.cluster.yml mounts. Only addresses are
 * put in their place; every other line is used as it stands, so that what is tried here is what runs there.
 */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const CONFIGURATION_FOLDER: string = fileURLToPath(
  new URL("../../cluster", import.meta.url),
);
export const NODE_ENV_FILE = "node/node.env";
export const PROXY_FILE = "proxy/haproxy.cfg";
export const MONGO_FILE = "mongo/mongod.conf";
export const NATS_SINGLE_FILE = "nats/nats-single.conf";
export const REPLICA_SET = "catchall";

/** Of the i-th server (from 0) of three. */
export function natsFile(index: number): string {
  return `nats/nats-${index + 1}.conf`;
}

export function configurationPath(file: string): string {
  return `${CONFIGURATION_FOLDER}/${file}`;
}

/** Names and values of an environment file: `NAME=value` lines, comments, empty lines. Errors: any other line. */
export function parseEnvironmentFile(text: string): Record<string, string> {
  const values: Record<string, string> = {};
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const [, name, value] = /^([A-Z][A-Z0-9_]*)=(.*)$/.exec(line) ?? [];
    if (name === undefined || value === undefined) {
      throw new Error(`Line ${index + 1} of the environment file is not NAME=value`);
    }
    values[name] = value;
  }
  return values;
}

export function readNodeEnvironment(): Record<string, string> {
  return parseEnvironmentFile(readFileSync(configurationPath(NODE_ENV_FILE), "utf8"));
}

export interface ProxyServer {
  readonly id: string;
  readonly host: string;
  readonly port: number;
}

export interface ProxyAddresses {
  readonly host: string;
  readonly port: number;
  readonly servers: readonly ProxyServer[];
  readonly isTls: boolean;
}

const BIND = /^( *bind ):8080$/m;
const SERVERS = /(?:^ *server \S+ \S+\n)+/m;
const DEFAULT_SERVER = /^( *default-server .*)$/m;

/** haproxy.cfg with these addresses. Errors: the file has lost one of the places where addresses are put. */
export function renderProxy(template: string, addresses: ProxyAddresses): string {
  for (const place of [BIND, SERVERS, DEFAULT_SERVER]) {
    if (!place.test(template)) throw new Error(`haproxy.cfg has no line like ${place.source}`);
  }
  const { host, port, servers, isTls } = addresses;
  const lines = servers.map((server) => `  server ${server.id} ${server.host}:${server.port}\n`);
  return template
    .replace(BIND, `$1${host}:${port}`)
    .replace(DEFAULT_SERVER, isTls ? "$1 check-ssl verify none" : "$1")
    .replace(SERVERS, lines.join(""));
}
