/**
 * A small layer-4 balancer for `npm run cluster` where HAProxy is not installed: each connection goes to the next node
 * that is ready. `/readyz` of every node is asked all the time; a node that says no gets no new connections, the
 * connections it has go on (it is stopping in order); a node that can't be reached is passed over at once.
 * It moves bytes both ways, each side may end before the other. It never looks into them, holds no more than two socket
 * buffers a connection, and never retries once bytes may have been sent.
 */

import { get as getHttp, type RequestOptions } from "node:http";
import { get as getHttps } from "node:https";
import { connect, createServer, type Server, type Socket } from "node:net";
import { breakSocket } from "./break-socket.ts";

export interface BalancerTarget {
  readonly id: string;
  readonly host: string;
  readonly port: number;
}

export interface BalancerOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly targets: readonly BalancerTarget[];
  /** Nodes serve TLS: the checks speak it too; the bytes pass as they are. */
  readonly isTls?: boolean;
  readonly checkIntervalMs?: number;
  readonly checkTimeoutMs?: number;
  readonly connectTimeoutMs?: number;
  readonly connectionsMax?: number;
  /** Told when a node becomes ready, or not any more. */
  readonly onChange?: (id: string, isReady: boolean, reason: string) => void;
}

export interface TargetState {
  readonly id: string;
  readonly isReady: boolean;
  /** Why not. */
  readonly reason: string;
  readonly connections: number;
}

const CHECK_PATH = "/readyz";
const CHECK_INTERVAL_MS = 1000;
const CHECK_TIMEOUT_MS = 1000;
const CONNECT_TIMEOUT_MS = 1000;
const CONNECTIONS_MAX = 10_000;
/** Checks without any answer until a node that was ready is not: a pause of the process is not the end of it. */
const SILENT_CHECKS_MAX = 2;
/** As in cluster/proxy/haproxy.cfg. */
const IDLE_LIMIT_MS: number = 5 * 60_000;
const NOT_CHECKED = "not checked yet";

interface Target extends BalancerTarget {
  isReady: boolean;
  reason: string;
  silentChecks: number;
  isChecking: boolean;
  connections: number;
}

export class TcpBalancer {
  readonly #options: Required<BalancerOptions>;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #checks: NodeJS.Timeout;
  #targets: Target[] = [];
  #next = 0;

  private constructor(options: BalancerOptions) {
    this.#options = {
      isTls: false,
      checkIntervalMs: CHECK_INTERVAL_MS,
      checkTimeoutMs: CHECK_TIMEOUT_MS,
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
      connectionsMax: CONNECTIONS_MAX,
      onChange: () => undefined,
      ...options,
    };
    this.setTargets(options.targets);
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (client) =>
      this.#accept(client),
    );
    this.#server.maxConnections = this.#options.connectionsMax;
    this.#checks = setInterval(() => this.#checkAll(), this.#options.checkIntervalMs);
  }

  /** Listens, and has asked every target once. Errors: the port is taken. */
  static async listen(options: BalancerOptions): Promise<TcpBalancer> {
    const balancer = new TcpBalancer(options);
    try {
      await new Promise<void>((resolve, reject) => {
        balancer.#server.once("error", reject);
        balancer.#server.listen(options.port, options.host, resolve);
      });
      await balancer.check();
    } catch (error) {
      clearInterval(balancer.#checks);
      throw error;
    }
    return balancer;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  get states(): readonly TargetState[] {
    return this.#targets.map(({ id, isReady, reason, connections }) => ({
      ...{ id, isReady, reason, connections },
    }));
  }

  /** New nodes are asked before they get connections; those that are gone keep the connections they have. */
  setTargets(targets: readonly BalancerTarget[]): void {
    this.#targets = targets.map((target) => {
      const known = this.#targets.find(({ id }) => id === target.id);
      if (known?.host === target.host && known.port === target.port) return known;
      const fresh = { isReady: false, reason: NOT_CHECKED, silentChecks: 0, isChecking: false };
      return { ...target, ...fresh, connections: 0 };
    });
  }

  /** Asks every target now. */
  async check(): Promise<void> {
    await Promise.all(this.#targets.map((target) => this.#check(target)));
  }

  /** Takes no more connections, gives those it has `graceMs` to end by themselves, then cuts them. */
  async close(graceMs = 0): Promise<void> {
    clearInterval(this.#checks);
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    const cut = () => {
      for (const socket of this.#sockets) socket.destroy();
    };
    const timer = setTimeout(cut, graceMs);
    await closed;
    clearTimeout(timer);
    cut();
  }

  #accept(client: Socket): void {
    this.#hold(client);
    // Until a node is found, nothing is read; an end of the client meanwhile is seen by the pipe.
    client.pause();
    const ready = this.#targets.filter(({ isReady }) => isReady);
    const start = this.#next++ % Math.max(1, ready.length);
    this.#dial(client, [...ready.slice(start), ...ready.slice(0, start)]);
  }

  #dial(client: Socket, candidates: readonly Target[]): void {
    const [target, ...rest] = candidates;
    if (target === undefined || client.destroyed) {
      breakSocket(client);
      return;
    }
    const { host, port } = target;
    const server = connect({ host, port, allowHalfOpen: true, noDelay: true });
    this.#hold(server);
    let isOver = false;
    const refused = (reason: string) => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      server.destroy();
      if (!client.destroyed) this.#mark(target, false, reason);
      this.#dial(client, rest);
    };
    const timer = setTimeout(
      () => refused("no connection in time"),
      this.#options.connectTimeoutMs,
    );
    const onClientGone = () => refused("");
    client.once("close", onClientGone);
    server.once("error", (error) => refused(error.message));
    server.once("connect", () => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      client.off("close", onClientGone);
      this.#join(client, server, target);
    });
  }

  #join(client: Socket, server: Socket, target: Target): void {
    target.connections++;
    server.once("close", () => {
      target.connections--;
    });
    // `pipe` passes the end of one direction on and leaves the other open; a broken side breaks its partner.
    client.pipe(server);
    server.pipe(client);
    client.setTimeout(IDLE_LIMIT_MS, () => client.destroy());
    for (const [side, other] of [
      [client, server],
      [server, client],
    ] as const) {
      side.once("error", () => breakSocket(other));
      // A side that ended in order may have bytes on their way to the other one: those are left to arrive.
      side.once("close", () => {
        if (!side.readableEnded) other.destroy();
      });
    }
  }

  #hold(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    // Errors end in "close"; without a listener they would end the process.
    socket.on("error", () => undefined);
  }

  #checkAll(): void {
    for (const target of this.#targets) void this.#check(target);
  }

  async #check(target: Target): Promise<void> {
    if (target.isChecking) return;
    target.isChecking = true;
    const { isTls, checkTimeoutMs } = this.#options;
    const answer = await askReadiness(target, isTls, checkTimeoutMs);
    target.isChecking = false;
    if (typeof answer === "number") {
      target.silentChecks = 0;
      this.#mark(target, answer === 200, `${CHECK_PATH} says ${answer}`);
      return;
    }
    target.silentChecks++;
    if (!target.isReady || target.silentChecks >= SILENT_CHECKS_MAX) {
      this.#mark(target, false, answer);
    }
  }

  #mark(target: Target, isReady: boolean, reason: string): void {
    target.reason = isReady ? "" : reason;
    if (target.isReady === isReady) return;
    target.isReady = isReady;
    this.#options.onChange(target.id, isReady, target.reason);
  }
}

/** Status code of `/readyz`, or why there is none. */
export function askReadiness(
  target: Pick<BalancerTarget, "host" | "port">,
  isTls: boolean,
  timeoutMs: number,
): Promise<number | string> {
  return new Promise((resolve) => {
    const where: RequestOptions = { host: target.host, port: target.port, path: CHECK_PATH };
    const options = { ...where, agent: false, headers: { connection: "close" } };
    // The certificate is for the name that clients use, not for this address.
    const request = isTls ? getHttps({ ...options, rejectUnauthorized: false }) : getHttp(options);
    const timer = setTimeout(() => {
      request.destroy();
      resolve("no answer in time");
    }, timeoutMs);
    request.once("response", (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    request.on("error", (error) => resolve(error.message));
    request.once("close", () => clearTimeout(timer));
  });
}
