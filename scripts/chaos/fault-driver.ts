/**
 * Does the faults of a plan to a cluster and undoes each when its time is over. Counts what really happened, which is
 * less than the plan when a node was down already. Invariant: once `finish` has resolved, every fault is undone.
 */

import { controlStream } from "../../src/control-plane/nats-kv-control-store.ts";
import type { TestNatsServer } from "../../test/support/nats-server.ts";
import { type ChaosCluster, type ChaosNode, CLUSTER_NAME } from "./chaos-cluster.ts";
import { type Fault, type FaultKind, textOfFault } from "./fault-plan.ts";
import type { FaultyLink } from "./faulty-link.ts";
import { hasCrashed, lastLinesOf } from "./node-end.ts";

export interface FaultDriverOptions {
  readonly cluster: ChaosCluster;
  readonly losses: AckLosses;
  /** Told as it happens. */
  readonly onEvent: (text: string) => void;
  /** What a fault brought to light by itself: a stop that was not orderly. */
  readonly onWrong: (text: string) => void;
}

/** Figures of a run beyond the counts of each kind. */
export interface FaultFigures {
  ownerKills: number;
  pausesPastLease: number;
  natsRestarts: number;
  mongoRestarts: number;
  orderlyStops: number;
  /** Of leaders of streams. */
  stepDowns: number;
}

/** Acknowledgements that are to get lost, by node: skip some, then lose some. */
export class AckLosses {
  readonly #publish: Map<string, Loss> = new Map();
  readonly #http: Map<string, Loss> = new Map();
  lostPublishAcks = 0;
  lostHttpAnswers = 0;

  arm(
    kind: "publish" | "http",
    node: string,
    loss: { readonly skip: number; readonly lose: number },
  ): void {
    const losses = kind === "publish" ? this.#publish : this.#http;
    losses.set(node, { ...loss });
  }

  disarm(): void {
    this.#publish.clear();
    this.#http.clear();
  }

  /** Acknowledgements of entries of a log only, not of the control store's. */
  isPublishAckLost(node: string, stream: string): boolean {
    if (!stream.includes("_LOG_") || !take(this.#publish.get(node))) return false;
    this.lostPublishAcks++;
    return true;
  }

  isHttpAnswerLost(node: string): boolean {
    if (!take(this.#http.get(node))) return false;
    this.lostHttpAnswers++;
    return true;
  }
}

interface Loss {
  skip: number;
  lose: number;
}

function take(loss: Loss | undefined): boolean {
  if (loss === undefined || loss.lose === 0) return false;
  if (loss.skip > 0) {
    loss.skip--;
    return false;
  }
  loss.lose--;
  return true;
}

const MONGO_COMMANDS: readonly string[] = ["update", "insert", "find", "findAndModify"];
/** HostUnreachable, WriteConcernFailed, InterruptedAtShutdown, NotWritablePrimary. */
const MONGO_ERRORS: readonly number[] = [6, 64, 11600, 10107];

export class FaultDriver {
  readonly #options: FaultDriverOptions;
  readonly #leaseTtlMs: number;
  readonly counts: Map<FaultKind, number> = new Map();
  readonly figures: FaultFigures = {
    ...{ ownerKills: 0, pausesPastLease: 0, natsRestarts: 0, mongoRestarts: 0, orderlyStops: 0 },
    stepDowns: 0,
  };
  readonly #running: Set<Promise<void>> = new Set();
  /** What a fault is being done to: a node's id, "nats", "mongo", a link. */
  readonly #busy: Set<string> = new Set();
  #skipped = 0;

  constructor(options: FaultDriverOptions, leaseTtlMs: number) {
    this.#options = options;
    this.#leaseTtlMs = leaseTtlMs;
  }

  get skipped(): number {
    return this.#skipped;
  }

  /** Does the plan in its time; resolves when the last fault has begun, or when `isOver` says so. */
  async run(plan: readonly Fault[], isOver: () => boolean): Promise<void> {
    const startMs = performance.now();
    for (const fault of plan) {
      await pause(startMs + fault.atMs - performance.now());
      if (isOver()) return;
      this.#begin(fault);
    }
  }

  /** Resolves when every fault that was begun is undone. */
  async finish(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
    this.#options.losses.disarm();
  }

  #begin(fault: Fault): void {
    const targets = this.#targetsOf(fault);
    if (targets.some((target) => this.#busy.has(target))) {
      this.#skipped++;
      return;
    }
    for (const target of targets) this.#busy.add(target);
    this.counts.set(fault.kind, (this.counts.get(fault.kind) ?? 0) + 1);
    this.#options.onEvent(textOfFault(fault));
    const done = this.#do(fault)
      .catch((error: unknown) => this.#options.onWrong(`${textOfFault(fault)}: ${error}`))
      .finally(() => {
        for (const target of targets) this.#busy.delete(target);
        this.#running.delete(done);
      });
    this.#running.add(done);
  }

  #targetsOf({ kind, node, link }: Fault): readonly string[] {
    if (kind.startsWith("link-")) return [`${link} of ${node}`];
    if (kind === "kill-all" || kind === "rolling-restart") {
      return this.#options.cluster.nodes.map(({ id }) => id);
    }
    // Whatever else is under way.
    if (kind.startsWith("nats-step-down")) return [];
    if (kind.startsWith("nats-")) return ["nats"];
    if (kind.startsWith("mongo-")) return ["mongo"];
    return kind.startsWith("lost-") || node === "" ? [] : [node];
  }

  async #do(fault: Fault): Promise<void> {
    const { cluster, losses } = this.#options;
    const { kind, node: id, durationMs, times, variant } = fault;
    const node = id === "" ? null : cluster.node(id);
    if (kind.startsWith("nats-")) return await this.#nats(fault);
    if (kind.startsWith("mongo-")) return await this.#mongo(fault);
    if (node !== null && kind.startsWith("link-")) {
      const links = [node[fault.link]].flat();
      await Promise.all(links.map((link) => spoil(link, fault)));
      return;
    }
    if (kind === "kill-all") {
      await Promise.all(cluster.nodes.map((one) => this.#kill(one, durationMs)));
    } else if (kind === "rolling-restart") {
      for (const one of cluster.nodes) await this.#stop(one, 0);
    } else if (kind === "lost-publish-acks") {
      losses.arm("publish", id, { skip: variant % 20, lose: times });
    } else if (kind === "lost-http-answers") {
      losses.arm("http", id, { skip: variant % 20, lose: times });
    } else if (kind === "rebalance") {
      await this.#ask("/cluster/rebalance");
    } else if (node === null) {
      throw new Error(`${kind} needs a node`);
    } else if (kind === "drain") {
      await this.#ask(`/cluster/nodes/${id}/drain`);
    } else if (kind === "kill") {
      await this.#kill(node, durationMs);
    } else if (kind === "stop") {
      await this.#stop(node, durationMs);
    } else {
      await this.#freeze(node, durationMs);
    }
  }

  async #kill(node: ChaosNode, downMs: number): Promise<void> {
    if (await this.#isOwner(node)) this.figures.ownerKills++;
    await node.child?.kill();
    await pause(downMs);
    this.#options.cluster.startNode(node);
  }

  async #stop(node: ChaosNode, downMs: number): Promise<void> {
    const { child } = node;
    const isOrderly = await this.#options.cluster.stopNode(node);
    if (isOrderly) this.figures.orderlyStops++;
    // SIGTERM itself ends a node that has only begun to start.
    else this.#options.onEvent(`stop of ${node.id} ended it with ${child?.how}`);
    if (child !== null && hasCrashed(child.output)) {
      const lines = lastLinesOf(child.output).join("\n");
      this.#options.onWrong(`${node.id} crashed after SIGTERM: ${lines}`);
    }
    if (child?.how === "SIGKILL") {
      this.#options.onWrong(`${node.id} did not end within its time after SIGTERM`);
    }
    await pause(downMs);
    this.#options.cluster.startNode(node);
  }

  async #freeze(node: ChaosNode, durationMs: number): Promise<void> {
    const { child } = node;
    if (child?.isRunning !== true) return;
    const isPastLease = durationMs > this.#leaseTtlMs;
    if (isPastLease && (await this.#isOwner(node))) this.figures.pausesPastLease++;
    child.freeze();
    await pause(durationMs);
    child.thaw();
  }

  async #nats(fault: Fault): Promise<void> {
    const { kind, durationMs } = fault;
    if (kind === "nats-step-down-log" || kind === "nats-step-down-control") {
      return await this.#stepDown(fault);
    }
    if (kind === "nats-full") return await this.#fillDisk(durationMs);
    const server = await this.#natsServer(fault);
    if (kind === "nats-pause") {
      server.pause();
      await pause(durationMs);
      return server.resume();
    }
    await (kind === "nats-kill" ? server.kill() : server.stop());
    await pause(durationMs);
    await server.restart();
    this.figures.natsRestarts++;
  }

  async #fillDisk(durationMs: number): Promise<void> {
    const { disk, servers } = this.#options.cluster.nats;
    const [first] = servers;
    if (disk === null || first === undefined) throw new Error("there is no small disk");
    await disk.fill();
    await pause(durationMs);
    await disk.free();
    // As docs/operating.md says: room alone does not make it answer again.
    await first.stop();
    await first.restart();
  }

  /** Of several mostly the one that leads the log of a node: who fails there hurts most. */
  async #natsServer({ variant }: Fault): Promise<TestNatsServer> {
    const { nats } = this.#options.cluster;
    const any = nats.servers[variant % nats.size] as TestNatsServer;
    if (nats.size === 1 || variant % 4 === 0) return any;
    try {
      return (await nats.leaderOf(await this.#log(variant))) ?? any;
    } catch {
      return any;
    }
  }

  async #stepDown({ kind, variant }: Fault): Promise<void> {
    const { nats } = this.#options.cluster;
    try {
      const isLog = kind === "nats-step-down-log";
      const stream = isLog ? await this.#log(variant) : controlStream(CLUSTER_NAME);
      await nats.stepDown(stream);
      this.figures.stepDowns++;
    } catch (error) {
      // It has no leader at the moment: so much the worse for the nodes, but not this fault.
      this.#options.onEvent(`${kind} came to nothing: ${error}`);
    }
  }

  async #log(variant: number): Promise<string> {
    const { nats, nodes } = this.#options.cluster;
    const logs = await nats.latestLogs(nodes.length);
    return logs[variant % logs.length] ?? "";
  }

  async #mongo({ kind, durationMs, times, variant }: Fault): Promise<void> {
    const { mongod } = this.#options.cluster;
    if (kind === "mongo-pause") {
      mongod.pause();
      await pause(durationMs);
      return mongod.resume();
    }
    if (kind === "mongo-kill") {
      await mongod.kill();
      await pause(durationMs);
      await mongod.restart();
      this.figures.mongoRestarts++;
      return;
    }
    await mongod.command({
      configureFailPoint: "failCommand",
      mode: { times: times * 3 },
      data: { failCommands: MONGO_COMMANDS, ...mongoFailure(variant) },
    });
  }

  async #isOwner({ id }: ChaosNode): Promise<boolean> {
    const view = await this.#options.cluster.view();
    return view?.owners.some(({ node }) => node === id) === true;
  }

  /** An operator's request to some node; whether it is taken is not the point. */
  async #ask(path: string): Promise<void> {
    for (const { port, child } of this.#options.cluster.nodes) {
      if (child?.isRunning !== true || child.isFrozen) continue;
      try {
        const response = await fetch(`http://127.0.0.1:${port}${path}`, {
          method: "POST",
          signal: AbortSignal.timeout(2000),
        });
        await response.arrayBuffer();
        if (response.status < 500) return;
      } catch {
        // The next one, or nobody.
      }
    }
  }
}

function mongoFailure(variant: number): Readonly<Record<string, unknown>> {
  const which = variant % 3;
  if (which === 0) return { closeConnection: true };
  if (which === 1) {
    // The write is done; only its acknowledgement by the majority is said to have failed.
    return { writeConcernError: { code: 64, errmsg: "waiting for replication timed out" } };
  }
  return { errorCode: MONGO_ERRORS[variant % MONGO_ERRORS.length] };
}

async function spoil(
  link: FaultyLink,
  { kind, durationMs, direction, variant }: Fault,
): Promise<void> {
  if (kind === "link-break") return link.breakAll();
  if (kind === "link-cut") link.cut();
  else if (kind === "link-delay") link.delay(20 + (variant % 600));
  else if (kind === "link-slow") link.slow(2000 + variant * 40);
  else if (kind === "link-hold") link.hold(direction);
  else link.lose(direction);
  await pause(durationMs);
  link.heal();
}

async function pause(ms: number): Promise<void> {
  if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms));
}
