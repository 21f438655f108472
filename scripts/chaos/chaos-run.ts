/**
 * A whole chaos run: rounds of faults under load, each with domains of its own. A round ends with the cluster healed,
 * every key's outcome known, every domain read through every node, and the round's history judged. The run ends with
 * all nodes killed at once and every domain of every round read again, from checkpoints and logs alone.
 */

import { join } from "node:path";
import { SeededRandom } from "../../src/cli/load/seeded-random.ts";
import { HttpAnswerFilter, PublishAckFilter } from "./ack-filters.ts";
import { ChaosCluster } from "./chaos-cluster.ts";
import {
  checkDomain,
  checkSameEverywhere,
  checkShare,
  excerptOf,
  isExact,
  shareOf,
  type Violation,
} from "./checkers.ts";
import { AckLosses, FaultDriver, type FaultFigures } from "./fault-driver.ts";
import { FAULT_KINDS, type FaultKind, planFaults } from "./fault-plan.ts";
import { runSeries, type SeriesOptions, seriesFigure } from "./fault-series.ts";
import { whyNoFullDisk } from "./full-disk.ts";
import { type EventType, History, type Read } from "./history.ts";
import { ChaosClient } from "./http-client.ts";
import { checkAudit, LogAudit } from "./log-audit.ts";
import { lastLinesOf, type NodeEnd, reasonOfGivingUp } from "./node-end.ts";
import { Workload } from "./workload.ts";

export interface ChaosOptions {
  readonly seed: number;
  readonly durationMs: number;
  readonly roundMs: number;
  readonly nodes: number;
  /** nats-servers: 1, or 3 that replicate. Default: 1. */
  readonly nats?: number;
  readonly rate: number;
  readonly leaseTtlMs: number;
  readonly kinds?: readonly FaultKind[];
  /** Longest time between two faults; default: a few seconds. */
  readonly gapMaxMs?: number;
  /** Instead of a plan of all kinds for `durationMs`: one kind, so many times. */
  readonly series?: SeriesOptions;
  /** Folder of the built product; default: that of this project. Another one shows whether chaos sees a defect. */
  readonly product?: string | undefined;
  readonly onLine: (line: string) => void;
}

export interface FoundViolation extends Violation {
  readonly excerpt: readonly string[];
}

export interface ChaosReport {
  readonly seed: number;
  readonly rounds: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly figures: Readonly<FaultFigures>;
  readonly lostPublishAcks: number;
  readonly lostHttpAnswers: number;
  readonly acked: number;
  readonly refused: number;
  readonly unknown: number;
  readonly reads: number;
  readonly domains: number;
  readonly exactDomains: number;
  readonly auditedDomains: number;
  readonly told: Readonly<Record<string, number>>;
  readonly exits: Readonly<Record<string, number>>;
  readonly healMsMax: number;
  /** Of a series: from each fault until the cluster was whole, ascending. */
  readonly seriesHealMs: readonly number[];
  readonly violations: readonly FoundViolation[];
  /** Kinds of faults that can't be done here, and why. */
  readonly leftOut: Readonly<Record<string, string>>;
  /** Kept when something was wrong. */
  readonly folder: string | null;
}

export const DELIVERED_THRESHOLD = 10;
const RULE = { deliveredThreshold: DELIVERED_THRESHOLD };
const WORKERS = 24;
/** Domains of each kind a second of a round: so few events a domain that most have no unknown one. */
const DOMAINS_PER_SECOND = 40;
/** A round of a series: so many faults, and the time that they take about. */
const SERIES_FAULTS = 20;
const SERIES_ROUND_MS = 4000 * SERIES_FAULTS;
/** Served it is within seconds; moves that were asked for last come to their end one after another. */
const HEAL_LIMIT_MS = 180_000;
/** Of random numbers: not those of a plan, nor of a workload. */
const SERIES_STREAM = 1_000_000;
const EXCERPT_LINES_MAX = 60;
const STEP_DOWNS: readonly FaultKind[] = ["nats-step-down-log", "nats-step-down-control"];
const EXIT_CHARS_MAX = 160;

export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const run = new ChaosRun(options);
  return await run.run();
}

/** What a domain must say for ever after its round. */
interface Settled {
  readonly counts: string;
  readonly isExact: boolean;
}

interface FaultRound {
  readonly cluster: ChaosCluster;
  readonly driver: FaultDriver;
  readonly history: History;
  readonly round: number;
}

class ChaosRun {
  readonly #options: ChaosOptions;
  readonly #losses = new AckLosses();
  readonly #violations: FoundViolation[] = [];
  readonly #settled: Map<string, Settled> = new Map();
  readonly #told: Map<string, number> = new Map();
  readonly #exits: Map<string, number> = new Map();
  readonly #audit = new LogAudit();
  readonly #totals = {
    acked: 0,
    refused: 0,
    unknown: 0,
    reads: 0,
    domains: 0,
    exactDomains: 0,
    auditedDomains: 0,
  };
  readonly #kinds: readonly FaultKind[];
  readonly #leftOut: Record<string, string> = {};
  readonly #startMs: number = performance.now();
  readonly #seriesHealMs: number[] = [];
  #healMsMax = 0;
  #rounds = 0;

  constructor(options: ChaosOptions) {
    this.#options = options;
    const why = whyNoFullDisk();
    if (why !== null) this.#leftOut["nats-full"] = why;
    if ((options.nats ?? 1) === 1) {
      for (const kind of STEP_DOWNS) this.#leftOut[kind] = "One nats-server leads everything";
    }
    this.#kinds = (options.kinds ?? FAULT_KINDS).filter((kind) => !(kind in this.#leftOut));
  }

  async run(): Promise<ChaosReport> {
    const { durationMs, roundMs, leaseTtlMs, seed } = this.#options;
    const cluster = await this.#startCluster();
    let isKept = true;
    try {
      const history = new History(join(cluster.folder, "history.jsonl"));
      const driver = new FaultDriver(
        {
          ...{ cluster, losses: this.#losses },
          onEvent: (text) => {
            history.remark(performance.now(), text);
            this.#line(`  ${text}`);
          },
          onWrong: (text) => this.#found({ rule: "process", domain: "", text }, history),
        },
        leaseTtlMs,
      );
      this.#line(`seed ${seed}, history and logs in ${cluster.folder}`);
      const { series } = this.#options;
      const endMs = performance.now() + durationMs;
      const isOver = (): boolean =>
        series === undefined
          ? performance.now() >= endMs - 1000
          : seriesFigure(series, driver.figures) >= series.times;
      while (!isOver() && this.#violations.length === 0) {
        const leftMs = series === undefined ? endMs - performance.now() : SERIES_ROUND_MS;
        await this.#round(cluster, driver, history, Math.min(roundMs, leftMs));
      }
      await this.#readAgain(cluster, history);
      for (const violation of checkShare(this.#totals)) this.#found(violation, history);
      await history.close();
      isKept = this.#violations.length > 0;
      return this.#report(driver, isKept ? cluster.folder : null);
    } finally {
      await cluster.dispose(isKept);
    }
  }

  async #startCluster(): Promise<ChaosCluster> {
    const { nodes, nats = 1, leaseTtlMs, seed, product, series } = this.#options;
    const losses = this.#losses;
    return await ChaosCluster.start({
      nodes: Array.from({ length: nodes }, (_, i) => `n${i + 1}`),
      ...{ nats, leaseTtlMs, product },
      hasSmallDisk: series === undefined && this.#kinds.includes("nats-full"),
      flags: [
        ...["--delivered-threshold", String(DELIVERED_THRESHOLD), "--partitions", "32"],
        ...["--idempotency-window", "2h", "--shutdown-timeout", "20s"],
        // The audit reads the logs from their beginning.
        ...["--log-retention", "8000h"],
        ...(seed % 2 === 0 ? ["--auto-rebalance"] : []),
      ],
      filters: (node) => ({
        nats: () => new PublishAckFilter((stream) => losses.isPublishAckLost(node, stream)),
        http: () => new HttpAnswerFilter(() => losses.isHttpAnswerLost(node)),
      }),
      onExit: (node, end) => this.#ended(node, end),
    });
  }

  /** A node may give up in order, with a sentence, and be started again; it may not crash. */
  #ended(node: string, end: NodeEnd): void {
    const reason = reasonOfGivingUp(end);
    const name = `${end.how}: ${reason ?? "without saying why"}`.slice(0, EXIT_CHARS_MAX);
    this.#exits.set(name, (this.#exits.get(name) ?? 0) + 1);
    const text = `${node} ended by itself, ${name}`;
    this.#line(`  ${text}`);
    if (reason !== null) return;
    const excerpt = lastLinesOf(end.output);
    this.#violations.push({ rule: "process", domain: "", text, excerpt });
  }

  async #round(
    cluster: ChaosCluster,
    driver: FaultDriver,
    history: History,
    durationMs: number,
  ): Promise<void> {
    const { seed, rate } = this.#options;
    const round = ++this.#rounds;
    const clients = clientsOf(cluster);
    const workload = new Workload({
      ...{ history, clients, rate, workers: WORKERS },
      random: new SeededRandom(seed, round),
      prefix: `s${seed}r${round}`,
      domains: Math.max(200, Math.round((DOMAINS_PER_SECOND * durationMs) / 1000)),
    });
    const working = workload.run();
    await this.#doFaults({ cluster, driver, history, round }, durationMs);
    await driver.finish();
    await this.#heal(cluster, history);
    workload.stop();
    await working;
    await workload.settleAll();
    await this.#judge(workload, history);
    await this.#auditLogs(cluster, history);
    for (const client of clients.values()) client.close();
    for (const [told, times] of workload.told) {
      this.#told.set(told, (this.#told.get(told) ?? 0) + times);
    }
    const { acked, domains } = this.#totals;
    const share = `${shareOf(this.#totals).toFixed(2)} % of ${domains} domains exact`;
    this.#line(`round ${round}: ${acked} acknowledged, ${share}`);
    history.clear();
  }

  async #doFaults(
    { cluster, driver, history, round }: FaultRound,
    durationMs: number,
  ): Promise<void> {
    const { seed, leaseTtlMs, gapMaxMs, series } = this.#options;
    if (series !== undefined) {
      const random = new SeededRandom(seed, SERIES_STREAM + round);
      const heal = (): Promise<void> => this.#heal(cluster, history);
      const isOver = (): boolean => this.#violations.length > 0;
      const around = { cluster, driver, random, leaseTtlMs, heal };
      const faults = SERIES_FAULTS;
      this.#seriesHealMs.push(...(await runSeries(series, around, { faults, isOver })));
      return;
    }
    const plan = planFaults({
      ...{ seed, round, durationMs, leaseTtlMs, kinds: this.#kinds },
      nodes: cluster.nodes.map(({ id }) => id),
      ...(gapMaxMs === undefined ? {} : { gapMaxMs }),
    });
    this.#line(`round ${round}: ${plan.length} faults planned`);
    const startMs = performance.now();
    await driver.run(plan, () => performance.now() > startMs + durationMs);
    await pause(startMs + durationMs - performance.now());
  }

  async #heal(cluster: ChaosCluster, history: History): Promise<void> {
    const startMs = performance.now();
    await cluster.heal();
    try {
      await cluster.allOpen(HEAL_LIMIT_MS);
    } catch (error) {
      this.#found({ rule: "liveness", domain: "", text: String(error) }, history);
    }
    this.#healMsMax = Math.max(this.#healMsMax, performance.now() - startMs);
  }

  /** Reads the round's domains everywhere, then checks every rule. */
  async #judge(workload: Workload, history: History): Promise<void> {
    const names = [...history.domains].map(({ domain }) => domain);
    const beforeMs = performance.now();
    await workload.readAll(names);
    for (const violation of workload.violations) this.#found(violation, history);
    for (const domain of history.domains) {
      const { writes, reads } = domain;
      const final = reads.filter(({ startMs }) => startMs >= beforeMs);
      for (const violation of [
        ...checkDomain(domain, RULE),
        ...checkSameEverywhere(domain.domain, final),
      ]) {
        this.#found(violation, history);
      }
      for (const { outcome } of writes) {
        if (outcome === "acked") this.#totals.acked++;
        else if (outcome === "none") this.#totals.refused++;
        else this.#totals.unknown++;
      }
      this.#totals.reads += reads.length;
      this.#totals.domains++;
      const exact = isExact(domain);
      if (exact) this.#totals.exactDomains++;
      const [last] = final;
      if (last !== undefined) {
        this.#settled.set(domain.domain, { counts: countsOf(last), isExact: exact });
      }
    }
  }

  /** Holds the logs of this round against what its clients did and what the nodes answer. */
  async #auditLogs(cluster: ChaosCluster, history: History): Promise<void> {
    const final = new Map<string, Readonly<Record<EventType, number>>>();
    for (const { domain, reads } of history.domains) {
      const counts = reads.at(-1)?.counts;
      if (counts !== null && counts !== undefined) final.set(domain, counts);
    }
    const stored = await cluster.nats.readLogs((log) => this.#audit.collect(log));
    const mayComeLate = (domain: string): boolean => this.#settled.get(domain)?.isExact === false;
    for (const violation of checkAudit(history.domains, stored, { final, mayComeLate })) {
      this.#found(violation, history);
    }
    this.#totals.auditedDomains += stored.size;
  }

  /** Nothing but checkpoints and logs is left, and every node must say the same as before. */
  async #readAgain(cluster: ChaosCluster, history: History): Promise<void> {
    if (this.#violations.some(({ rule }) => rule === "liveness")) return;
    await Promise.all(cluster.nodes.map(({ child }) => child?.kill()));
    await this.#heal(cluster, history);
    const clients = clientsOf(cluster);
    const workload = new Workload({
      ...{ history, clients, rate: 1, workers: 1, domains: 1, prefix: "again" },
      random: new SeededRandom(this.#options.seed, 0),
    });
    await workload.readAll([...this.#settled.keys()]);
    for (const violation of workload.violations) this.#found(violation, history);
    for (const domain of history.domains) {
      const settled = this.#settled.get(domain.domain);
      for (const read of domain.reads) {
        // What is unknown may have come late; it was in range when its round was judged.
        if (settled === undefined || !settled.isExact || countsOf(read) === settled.counts)
          continue;
        const text = `after the restart ${read.node} says ${countsOf(read)}, it was ${settled.counts}`;
        this.#found({ rule: "same everywhere", domain: domain.domain, text }, history);
      }
    }
    for (const client of clients.values()) client.close();
  }

  #found(violation: Violation, history: History): void {
    const { rule, domain, text } = violation;
    const lines = domain === "" ? [] : excerptOf(history.of(domain));
    const excerpt = lines.slice(-EXCERPT_LINES_MAX);
    this.#violations.push({ ...violation, excerpt });
    if (this.#violations.length <= 10) this.#line(`VIOLATION ${rule} ${domain}: ${text}`);
  }

  #line(text: string): void {
    const seconds = (performance.now() - this.#startMs) / 1000;
    this.#options.onLine(`${seconds.toFixed(1).padStart(6)} ${text}`);
  }

  #report(driver: FaultDriver, folder: string | null): ChaosReport {
    return {
      ...{ seed: this.#options.seed, rounds: this.#rounds, folder },
      faults: Object.fromEntries([...driver.counts].sort()),
      figures: driver.figures,
      lostPublishAcks: this.#losses.lostPublishAcks,
      lostHttpAnswers: this.#losses.lostHttpAnswers,
      ...this.#totals,
      told: Object.fromEntries([...this.#told].sort()),
      exits: Object.fromEntries(this.#exits),
      healMsMax: Math.round(this.#healMsMax),
      seriesHealMs: [...this.#seriesHealMs].sort((a, b) => a - b),
      ...{ violations: this.#violations, leftOut: this.#leftOut },
    };
  }
}

function clientsOf(cluster: ChaosCluster): Map<string, ChaosClient> {
  return new Map(
    cluster.nodes.map(({ id, http }) => {
      const target = { port: http.port, abandon: (port: number) => http.abandon(port) };
      return [id, new ChaosClient(target, 2 * WORKERS)];
    }),
  );
}

function countsOf({ counts, status }: Read): string {
  return `${counts?.delivered}/${counts?.bounced} ${status}`;
}

async function pause(ms: number): Promise<void> {
  if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms));
}
