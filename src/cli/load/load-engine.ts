/**
 * Sends a stream of events over keep-alive connections and keeps account of every answer.
 * Closed loop: each connection sends its next request when it has its answer. Open loop (`rate`): requests have
 * intended start times, latencies count from those (so a slow server cannot hide behind a waiting client).
 * Invariant: every event taken from the stream ends exactly once in the oracle as counted or maybe, or in `errors`
 * as not counted. Never resends an event without a key after its outcome became unknown.
 */
import { performance } from "node:perf_hooks";
import { bulkAnswerOf, failureOf, isReadAnswer, verdictOfCode } from "./answer.ts";
import type { DomainNames } from "./domain-names.ts";
import { LatencyRecorder, type LatencySummary } from "./latency-recorder.ts";
import { LoadConnection, type LoadConnectionListener, type LoadTarget } from "./load-connection.ts";
import { type LoadRequest, RequestText } from "./load-request.ts";
import { type EventStream, UNKEYED } from "./mixes.ts";
import { LoadOracle } from "./oracle.ts";
import { type ReadOutcome, ReadTally } from "./read-tally.ts";
import type { ResponseParser } from "./response-parser.ts";

export interface LoadEngineOptions {
  readonly targets: readonly LoadTarget[];
  readonly hostHeader: string;
  readonly basePath: string;
  readonly token: string | null;
  readonly keyPrefix: string;
  readonly names: DomainNames;
  readonly stream: EventStream;
  /** Number of events, reads among them; Infinity: until `durationMs` or `stop()`. */
  readonly events: number;
  readonly durationMs: number;
  readonly connections: number;
  /** Lines a request; 0: single PUTs. */
  readonly bulk: number;
  /** Events a second, reads among them; 0: closed loop. */
  readonly rate: number;
  /** Sent and verified as any others, but in no rate and no latency. */
  readonly warmupMs: number;
  readonly requestTimeoutMs: number;
  readonly reconnectTimeoutMs: number;
  readonly oracle?: LoadOracle;
  /** Reads among single requests: their share of them, above 0 to 1, and whose domains they take in turn. */
  readonly reads?: { readonly share: number; readonly stream: EventStream };
}

export interface LoadOutcome {
  /** Sends that were acknowledged, repeated keys included; after the warm-up. */
  readonly acked: number;
  /** All of them, warm-up included. */
  readonly ackedTotal: number;
  readonly replayed: number;
  readonly maybe: number;
  readonly seconds: number;
  readonly eventsPerSecond: number;
  /** Milliseconds a request. */
  readonly latency: LatencySummary;
  /** Reads beside the events, or null without any. */
  readonly reads: ReadOutcome | null;
  readonly errors: Readonly<Record<string, number>>;
  readonly retries: number;
  readonly reconnects: number;
  /** Milliseconds of CPU of this process during the run. */
  readonly clientCpuMs: number;
}

const OPEN_LOOP_TICK_MS = 1;
const WATCHDOG_MS = 500;
/** Servers close idle connections after about ten seconds; reuse of an older one risks an unknown outcome. */
const IDLE_REUSE_MAX_MS = 8000;

export class LoadEngine implements LoadConnectionListener {
  readonly oracle: LoadOracle;
  readonly #options: LoadEngineOptions;
  readonly #text: RequestText;
  readonly #linesMax: number;
  readonly #connections: LoadConnection[] = [];
  readonly #idle: LoadConnection[] = [];
  readonly #errors = new Map<string, number>();
  readonly #reads: ReadTally;
  #latencies = new LatencyRecorder();
  #taken = 0;
  #acked = 0;
  #ackedBefore = 0;
  #replayed = 0;
  #maybe = 0;
  #retries = 0;
  #reconnects = 0;
  #startMs = 0;
  #measuredFromMs = 0;
  #lastAnswerMs = 0;
  #openCount = 0;
  #isStopping = false;
  #cpuStart: NodeJS.CpuUsage = process.cpuUsage();
  #clientCpuMs = 0;
  #timers: NodeJS.Timeout[] = [];
  #finish: (() => void) | null = null;

  constructor(options: LoadEngineOptions) {
    this.#options = options;
    this.oracle = options.oracle ?? new LoadOracle();
    this.#linesMax = Math.max(1, options.bulk);
    this.#reads = new ReadTally(options.reads?.share ?? 0);
    this.#text = new RequestText({
      names: options.names,
      host: options.hostHeader,
      basePath: options.basePath,
      token: options.token,
      keyPrefix: options.keyPrefix,
      isBulk: options.bulk > 0,
    });
  }

  /** Resolves when every event has its outcome. Never rejects for what the service does. */
  async run(): Promise<LoadOutcome> {
    const { connections, targets, rate, durationMs, warmupMs } = this.#options;
    this.#startMs = performance.now();
    this.#measuredFromMs = this.#startMs;
    this.#lastAnswerMs = this.#startMs;
    this.#cpuStart = process.cpuUsage();
    this.#openCount = connections;
    const finished = new Promise<void>((resolve) => {
      this.#finish = resolve;
    });
    for (let i = 0; i < connections; i++) {
      const linesMax = this.#linesMax;
      const connection = new LoadConnection({ targets, firstTarget: i, linesMax, listener: this });
      this.#connections.push(connection);
      connection.open();
    }
    this.#timers = [setInterval(() => this.#watch(), WATCHDOG_MS)];
    if (rate > 0) this.#timers.push(setInterval(() => this.#tick(), OPEN_LOOP_TICK_MS));
    if (Number.isFinite(durationMs)) {
      this.#timers.push(setTimeout(() => this.stop(), durationMs + warmupMs));
    }
    if (warmupMs > 0) this.#timers.push(setTimeout(() => this.#endWarmup(), warmupMs));
    await finished;
    for (const timer of this.#timers) clearTimeout(timer);
    return this.#outcome();
  }

  /** Takes no more events; those outstanding still get their outcome. */
  stop(): void {
    if (this.#isStopping) return;
    this.#isStopping = true;
    for (const connection of this.#idle.splice(0)) this.#retire(connection);
  }

  /** Events and reads. */
  get answeredSoFar(): number {
    return this.#acked + this.#reads.answered;
  }

  get ackedSoFar(): number {
    return this.#acked;
  }

  onReady(connection: LoadConnection): void {
    if (connection.request.count > 0) this.#send(connection);
    else this.#feed(connection);
  }

  onAnswer(connection: LoadConnection, parser: ResponseParser): void {
    const { request } = connection;
    const nowMs = performance.now();
    let isFree = true;
    if (request.isRead) {
      isFree = this.#onReadAnswer(connection, parser, nowMs);
    } else if (parser.status === 204 && request.count === 1) {
      if (parser.isReplayed) this.#replayed++;
      this.oracle.ack(request.domainAt(0), request.kindAt(0), request.keyAt(0));
      this.#settle(request, 1, nowMs);
    } else if (parser.status === 200 && this.#options.bulk > 0) {
      isFree = this.#onBulkAnswer(connection, parser.body, nowMs);
    } else {
      isFree = this.#onFailure(connection, parser);
    }
    // A request on a connection that the server is closing would end with an unknown outcome.
    if (parser.isClosing) connection.abandon("closed");
    else if (isFree) this.#feed(connection);
  }

  onBroken(connection: LoadConnection, wasSent: boolean, reason: string): void {
    const { request } = connection;
    const idleAt = this.#idle.indexOf(connection);
    if (idleAt >= 0) this.#idle.splice(idleAt, 1);
    if (wasSent) {
      this.#countError(reason, 1);
      this.#keepKeyed(request);
    }
    if (this.#mayStillTry(connection)) {
      this.#reconnects++;
      connection.reconnect();
      return;
    }
    this.#giveUp(request);
    this.#retire(connection);
  }

  #onReadAnswer(connection: LoadConnection, parser: ResponseParser, nowMs: number): boolean {
    const { request } = connection;
    if (parser.status !== 200 && parser.status !== 404) return this.#onFailure(connection, parser);
    if (isReadAnswer(parser)) this.#reads.record(nowMs - request.startMs);
    else this.#countError("bad_answer", 1);
    this.#lastAnswerMs = nowMs;
    request.count = 0;
    return true;
  }

  /** True when the connection is free for the next request. */
  #onBulkAnswer(connection: LoadConnection, body: Buffer, nowMs: number): boolean {
    const { request } = connection;
    const answer = bulkAnswerOf(body, request.count);
    if (answer === null) {
      this.#countError("bad_answer", 1);
      this.#keepKeyed(request);
      this.#giveUp(request);
      return true;
    }
    this.#replayed += answer.replayed;
    const rejected = new Map(answer.rejected.map((line) => [line.index, line.code]));
    let kept = 0;
    const sentCount = request.count;
    for (let i = 0; i < sentCount; i++) {
      const code = rejected.size === 0 ? undefined : rejected.get(i);
      if (code === undefined) {
        this.oracle.ack(request.domainAt(i), request.kindAt(i), request.keyAt(i));
        continue;
      }
      this.#countError(code, 1);
      if (this.#mustResend(request, i, verdictOfCode(code))) request.move(i, kept++);
    }
    this.#settle(request, sentCount - rejected.size, nowMs);
    request.count = kept;
    return kept === 0 ? true : this.#resendLater(connection, 0);
  }

  #onFailure(connection: LoadConnection, parser: ResponseParser): boolean {
    const { request } = connection;
    const failure = failureOf(parser);
    this.#countError(failure.code, 1);
    let kept = 0;
    for (let i = 0; i < request.count; i++) {
      if (this.#mustResend(request, i, failure.verdict)) request.move(i, kept++);
    }
    request.count = kept;
    this.#lastAnswerMs = performance.now();
    return kept === 0 ? true : this.#resendLater(connection, failure.retryAfterMs);
  }

  #mustResend(request: LoadRequest, index: number, verdict: string): boolean {
    if (verdict === "try again") return true;
    if (verdict === "not counted") return false;
    if (request.isRead) return true;
    if (request.keyAt(index) !== UNKEYED) {
      request.isUncertain = true;
      return true;
    }
    this.#recordMaybe(request, index);
    return false;
  }

  /** False: the connection is taken until the events are sent again. */
  #resendLater(connection: LoadConnection, delayMs: number): boolean {
    const { request } = connection;
    const nowMs = performance.now();
    if (request.firstFailureMs === 0) request.firstFailureMs = nowMs;
    if (nowMs - request.firstFailureMs > this.#options.reconnectTimeoutMs) {
      this.#giveUp(request);
      return true;
    }
    this.#retries++;
    connection.after(Math.max(delayMs, 1), () => {
      if (connection.isOpen) this.#send(connection);
    });
    return false;
  }

  /** After an unknown outcome: events with keys stay to be sent again, the others are maybe. */
  #keepKeyed(request: LoadRequest): void {
    let kept = 0;
    for (let i = 0; i < request.count; i++) {
      if (this.#mustResend(request, i, "unknown")) request.move(i, kept++);
    }
    request.count = kept;
    if (kept > 0) this.#retries++;
  }

  /** What is still to be sent will not be: maybe when an earlier send may have been counted. */
  #giveUp(request: LoadRequest): void {
    if (request.count > 0 && !request.isUncertain) this.#countError("given_up", request.count);
    for (let i = 0; request.isUncertain && i < request.count; i++) this.#recordMaybe(request, i);
    request.count = 0;
  }

  #recordMaybe(request: LoadRequest, index: number): void {
    this.oracle.maybe(request.domainAt(index), request.kindAt(index), request.keyAt(index));
    this.#maybe++;
  }

  #settle(request: LoadRequest, ackedCount: number, nowMs: number): void {
    this.#acked += ackedCount;
    this.#lastAnswerMs = nowMs;
    this.#latencies.record(nowMs - request.startMs);
    request.count = 0;
  }

  /** Gives an open, free connection its next request, or lets it wait or go. */
  #feed(connection: LoadConnection): void {
    const count = Math.min(this.#linesMax, this.#options.events - this.#taken);
    if (this.#isStopping || count <= 0) return this.#retire(connection);
    const nowMs = performance.now();
    let startMs = nowMs;
    if (this.#options.rate > 0) {
      startMs = this.#startMs + (this.#taken / this.#options.rate) * 1000;
      if (startMs > nowMs) {
        connection.idleSinceMs = nowMs;
        this.#idle.push(connection);
        return;
      }
    }
    const { reads, stream } = this.#options;
    if (reads !== undefined && this.#reads.isRead(this.#taken)) {
      connection.request.fillRead(reads.stream, startMs);
    } else connection.request.fill(stream, count, startMs);
    this.#taken += count;
    this.#send(connection, nowMs);
  }

  #send(connection: LoadConnection, nowMs: number = performance.now()): void {
    connection.send(this.#text.of(connection.request), nowMs);
  }

  /** Open loop: hands due requests to idle connections, the longest idle first. */
  #tick(): void {
    let index = 0;
    const nowMs = performance.now();
    const { rate, events } = this.#options;
    let due = Math.floor(((nowMs - this.#startMs) * rate) / 1000) - this.#taken;
    due = Math.min(due, events - this.#taken);
    const waiting = this.#idle.length;
    while (index < waiting && due >= 0 && !this.#isStopping) {
      const connection = this.#idle[index] as LoadConnection;
      index++;
      due -= this.#linesMax;
      if (nowMs - connection.idleSinceMs <= IDLE_REUSE_MAX_MS) this.#feed(connection);
      else {
        connection.close();
        connection.open();
      }
    }
    this.#idle.splice(0, index);
    if (this.#taken >= events) this.stop();
  }

  /** Requests without an answer for too long are given up. */
  #watch(): void {
    const nowMs = performance.now();
    for (const connection of this.#connections) {
      const { sentMs } = connection;
      if (sentMs !== 0 && nowMs - sentMs > this.#options.requestTimeoutMs) {
        connection.abandon("timeout");
      }
    }
  }

  #mayStillTry(connection: LoadConnection): boolean {
    const hasWork = connection.request.count > 0;
    const isOver = this.#isStopping || this.#taken >= this.#options.events;
    if (isOver && !hasWork) return false;
    return performance.now() - connection.brokenSinceMs < this.#options.reconnectTimeoutMs;
  }

  #retire(connection: LoadConnection): void {
    connection.close();
    this.#openCount--;
    if (this.#openCount > 0) return;
    const cpu = process.cpuUsage(this.#cpuStart);
    this.#clientCpuMs = (cpu.user + cpu.system) / 1000;
    this.#finish?.();
  }

  #endWarmup(): void {
    this.#measuredFromMs = performance.now();
    this.#ackedBefore = this.#acked;
    this.#reads.endWarmup();
    this.#latencies = new LatencyRecorder();
    this.#cpuStart = process.cpuUsage();
  }

  #countError(code: string, count: number): void {
    this.#errors.set(code, (this.#errors.get(code) ?? 0) + count);
  }

  #outcome(): LoadOutcome {
    const seconds = Math.max(0.001, (this.#lastAnswerMs - this.#measuredFromMs) / 1000);
    const acked = this.#acked - this.#ackedBefore;
    return {
      acked,
      ackedTotal: this.#acked,
      replayed: this.#replayed,
      maybe: this.#maybe,
      seconds,
      eventsPerSecond: acked / seconds,
      latency: this.#latencies.summary(),
      reads: this.#reads.outcome(seconds),
      errors: Object.fromEntries(this.#errors),
      retries: this.#retries,
      reconnects: this.#reconnects,
      clientCpuMs: this.#clientCpuMs,
    };
  }
}
