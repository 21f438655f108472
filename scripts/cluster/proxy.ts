/**
 * The balancer of a local cluster: HAProxy with cluster/proxy/haproxy.cfg where it is installed, else the one in
 * scripts/tcp-balancer.ts. Both give connections to ready nodes in turn and take nodes in while they run.
 */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { delimiter, join } from "node:path";
import { TcpBalancer } from "../tcp-balancer.ts";
import type { Child } from "./child.ts";
import { configurationPath, PROXY_FILE, type ProxyServer, renderProxy } from "./configuration.ts";

export interface ProxyOptions {
  readonly host: string;
  readonly port: number;
  readonly servers: readonly ProxyServer[];
  readonly isTls: boolean;
  readonly say: (line: string) => void;
}

export interface ClusterProxy {
  readonly kind: string;
  readonly port: number;
  setServers(servers: readonly ProxyServer[]): void;
  /** One line a node. */
  states(): readonly string[];
  close(): Promise<void>;
}

/** Path of HAProxy; null when it is not installed. */
export function findHaproxy(env: Readonly<Record<string, string | undefined>>): string | null {
  const paths = (env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== "");
  return paths.map((folder) => join(folder, "haproxy")).find((path) => existsSync(path)) ?? null;
}

/** Time for answers on their way when it closes. */
const CLOSE_GRACE_MS = 500;

export async function startBuiltinProxy(options: ProxyOptions): Promise<ClusterProxy> {
  const { host, port, servers, isTls, say } = options;
  const balancer = await TcpBalancer.listen({
    ...{ host, port, isTls, targets: servers },
    onChange: (id, isReady, reason) =>
      say(isReady ? `${id} is ready` : `${id} gets no new connections: ${reason}`),
  });
  return {
    kind: "scripts/tcp-balancer.ts",
    port: balancer.port,
    setServers: (targets) => balancer.setTargets(targets),
    states: () =>
      balancer.states.map(({ id, isReady, reason, connections }) => {
        const state = isReady ? "ready" : `not ready: ${reason}`;
        return `${id}: ${state}, ${connections} connections`;
      }),
    close: () => balancer.close(CLOSE_GRACE_MS),
  };
}

export interface HaproxyOptions extends ProxyOptions {
  /** Where the rendered configuration goes. */
  readonly file: string;
  readonly createChild: (args: readonly string[]) => Child;
}

/** Errors: it does not start; with what it said. */
export async function startHaproxy(options: HaproxyOptions): Promise<ClusterProxy> {
  const { file, createChild, port, host } = options;
  const write = (servers: readonly ProxyServer[]) => {
    const template = readFileSync(configurationPath(PROXY_FILE), "utf8");
    writeFileSync(file, renderProxy(template, { ...options, servers }));
  };
  write(options.servers);
  // Master and worker: the master reads the file again on SIGUSR2 and lets old connections finish.
  const child = createChild(["-W", "-f", file]);
  await child.start();
  const giveUpMs = Date.now() + START_LIMIT_MS;
  while (!(await accepts(host, port))) {
    if (!child.isRunning || Date.now() > giveUpMs) {
      throw new Error(`HAProxy did not start:\n${child.lastLines()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, START_POLL_MS));
  }
  return {
    kind: "HAProxy",
    port,
    setServers: (servers) => {
      write(servers);
      child.signal("SIGUSR2");
    },
    states: () => [`haproxy: ${child.state}`],
    close: async () => {
      await child.stop(CLOSE_GRACE_MS);
    },
  };
}

const START_LIMIT_MS = 5000;
const START_POLL_MS = 20;

function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
