/**
 * The nats-servers of a chaos run: one, or three that replicate for one another, each synced always. The store of the
 * first may lie on a disk that can be full. Knows which server leads a stream and can make another one lead it.
 * Invariant: after `heal` every server runs.
 */

import { NodeClock } from "../../src/runtime/node-clock.ts";
import { NodeRandom } from "../../src/runtime/node-random.ts";
import { JetStreamApi, objectAt } from "../../src/wal/jetstream-api.ts";
import { JetStreamNodeLog } from "../../src/wal/jetstream-node-log.ts";
import { startNatsCluster, TestNatsServer } from "../../test/support/nats-server.ts";
import { FullDisk } from "./full-disk.ts";

export interface NatsServersOptions {
  readonly clusterName: string;
  /** 1 or 3. */
  readonly size: number;
  readonly hasSmallDisk: boolean;
}

/** Sparse. Logs of an hour of chaos, which are never trimmed, take some hundred megabytes. */
const SMALL_DISK_BYTES: number = 2 * 1024 ** 3;
const LEADER_LIMIT_MS = 30_000;
const POLL_MS = 100;

export class NatsServers {
  readonly servers: readonly TestNatsServer[];
  /** Of the first server. */
  readonly disk: FullDisk | null;
  readonly #clusterName: string;

  private constructor(
    servers: readonly TestNatsServer[],
    disk: FullDisk | null,
    clusterName: string,
  ) {
    this.servers = servers;
    this.disk = disk;
    this.#clusterName = clusterName;
  }

  /** Resolves when JetStream answers. */
  static async start({
    clusterName,
    size,
    hasSmallDisk,
  }: NatsServersOptions): Promise<NatsServers> {
    const disk = hasSmallDisk ? await FullDisk.create(SMALL_DISK_BYTES) : null;
    const optionsOf = (i: number) => (disk === null || i > 0 ? {} : { parent: disk.path });
    let servers: readonly TestNatsServer[] = [];
    try {
      servers =
        size === 1
          ? [await TestNatsServer.start(optionsOf(0))]
          : await startNatsCluster(size, optionsOf);
      const started = new NatsServers(servers, disk, clusterName);
      await started.#answers();
      return started;
    } catch (error) {
      await Promise.all(servers.map((server) => server.dispose()));
      await disk?.dispose();
      throw error;
    }
  }

  get size(): number {
    return this.servers.length;
  }

  get monitorUrls(): string {
    return this.servers.map(({ monitorUrl }) => monitorUrl).join(",");
  }

  /** Reads what is stored, past the links. */
  async readLogs<T>(work: (log: JetStreamNodeLog) => Promise<T>): Promise<T> {
    return await this.#ask(async ({ requests }) => {
      const log = await JetStreamNodeLog.open(requests, {
        ...{ clusterName: this.#clusterName, replicas: this.size, logBytesMax: null },
        ...{ clock: new NodeClock(), random: new NodeRandom() },
      });
      return await work(log);
    });
  }

  /** The latest `count` logs: those of the lives that are under way, if there are so many nodes. */
  async latestLogs(count: number): Promise<readonly string[]> {
    const prefix = `${this.#clusterName.toUpperCase()}_LOG_`;
    const { streams } = await this.#ask((api) => api.mustCall("STREAM.NAMES"));
    const names = (Array.isArray(streams) ? streams : []).map(String);
    const numbers = names
      .filter((name) => name.startsWith(prefix))
      .map((name) => Number(name.slice(prefix.length)));
    numbers.sort((a, b) => b - a);
    return numbers.slice(0, count).map((incarnation) => `${prefix}${incarnation}`);
  }

  /** Null while there is none. */
  async leaderOf(stream: string): Promise<TestNatsServer | null> {
    const info = await this.#ask((api) => api.mustCall(`STREAM.INFO.${stream}`));
    const leader = objectAt(info, "cluster")?.["leader"];
    return this.servers.find((_, i) => `n${i + 1}` === leader) ?? null;
  }

  /** Another server leads it then. Errors: CatchallError; nobody leads it, or nobody can be asked. */
  async stepDown(stream: string): Promise<void> {
    await this.#ask((api) => api.mustCall(`STREAM.LEADER.STEPDOWN.${stream}`));
  }

  async heal(): Promise<void> {
    for (const server of this.servers) server.resume();
    await this.disk?.free();
    await Promise.all(
      this.servers.filter(({ pid }) => pid === 0).map((server) => server.restart()),
    );
  }

  /** For the end of a process that can't wait. */
  abandon(): void {
    for (const server of this.servers) void server.kill();
    this.disk?.detach();
  }

  async dispose(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.dispose()));
    await this.disk?.dispose();
  }

  /** Servers of a cluster choose who leads first. */
  async #answers(): Promise<void> {
    const giveUpMs = performance.now() + LEADER_LIMIT_MS;
    for (;;) {
      try {
        const { kind } = await this.#ask((api) => api.call("INFO"));
        if (kind === "ok") return;
      } catch (error) {
        if (performance.now() > giveUpMs) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** With a connection of its own: the last one may be to a server that is gone. */
  async #ask<T>(work: (api: JetStreamApi) => Promise<T>): Promise<T> {
    const [first] = this.servers;
    if (first === undefined) throw new Error("There is no nats-server");
    const natsUrl = this.servers.map(({ url }) => url).join(",");
    const requests = await first.connect("chaos", { natsUrl });
    try {
      return await work(new JetStreamApi(requests, "log_unavailable"));
    } finally {
      await requests.close();
    }
  }
}
