/**
 * A cluster of real processes for tests: one nats-server (synced always), one mongod, nodes by name. Each is started,
 * frozen, killed and started again by its own pid; `dispose` leaves nothing behind.
 */

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { freePort } from "../../scripts/free-port.ts";
import { DomainNames } from "../../src/cli/load/domain-names.ts";
import type { LoadEngine } from "../../src/cli/load/load-engine.ts";
import { type LoadRunOptions, type LoadRunResult, runLoad } from "../../src/cli/load/load-run.ts";
import { hash32 } from "../../src/model/hash32.ts";
import { partitionOf } from "../../src/model/partition-id.ts";
import { freeze } from "./freeze.ts";
import { TestMongod } from "./mongod.ts";
import { TestNatsServer } from "./nats-server.ts";
import { NodeProcess } from "./node-process.ts";

export const PARTITIONS = 64;
export const LEASE_TTL_MS = 2000;
const POLL_MS = 25;
const READY_TIMEOUT_MS = 30_000;
const REQUEST_LIMIT_MS = 15_000;

export interface Owner {
  readonly partition: number;
  readonly node: string;
  readonly epoch: number;
  readonly state: string;
}

export interface ClusterAnswer {
  readonly nodes: readonly {
    readonly id: string;
    readonly incarnation: number;
    readonly state: string;
    readonly partitionsOwned: number;
    readonly checkpointAgeMs: number | null;
    readonly walLagEvents: number;
  }[];
  readonly owners: readonly Owner[];
  readonly handoffs: readonly unknown[];
}

export interface EndedMoves {
  readonly state: string;
  readonly total: number;
  readonly bytes: number;
}

export interface Answer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: what a server says is looked at field by field.
  readonly body: any;
  readonly headers: Headers;
}

export interface Counted {
  readonly delivered: number;
  readonly bounced: number;
  readonly status: string;
}

export interface ClusterRigOptions {
  readonly nodes?: readonly string[];
  readonly flags?: readonly string[];
  readonly leaseTtlMs?: number;
  /** Folder for everything that is stored; default: the system's for temporary files. */
  readonly parent?: string;
  /** `sync_interval` of nats-server. */
  readonly natsSync?: string;
}

export interface StartOptions {
  /** Default: the name under which the rig knows it. */
  readonly nodeId?: string;
  readonly flags?: readonly string[];
  readonly readyTimeoutMs?: number;
}

export class ClusterRig {
  readonly nats: TestNatsServer;
  readonly mongod: TestMongod;
  readonly #folder: string;
  readonly #options: ClusterRigOptions;
  readonly #ports: Map<string, number> = new Map();
  readonly #nodes: Map<string, NodeProcess> = new Map();
  /** Not ready yet. */
  readonly #starting: Set<NodeProcess> = new Set();
  readonly #expected: number;
  /** Ends what this process has started when it is ended itself. */
  readonly #onExit = (): void => {
    for (const { pid } of this.#processes) sendSignal(pid, "SIGKILL");
  };

  private constructor(
    servers: { readonly nats: TestNatsServer; readonly mongod: TestMongod },
    folder: string,
    options: ClusterRigOptions,
  ) {
    this.nats = servers.nats;
    this.mongod = servers.mongod;
    this.#folder = folder;
    this.#options = options;
    this.#expected = options.nodes?.length ?? 3;
    process.once("exit", this.#onExit);
  }

  /** Resolves when every node is ready and every partition is open. */
  static async start(options: ClusterRigOptions = {}): Promise<ClusterRig> {
    const parent = options.parent ?? tmpdir();
    const sync = options.natsSync ?? "always";
    const [nats, mongod] = await Promise.all([
      TestNatsServer.start({ sync, parent }),
      TestMongod.start({ parent }),
    ]);
    const folder = await mkdtemp(join(parent, "catchall-cluster-"));
    const rig = new ClusterRig({ nats, mongod }, folder, options);
    try {
      await rig.startNodes(options.nodes ?? ["n1", "n2", "n3"]);
      await rig.allOpen();
    } catch (error) {
      await rig.dispose();
      throw error;
    }
    return rig;
  }

  /** Starts a node, or one again on its former port. Resolves when it is ready. */
  async startNode(id: string, options: StartOptions = {}): Promise<NodeProcess> {
    const port = this.#ports.get(id) ?? (await freePort());
    this.#ports.set(id, port);
    const node = NodeProcess.spawn({
      port,
      dataDir: join(this.#folder, id),
      flags: [
        ...[
          "--node-id",
          options.nodeId ?? id,
          "--nats-url",
          this.nats.url,
          "--mongo-url",
          this.mongod.url,
        ],
        ...["--nats-monitor-url", this.nats.monitorUrl],
        ...(options.flags?.includes("--partitions") === true
          ? []
          : ["--partitions", String(PARTITIONS)]),
        ...["--lease-ttl", `${this.#options.leaseTtlMs ?? LEASE_TTL_MS}ms`],
        ...["--expect-nodes", String(this.#expected), "--checkpoint-interval", "1s"],
        ...(this.#options.flags ?? []),
        ...(options.flags ?? []),
      ],
    });
    this.#starting.add(node);
    try {
      await node.ready(options.readyTimeoutMs ?? READY_TIMEOUT_MS);
      this.#nodes.set(id, node);
    } finally {
      this.#starting.delete(node);
    }
    return node;
  }

  /** Starts nodes together; when one fails, only after all others have started as well, so that none is forgotten. */
  async startNodes(ids: readonly string[]): Promise<void> {
    const starts = await Promise.allSettled(ids.map((id) => this.startNode(id)));
    const failures = starts.flatMap((start) => (start.status === "rejected" ? [start.reason] : []));
    if (failures.length > 0) throw new Error(failures.map(String).join("\n"));
  }

  node(id: string): NodeProcess {
    const node = this.#nodes.get(id);
    assert.ok(node !== undefined, `${id} runs`);
    return node;
  }

  url(id: string): string {
    return `http://127.0.0.1:${this.#ports.get(id)}`;
  }

  /** Nodes that run, in the order of their first start. */
  get running(): readonly string[] {
    return [...this.#nodes.keys()].filter((id) => this.#nodes.get(id)?.isRunning === true);
  }

  /** Of every server and node, also of those that only begin to start. */
  get pids(): readonly number[] {
    const servers = [this.nats.pid, this.mongod.pid].filter((pid) => pid !== 0);
    return [...this.#processes.map(({ pid }) => pid), ...servers];
  }

  get #processes(): readonly NodeProcess[] {
    return [...this.#nodes.values(), ...this.#starting].filter(({ isRunning }) => isRunning);
  }

  /** kill -9 of every server and node, also of those that only begin to start. */
  async killAll(): Promise<void> {
    const nodes = this.#processes.map((node) => node.kill());
    await Promise.all([this.nats.kill(), this.mongod.kill(), ...nodes]);
  }

  async kill(id: string): Promise<void> {
    await this.node(id).kill();
  }

  /** SIGTERM; resolves to the exit code. */
  async stop(id: string): Promise<number | null> {
    return await this.node(id).stop();
  }

  freeze(id: string): void {
    freeze(this.node(id).pid);
  }

  thaw(id: string): void {
    sendSignal(this.node(id).pid, "SIGCONT");
  }

  async dispose(): Promise<void> {
    process.removeListener("exit", this.#onExit);
    for (const node of this.#processes) await node.kill();
    await Promise.all([this.nats.dispose(), this.mongod.dispose()]);
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** Errors: no connection, or no answer in time. */
  async ask(id: string, method: string, path: string, body?: unknown): Promise<Answer> {
    return await this.send(id, method, path, body === undefined ? {} : { body });
  }

  async send(
    id: string,
    method: string,
    path: string,
    options: { readonly body?: unknown; readonly headers?: Readonly<Record<string, string>> },
  ): Promise<Answer> {
    const { body, headers } = options;
    const response = await fetch(`${this.url(id)}${path}`, {
      method,
      headers: {
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(REQUEST_LIMIT_MS),
    });
    const text = await response.text();
    const isJson = response.headers.get("content-type")?.includes("json") === true;
    const parsed = isJson && text !== "" ? JSON.parse(text) : text;
    return { status: response.status, body: parsed, headers: response.headers };
  }

  async cluster(id: string = this.running[0] ?? ""): Promise<ClusterAnswer> {
    const { status, body } = await this.ask(id, "GET", "/cluster");
    assert.equal(status, 200, JSON.stringify(body));
    return body as ClusterAnswer;
  }

  /** Resolves when every partition is open at a living node, to what `/cluster` says then. */
  async allOpen(limitMs: number = 20_000): Promise<ClusterAnswer> {
    return await until(`every partition is open`, limitMs, () => this.ifAllOpen());
  }

  /** What `/cluster` says when every partition is open at a living node, else null. */
  async ifAllOpen(): Promise<ClusterAnswer | null> {
    const answer = await this.cluster();
    const running = new Set(this.running);
    const isAlive = answer.owners.every(({ node }) => running.has(node));
    return isAlive && isAllOpen(answer) ? answer : null;
  }

  /** Resolves when the moves of a rebalance or drain have ended, to what `id` says of them then. */
  async movesEnded(id: string, rebalance: string, limitMs: number): Promise<EndedMoves> {
    return await until("the moves have ended", limitMs, async () => {
      const { status, body } = await this.ask(id, "GET", `/cluster/rebalances/${rebalance}`);
      return status === 200 && body.state !== "running" ? (body as EndedMoves) : null;
    });
  }

  /** One domain of every partition, by partition; another set for every `salt`. */
  domainsByPartition(salt: string): readonly string[] {
    const domains: string[] = [];
    for (let i = 0, found = 0; found < PARTITIONS; i++) {
      const domain = `${salt}${i}.example`;
      const bytes = Buffer.from(domain);
      const partition = partitionOf(hash32(bytes, 0, bytes.length), PARTITIONS);
      if (domains[partition] !== undefined) continue;
      domains[partition] = domain;
      found++;
    }
    return domains;
  }

  /** Milliseconds until one event for every partition has been acknowledged through `id`, each counted once. */
  async answersAgain(id: string, domains: readonly string[], limitMs: number): Promise<number> {
    const startMs = performance.now();
    const headers = { "idempotency-key": `again-${startMs}` };
    await Promise.all(
      domains.map((domain) =>
        until(`${domain} takes events`, limitMs, async () => {
          const { status } = await this.send(id, "PUT", `/events/${domain}/delivered`, { headers });
          return status === 204 ? true : null;
        }),
      ),
    );
    return performance.now() - startMs;
  }

  async counted(id: string, domains: readonly string[]): Promise<readonly Counted[]> {
    const { status, body } = await this.ask(id, "POST", "/domains/lookup", { domains });
    assert.equal(status, 200, JSON.stringify(body));
    return body.results.map(({ delivered, bounced, status: name }: Counted) => {
      return { delivered, bounced, status: name };
    });
  }

  /** A small reproducible load on `ids`; verified through the first of them. */
  async load(
    ids: readonly string[],
    options: Partial<LoadRunOptions> & { readonly seed: number },
    onStart?: (engine: LoadEngine) => void,
  ): Promise<LoadRunResult> {
    const defaults: LoadRunOptions = {
      ...{ url: ids.map((id) => this.url(id)).join(","), token: null, mix: "uniform" },
      ...{ seed: 1, domains: 300, isKeyed: false, events: 3000, durationMs: Infinity },
      ...{ warmupMs: 0, connections: 24, bulk: 0, rate: 0, requestTimeoutMs: 30_000 },
      ...{ reconnectTimeoutMs: 30_000, isVerifying: true },
    };
    return await runLoad({ ...defaults, ...options }, onStart);
  }

  /** A load that goes on while `work` runs, and a little before and after. */
  async loadDuring<T>(
    ids: readonly string[],
    options: Partial<LoadRunOptions> & { readonly seed: number },
    work: (engine: LoadEngine) => Promise<T>,
  ): Promise<{ readonly result: LoadRunResult; readonly value: T }> {
    let started: (engine: LoadEngine) => void = () => undefined;
    const engineOf = new Promise<LoadEngine>((resolve) => {
      started = resolve;
    });
    const settings = { rate: 200, connections: 16, events: Infinity, ...options };
    const running = this.load(ids, settings, (engine) => started(engine));
    const engine = await Promise.race([engineOf, running.then(() => assert.fail("ended early"))]);
    let value: T;
    try {
      await until("the load flows", 10_000, async () => (engine.ackedSoFar > 100 ? true : null));
      value = await work(engine);
      const before = engine.ackedSoFar;
      await until("the load flows", 20_000, async () =>
        engine.ackedSoFar > before + 200 ? true : null,
      );
    } finally {
      engine.stop();
    }
    return { result: await running, value };
  }

  /** The first domains that a load with this seed uses. */
  domainsOfLoad(seed: number, count: number): readonly string[] {
    const names = new DomainNames(seed);
    return Array.from({ length: count }, (_, i) => names.nameOf(i));
  }

  /** Every node that runs says the same of the domains of a load. */
  async sameEverywhere(seed: number, domainCount: number): Promise<void> {
    const domains = this.domainsOfLoad(seed, domainCount);
    const [first = "", ...others] = this.running;
    const expected = await this.counted(first, domains);
    for (const id of others) assert.deepEqual(await this.counted(id, domains), expected, id);
  }
}

/** What `/cluster` says of whether every partition is open. */
export interface OpenView {
  readonly nodes: readonly { readonly id: string; readonly partitionsOwned: number }[];
  readonly owners: readonly { readonly node: string; readonly state: string }[];
  readonly handoffs: readonly unknown[];
}

/** Every partition is open at the latest life of its owner, and none is on its way. */
export function isAllOpen({ nodes, owners, handoffs }: OpenView): boolean {
  // A former life of a node that runs again may still be what owns ranges.
  const isNow = nodes.every(
    (row) => row.partitionsOwned === 0 || row === nodes.findLast(({ id }) => id === row.id),
  );
  return isNow && handoffs.length === 0 && owners.every(({ state }) => state === "open");
}

/** Nothing lost, nothing doubled, nothing given up. */
export function assertExact({ outcome, verification }: LoadRunResult): void {
  assert.ok(verification !== null, "verified");
  const { lost, doubled, wrongStatuses, wrongDomains, firstWrong } = verification;
  assert.deepEqual(firstWrong, []);
  assert.deepEqual({ lost, doubled, wrongStatuses, wrongDomains }, ALL_WELL);
  const { given_up: givenUp, bad_answer: badAnswer } = outcome.errors;
  assert.deepEqual([givenUp, badAnswer], [undefined, undefined], JSON.stringify(outcome.errors));
}

const ALL_WELL = { lost: 0, doubled: 0, wrongStatuses: 0, wrongDomains: 0 };

/** Polls until `attempt` gives something; an attempt that throws is tried again. */
export async function until<T>(
  what: string,
  limitMs: number,
  attempt: () => Promise<T | null>,
): Promise<T> {
  const giveUpMs = performance.now() + limitMs;
  let failure: unknown = null;
  for (;;) {
    try {
      const value = await attempt();
      if (value !== null) return value;
      failure = null;
    } catch (error) {
      failure = error;
    }
    if (performance.now() > giveUpMs) {
      throw new Error(`Not within ${limitMs} ms: ${what}`, { cause: failure });
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** For a time that a test must let pass: a lease, an outage. */
export async function pass(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended.
  }
}
