/**
 * A whole cluster as processes of this machine: servers, nodes, balancer. It starts them in order, restarts nothing
 * unless told to, and stops them in order: nodes (they hand over and commit), balancer, mongod, nats-server.
 * Invariant: when `stop` has resolved, no process of it is left; also when the start failed half-way.
 */

import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { bindOnce } from "../free-port.ts";
import { findMongod, findNatsServer } from "../servers.ts";
import { type Addresses, chooseAddresses, choosePort, LOOPBACK } from "./addresses.ts";
import { type Child, Reaper } from "./child.ts";
import type { ProxyServer } from "./configuration.ts";
import { ControlServer, readState, writeState } from "./control.ts";
import type { LaunchOptions } from "./launch-options.ts";
import {
  type ChildBase,
  createHaproxyChild,
  createMongod,
  createNats,
  createNode,
  isMongodReady,
  isNatsReady,
  isNodeReady,
  waitUntilReady,
} from "./processes.ts";
import { type ClusterProxy, findHaproxy, startBuiltinProxy, startHaproxy } from "./proxy.ts";

const SERVER_LIMIT_MS = 60_000;
const NODE_LIMIT_MS = 60_000;
/** Longer than the nodes' own limit for an orderly stop. */
const NODE_GRACE_MS = 40_000;
const SERVER_GRACE_MS = 20_000;

export interface LocalClusterOptions extends LaunchOptions {
  /** Folder of the project. */
  readonly root: string;
  /** Program and first arguments of `catchall`. */
  readonly nodeCommand: readonly string[];
  readonly say: (line: string) => void;
  /** `down` was asked for from another terminal. */
  readonly onDown: () => void;
}

export class LocalCluster {
  readonly #options: LocalClusterOptions;
  readonly #reaper: Reaper = new Reaper();
  readonly #isNewData: boolean;
  readonly #nodes: { readonly child: Child; readonly port: number }[] = [];
  #addresses: Addresses = { nats: [], mongoPort: 0, nodePorts: [] };
  #nats: Child[] = [];
  #mongod: Child | null = null;
  #proxy: ClusterProxy | null = null;
  #control: ControlServer | null = null;
  #stopping: Promise<void> | null = null;
  #isForced = false;

  private constructor(options: LocalClusterOptions) {
    this.#options = options;
    this.#isNewData = readState(options.dataDir) === null;
  }

  /** Resolves when clients can use it. Errors: what did not start, and why; nothing is left running then. */
  static async start(
    options: LocalClusterOptions,
    onCreated: (cluster: LocalCluster) => void = () => undefined,
  ): Promise<LocalCluster> {
    const cluster = new LocalCluster(options);
    onCreated(cluster);
    try {
      await cluster.#start();
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  get port(): number {
    return this.#proxy?.port ?? 0;
  }

  get addresses(): Addresses {
    return this.#addresses;
  }

  get proxyKind(): string {
    return this.#proxy?.kind ?? "none";
  }

  get nodes(): readonly { readonly id: string; readonly port: number; readonly pid: number }[] {
    return this.#nodes.map(({ child, port }) => ({ id: child.name, port, pid: child.pid ?? 0 }));
  }

  /** Every process, the reaper too. */
  get pids(): readonly number[] {
    const running = this.#children().flatMap(({ pid }) => (pid === null ? [] : [pid]));
    return [...running, this.#reaper.pid];
  }

  /** One command from another terminal; what it answers. Errors: it can't be done. */
  async command(words: readonly string[]): Promise<string> {
    const [command, name] = words;
    if (command === "status") return this.#status();
    if (command === "join") return await this.#join();
    if (command === "down") {
      setImmediate(this.#options.onDown);
      return "The cluster stops";
    }
    const child = this.#children().find((each) => each.name === name);
    if (child === undefined) {
      const names = this.#children().map((each) => each.name);
      throw new Error(`There is no "${name}"; there are ${names.join(", ")}`);
    }
    return await this.#apply(command ?? "", child);
  }

  /** Repeatable. A second call with `isForced` kills what is left. */
  async stop(isForced = false): Promise<void> {
    if (isForced) {
      this.#isForced = true;
      await Promise.all(this.#children().map((child) => child.kill()));
    }
    this.#stopping ??= this.#stopInOrder();
    await this.#stopping;
  }

  async #start(): Promise<void> {
    const { dataDir, say } = this.#options;
    mkdirSync(dataDir, { recursive: true });
    this.#control = await ControlServer.open(dataDir, (words) => this.command(words));
    const [natsServer, mongod] = await Promise.all([findNatsServer(), findMongod()]);
    this.#addresses = await this.#chooseAddresses();
    writeState(dataDir, { pid: process.pid, addresses: this.#addresses });
    if (!this.#isNewData) say(`Goes on with the data in ${dataDir}`);
    await this.#startServers(natsServer, mongod);
    const { nodes, port } = this.#options;
    const ids = Array.from({ length: nodes }, (_, index) => `n${index + 1}`);
    await Promise.all(ids.map((id, index) => this.#startNode(id, this.#nodePort(index))));
    this.#proxy = await this.#startProxy(port === 0 ? await choosePort(0, new Set()) : port);
  }

  /** What was chosen before, if its data is there. */
  async #chooseAddresses(): Promise<Addresses> {
    const { dataDir, nodes, port, replicas } = this.#options;
    if (port !== 0 && (await bindOnce(LOOPBACK, port)) === null) {
      throw new Error(`Port ${port} is taken: choose another with --port`);
    }
    const fresh = await chooseAddresses({ nats: replicas, nodes, port });
    const known = readState(dataDir)?.addresses;
    if (known === undefined) return fresh;
    if ((await bindOnce(LOOPBACK, known.mongoPort)) === null) {
      throw new Error(`Port ${known.mongoPort} is taken: the MongoDB of ${dataDir} needs it`);
    }
    return { ...fresh, mongoPort: known.mongoPort };
  }

  #nodePort(index: number): number {
    return this.#addresses.nodePorts[index] ?? 0;
  }

  #base(): ChildBase {
    const { root, dataDir, say } = this.#options;
    return {
      ...{ cwd: root, dataDir, reaper: this.#reaper },
      onEnded: (child, how) => {
        if (this.#stopping !== null) return;
        say(`${child.name} ended (${how}); again: npm run cluster -- start ${child.name}`);
      },
    };
  }

  async #startServers(natsServer: string, mongod: string): Promise<void> {
    this.#nats = createNats(this.#base(), natsServer, this.#addresses);
    this.#mongod = createMongod(this.#base(), mongod, this.#addresses);
    const servers = [...this.#nats, this.#mongod];
    await Promise.all(servers.map((child) => this.#run(child)));
  }

  /** Starts it and waits until it can be used. */
  async #run(child: Child): Promise<void> {
    if (this.#stopping !== null) throw new Error("Stopped");
    await child.start();
    const nats = this.#addresses.nats[this.#nats.indexOf(child)];
    const node = this.#nodes.find((each) => each.child === child);
    let isReady = () => isMongodReady(this.#addresses);
    if (nats !== undefined) isReady = () => isNatsReady(nats);
    if (node !== undefined) isReady = () => isNodeReady(node.port, this.#isTls);
    const limitMs = node === undefined ? SERVER_LIMIT_MS : NODE_LIMIT_MS;
    await waitUntilReady(child, isReady, limitMs, () => this.#stopping !== null);
  }

  async #startNode(id: string, port: number): Promise<void> {
    const { replicas, nodes, nodeCommand: command, nodeFlags: flags } = this.#options;
    const addresses = this.#addresses;
    const options = { id, port, addresses, replicas, expectNodes: nodes, command, flags };
    const child = createNode(this.#base(), options);
    this.#nodes.push({ child, port });
    await this.#run(child);
  }

  async #startProxy(port: number): Promise<ClusterProxy> {
    const { proxy: wanted, dataDir, say } = this.#options;
    const program = wanted === "builtin" ? null : findHaproxy(process.env);
    if (program === null && wanted === "haproxy") throw new Error("There is no haproxy in PATH");
    const servers = this.#servers();
    const options = { host: LOOPBACK, port, servers, isTls: this.#isTls, say };
    if (program === null) return await startBuiltinProxy(options);
    const createChild = (args: readonly string[]) => {
      const child = createHaproxyChild(this.#base(), program, args);
      this.#haproxy = child;
      return child;
    };
    return await startHaproxy({ ...options, file: join(dataDir, "haproxy.cfg"), createChild });
  }

  #haproxy: Child | null = null;

  #servers(): readonly ProxyServer[] {
    return this.#nodes.map(({ child, port }) => ({ id: child.name, host: LOOPBACK, port }));
  }

  get #isTls(): boolean {
    return this.#options.nodeFlags.some((flag) => flag.startsWith("--tls-cert="));
  }

  #children(): readonly Child[] {
    const nodes = this.#nodes.map(({ child }) => child);
    const others = [this.#haproxy, this.#mongod].filter((child) => child !== null);
    return [...nodes, ...others, ...this.#nats];
  }

  #status(): string {
    const lines = this.#children().map((child) => `${child.name.padEnd(8)} ${child.state}`);
    const behind = this.#proxy?.states().map((line) => `         ${line}`) ?? [];
    return [
      ...lines,
      `balancer http://${LOOPBACK}:${this.port} (${this.proxyKind})`,
      ...behind,
    ].join("\n");
  }

  async #join(): Promise<string> {
    if (this.#proxy === null) throw new Error("The cluster is starting");
    const numbers = this.#nodes.map(({ child }) => Number(child.name.slice(1)));
    const id = `n${Math.max(0, ...numbers) + 1}`;
    const taken = new Set([this.port, ...this.#nodes.map(({ port }) => port)]);
    const last = Math.max(this.port, ...this.#nodes.map(({ port }) => port));
    const port = await choosePort(last + 1, taken);
    await this.#startNode(id, port);
    this.#proxy.setServers(this.#servers());
    this.#options.say(`${id} has joined: http://${LOOPBACK}:${port}`);
    const url = `--url http://${LOOPBACK}:${this.port}`;
    return (
      `${id} has joined: http://${LOOPBACK}:${port}\n` +
      `It owns nothing yet, unless --auto-rebalance was given: npx catchall rebalance --watch ${url}`
    );
  }

  async #apply(command: string, child: Child): Promise<string> {
    const grace = this.#nodes.some((node) => node.child === child)
      ? NODE_GRACE_MS
      : SERVER_GRACE_MS;
    const stop = async () => {
      if (!(await child.stop(grace))) throw new Error(`${child.name} did not end, and was killed`);
    };
    const actions: Readonly<Record<string, () => Promise<void> | void>> = {
      start: () => this.#run(child),
      stop,
      restart: async () => {
        await stop();
        await this.#run(child);
      },
      kill: () => child.kill(),
      pause: () => child.pause(),
      resume: () => child.resume(),
    };
    const action = actions[command];
    if (action === undefined) throw new Error(`"${command}" is no command`);
    if (command !== "start" && command !== "restart" && !child.isRunning) {
      throw new Error(`${child.name} is not running`);
    }
    await action();
    const done = `${command} ${child.name}: done, now ${child.state}`;
    this.#options.say(done);
    return done;
  }

  async #stopInOrder(): Promise<void> {
    const { dataDir, keepsData, say } = this.#options;
    this.#control?.close();
    const end = async (children: readonly (Child | null)[], graceMs: number) => {
      await Promise.all(
        children.map(async (child) => {
          const isClean = (await child?.stop(graceMs)) ?? true;
          if (!isClean && !this.#isForced) say(`${child?.name} did not end, and was killed`);
        }),
      );
    };
    await end(
      this.#nodes.map(({ child }) => child),
      NODE_GRACE_MS,
    );
    await this.#proxy?.close();
    await end([this.#haproxy, this.#mongod], SERVER_GRACE_MS);
    await end(this.#nats, SERVER_GRACE_MS);
    await this.#reaper.close();
    // Data of an earlier run was kept on purpose, or is what a crash left: never removed.
    if (!keepsData && this.#isNewData && this.#control !== null) {
      rmSync(dataDir, { recursive: true, force: true });
    }
  }
}
