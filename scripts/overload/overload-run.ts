/**
 * One node of the built product, first at its peak, then at multiples of it, then at rest again.
 * Peak: a closed loop with twice the connections step after step, until the rate stops rising. Overload: an open loop
 * at a multiple of that rate. Last, single events from far more connections than their peak needs.
 * Every phase ends with a wait for the node to be as quick as before; the run ends with the law: counted = acknowledged.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { Agent } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { LoadHttp } from "../../src/cli/load/load-http.ts";
import { NodeProcess } from "../../test/support/node-process.ts";
import { cpuMsOf } from "../bench/targets.ts";
import { freePort } from "../free-port.ts";
import type { LoadSource, PhaseCounts, PhasePlan } from "./overload-client.ts";
import { type Account, judge, type Law, type LoadShape } from "./prepared-load.ts";
import { ask, type ProbeReport, Probes } from "./probes.ts";

export interface OverloadOptions {
  /** A step of the search for the peak, and a phase of overload. */
  readonly stepMs: number;
  readonly phaseMs: number;
  /** Multiples of the peak. */
  readonly factors: readonly number[];
  /** Of the open loop; an arrival that finds none free is counted and not sent. */
  readonly connections: number;
  /** Of the single events; 0: none are sent. */
  readonly singleConnections: number;
  /** Prepared requests of a thousand lines. */
  readonly requests: number;
  /** A probe that takes longer has failed. */
  readonly probeLimitMs: number;
  readonly openSource: (url: string, shape: LoadShape) => Promise<LoadSource>;
  readonly onPhase?: (phase: PhaseReport) => void;
}

export interface PhaseReport {
  readonly name: string;
  readonly plan: PhasePlan;
  readonly counts: PhaseCounts;
  readonly probes: ProbeReport;
  /** Of the peak of this kind of request. */
  readonly goodputShare: number;
  /** The same by processor time of the node, which other work of the machine does not change. */
  readonly goodputShareOfCpu: number;
  readonly p99Ratio: number;
  /** From the last request sent until a single event is answered within twice its quiet time. */
  readonly recoveryMs: number;
}

interface Peak {
  readonly connections: number;
  readonly eventsPerSecond: number;
  readonly p99Ms: number;
  /** By processor time of the node, in the best step. */
  readonly eventsPerCpuSecond: number;
}

export interface OverloadReport {
  readonly quietMs: number;
  readonly bulkPeak: Peak;
  readonly singlePeak: Peak | null;
  readonly phases: readonly PhaseReport[];
  readonly law: Law;
  /** Delivered events by `GET /domains/stats`. */
  readonly statsCounted: number;
}

const BULK_LINES = 1000;
const SINGLE_REQUESTS = 5000;
const BULK_SEED = 21;
const SINGLE_SEED = 22;
/** A step that adds less than this adds nothing; two such steps in a row end the search. */
const RISE = 1.05;
const BULK_CONNECTIONS_FIRST = 1;
const BULK_CONNECTIONS_LAST = 64;
const SINGLE_CONNECTIONS_FIRST = 16;
const SINGLE_CONNECTIONS_LAST = 512;
const QUIET_EVENTS = 100;
const RECOVERY_TRY_EVERY_MS = 10;
const RECOVERY_LIMIT_MS = 60_000;
const REQUEST_LIMIT_MS = 15_000;
const KNOWN_DOMAIN = "known.example";
const DEADLINE_MS = 30_000;

/** Errors: the node did not start, or ended. */
export async function runOverload(options: OverloadOptions): Promise<OverloadReport> {
  const dataDir = await mkdtemp(join(tmpdir(), "catchall-overload-"));
  const flags = ["--log-level", "warn"];
  const node = await NodeProcess.start({ port: await freePort(), dataDir, flags });
  const run = new OverloadRun(options, node);
  try {
    return await run.run();
  } finally {
    await run.close();
    await node.kill();
    await rm(dataDir, { recursive: true, force: true });
  }
}

class OverloadRun {
  readonly #options: OverloadOptions;
  readonly #node: NodeProcess;
  readonly #http: LoadHttp;
  readonly #agent: Agent = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #sources: { readonly shape: LoadShape; readonly source: LoadSource }[] = [];
  readonly #phases: PhaseReport[] = [];
  /** Of the single events sent from here. */
  #acked = 0;
  #unknown = 0;
  #quietMs = 0;

  constructor(options: OverloadOptions, node: NodeProcess) {
    this.#options = options;
    this.#node = node;
    this.#http = new LoadHttp({ baseUrl: node.url, token: null, deadlineMs: DEADLINE_MS });
  }

  async run(): Promise<OverloadReport> {
    const { stepMs, phaseMs, factors, connections, singleConnections, requests } = this.#options;
    const bulk = await this.#open({ seed: BULK_SEED, requests, bulk: BULK_LINES });
    await bulk.run({ connections: 4, durationMs: stepMs, requestsPerSecond: 0 });
    await this.#measureQuiet();
    const bulkPeak = await this.#findPeak(bulk, BULK_CONNECTIONS_FIRST, BULK_CONNECTIONS_LAST);
    for (const factor of factors) {
      const requestsPerSecond = (factor * bulkPeak.eventsPerSecond) / BULK_LINES;
      const plan = { connections, durationMs: phaseMs, requestsPerSecond };
      await this.#phase(`${factor}x`, { source: bulk, plan, peak: bulkPeak });
    }
    let singlePeak: Peak | null = null;
    if (singleConnections > 0) {
      const single = await this.#open({ seed: SINGLE_SEED, requests: SINGLE_REQUESTS, bulk: 0 });
      singlePeak = await this.#findPeak(single, SINGLE_CONNECTIONS_FIRST, SINGLE_CONNECTIONS_LAST);
      const plan = { connections: singleConnections, durationMs: phaseMs, requestsPerSecond: 0 };
      await this.#phase("single", { source: single, plan, peak: singlePeak });
    }
    return {
      quietMs: this.#quietMs,
      bulkPeak,
      singlePeak,
      phases: this.#phases,
      ...(await this.#judge()),
    };
  }

  async close(): Promise<void> {
    this.#agent.destroy();
    for (const { source } of this.#sources) await source.close();
  }

  async #open(shape: LoadShape): Promise<LoadSource> {
    const source = await this.#options.openSource(this.#node.url, shape);
    this.#sources.push({ shape, source });
    return source;
  }

  /** The fewest connections that reach the highest rate, but for what `RISE` allows. */
  async #findPeak(source: LoadSource, first: number, last: number): Promise<Peak> {
    const steps: Peak[] = [];
    let best = 0;
    let flatSteps = 0;
    for (let connections = first; connections <= last && flatSteps < 2; connections *= 2) {
      const plan = { connections, durationMs: this.#options.stepMs, requestsPerSecond: 0 };
      const cpuMs = cpuMsOf(this.#node.pid);
      const { eventsPerSecond, latency, seconds } = await source.run(plan);
      const cpuSeconds = (cpuMsOf(this.#node.pid) - cpuMs) / 1000;
      const eventsPerCpuSecond = (eventsPerSecond * seconds) / cpuSeconds;
      steps.push({ connections, eventsPerSecond, p99Ms: latency.p99, eventsPerCpuSecond });
      flatSteps = eventsPerSecond > best * RISE ? 0 : flatSteps + 1;
      best = Math.max(best, eventsPerSecond);
    }
    const knee = steps.find((step) => step.eventsPerSecond * RISE >= best) as Peak;
    const eventsPerCpuSecond = Math.max(...steps.map((step) => step.eventsPerCpuSecond));
    return { ...knee, eventsPerSecond: best, eventsPerCpuSecond };
  }

  async #phase(
    name: string,
    work: { readonly source: LoadSource; readonly plan: PhasePlan; readonly peak: Peak },
  ): Promise<void> {
    const { source, plan, peak } = work;
    const { url, pid } = this.#node;
    const limitMs = this.#options.probeLimitMs;
    const probes = new Probes({ url, pid, domain: KNOWN_DOMAIN, limitMs });
    let recovery: Promise<number> = Promise.resolve(0);
    const cpuBeforeMs = cpuMsOf(pid);
    let cpuMs = 0;
    const counts = await source.run(plan, () => {
      cpuMs = cpuMsOf(pid) - cpuBeforeMs;
      recovery = this.#recovery();
    });
    const recoveryMs = await recovery;
    const phase: PhaseReport = {
      name,
      plan,
      counts,
      probes: await probes.stop(),
      goodputShare: counts.eventsPerSecond / peak.eventsPerSecond,
      goodputShareOfCpu:
        (counts.eventsPerSecond * counts.seconds * 1000) / cpuMs / peak.eventsPerCpuSecond,
      p99Ratio: counts.latency.p99 / peak.p99Ms,
      recoveryMs,
    };
    this.#phases.push(phase);
    this.#options.onPhase?.(phase);
  }

  async #measureQuiet(): Promise<void> {
    const times: number[] = [];
    for (let i = 0; i < QUIET_EVENTS; i++) times.push(await this.#put());
    times.sort((a, b) => a - b);
    this.#quietMs = times[QUIET_EVENTS >> 1] as number;
  }

  async #recovery(): Promise<number> {
    const startMs = performance.now();
    for (;;) {
      const tookMs = await this.#put();
      const recoveryMs = performance.now() - startMs;
      if (tookMs <= 2 * this.#quietMs || recoveryMs > RECOVERY_LIMIT_MS) return recoveryMs;
      await delay(RECOVERY_TRY_EVERY_MS);
    }
  }

  /** Milliseconds until the event was acknowledged; infinite when it was not. */
  async #put(): Promise<number> {
    const options = { agent: this.#agent, limitMs: REQUEST_LIMIT_MS };
    const url = `${this.#node.url}/events/${KNOWN_DOMAIN}/delivered`;
    const answer = await ask("PUT", url, options).catch(() => null);
    if (answer?.status === 204) {
      this.#acked++;
      return answer.ms;
    }
    if (answer?.status !== 503) this.#unknown++;
    return Number.POSITIVE_INFINITY;
  }

  async #judge(): Promise<{ readonly law: Law; readonly statsCounted: number }> {
    const known = (await this.#http.lookup([KNOWN_DOMAIN]))[0]?.delivered ?? 0;
    const law = {
      acked: this.#acked,
      unknown: this.#unknown,
      counted: known,
      lost: Math.max(0, this.#acked - known),
      surplus: Math.max(0, known - this.#acked - this.#unknown),
    };
    for (const { shape, source } of this.#sources) {
      const account: Account = await source.account();
      const part = await judge(shape, account, this.#http);
      for (const key of ["acked", "unknown", "counted", "lost", "surplus"] as const) {
        law[key] += part[key];
      }
    }
    const response = await fetch(`${this.#node.url}/domains/stats`);
    const stats = (await response.json()) as { readonly delivered?: number };
    return { law, statsCounted: stats.delivered ?? Number.NaN };
  }
}
