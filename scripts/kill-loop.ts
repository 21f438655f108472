/**
 * Kills a real node with SIGKILL again and again under load, and proves that it forgets nothing and doubles nothing.
 * Goal: the promise "204 means counted exactly once, whatever crashes next". Method: four kinds of load with an exact
 * oracle run on while the node dies at random instants and returns on the same port and data, about every fourth time
 * while it still recovers; after each group of cycles every domain is read back.
 * Usage: `kill-loop.ts --cycles 1000 [--seed S] [--verify-every K]`.
 * What dies, and how, is a `Victim`: power-cut.ts has others.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { DomainNames } from "../src/cli/load/domain-names.ts";
import { LoadEngine, type LoadOutcome } from "../src/cli/load/load-engine.ts";
import { LoadHttp } from "../src/cli/load/load-http.ts";
import { parseUrls } from "../src/cli/load/load-run.ts";
import { createMix, type EventStream, type MixName } from "../src/cli/load/mixes.ts";
import { LoadOracle } from "../src/cli/load/oracle.ts";
import { SeededRandom } from "../src/cli/load/seeded-random.ts";
import { verifyLoad, type WrongDomain } from "../src/cli/load/verification.ts";
import { NodeProcess } from "../test/support/node-process.ts";
import { freePort } from "./free-port.ts";

/** What is under load, dies and comes back on the same port with the same data. */
export interface Victim {
  /** Comma-separated, known from the first start on. */
  readonly url: string;
  /** The longest that it lives under load, ms, unless the machine is slow. */
  readonly lifeMsMax: number;
  /** Resolves when it is ready. Errors: it did not become ready, perhaps because it was ended meanwhile. */
  start(): Promise<void>;
  /** Dies without a word, ready or still starting. */
  end(): Promise<void>;
  /** Gives back what it took, running or not. */
  dispose(): Promise<void>;
}

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

export interface KillLoopOptions {
  readonly cycles: number;
  readonly seed: number;
  readonly verifyEvery: number;
  readonly victim: Victim;
  readonly onProgress?: (report: KillLoopReport) => void;
}

export interface KillLoopReport {
  /** Ends. */
  readonly cycles: number;
  /** Those of them that came before the victim was ready again. */
  readonly startEnds: number;
  readonly acked: number;
  readonly maybe: number;
  readonly lost: number;
  readonly doubled: number;
  readonly wrongStatuses: number;
  readonly domains: number;
  readonly exactDomains: number;
  readonly startMsMax: number;
  readonly startMsMedian: number;
  readonly errors: Readonly<Record<string, number>>;
  readonly firstWrong: readonly WrongDomain[];
}

/** One in so many starts is ended before it is through. */
const START_ENDED_ONE_IN = 4;
/** It is ended within so much of the median: recovery comes last in a start, and starts differ. */
const START_LIFE_SHARE_MAX = 1.25;
const LIFE_MS_MIN = 5;
const LIFE_MS_MAX = 800;
/** On a slow machine lives are as long as starts, up to this: else the unknown outcomes would outweigh the known. */
const SLOW_LIFE_MS_MAX = 3000;
/** Keys are repeated thousands of events later: on a slow machine that is longer than the default window. */
const WINDOW_FLAGS = ["--idempotency-window", "24h"];
export const KILL_LOOP_FLAGS: readonly string[] = [
  "--checkpoint-interval",
  "1s",
  "--log-level",
  "warn",
  ...WINDOW_FLAGS,
];
/** Unknown outcomes a kill are at most the 26 events outstanding without keys; so 95 % of the domains have none. */
const DOMAINS_PER_CYCLE = 600;
const DOMAINS_MIN = 10_000;
/** With fewer domains touched, chance decides how many are exact. */
const JUDGED_DOMAINS_MIN = 5000;
const EXACT_SHARE_MIN = 0.95;
/** Generous: a starved machine is no defect; how long starts took is in the report. */
export const START_TIMEOUT_MS = 180_000;
const RECONNECT_TIMEOUT_MS = START_TIMEOUT_MS + 60_000;

/** One kind of load, with its own domains, through all groups of cycles. */
class Lane {
  readonly oracle = new LoadOracle();
  readonly names: DomainNames;
  readonly #plan: LanePlan;
  readonly #keyPrefix: string;
  readonly #stream: EventStream;
  #engine: LoadEngine | null = null;
  #outcome: Promise<LoadOutcome> | null = null;

  constructor(plan: LanePlan, seed: number, domains: number) {
    this.#plan = plan;
    this.#keyPrefix = `${plan.name}-`;
    this.names = new DomainNames(seed);
    this.#stream = createMix(plan.mix, { seed, domains, isKeyed: plan.isKeyed });
  }

  start(url: string): void {
    const { targets, hostHeader, basePath } = parseUrls(url);
    this.#engine = new LoadEngine({
      targets,
      hostHeader,
      basePath,
      token: null,
      keyPrefix: this.#keyPrefix,
      names: this.names,
      stream: this.#stream,
      events: Number.POSITIVE_INFINITY,
      durationMs: Number.POSITIVE_INFINITY,
      warmupMs: 0,
      connections: this.#plan.connections,
      bulk: this.#plan.bulk,
      rate: this.#plan.rate,
      requestTimeoutMs: RECONNECT_TIMEOUT_MS,
      reconnectTimeoutMs: RECONNECT_TIMEOUT_MS,
      oracle: this.oracle,
    });
    this.#outcome = this.#engine.run();
  }

  async stop(): Promise<LoadOutcome> {
    this.#engine?.stop();
    return await (this.#outcome as Promise<LoadOutcome>);
  }

  /** Its outcome is asked for no more. */
  abandon(): void {
    this.#engine?.stop();
    this.#outcome?.catch(() => undefined);
  }
}

interface LanePlan {
  readonly name: string;
  readonly mix: MixName;
  readonly isKeyed: boolean;
  readonly connections: number;
  readonly bulk: number;
  readonly rate: number;
}

const LANES: readonly LanePlan[] = [
  { name: "single", mix: "uniform", isKeyed: false, connections: 16, bulk: 0, rate: 3000 },
  { name: "keyed", mix: "duplicates", isKeyed: true, connections: 8, bulk: 0, rate: 1500 },
  { name: "bulk", mix: "uniform", isKeyed: false, connections: 1, bulk: 10, rate: 1000 },
  { name: "keyed-bulk", mix: "uniform", isKeyed: true, connections: 2, bulk: 50, rate: 3000 },
];

/** Errors: the victim did not come back; the message carries its output. */
export async function runKillLoop(options: KillLoopOptions): Promise<KillLoopReport> {
  const loop = new KillLoop(options);
  // The victim has processes, perhaps a mounted disk: the first signal ends the run in order, a second one at once.
  const endSoon = (): void => loop.endSoon();
  for (const signal of SIGNALS) process.once(signal, endSoon);
  try {
    return await loop.run();
  } finally {
    for (const signal of SIGNALS) process.off(signal, endSoon);
    loop.stop();
    await options.victim.dispose();
  }
}

export interface KilledNodeOptions {
  /** Default: `catchall serve`. */
  readonly command?: readonly string[];
  readonly flags?: readonly string[];
  readonly lifeMsMax?: number;
}

/** One node on a file log, killed by its process id. */
export class KilledNode implements Victim {
  readonly url: string;
  readonly #port: number;
  readonly #dataDir: string;
  readonly lifeMsMax: number;
  readonly #options: KilledNodeOptions;
  #node: NodeProcess | null = null;

  private constructor(port: number, dataDir: string, options: KilledNodeOptions) {
    this.url = `http://127.0.0.1:${port}`;
    this.#port = port;
    this.#dataDir = dataDir;
    this.#options = options;
    this.lifeMsMax = options.lifeMsMax ?? LIFE_MS_MAX;
  }

  /** Its data lie below `parent`. */
  static async create(
    options: KilledNodeOptions = {},
    parent: string = tmpdir(),
  ): Promise<KilledNode> {
    return new KilledNode(await freePort(), await mkdtemp(join(parent, "catchall-kill-")), options);
  }

  /** Null while it does not run. */
  get pid(): number | null {
    return this.#node?.isRunning === true ? this.#node.pid : null;
  }

  async start(): Promise<void> {
    const { command, flags } = this.#options;
    this.#node = NodeProcess.spawn({
      port: this.#port,
      dataDir: this.#dataDir,
      flags: flags ?? KILL_LOOP_FLAGS,
      ...(command === undefined ? {} : { command }),
    });
    await this.#node.ready(START_TIMEOUT_MS);
  }

  async end(): Promise<void> {
    if (this.#node?.isRunning === true) await this.#node.kill();
  }

  async dispose(): Promise<void> {
    await this.end();
    await rm(this.#dataDir, { recursive: true, force: true });
  }
}

class KillLoop {
  readonly #options: KillLoopOptions;
  readonly #random: SeededRandom;
  readonly #lanes: readonly Lane[];
  readonly #startsMs: number[] = [];
  readonly #errors: Record<string, number> = {};
  #cycles = 0;
  #startEnds = 0;
  #isEnding = false;
  #acked = 0;
  #maybe = 0;

  constructor(options: KillLoopOptions) {
    this.#options = options;
    this.#random = new SeededRandom(options.seed, 3);
    const domains = Math.max(DOMAINS_MIN, DOMAINS_PER_CYCLE * options.cycles);
    this.#lanes = LANES.map((plan, i) => new Lane(plan, options.seed * LANES.length + i, domains));
  }

  async run(): Promise<KillLoopReport> {
    const { cycles, verifyEvery, victim, onProgress } = this.#options;
    await this.#start();
    for (;;) {
      for (const lane of this.#lanes) lane.start(victim.url);
      const groupEnd = Math.min(cycles, this.#cycles + verifyEvery);
      while (this.#cycles < groupEnd && !this.#isEnding) {
        const range = this.#lifeMsMax() - LIFE_MS_MIN;
        await delay(LIFE_MS_MIN + this.#random.below(range + 1));
        await victim.end();
        this.#cycles++;
        while (this.#cycles < groupEnd && this.#random.below(START_ENDED_ONE_IN) === 0) {
          await this.#startAndEnd();
          this.#cycles++;
        }
        await this.#start();
      }
      for (const lane of this.#lanes) this.#add(await lane.stop());
      const report = await this.#verify();
      onProgress?.(report);
      const isWrong = report.lost + report.doubled + report.wrongStatuses > 0;
      if (this.#cycles >= cycles || isWrong || this.#isEnding) return report;
    }
  }

  /** No further cycle: what was acknowledged so far is verified. */
  endSoon(): void {
    this.#isEnding = true;
  }

  /** Ends the load, also of a run that failed: it would wait for the victim's return. */
  stop(): void {
    for (const lane of this.#lanes) lane.abandon();
  }

  async #start(): Promise<void> {
    const startMs = performance.now();
    await this.#options.victim.start();
    this.#startsMs.push(performance.now() - startMs);
  }

  /** Ends a start at a random instant of it, or right after it. */
  async #startAndEnd(): Promise<void> {
    const { victim } = this.#options;
    const lifeMsMax = Math.round(START_LIFE_SHARE_MAX * this.#startMsMedian());
    const lifeMs = this.#random.below(lifeMsMax + 1);
    const starting = victim.start();
    // A start that fails by itself fails the run.
    const isReady = await Promise.race([starting.then(() => true), delay(lifeMs, false)]);
    if (!isReady) this.#startEnds++;
    await Promise.all([victim.end(), starting.catch(() => undefined)]);
  }

  #lifeMsMax(): number {
    const slowMs = Math.min(Math.round(this.#startMsMedian()), SLOW_LIFE_MS_MAX);
    return Math.max(this.#options.victim.lifeMsMax, slowMs);
  }

  #startMsMedian(): number {
    const starts = [...this.#startsMs].sort((a, b) => a - b);
    return starts[starts.length >> 1] ?? 0;
  }

  #add(outcome: LoadOutcome): void {
    this.#acked += outcome.ackedTotal;
    this.#maybe += outcome.maybe;
    for (const [code, times] of Object.entries(outcome.errors)) {
      this.#errors[code] = (this.#errors[code] ?? 0) + times;
    }
  }

  async #verify(): Promise<KillLoopReport> {
    const [baseUrl = ""] = this.#options.victim.url.split(",");
    const http = new LoadHttp({ baseUrl, token: null, deadlineMs: RECONNECT_TIMEOUT_MS });
    const rule = await http.rule();
    let [lost, doubled, wrongStatuses, domains, exactDomains] = [0, 0, 0, 0, 0];
    const firstWrong: WrongDomain[] = [];
    for (const { names, oracle } of this.#lanes) {
      const report = await verifyLoad({ http, names, oracle, rule });
      lost += report.lost;
      doubled += report.doubled;
      wrongStatuses += report.wrongStatuses;
      domains += report.domains;
      exactDomains += report.exactDomains;
      firstWrong.push(...report.firstWrong);
    }
    return {
      cycles: this.#cycles,
      startEnds: this.#startEnds,
      acked: this.#acked,
      maybe: this.#maybe,
      lost,
      doubled,
      wrongStatuses,
      domains,
      exactDomains,
      startMsMax: Math.max(...this.#startsMs),
      startMsMedian: this.#startMsMedian(),
      errors: this.#errors,
      firstWrong,
    };
  }
}

/** One line. */
export function textOf(report: KillLoopReport): string {
  const share = ((100 * report.exactDomains) / Math.max(1, report.domains)).toFixed(2);
  return (
    `${report.cycles} cycles, ${report.startEnds} ended a start: ${report.acked} acknowledged, ` +
    `${report.lost} lost, ${report.doubled} doubled, ${report.wrongStatuses} wrong statuses, ` +
    `${report.maybe} unknown; ${report.domains} domains, ${share} % exact; ` +
    `start median ${report.startMsMedian.toFixed(0)} ms, max ${report.startMsMax.toFixed(0)} ms`
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      cycles: { type: "string", default: "100" },
      seed: { type: "string", default: "1" },
      "verify-every": { type: "string", default: "25" },
    },
  });
  const report = await runKillLoop({
    cycles: Number(values.cycles),
    seed: Number(values.seed),
    verifyEvery: Number(values["verify-every"]),
    victim: await KilledNode.create(),
    onProgress: (progress) => process.stdout.write(`${textOf(progress)}\n`),
  });
  process.exitCode = exitCodeOf(report);
}

/** Null, or why the run proves too little: an unknown event of a domain hides one that was lost or doubled. */
export function shortfallOf({ domains, exactDomains }: KillLoopReport): string | null {
  if (domains < JUDGED_DOMAINS_MIN || exactDomains >= EXACT_SHARE_MIN * domains) return null;
  return `Only ${exactDomains} of ${domains} domains had no unknown event; ${100 * EXACT_SHARE_MIN} % must`;
}

/** Prints what is wrong; 1 when anything is. */
export function exitCodeOf(report: KillLoopReport): 0 | 1 {
  for (const { domain, expected, actual } of report.firstWrong) {
    process.stdout.write(`WRONG ${domain}: expected ${expected}; got ${actual}\n`);
  }
  const shortfall = shortfallOf(report);
  if (shortfall !== null) process.stdout.write(`${shortfall}\n`);
  const wrong = report.lost + report.doubled + report.wrongStatuses;
  return wrong > 0 || shortfall !== null ? 1 : 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
