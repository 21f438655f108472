/**
 * Adapter: opens connections to NATS from the node's settings. A node opens two: one for log and frames, one for leases,
 * so that a lease renewal never queues behind megabytes of entries.
 * Reconnects for ever; a broken connection is noticed within PING_INTERVAL_MS × PINGS_UNANSWERED_MAX.
 * Must never put a password or token into a message.
 */

import { readFile } from "node:fs/promises";
import { type ConnectionOptions, credsAuthenticator, type TlsOptions } from "nats";
import { CatchallError } from "../model/errors.ts";
import { codeOf } from "../runtime/error-code.ts";
import { NatsRequests } from "../runtime/nats-requests.ts";
import { dialNats } from "./nats-dial.ts";

const PING_INTERVAL_MS = 2000;
const PINGS_UNANSWERED_MAX = 2;
/** One dial. */
const DIAL_TIMEOUT_MS = 3000;
const RECONNECT_WAIT_MS = 250;
const RECONNECT_JITTER_MS = 250;
/** The code of the client's error. */
const LOGIN_REFUSED = "AUTHORIZATION_VIOLATION";

/** The part of the configuration that says where NATS is and who we are there. */
export interface NatsSettings {
  /** Comma-separated; `nats://`, `tls://` or plain host:port, optionally with user:password@. */
  readonly natsUrl: string;
  readonly natsUser: string | null;
  readonly natsPassword: string | null;
  readonly natsToken: string | null;
  /** Path of a credentials file. */
  readonly natsCreds: string | null;
  /** Paths of PEM files. */
  readonly natsTlsCa: string | null;
  readonly natsTlsCert: string | null;
  readonly natsTlsKey: string | null;
}

/**
 * Connects. `name` is shown in the server's connection list and makes the private reply prefix, so it must be unique
 * among the nodes of a cluster to be of use in permissions: letters, digits, `.`, `-`, `_`.
 * Errors: CatchallError `control_unavailable` saying whether the servers can't be reached or refuse us.
 */
export async function connectNats(settings: NatsSettings, name: string): Promise<NatsRequests> {
  const options = await connectionOptions(settings, name);
  try {
    return new NatsRequests(await dialNats(options));
  } catch (error) {
    const shown = serversOf(settings.natsUrl).hosts.join(", ");
    const message = `Can't connect to NATS at ${shown}: ${reasonOf(error)}`;
    throw new CatchallError("control_unavailable", message, { cause: error });
  }
}

/** Whether `connectNats` failed since the server doesn't take the login: trying again does not help. */
export function isLoginRefused(error: unknown): error is CatchallError {
  return error instanceof CatchallError && codeOf(error.cause) === LOGIN_REFUSED;
}

/** Exported for tests. */
export async function connectionOptions(
  settings: NatsSettings,
  name: string,
): Promise<ConnectionOptions> {
  const { hosts, isTls, user, password } = serversOf(settings.natsUrl);
  const options: ConnectionOptions = {
    servers: hosts,
    name,
    inboxPrefix: `_INBOX_${name.replaceAll(/[^A-Za-z0-9_-]/g, "_")}`,
    maxReconnectAttempts: -1,
    reconnectTimeWait: RECONNECT_WAIT_MS,
    reconnectJitter: RECONNECT_JITTER_MS,
    reconnectJitterTLS: RECONNECT_JITTER_MS,
    pingInterval: PING_INTERVAL_MS,
    maxPingOut: PINGS_UNANSWERED_MAX,
    timeout: DIAL_TIMEOUT_MS,
    noEcho: true,
    noAsyncTraces: true,
    // Credentials that the server forgot for a moment must not end the connection for ever.
    ignoreAuthErrorAbort: true,
  };
  const login = settings.natsUser ?? user;
  const secret = settings.natsPassword ?? password;
  if (login !== null && secret !== null) Object.assign(options, { user: login, pass: secret });
  if (settings.natsToken !== null) options.token = settings.natsToken;
  if (settings.natsCreds !== null) {
    options.authenticator = credsAuthenticator(await readSecret(settings.natsCreds));
  }
  const tls = tlsOf(settings);
  if (tls !== null || isTls) options.tls = tls ?? {};
  return options;
}

function tlsOf(settings: NatsSettings): TlsOptions | null {
  const { natsTlsCa, natsTlsCert, natsTlsKey } = settings;
  const tls: TlsOptions = {};
  if (natsTlsCa !== null) tls.caFile = natsTlsCa;
  if (natsTlsCert !== null) tls.certFile = natsTlsCert;
  if (natsTlsKey !== null) tls.keyFile = natsTlsKey;
  return Object.keys(tls).length === 0 ? null : tls;
}

interface Servers {
  /** host:port, without scheme and login. */
  readonly hosts: string[];
  readonly isTls: boolean;
  readonly user: string | null;
  readonly password: string | null;
}

function serversOf(natsUrl: string): Servers {
  const hosts: string[] = [];
  let isTls = false;
  let user: string | null = null;
  let password: string | null = null;
  for (const text of natsUrl.split(",").map((part) => part.trim())) {
    if (text === "") continue;
    const [, scheme = "nats", rest = ""] = /^(?:([a-z]+):\/\/)?(.*?)\/*$/i.exec(text) ?? [];
    if (scheme !== "nats" && scheme !== "tls") {
      const message = `NATS over "${scheme}" is not supported, use nats:// or tls://`;
      throw new CatchallError("control_unavailable", message);
    }
    isTls ||= scheme === "tls";
    const at = rest.lastIndexOf("@");
    if (at >= 0) {
      const [name, ...secret] = rest.slice(0, at).split(":");
      user = decode(name ?? "");
      password = decode(secret.join(":"));
    }
    hosts.push(rest.slice(at + 1));
  }
  return { hosts, isTls, user, password };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function readSecret(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    const message = `Can't read the NATS credentials file "${path}"`;
    throw new CatchallError("control_unavailable", message, { cause: error });
  }
}

function reasonOf(error: unknown): string {
  const code = codeOf(error);
  if (code === LOGIN_REFUSED) return "it refuses these credentials";
  if (code === "CONNECTION_REFUSED") return "nobody listens there";
  if (code === "TIMEOUT") return `no answer within ${DIAL_TIMEOUT_MS} ms`;
  return error instanceof Error ? error.message : String(error);
}
