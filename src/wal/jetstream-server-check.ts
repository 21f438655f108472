/**
 * Adapter: what the NATS servers promise about what they acknowledge, as values for start-up, `/readyz`, log and
 * dashboard. Whether they sync before they acknowledge is told by their monitoring endpoint only; when none can be read,
 * it says "unknown" and why, never "always".
 */

import { get } from "node:http";
import type { NatsRequests } from "../runtime/nats-requests.ts";
import {
  JetStreamApi,
  type JsonObject,
  numberAt,
  objectAt,
  parseJson,
  STREAM_NOT_FOUND,
} from "./jetstream-api.ts";

/** Older servers have lost or doubly accepted fenced publishes. */
const VERSION_MIN: readonly number[] = [2, 14, 4];
/** Room for the largest entry of a group commit and the largest frame, headers included. */
const PAYLOAD_BYTES_MIN: number = 1024 * 1024;
const JETSTREAM_OFF =
  "JetStream is not enabled in NATS for this account: turn it on, as cluster/nats/jetstream.conf does";
const MONITOR_PORT_DEFAULT = 8222;
const MONITOR_TIMEOUT_MS = 1000;
const INFO_TIMEOUT_MS = 1000;
const MONITOR_REPLY_BYTES_MAX: number = 4 * 1024 * 1024;

/** `interval`: acknowledged first, synced later; a power cut loses what was acknowledged. */
export type LogSync = "always" | "interval" | "unknown";

export interface ServerReport {
  /** Of the server that we are connected to. */
  readonly version: string;
  readonly payloadBytesMax: number;
  readonly hasJetStream: boolean;
  readonly logSync: LogSync;
  /** One sentence: which servers said so, or why it is not known. */
  readonly logSyncReason: string;
  /** Each forbids to start. */
  readonly problems: readonly string[];
}

export interface ServerCheckOptions {
  /**
   * Monitoring endpoints such as `http://10.0.0.5:8222`. Null: port 8222 of every server that the connection knows.
   */
  readonly monitorUrls: readonly string[] | null;
}

/**
 * Never rejects for what it finds; errors: CatchallError `log_unavailable` when there is no connection, or no answer
 * over it (a frozen server, a login that may not receive replies).
 */
export async function checkServers(
  requests: NatsRequests,
  options: ServerCheckOptions,
): Promise<ServerReport> {
  const api = new JetStreamApi(requests, "log_unavailable");
  const info = requests.connection.info;
  if (info === undefined || !requests.isConnected) {
    throw api.failure("There is no connection to NATS");
  }
  const problems: string[] = [];
  const { version, max_payload: payloadBytesMax, server_id: serverId } = info;
  if (isOlder(version)) {
    problems.push(`nats-server ${version} is older than ${VERSION_MIN.join(".")}: upgrade it`);
  }
  if (payloadBytesMax < PAYLOAD_BYTES_MIN) {
    problems.push(`max_payload of NATS is ${payloadBytesMax}, at least 1 MiB is needed`);
  }
  const hasJetStream = await isJetStreamOn(api);
  if (!hasJetStream) problems.push(JETSTREAM_OFF);
  const hosts = [info.host, ...(info.connect_urls ?? []).map(hostOf)];
  const endpoints = options.monitorUrls ?? defaultEndpoints(hosts, requests);
  const sync = await readLogSync(endpoints, serverId);
  return {
    version,
    payloadBytesMax,
    hasJetStream,
    logSync: sync.logSync,
    logSyncReason: sync.reason,
    problems,
  };
}

/**
 * What is wrong with a stream that holds a log or the coordination records: each sentence is a promise that it breaks.
 * Null when there is no such stream. Errors: CatchallError `log_unavailable`.
 */
export async function checkStream(
  requests: NatsRequests,
  stream: string,
  replicas: number,
): Promise<readonly string[] | null> {
  const api = new JetStreamApi(requests, "log_unavailable");
  const result = await api.call(`STREAM.INFO.${stream}`);
  if (result.kind === "error") {
    if (result.error === STREAM_NOT_FOUND) return null;
    throw api.failure(`NATS does not describe ${stream}: ${result.description}`);
  }
  return streamProblems(stream, objectAt(result.reply, "config") ?? {}, replicas);
}

function streamProblems(stream: string, config: JsonObject, replicas: number): readonly string[] {
  const problems: string[] = [];
  const expect = (holds: boolean, problem: string): void => {
    if (!holds) problems.push(`Stream ${stream} ${problem}`);
  };
  expect(config["storage"] === "file", "is not stored in files");
  const found = numberAt(config, "num_replicas");
  expect(found >= replicas, `has ${found} replicas, --wal-replicas asks for ${replicas}`);
  const persist = config["persist_mode"];
  expect(persist === undefined || persist === "default", `persists asynchronously`);
  expect(config["discard"] === "new", "discards old entries when it is full");
  expect(numberAt(config, "max_age") === 0, "forgets entries by age");
  expect(config["retention"] === "limits", "forgets entries that were read");
  expect(config["allow_direct"] !== true, "is read from replicas (allow_direct)");
  return problems;
}

/** Errors: no answer, with the reason: that says nothing about JetStream. */
async function isJetStreamOn(api: JetStreamApi): Promise<boolean> {
  try {
    return (await api.call("INFO")).kind === "ok";
  } catch (error) {
    const outcome = await api.requests.request("$JS.API.INFO", new Uint8Array(), INFO_TIMEOUT_MS);
    if (outcome.kind === "noResponder") return false;
    throw error;
  }
}

interface SyncAnswer {
  readonly logSync: LogSync;
  readonly reason: string;
}

async function readLogSync(endpoints: readonly string[], serverId: string): Promise<SyncAnswer> {
  const answers = await Promise.all(endpoints.map(readMonitor));
  let isOurs = false;
  let syncingCount = 0;
  const silent: string[] = [];
  for (const [i, answer] of answers.entries()) {
    const config = answer === null ? null : objectAt(answer, "config");
    if (answer === null || config === null) {
      silent.push(endpoints[i] as string);
      continue;
    }
    isOurs ||= answer["server_id"] === serverId;
    // A server of the cluster that stores nothing.
    if (answer["disabled"] === true) continue;
    if (config["sync_always"] !== true) {
      const seconds = numberAt(config, "sync_interval") / 1e9;
      const reason =
        `${endpoints[i]} syncs every ${seconds} s, after it has acknowledged: ` +
        "set sync_interval to always";
      return { logSync: "interval", reason };
    }
    syncingCount += 1;
  }
  if (silent.length > 0 || !isOurs || syncingCount === 0) {
    const which =
      silent.length > 0
        ? `${silent.join(", ")} can't be read`
        : isOurs
          ? "none has JetStream"
          : "none is our server";
    return { logSync: "unknown", reason: `Monitoring endpoints: ${which}` };
  }
  return { logSync: "always", reason: `${endpoints.join(", ")} said so` };
}

function defaultEndpoints(hosts: readonly string[], requests: NatsRequests): readonly string[] {
  const connected = hostOf(requests.connection.getServer());
  const names = new Set([connected, ...hosts.slice(1)]);
  return [...names].map((host) => `http://${host}:${MONITOR_PORT_DEFAULT}`);
}

/** `10.0.0.5:4222` → `10.0.0.5`, `[::1]:4222` → `[::1]`. */
function hostOf(hostAndPort: string): string {
  return hostAndPort.replace(/:\d+$/, "");
}

/** Null when the endpoint says nothing usable. */
function readMonitor(endpoint: string): Promise<JsonObject | null> {
  return new Promise((resolve) => {
    try {
      const request = get(`${endpoint}/jsz?config=1`, (response) => {
        const chunks: Buffer[] = [];
        let length = 0;
        response.on("data", (chunk: Buffer) => {
          length += chunk.length;
          if (length > MONITOR_REPLY_BYTES_MAX) request.destroy();
          else chunks.push(chunk);
        });
        response.on("end", () => resolve(parseJson(Buffer.concat(chunks))));
        response.on("error", () => resolve(null));
      });
      request.setTimeout(MONITOR_TIMEOUT_MS, () => request.destroy());
      request.on("error", () => resolve(null));
      request.on("close", () => resolve(null));
    } catch {
      resolve(null);
    }
  });
}

function isOlder(version: string): boolean {
  const parts = version.split(/[.-]/).map(Number);
  for (const [i, least] of VERSION_MIN.entries()) {
    const part = parts[i] ?? 0;
    if (part !== least) return !(part > least);
  }
  return false;
}
