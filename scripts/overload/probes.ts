/**
 * What others see of a node while it is overloaded: every 100 ms, each on a new connection as an orchestrator's, a
 * liveness probe and a read of one known domain; and the node's resident memory.
 * Invariant: probes leave by schedule, however long those before them take.
 */
import { Agent, request } from "node:http";
import { performance } from "node:perf_hooks";
import { LatencyRecorder } from "../../src/cli/load/latency-recorder.ts";
import { rssMibOf } from "../bench/targets.ts";

export interface ProbeFigures {
  readonly sent: number;
  /** Answered 200 within the limit. */
  readonly answered: number;
  /** 503 with Retry-After: an answer as well, but to reads only. */
  readonly refused: number;
  /** Of all that were answered, ms. */
  readonly p99Ms: number;
  readonly maxMs: number;
  /** What came in place of an answer, the first few. */
  readonly failures: readonly string[];
}

export interface ProbeReport {
  readonly health: ProbeFigures;
  readonly reads: ProbeFigures;
  readonly rssMaxMib: number;
}

export interface Answer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly ms: number;
}

const EVERY_MS = 100;
const FAILURES_KEPT = 3;
const NO_REUSE = new Agent({ keepAlive: false });

export class Probes {
  readonly #pid: number;
  readonly #health: Probe;
  readonly #reads: Probe;
  readonly #timer: NodeJS.Timeout;
  #rssMaxMib = 0;

  /** Starts at once. `limitMs`: a probe that takes longer has failed. */
  constructor(options: {
    readonly url: string;
    readonly pid: number;
    readonly domain: string;
    readonly limitMs: number;
  }) {
    const { url, pid, domain, limitMs } = options;
    this.#pid = pid;
    this.#health = new Probe(`${url}/healthz`, limitMs, false);
    this.#reads = new Probe(`${url}/domains/${domain}`, limitMs, true);
    this.#timer = setInterval(() => this.#tick(), EVERY_MS);
    this.#tick();
  }

  /** Waits for those under way. */
  async stop(): Promise<ProbeReport> {
    clearInterval(this.#timer);
    const health = await this.#health.figures();
    const reads = await this.#reads.figures();
    return { health, reads, rssMaxMib: this.#rssMaxMib };
  }

  #tick(): void {
    this.#health.send();
    this.#reads.send();
    this.#rssMaxMib = Math.max(this.#rssMaxMib, rssMibOf(this.#pid));
  }
}

class Probe {
  readonly #url: string;
  readonly #limitMs: number;
  readonly #mayRefuse: boolean;
  readonly #latencies = new LatencyRecorder();
  readonly #underWay: Promise<void>[] = [];
  readonly #failures: string[] = [];
  #sent = 0;
  #answered = 0;
  #refused = 0;

  constructor(url: string, limitMs: number, mayRefuse: boolean) {
    this.#url = url;
    this.#limitMs = limitMs;
    this.#mayRefuse = mayRefuse;
  }

  send(): void {
    this.#sent++;
    this.#underWay.push(
      ask("GET", this.#url, { agent: NO_REUSE, limitMs: this.#limitMs }).then(
        (answer) => this.#onAnswer(answer),
        (error: unknown) => this.#onFailure(String(error)),
      ),
    );
  }

  async figures(): Promise<ProbeFigures> {
    await Promise.all(this.#underWay);
    const { p99, max } = this.#latencies.summary();
    return {
      sent: this.#sent,
      answered: this.#answered,
      refused: this.#refused,
      p99Ms: p99,
      maxMs: max,
      failures: this.#failures,
    };
  }

  #onAnswer({ status, retryAfter, ms }: Answer): void {
    if (status === 200) this.#answered++;
    else if (this.#mayRefuse && status === 503 && retryAfter !== undefined) this.#refused++;
    else return this.#onFailure(`status ${status}`);
    return this.#latencies.record(ms);
  }

  #onFailure(what: string): void {
    if (this.#failures.length < FAILURES_KEPT) this.#failures.push(what);
  }
}

/** One request without a body. Errors: no answer within the limit, a broken connection. */
export function ask(
  method: "GET" | "PUT",
  url: string,
  options: { readonly agent: Agent; readonly limitMs: number },
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const startMs = performance.now();
    const signal = AbortSignal.timeout(options.limitMs);
    const sent = request(url, { method, agent: options.agent, signal }, (response) => {
      const { statusCode, headers } = response;
      response.on("error", reject);
      response.on("end", () => {
        const ms = performance.now() - startMs;
        resolve({ status: statusCode ?? 0, retryAfter: headers["retry-after"], ms });
      });
      response.resume();
    });
    sent.on("error", reject);
    sent.end();
  });
}
