/**
 * One run of a simulated cluster from a seed: faults for a while, then healing within a bound, then a restart of all
 * nodes at once, and the counts read on every node.
 * Invariant: equal seeds and options give equal traces. `failures` empty means that no promise was seen broken.
 */

import { TABLE_KEY } from "../control-plane/control-store.ts";
import type { ControlTable } from "../model/ownership.ts";
import { DEFAULT_RULE } from "../model/status.ts";
import { type Logger, SILENT_LOGGER } from "../runtime/logger.ts";
import type { ClusterPorts, ClusterSettings } from "../server/assemble-cluster-node.ts";
import { LogChecker } from "./checkers/log-checker.ts";
import { OpenChecker } from "./checkers/open-checker.ts";
import { PageChecker } from "./checkers/page-checker.ts";
import { ReplayChecker } from "./checkers/replay-checker.ts";
import { TableChecker } from "./checkers/table-checker.ts";
import { CoordinatorWatch } from "./coordinator-watch.ts";
import { FaultDriver, type SimCluster } from "./fault-driver.ts";
import { DEFAULT_PLAN_OPTIONS, drawPlan, type FaultPlan, type PlanOptions } from "./fault-plan.ts";
import { EVENT_KINDS, Oracle } from "./oracle.ts";
import { SimChanges } from "./sim-changes.ts";
import { SimCheckpointStore } from "./sim-checkpoint-store.ts";
import { SimControlStore } from "./sim-control-store.ts";
import { type SimLife, SimMachine } from "./sim-life.ts";
import { SimMetrics } from "./sim-metrics.ts";
import { NEWER_FORMAT, SimNode, type StartNode } from "./sim-node.ts";
import { SimNodeLogs } from "./sim-node-logs.ts";
import { SimNetwork } from "./sim-transport.ts";
import { type Drain, type SimFailure, SimWorld } from "./sim-world.ts";
import { historyOf } from "./store-history.ts";
import { SimVersions } from "./versions.ts";
import { Workload } from "./workload.ts";

export interface SimulationOptions {
  readonly start: StartNode;
  /** `setImmediate` of the caller. */
  readonly drain: Drain;
  readonly plan?: PlanOptions;
  /** Keeps what nodes log, for a report. */
  readonly isVerbose?: boolean;
  /** True for nodes that store their status changes (I22). */
  readonly keepsChanges?: boolean;
}

export interface SimulationResult {
  readonly seed: number;
  readonly plan: FaultPlan;
  readonly traceHash: string;
  readonly failures: readonly SimFailure[];
  readonly statistics: Readonly<Record<string, number>>;
  /** The last steps, oldest first, and what nodes said. */
  readonly trace: readonly string[];
  readonly notes: readonly string[];
}

const POLL_MS = 1000;
/** Of the partitions of any two nodes: each has the mean, rounded up or down. */
const SHARES_APART_MAX = 1;
/** Of which the pages are compared, at least, where there are so many. */
const PARTITIONS_WITH_PAGES = 4;
const FINAL_READ_TRIES = 20;
const IDEMPOTENCY_WINDOW_MS = 600_000;

/** Runs one seed. Never rejects for a fault of the product: that is a failure in the result. */
export async function simulate(
  seed: number,
  options: SimulationOptions,
): Promise<SimulationResult> {
  const simulation = new Simulation(seed, options);
  await simulation.run();
  simulation.finish();
  return simulation.result();
}

class Simulation {
  readonly #world: SimWorld;
  readonly #plan: FaultPlan;
  readonly #options: SimulationOptions;
  readonly #cluster: SimCluster;
  readonly #logChecker: LogChecker;
  readonly #tableChecker: TableChecker;
  readonly #openChecker: OpenChecker;
  readonly #replayChecker: ReplayChecker;
  readonly #pageChecker: PageChecker;
  readonly #oracle: Oracle;
  readonly #workload: Workload;
  readonly #coordinators: CoordinatorWatch;
  readonly #faults: FaultDriver;
  #healedAfterMs = 0;
  #acknowledgedWithoutMongo = 0;
  #unready = 0;

  constructor(seed: number, options: SimulationOptions) {
    const world = new SimWorld(seed, options.drain);
    const plan = drawPlan(seed, options.plan ?? DEFAULT_PLAN_OPTIONS);
    const nodes: SimNode[] = [];
    this.#world = world;
    this.#plan = plan;
    this.#options = options;
    this.#openChecker = new OpenChecker(world, nodes, plan.partitions);
    this.#logChecker = new LogChecker(world);
    this.#tableChecker = new TableChecker({
      world,
      logs: this.#logChecker,
      openOf: (incarnation) => this.#openChecker.openOf(incarnation),
      lastOutage: () => this.#cluster.control.service.lastOutage,
      arePutsLate: plan.control.service.late > 0,
    });
    this.#replayChecker = new ReplayChecker({
      world,
      partitions: plan.partitions,
      rule: DEFAULT_RULE,
      windowMs: IDEMPOTENCY_WINDOW_MS,
    });
    // A sample of the partitions, another one with another seed.
    const stride = Math.ceil(plan.partitions / PARTITIONS_WITH_PAGES);
    this.#pageChecker = new PageChecker(
      world,
      (partition) => this.#replayChecker.createState(partition, () => undefined),
      (partition) => partition % stride === seed % stride,
    );
    const table = (): ControlTable | null => this.#tableChecker.table;
    this.#coordinators = new CoordinatorWatch(table);
    const history = historyOf([
      ...[this.#logChecker, this.#tableChecker, this.#replayChecker, this.#pageChecker],
      { recordPut: ({ key }) => (key === TABLE_KEY ? this.#faults.tableStored() : undefined) },
    ]);
    this.#cluster = {
      world,
      plan,
      nodes,
      logs: new SimNodeLogs(world, plan.log, history),
      control: new SimControlStore(world, plan.control, history),
      checkpoints: new SimCheckpointStore(world, plan.checkpoints, history),
      network: new SimNetwork(world, plan.network),
      changes: new SimChanges(world, plan.log, (told) => this.#replayChecker.checkTold(told)),
      ownership: { openOf: (incarnation) => this.#openChecker.openOf(incarnation), table },
      versions: new SimVersions(world.random("versions")),
    };
    const { versions, control, checkpoints } = this.#cluster;
    if (plan.families.includes("upgrade")) {
      control.versions = versions;
      checkpoints.versions = versions;
    }
    this.#cluster.logs.logBytesMax = plan.logBytesMax ?? Number.POSITIVE_INFINITY;
    for (const [index, clock] of plan.clocks.entries()) {
      nodes.push(this.#createNode(new SimMachine(world, index, clock)));
    }
    this.#oracle = new Oracle(world);
    this.#oracle.onAcked = (sentMs) => this.#countWithoutMongo(sentMs);
    this.#workload = new Workload({ world, plan, nodes, oracle: this.#oracle });
    const faults = new FaultDriver(this.#cluster);
    this.#faults = faults;
    this.#coordinators.onAct = (life) => faults.coordinatorActed(life);
  }

  async run(): Promise<void> {
    const world = this.#world;
    world.afterEvent = () => this.#openChecker.check();
    const hasFailed = (): boolean => world.failures.length > 0;
    this.#faults.start();
    this.#workload.start();
    await world.run(this.#plan.faultsMs, hasFailed);
    if (hasFailed()) return;
    this.#countOutdated();
    this.#faults.heal();
    const healedMs = world.nowMs;
    // Clients go on while it heals, then stop; then nothing may be left waiting.
    if (!(await this.#until("partitions are open", () => this.#areAllServing()))) return;
    this.#healedAfterMs = world.nowMs - healedMs;
    this.#workload.probe(this.#faults.joined);
    if (!(await this.#until("events are taken", () => this.#workload.probesLeft === 0))) return;
    this.#workload.end();
    if (!(await this.#until("requests are answered", () => this.#isQuiet()))) return;
    await this.#checkCounts();
    if (hasFailed() || !(await this.#checkShares())) return;
    this.#faults.restartAll();
    if (!(await this.#until("partitions are open again", () => this.#areAllServing()))) return;
    await this.#checkCounts();
    if (this.#options.keepsChanges === true) await this.#checkChanges();
  }

  /** Nodes that say of themselves that something is of a newer version. */
  #countOutdated(): void {
    for (const { current } of this.#faults.joined) {
      const { reasons = [], checks = {} } = current?.router.readiness?.() ?? {};
      const said = [...reasons, ...Object.values(checks)].some((text) => NEWER_FORMAT.test(text));
      if (said) this.#unready++;
    }
  }

  /** I18: sent and acknowledged with nothing but MongoDB away. */
  #countWithoutMongo(sentMs: number): void {
    const { checkpoints, logs, control, network } = this.#cluster;
    const outage = checkpoints.service.lastOutage;
    if (!checkpoints.service.isAway || outage === null || outage.startMs > sentMs) return;
    const isElseAway = network.isAway || logs.service.isAway || control.service.isAway;
    const cutOff = logs.service.cutOff.size + control.service.cutOff.size;
    if (!isElseAway && cutOff === 0) this.#acknowledgedWithoutMongo++;
  }

  /** What is left to be looked at, however it ended. */
  finish(): void {
    if (this.#world.failures.length === 0) this.#pageChecker.finish();
  }

  /** I20: with nobody to disturb it, a cluster that balances itself is balanced. */
  async #checkShares(): Promise<boolean> {
    if (!this.#plan.autoRebalance) return true;
    const shares = (): readonly number[] => this.#tableChecker.shares();
    const isEven = (): boolean => Math.max(...shares()) - Math.min(...shares()) <= SHARES_APART_MAX;
    return this.#until("partitions are shared out evenly", isEven);
  }

  /** I22: every transition that the whole history makes is stored. */
  async #checkChanges(): Promise<void> {
    const { ids } = this.#cluster.changes;
    const missing = (): string[] =>
      [...this.#replayChecker.changes.keys()].filter((id) => !ids.has(id));
    const endMs = this.#world.nowMs + this.#plan.healMs;
    while (missing().length > 0 && this.#world.nowMs < endMs) {
      await this.#world.run(this.#world.nowMs + POLL_MS, () => this.#world.failures.length > 0);
    }
    const lost = missing();
    if (lost.length === 0) return;
    this.#world.fail("I22", `${lost.length} status changes were never stored, such as ${lost[0]}`);
  }

  result(): SimulationResult {
    const world = this.#world;
    const statistics: Record<string, number> = {
      virtualMs: Math.round(world.nowMs),
      events: world.instant,
      acknowledged: this.#oracle.acknowledged,
      acknowledgedWithoutMongo: this.#acknowledgedWithoutMongo,
      maybe: this.#oracle.maybe,
      refused: this.#oracle.refused,
      reads: this.#oracle.reads,
      domains: this.#plan.domains,
      exactDomains: this.#oracle.exactDomains,
      entries: this.#logChecker.entries,
      tableChanges: this.#tableChecker.changes,
      ownerChanges: this.#tableChecker.moves,
      deaths: this.#tableChecker.deaths,
      starts: this.#cluster.nodes.reduce((sum, node) => sum + node.starts, 0),
      refusedStarts: this.#cluster.nodes.reduce((sum, node) => sum + node.refusals, 0),
      saidOutdated: this.#unready,
      healedAfterMs: Math.round(this.#healedAfterMs),
      ...this.#faults.hits,
      pages: this.#pageChecker.compared,
      pagesSkipped: this.#pageChecker.skipped,
      coordinatorActs: this.#coordinators.acts,
      coordinatorsAtOnce: this.#coordinators.overlaps,
    };
    for (const [family, count] of this.#faults.injected) statistics[`fault ${family}`] = count;
    for (const [code, count] of this.#workload.errors) statistics[`error ${code}`] = count;
    return {
      seed: world.seed,
      plan: this.#plan,
      traceHash: world.traceHash,
      failures: world.failures,
      statistics,
      trace: world.recentTrace(),
      notes: world.notes,
    };
  }

  #isQuiet(): boolean {
    return this.#oracle.outstanding === 0 && this.#workload.changesOutstanding === 0;
  }

  #areAllServing(): boolean {
    return (
      this.#faults.joined.every((node) => node.current !== null) && this.#openChecker.areAllOpen
    );
  }

  /** I20: runs on until it holds; a failure when the bound passes first. */
  async #until(what: string, holds: () => boolean): Promise<boolean> {
    const world = this.#world;
    const endMs = world.nowMs + this.#plan.healMs;
    while (!holds()) {
      if (world.failures.length > 0) return false;
      if (world.nowMs >= endMs) {
        world.fail("I20", `Not within ${this.#plan.healMs} ms: ${what}; ${this.#describe()}`);
        return false;
      }
      await world.run(world.nowMs + POLL_MS, () => world.failures.length > 0);
    }
    return world.failures.length === 0;
  }

  #describe(): string {
    const closed: number[] = [];
    for (let p = 0; p < this.#plan.partitions; p++) {
      if (this.#openChecker.openIn(p).length !== 1) closed.push(p);
    }
    const down = this.#faults.joined.filter((node) => node.current === null);
    const names = down.map((node) => `n${node.machine.index}`);
    const { outstanding } = this.#oracle;
    const shares = this.#tableChecker.shares().join();
    return (
      `closed ${closed.join()}; not serving ${names.join()}; outstanding ${outstanding}; ` +
      `shares ${shares}`
    );
  }

  /** Every domain, on every node, against the clients' history and against the logs. */
  async #checkCounts(): Promise<void> {
    for (const node of this.#faults.joined) {
      let tries = 0;
      let isDone = false;
      while (!isDone && tries < FINAL_READ_TRIES && this.#world.failures.length === 0) {
        tries++;
        isDone = await this.#readAll(node);
      }
      if (!isDone) this.#world.fail("I20", `Reads on n${node.machine.index} are not answered`);
    }
  }

  async #readAll(node: SimNode): Promise<boolean> {
    const { domains } = this.#workload;
    const where = `n${node.machine.index}`;
    const askedMs = this.#world.nowMs;
    let left = domains.length;
    let hasFailed = false;
    for (const domain of domains) {
      this.#workload.read(
        [domain],
        node,
        (status) => {
          left--;
          this.#replayChecker.check(status, askedMs, where);
          for (const kind of EVENT_KINDS) {
            const value = kind === 0 ? status.delivered : status.bounced;
            this.#oracle.checkFinal(domain, kind, value, where);
            const logged = this.#logChecker.countOf(domain, kind);
            if (logged === value) continue;
            this.#world.fail("I4", `${domain} is ${value} on ${where}, the logs say ${logged}`);
          }
        },
        () => {
          hasFailed = true;
        },
      );
    }
    const endMs = this.#world.nowMs + POLL_MS * 10;
    await this.#world.run(endMs, () => left === 0 || this.#world.failures.length > 0);
    return left === 0 && !hasFailed;
  }

  #createNode(machine: SimMachine): SimNode {
    const { start } = this.#options;
    const settings = this.#settings(`n${machine.index}`);
    const isLogReachable = (): boolean => !this.#cluster.network.isAway;
    const isUpgrading = this.#plan.families.includes("upgrade");
    const isOutdated = (): boolean => isUpgrading && !this.#cluster.versions.isNewer(machine.index);
    return new SimNode({
      world: this.#world,
      machine,
      start: (life, hooks) => start(this.#ports(life), settings, hooks),
      isLogReachable,
      isOutdated,
    });
  }

  #settings(nodeId: string): ClusterSettings {
    const plan = this.#plan;
    return {
      nodeId,
      clusterName: "simulated",
      partitions: plan.partitions,
      initialRule: DEFAULT_RULE,
      leaseTtlMs: plan.leaseTtlMs,
      expectNodes: plan.expectNodes,
      autoRebalance: plan.autoRebalance,
      idempotencyWindowMs: IDEMPOTENCY_WINDOW_MS,
      idempotencyKeysMax: 100_000,
      checkpointIntervalMs: plan.checkpointIntervalMs,
      logRetentionMs: plan.logRetentionMs,
      pendingEventsMax: 10_000,
      log: { kind: "simulated", synced: true },
    };
  }

  #ports(life: SimLife): ClusterPorts {
    const { logs, control, checkpoints, network } = this.#cluster;
    const { index } = life.machine;
    return {
      clock: life.machine.clock,
      timers: life.timers,
      random: this.#world.random(`node/${index}/${life.number}/${this.#world.instant}`),
      logger: this.#options.isVerbose === true ? this.#logger(index) : SILENT_LOGGER,
      metrics: new SimMetrics(),
      log: this.#coordinators.log(life, logs.connect(life)),
      control: this.#coordinators.control(life, control.connect(life)),
      checkpoints: checkpoints.connect(life),
      connect: (incarnation) => network.connect(life, incarnation),
      changeSinks: [this.#cluster.changes.connect(life)],
    };
  }

  #logger(index: number): Logger {
    const note = (level: string) => (fields: Readonly<Record<string, unknown>>, text: string) => {
      const { err, ...rest } = fields;
      const error = err instanceof Error ? `: ${err.message}` : "";
      this.#world.note(`n${index} ${level} ${text}${error} ${JSON.stringify(rest)}`);
    };
    return { debug: note("debug"), info: note("info"), warn: note("warn"), error: note("error") };
  }
}
