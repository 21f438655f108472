/**
 * The processes of a chaos run: nats-servers, see nats-servers.ts, a mongod, nodes; and a faulty link in front of every
 * connection: client → node, node → NATS, node → MongoDB. Nodes run from a copy of the built product, so that a build
 * meanwhile changes nothing. A node that ends by itself is started again, and told of in `exits`.
 * `dispose` leaves nothing behind, except the folder when asked to.
 */

import { cp, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isAllOpen, type OpenView } from "../../test/support/cluster-rig.ts";
import { TestMongod } from "../../test/support/mongod.ts";
import { freePort } from "../free-port.ts";
import { FaultyLink, type LinkFilter } from "./faulty-link.ts";
import { NatsServers } from "./nats-servers.ts";
import { NodeChild } from "./node-child.ts";
import type { NodeEnd } from "./node-end.ts";

export const CLUSTER_NAME = "chaos";
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const STOP_LIMIT_MS = 40_000;
const RESTART_AFTER_EXIT_MS = 300;
const POLL_MS = 50;
const ASK_LIMIT_MS = 1500;

export interface ChaosClusterOptions {
  readonly nodes: readonly string[];
  readonly leaseTtlMs: number;
  readonly flags: readonly string[];
  /** nats-servers, 1 or 3; as many replicas of each log. Default: 1. */
  readonly nats?: number;
  /** The store of a nats-server lies on a small file system that can be full: see full-disk.ts for where that can be. */
  readonly hasSmallDisk?: boolean;
  /** Folder of the built product; default: that of this project. */
  readonly product?: string | undefined;
  /** Filters of the links of one node; default: none. */
  readonly filters?: (node: string) => {
    readonly nats?: () => LinkFilter;
    readonly http?: () => LinkFilter;
  };
  /** A node ended by itself. It is started again. */
  readonly onExit?: (node: string, end: NodeEnd) => void;
}

export interface ChaosNode {
  readonly id: string;
  readonly port: number;
  /** Client → node. */
  readonly http: FaultyLink;
  /** One for each nats-server. */
  readonly nats: readonly FaultyLink[];
  readonly mongo: FaultyLink;
  child: NodeChild | null;
}

export class ChaosCluster {
  readonly nats: NatsServers;
  readonly mongod: TestMongod;
  readonly folder: string;
  readonly nodes: ChaosNode[] = [];
  readonly #options: ChaosClusterOptions;
  #isDisposed = false;
  readonly #onExit = (): void => {
    for (const { child } of this.nodes) if (child?.isRunning === true) void child.kill();
    this.nats.abandon();
  };

  private constructor(
    servers: { readonly nats: NatsServers; readonly mongod: TestMongod },
    folder: string,
    options: ChaosClusterOptions,
  ) {
    this.nats = servers.nats;
    this.mongod = servers.mongod;
    this.folder = folder;
    this.#options = options;
    process.once("exit", this.#onExit);
  }

  /** Resolves when every partition is open. */
  static async start(options: ChaosClusterOptions): Promise<ChaosCluster> {
    const { nats: size = 1, hasSmallDisk = false } = options;
    const nats = await NatsServers.start({ clusterName: CLUSTER_NAME, size, hasSmallDisk });
    const mongod = await TestMongod.start().catch(async (error: unknown) => {
      await nats.dispose();
      throw error;
    });
    const folder = await mkdtemp(join(tmpdir(), "catchall-chaos-"));
    const cluster = new ChaosCluster({ nats, mongod }, folder, options);
    try {
      await copyProduct(options.product ?? join(ROOT, "dist"), folder);
      for (const id of options.nodes) cluster.nodes.push(await cluster.#createNode(id));
      for (const node of cluster.nodes) cluster.startNode(node);
      await cluster.allOpen(60_000);
    } catch (error) {
      await cluster.dispose(false);
      throw error;
    }
    return cluster;
  }

  node(id: string): ChaosNode {
    const node = this.nodes.find((one) => one.id === id);
    if (node === undefined) throw new Error(`There is no node ${id}`);
    return node;
  }

  /** Does not wait for anything. */
  startNode(node: ChaosNode): void {
    if (this.#isDisposed || node.child?.isRunning === true) return;
    const { leaseTtlMs, flags, nodes } = this.#options;
    const args = [
      ...[join(this.folder, "dist", "cli", "main.js"), "serve", "--port", String(node.port)],
      ...["--data-dir", join(this.folder, node.id), "--node-id", node.id],
      ...["--nats-url", node.nats.map(({ port }) => `nats://127.0.0.1:${port}`).join(",")],
      ...["--nats-monitor-url", this.nats.monitorUrls, "--wal-replicas", String(this.nats.size)],
      ...["--mongo-url", `mongodb://127.0.0.1:${node.mongo.port}/?directConnection=true`],
      ...["--cluster-name", CLUSTER_NAME],
      ...["--lease-ttl", `${leaseTtlMs}ms`, "--expect-nodes", String(nodes.length)],
      // Debug: a node that gives up then says why, see node-end.ts. There is little else on that level.
      ...["--checkpoint-interval", "1s", "--log-level", "debug", ...flags],
    ];
    const logFile = join(this.folder, `${node.id}.log`);
    node.child = new NodeChild({
      ...{ args, cwd: this.folder, logFile },
      onExit: (child, how) => {
        if (child.isEnding || this.#isDisposed) return;
        this.#options.onExit?.(node.id, { how, output: child.output });
        setTimeout(() => this.startNode(node), RESTART_AFTER_EXIT_MS);
      },
    });
  }

  /** True when it ended in order. */
  async stopNode(node: ChaosNode): Promise<boolean> {
    return (await node.child?.stop(STOP_LIMIT_MS)) ?? true;
  }

  /** Every fault ends: links, servers and nodes are as in the beginning. */
  async heal(): Promise<void> {
    for (const link of this.links) link.heal();
    await this.nats.heal();
    this.mongod.resume();
    if (this.mongod.pid === 0) await this.mongod.restart();
    for (const node of this.nodes) {
      if (node.child?.isFrozen === true) node.child.thaw();
      this.startNode(node);
    }
  }

  get links(): readonly FaultyLink[] {
    return this.nodes.flatMap(({ http, nats, mongo }) => [http, ...nats, mongo]);
  }

  /** Resolves when every node is ready and every partition is open at a living node; to the milliseconds it took. */
  async allOpen(limitMs: number): Promise<number> {
    const startMs = performance.now();
    let last = "nothing was answered";
    while (performance.now() < startMs + limitMs) {
      const answers = await Promise.all(
        this.nodes.map(({ port }) => getJson(`http://127.0.0.1:${port}/readyz`)),
      );
      if (answers.every((answer) => answer !== null)) {
        const view = await this.view();
        if (view !== null && isAllOpen(view)) return performance.now() - startMs;
        last = JSON.stringify(view?.owners.filter(({ state }) => state !== "open"));
      } else {
        last = `not ready: ${this.nodes.filter((_, i) => answers[i] === null).map(({ id }) => id)}`;
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    throw new Error(`Not all open within ${limitMs} ms: ${last}`);
  }

  /** What `/cluster` of some node says; null when none answers. Not through the links: this is the judge, not a client. */
  async view(): Promise<OpenView | null> {
    for (const { port, child } of this.nodes) {
      if (child?.isRunning !== true || child.isFrozen) continue;
      const answer = await getJson(`http://127.0.0.1:${port}/cluster`);
      if (answer !== null) return answer as OpenView;
    }
    return null;
  }

  /** `isKept`: the folder with logs and history stays. */
  async dispose(isKept: boolean): Promise<void> {
    this.#isDisposed = true;
    process.removeListener("exit", this.#onExit);
    await Promise.all(this.nodes.map(({ child }) => child?.kill()));
    await Promise.all(this.links.map((link) => link.close()));
    await Promise.all([this.nats.dispose(), this.mongod.dispose()]);
    if (!isKept) await rm(this.folder, { recursive: true, force: true });
  }

  async #createNode(id: string): Promise<ChaosNode> {
    const port = await freePort();
    const filters = this.#options.filters?.(id) ?? {};
    const link = (targetPort: number, createFilter?: () => LinkFilter): Promise<FaultyLink> =>
      FaultyLink.listen({
        targetPort,
        ...(createFilter === undefined ? {} : { createFilter }),
      });
    return {
      ...{ id, port, child: null },
      http: await link(port, filters.http),
      nats: await Promise.all(this.nats.servers.map(({ port: to }) => link(to, filters.nats))),
      mongo: await link(this.mongod.port),
    };
  }
}

async function copyProduct(product: string, folder: string): Promise<void> {
  await cp(product, join(folder, "dist"), { recursive: true });
  await cp(join(ROOT, "package.json"), join(folder, "package.json"));
  await symlink(join(ROOT, "node_modules"), join(folder, "node_modules"));
}

/** Null unless it answers 200 in time. */
async function getJson(url: string): Promise<unknown> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(ASK_LIMIT_MS) });
    const body: unknown = await response.json();
    return response.status === 200 ? body : null;
  } catch {
    return null;
  }
}
