/**
 * One run of a simulated embedded node from a seed: the production wiring over a disk that fails as disks do, faults for a
 * while and restarts after each, then healing within a bound, a power cut, and the counts read before and after it.
 * Invariant: equal seeds and options give equal traces. `failures` empty means that no promise was seen broken.
 */

import { type Config, loadConfig } from "../config/config.ts";
import type { CounterTable } from "../counters/counter-table.ts";
import { type DomainName, DomainParser } from "../model/domain-name.ts";
import { CatchallError } from "../model/errors.ts";
import { partitionOf } from "../model/partition-id.ts";
import { DEFAULT_RULE } from "../model/status.ts";
import type { PartitionState } from "../partition/partition-state.ts";
import type { DomainStatus } from "../router/ingress.ts";
import type { Disk } from "../runtime/disk.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Random } from "../runtime/random.ts";
import type { EmbeddedNode, EmbeddedOptions, EmbeddedPorts } from "../server/embedded.ts";
import { StatusChecker } from "./checkers/status-checker.ts";
import { EmbeddedFaults } from "./embedded-faults.ts";
import {
  drawEmbeddedPlan,
  EMBEDDED_PLAN_OPTIONS,
  type EmbeddedPlan,
  type EmbeddedPlanOptions,
} from "./embedded-plan.ts";
import { MachineDisk } from "./machine-disk.ts";
import { EVENT_KINDS, Oracle } from "./oracle.ts";
import { type SimLife, SimMachine } from "./sim-life.ts";
import { SimMetrics } from "./sim-metrics.ts";
import { type ClusterNode, SimNode } from "./sim-node.ts";
import { type Drain, type SimFailure, SimWorld } from "./sim-world.ts";
import { Workload } from "./workload.ts";

/** The one seam between this simulator and what it simulates; the production wiring and those with a defect fit. */
export type StartEmbedded = (
  ports: EmbeddedPorts,
  options: EmbeddedOptions,
) => Promise<Pick<EmbeddedNode, "incarnation" | "router" | "stop">>;

/** What `catchall verify` reads of a directory. */
export type RecoverDisk = (
  disk: Disk,
  random: Random,
  name: string,
) => Promise<{ readonly states: readonly PartitionState[] }>;

export interface EmbeddedSimulationOptions {
  readonly start: StartEmbedded;
  readonly recover: RecoverDisk;
  /** `setImmediate` of the caller. */
  readonly drain: Drain;
  readonly plan?: EmbeddedPlanOptions;
}

export interface EmbeddedResult {
  readonly seed: number;
  readonly plan: EmbeddedPlan;
  readonly traceHash: string;
  readonly failures: readonly SimFailure[];
  readonly statistics: Readonly<Record<string, number>>;
  /** The last steps, oldest first, and what was noted. */
  readonly trace: readonly string[];
  readonly notes: readonly string[];
}

const POLL_MS = 200;
/** By then a node whose log failed has ended: it may wait for a disk that is slow. */
const END_MAX_MS = 40_000;

/** Runs one seed. Never rejects for a fault of the product: that is a failure in the result. */
export async function simulateEmbedded(
  seed: number,
  options: EmbeddedSimulationOptions,
): Promise<EmbeddedResult> {
  const simulation = new EmbeddedSimulation(seed, options);
  await simulation.run();
  return simulation.result();
}

class EmbeddedSimulation {
  readonly #world: SimWorld;
  readonly #plan: EmbeddedPlan;
  readonly #start: StartEmbedded;
  readonly #recover: RecoverDisk;
  readonly #disk: MachineDisk;
  readonly #node: SimNode;
  readonly #oracle: Oracle;
  readonly #statuses: StatusChecker;
  readonly #workload: Workload;
  readonly #faults: EmbeddedFaults;
  /** What the node answered in the end, by domain. */
  readonly #final: Map<DomainName, DomainStatus> = new Map();
  #refusals = 0;

  constructor(seed: number, { start, recover, drain, plan }: EmbeddedSimulationOptions) {
    const world = new SimWorld(seed, drain);
    this.#world = world;
    this.#start = start;
    this.#recover = recover;
    this.#plan = drawEmbeddedPlan(seed, plan ?? EMBEDDED_PLAN_OPTIONS);
    this.#disk = new MachineDisk(world);
    this.#disk.onLogError = (life) => this.#mustEnd(life);
    this.#node = new SimNode({
      world,
      machine: new SimMachine(world, 0, this.#plan.clock),
      start: (life) => this.#startNode(life),
      isLogReachable: () => true,
      startFailed: (error) => this.#startFailed(error),
    });
    this.#oracle = new Oracle(world);
    this.#statuses = new StatusChecker(world, DEFAULT_RULE);
    this.#workload = new Workload({
      world,
      plan: this.#plan,
      nodes: [this.#node],
      oracle: this.#oracle,
      changed: (change) => this.#statuses.changed(change),
    });
    const parts = { world, plan: this.#plan, node: this.#node, disk: this.#disk };
    this.#faults = new EmbeddedFaults(parts);
  }

  async run(): Promise<void> {
    const world = this.#world;
    this.#faults.start();
    this.#workload.start();
    await world.run(this.#plan.faultsMs, () => this.#hasFailed());
    if (this.#hasFailed()) return;
    this.#faults.heal();
    if (!(await this.#until("the node serves", () => this.#isServing()))) return;
    // No new ones: what is asked for at once may keep a small log full for as long as it goes on.
    this.#workload.end();
    this.#workload.probe([this.#node]);
    if (!(await this.#until("events are taken", () => this.#workload.probesLeft === 0))) return;
    if (!(await this.#until("requests are answered", () => this.#isQuiet()))) return;
    if (!(await this.#checkInTheEnd()) || !(await this.#checkDirectory())) return;
    this.#faults.cutPower();
    if (!(await this.#until("the node serves again", () => this.#isServing()))) return;
    await this.#checkInTheEnd();
  }

  result(): EmbeddedResult {
    const world = this.#world;
    const statistics: Record<string, number> = {
      virtualMs: Math.round(world.nowMs),
      events: world.instant,
      acknowledged: this.#oracle.acknowledged,
      maybe: this.#oracle.maybe,
      refused: this.#oracle.refused,
      reads: this.#oracle.reads,
      domains: this.#plan.domains,
      exactDomains: this.#oracle.exactDomains,
      starts: this.#node.starts,
      refusedStarts: this.#refusals,
      diskOperations: this.#disk.operations,
      diskErrors: this.#disk.errors,
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

  #hasFailed(): boolean {
    return this.#world.failures.length > 0;
  }

  #isServing(): boolean {
    return this.#node.current !== null && !this.#node.isStopping;
  }

  #isQuiet(): boolean {
    return this.#oracle.outstanding === 0 && this.#workload.changesOutstanding === 0;
  }

  async #startNode(life: SimLife): Promise<ClusterNode> {
    const { machine, timers, number } = life;
    life.onDeath.push(() => this.#faults.bootSoon());
    const random = this.#world.random(`life/${number}`);
    const { segmentBytes } = this.#plan;
    const disk = this.#disk.connect(life);
    const ports = { disk, clock: machine.clock, timers, random, segmentBytes };
    const started = await this.#start(
      { ...ports, release: async () => undefined },
      {
        config: configOf(this.#plan),
        logger: this.#logger(),
        metrics: new SimMetrics(),
        onLogFailed: (reason) => {
          this.#world.note(`the log failed: ${reason}`);
          // As the process does: in order, then it ends.
          this.#node.leave();
        },
      },
    );
    this.#disk.served();
    this.#statuses.checkRule(started.router.rule());
    life.later(0, () => this.#checkAll(false));
    return {
      incarnation: started.incarnation,
      router: started.router,
      stop: () => started.stop(),
      isOpen: () => true,
    };
  }

  #logger(): Logger {
    const note = (level: string) => (fields: Readonly<Record<string, unknown>>, text: string) => {
      const error = fields["err"] instanceof Error ? `: ${fields["err"].message}` : "";
      this.#world.note(`${level} ${text}${error}`);
    };
    return { debug: note("debug"), info: note("info"), warn: note("warn"), error: note("error") };
  }

  /** Damage is refused while a bit is flipped, a disk in trouble may fail a start; nothing else may. */
  #startFailed(error: unknown): void {
    const world = this.#world;
    this.#refusals++;
    this.#node.kill();
    if (!(error instanceof CatchallError)) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      world.fail("assertion", `The node could not start: ${text}`);
      return;
    }
    world.note(`could not start: ${error.code} ${error.message}`);
    const isDamage = error.code === "log_damaged" || error.code === "checkpoint_damaged";
    if (isDamage && !this.#disk.mend()) {
      world.fail("I16", `Nothing is damaged, and the node does not start: ${error.message}`);
    } else if (!isDamage && error.code !== "log_failed" && error.code !== "log_full") {
      world.fail("I20", `The node does not start: ${error.code} ${error.message}`);
    }
  }

  #mustEnd(life: SimLife): void {
    this.#world.after(END_MAX_MS, () => {
      if (life.isAlive) this.#world.fail("I1", "A node goes on after its log failed");
    });
  }

  async #until(what: string, holds: () => boolean): Promise<boolean> {
    const world = this.#world;
    const endMs = world.nowMs + this.#plan.healMs;
    while (!holds()) {
      if (this.#hasFailed()) return false;
      if (world.nowMs >= endMs) {
        const { outstanding } = this.#oracle;
        const text = `Not within ${this.#plan.healMs} ms: ${what}; outstanding ${outstanding}`;
        world.fail("I20", text);
        return false;
      }
      await world.run(world.nowMs + POLL_MS, () => this.#hasFailed());
    }
    return !this.#hasFailed();
  }

  /** I16: what `verify` reads beside the running node is what the node answers. */
  async #checkDirectory(): Promise<boolean> {
    const world = this.#world;
    try {
      const { states } = await this.#recover(this.#disk.current, world.random("verify"), "disk");
      const parser = new DomainParser();
      for (const [domain, { delivered, bounced }] of this.#final) {
        parser.parseText(domain, false);
        const partition = partitionOf(parser.hash, states.length);
        const state = states[partition] as PartitionState;
        const found = countsOf(state.table, state.find(domain));
        if (found === `${delivered}/${bounced}`) continue;
        const text = `${domain} is ${found} in the directory, the node says ${delivered}/${bounced}`;
        world.fail("I16", text);
      }
    } catch (error) {
      world.fail("I16", `The directory of a running node cannot be read: ${String(error)}`);
    }
    return !this.#hasFailed();
  }

  /** Every domain is read once more, by a life that lasts as long: counts are held against what clients know. */
  async #checkInTheEnd(): Promise<boolean> {
    let asked: SimLife | null = null;
    let answers: { readonly left: number } = { left: 1 };
    return await this.#until("reads are answered", () => {
      if (asked !== this.#node.life && this.#isServing()) {
        asked = this.#node.life;
        answers = this.#checkAll(true);
      }
      return answers.left === 0;
    });
  }

  #checkAll(isFinal: boolean): { readonly left: number } {
    const { domains } = this.#workload;
    const answers = { left: domains.length };
    for (const domain of domains) {
      const mark = this.#statuses.begin(domain);
      const answered = (status: DomainStatus): void => {
        answers.left--;
        this.#statuses.end(mark, status);
        if (!isFinal) return;
        this.#final.set(domain, status);
        for (const kind of EVENT_KINDS) {
          const value = kind === 0 ? status.delivered : status.bounced;
          this.#oracle.checkFinal(domain, kind, value, "the node");
        }
      };
      this.#workload.read([domain], this.#node, answered, () => this.#statuses.end(mark, null));
    }
    return answers;
  }
}

function countsOf(table: CounterTable, entry: number): string {
  return entry < 0 ? "0/0" : `${table.delivered(entry)}/${table.bounced(entry)}`;
}

function configOf(plan: EmbeddedPlan): Config {
  const loaded = loadConfig({ argv: [], env: {}, readFile: () => "", hostName: "simulated" });
  if (!("config" in loaded)) throw new Error(loaded.mistakes.join("; "));
  const { partitions, logBytesMax, logRetentionMs, checkpointIntervalMs } = plan;
  return {
    ...loaded.config,
    ...{ nodeId: "n0", partitions, logBytesMax, logRetentionMs, checkpointIntervalMs },
  };
}
