/**
 * Sends prepared requests in phases and counts what comes back.
 * Closed loop: a connection sends its next request when it has its answer. Open loop: requests arrive by schedule, are
 * never sent again, and one that finds no free connection is counted and forgotten; latencies count from the arrival.
 * Invariant: every request sent ends once, as acknowledged, refused or unknown, line by line.
 */
import { performance } from "node:perf_hooks";
import { bulkAnswerOf, failureOf, verdictOfCode } from "../../src/cli/load/answer.ts";
import { LatencyRecorder, type LatencySummary } from "../../src/cli/load/latency-recorder.ts";
import { LoadConnection, type LoadConnectionListener } from "../../src/cli/load/load-connection.ts";
import { parseUrls } from "../../src/cli/load/load-run.ts";
import type { ResponseParser } from "../../src/cli/load/response-parser.ts";
import { type Account, type LoadShape, PreparedLoad } from "./prepared-load.ts";

export interface PhasePlan {
  readonly connections: number;
  readonly durationMs: number;
  /** 0: closed loop. */
  readonly requestsPerSecond: number;
}

export interface PhaseCounts {
  readonly seconds: number;
  /** Requests: due, of them sent, and those for which no connection was free. */
  readonly arrivals: number;
  readonly sent: number;
  readonly withoutConnection: number;
  /** Events acknowledged a second, while requests were being sent. */
  readonly eventsPerSecond: number;
  /** Of requests of which something was accepted, ms. */
  readonly latency: LatencySummary;
  /** Events by code. */
  readonly refused: Readonly<Record<string, number>>;
  /** Answers 429 and 503 without the header. */
  readonly withoutRetryAfter: number;
  readonly unknownEvents: number;
  /** Connections that ended before their answer, or that could not be opened, by reason. */
  readonly broken: Readonly<Record<string, number>>;
  /** Processor time of the sender, ms. */
  readonly clientCpuMs: number;
}

/** Where the requests come from: this process, or one of its own. */
export interface LoadSource {
  /** `onSendingOver` is called when the last request was sent; the promise waits for all answers. */
  run(plan: PhasePlan, onSendingOver?: () => void): Promise<PhaseCounts>;
  account(): Promise<Account>;
  close(): Promise<void>;
}

const TICK_MS = 1;
const WATCH_MS = 250;
/** Over the node's own deadline, so that it speaks first. */
const ANSWER_TIMEOUT_MS = 15_000;

export class OverloadClient implements LoadSource {
  readonly #url: string;
  readonly #load: PreparedLoad;
  #cursor = 0;

  constructor(url: string, shape: LoadShape) {
    this.#url = url;
    this.#load = new PreparedLoad(shape, parseUrls(url).hostHeader);
  }

  async run(plan: PhasePlan, onSendingOver: () => void = () => undefined): Promise<PhaseCounts> {
    const nextRequest = (): number => this.#cursor++ % this.#load.texts.length;
    return await new Phase(this.#url, this.#load, plan, nextRequest).run(onSendingOver);
  }

  account(): Promise<Account> {
    return Promise.resolve(this.#load.account);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

class Phase implements LoadConnectionListener {
  readonly #url: string;
  readonly #load: PreparedLoad;
  readonly #plan: PhasePlan;
  readonly #nextRequest: () => number;
  readonly #connections: LoadConnection[] = [];
  readonly #latencies = new LatencyRecorder();
  readonly #refused: Record<string, number> = {};
  readonly #broken: Record<string, number> = {};
  #idle: LoadConnection[] = [];
  #startMs = 0;
  #arrivals = 0;
  #sent = 0;
  #withoutConnection = 0;
  #acked = 0;
  #unknown = 0;
  #withoutRetryAfter = 0;
  #isOver = false;
  #openCount = 0;
  #finish: () => void = () => undefined;

  constructor(url: string, load: PreparedLoad, plan: PhasePlan, nextRequest: () => number) {
    this.#url = url;
    this.#load = load;
    this.#plan = plan;
    this.#nextRequest = nextRequest;
  }

  async run(onSendingOver: () => void): Promise<PhaseCounts> {
    const { connections, durationMs, requestsPerSecond } = this.#plan;
    const { targets } = parseUrls(this.#url);
    const finished = new Promise<void>((resolve) => {
      this.#finish = resolve;
    });
    const cpu = process.cpuUsage();
    this.#startMs = performance.now();
    this.#openCount = connections;
    for (let i = 0; i < connections; i++) {
      const options = { targets, firstTarget: 0, linesMax: 1, listener: this };
      const connection = new LoadConnection(options);
      this.#connections.push(connection);
      connection.open();
    }
    const watch = setInterval(() => this.#watch(), WATCH_MS);
    const tick = setInterval(() => this.#tick(), requestsPerSecond > 0 ? TICK_MS : durationMs);
    await new Promise((resolve) => setTimeout(resolve, durationMs));
    clearInterval(tick);
    const seconds = (performance.now() - this.#startMs) / 1000;
    const acked = this.#acked;
    this.#isOver = true;
    for (const connection of this.#idle.splice(0)) this.#retire(connection);
    onSendingOver();
    await finished;
    clearInterval(watch);
    const used = process.cpuUsage(cpu);
    return {
      seconds,
      arrivals: this.#arrivals,
      sent: this.#sent,
      withoutConnection: this.#withoutConnection,
      eventsPerSecond: acked / seconds,
      latency: this.#latencies.summary(),
      refused: this.#refused,
      withoutRetryAfter: this.#withoutRetryAfter,
      unknownEvents: this.#unknown,
      broken: this.#broken,
      clientCpuMs: (used.user + used.system) / 1000,
    };
  }

  onReady(connection: LoadConnection): void {
    this.#isFree(connection);
  }

  onAnswer(connection: LoadConnection, parser: ResponseParser): void {
    this.#account(connection, parser);
    if (parser.isClosing) connection.abandon("closed");
    else this.#isFree(connection);
  }

  onBroken(connection: LoadConnection, wasSent: boolean, reason: string): void {
    this.#idle = this.#idle.filter((one) => one !== connection);
    if (wasSent) this.#isUnknown(connection, null);
    if (reason !== "closed") add(this.#broken, reason, 1);
    if (this.#isOver) this.#retire(connection);
    else connection.reconnect();
  }

  #account(connection: LoadConnection, parser: ResponseParser): void {
    const { status } = parser;
    const load = this.#load;
    if (!load.isBulk && status === 204) return this.#isAcked(connection, []);
    if (load.isBulk && status === 200) {
      const answer = bulkAnswerOf(parser.body, load.linesPerRequest);
      if (answer === null) return this.#isUnknown(connection, null);
      const refused = answer.rejected.map(({ index }) => index);
      const unsure = answer.rejected.filter(({ code }) => verdictOfCode(code) === "unknown");
      for (const { code } of answer.rejected) add(this.#refused, code, 1);
      for (const { index } of unsure) this.#isUnknown(connection, index);
      return this.#isAcked(connection, refused);
    }
    const { code, verdict } = failureOf(parser);
    if (verdict === "unknown") return this.#isUnknown(connection, null);
    add(this.#refused, code, load.linesPerRequest);
    const isTold = (status !== 429 && status !== 503) || /^\d+$/.test(parser.header("retry-after"));
    if (!isTold) this.#withoutRetryAfter++;
  }

  #isAcked(connection: LoadConnection, refusedLines: readonly number[]): void {
    this.#load.ack(connection.request.domainAt(0), refusedLines);
    const events = this.#load.linesPerRequest - refusedLines.length;
    this.#acked += events;
    if (events > 0) this.#latencies.record(performance.now() - connection.request.startMs);
  }

  /** `line` null: the whole request. */
  #isUnknown(connection: LoadConnection, line: number | null): void {
    this.#load.unknown(connection.request.domainAt(0), line);
    this.#unknown += line === null ? this.#load.linesPerRequest : 1;
  }

  #isFree(connection: LoadConnection): void {
    if (this.#isOver) return this.#retire(connection);
    if (this.#plan.requestsPerSecond > 0) {
      this.#idle.push(connection);
      return;
    }
    this.#arrivals++;
    this.#send(connection, performance.now());
  }

  #send(connection: LoadConnection, arrivalMs: number): void {
    const { request } = connection;
    const number = this.#nextRequest();
    request.domains[0] = number;
    request.startMs = arrivalMs;
    this.#sent++;
    connection.send(this.#load.texts[number] as string, performance.now());
  }

  #tick(): void {
    const { requestsPerSecond } = this.#plan;
    if (requestsPerSecond === 0) return;
    const due = Math.floor(((performance.now() - this.#startMs) * requestsPerSecond) / 1000);
    let used = 0;
    for (; this.#arrivals < due; this.#arrivals++) {
      const connection = this.#idle[used];
      if (connection === undefined) {
        this.#withoutConnection++;
        continue;
      }
      used++;
      this.#send(connection, this.#startMs + (this.#arrivals / requestsPerSecond) * 1000);
    }
    this.#idle.splice(0, used);
  }

  #watch(): void {
    const nowMs = performance.now();
    for (const connection of [...this.#connections]) {
      const { sentMs } = connection;
      if (sentMs !== 0 && nowMs - sentMs > ANSWER_TIMEOUT_MS) connection.abandon("no_answer");
      else if (this.#isOver && !connection.isOpen && connection.brokenSinceMs !== 0) {
        this.#retire(connection);
      }
    }
  }

  #retire(connection: LoadConnection): void {
    const index = this.#connections.indexOf(connection);
    if (index < 0) return;
    this.#connections.splice(index, 1);
    connection.close();
    if (--this.#openCount === 0) this.#finish();
  }
}

function add(counts: Record<string, number>, key: string, count: number): void {
  counts[key] = (counts[key] ?? 0) + count;
}
