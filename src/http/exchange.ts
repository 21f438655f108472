/**
 * One request being answered: the reply, who asked, and the time that goes into the metrics. It is the EventReply of
 * single events itself, so the hot path allocates nothing else.
 * Invariant: each exchange is answered at most once, and whatever it holds (bytes of a body) is given back with the
 * answer or when the client goes. Problems never carry the text of an unexpected error.
 */

import { PROBLEM_CONTENT_TYPE, problemOf, retryAfterOf, toCatchallError } from "../api/problem.ts";
import type { RouteSpec } from "../api/routes.ts";
import { CatchallError, type ErrorCode } from "../model/errors.ts";
import { type EventOutcome, type EventReply, REPLAYED } from "../router/ingress.ts";
import type { Counter } from "../runtime/metrics.ts";
import { Admission } from "./admission.ts";
import { BulkTurns } from "./bulk-turns.ts";
import { FailureLimiter } from "./failure-limiter.ts";
import type { HttpDeps } from "./http-deps.ts";
import type { HttpHeaders, HttpReply, HttpRequest, HttpStream } from "./http-server.ts";
import { RouteTimer } from "./route-timer.ts";

export type ExchangeHandler = (exchange: Exchange, request: HttpRequest) => void;

/** What all exchanges of a node share. */
export class ExchangeContext {
  readonly deps: HttpDeps;
  readonly admission: Admission;
  readonly bulks: BulkTurns;
  readonly nodeId: string;
  readonly authFailures: FailureLimiter;
  readonly #rejected = new Map<ErrorCode, Counter>();

  constructor(deps: HttpDeps) {
    this.deps = deps;
    this.admission = new Admission(deps.ingress, deps.limits);
    this.bulks = new BulkTurns(deps.clock, deps.timers, deps.limits);
    this.nodeId = deps.ingress.nodeId;
    this.authFailures = new FailureLimiter(deps.clock, {
      burst: deps.limits.authFailuresBurst,
      refillMs: deps.limits.authFailureRefillMs,
      addressesMax: deps.limits.authAddressesMax,
    });
  }

  timer(method: string, pattern: string): RouteTimer {
    return new RouteTimer(this.deps.metrics, method, pattern);
  }

  /** Counts events that were refused before they were submitted; the node counts those it refuses itself. */
  countRejected(code: ErrorCode, events = 1): void {
    let counter = this.#rejected.get(code);
    if (counter === undefined) {
      const help = "Events refused, by code";
      counter = this.deps.metrics.counter("events_rejected_total", help, { code });
      this.#rejected.set(code, counter);
    }
    counter.add(events);
  }
}

const NO_STORE = ["Cache-Control", "no-store"] as const;
export const JSON_HEADERS: HttpHeaders = [["Content-Type", "application/json"], NO_STORE];
export const TEXT_HEADERS: HttpHeaders = [["Content-Type", "text/plain; charset=utf-8"], NO_STORE];
export const NDJSON_HEADERS: HttpHeaders = [["Content-Type", "application/x-ndjson"], NO_STORE];

export class Exchange implements EventReply {
  readonly reply: HttpReply;
  readonly context: ExchangeContext;
  /** Who asks: the name of a token, or "anonymous". */
  readonly principal: string;
  readonly route: RouteSpec | null;
  readonly #timer: RouteTimer;
  readonly #startedMs: number;
  #heldBytes = 0;
  #isAnswered = false;

  constructor(
    context: ExchangeContext,
    route: RouteSpec | null,
    timer: RouteTimer,
    reply: HttpReply,
    principal: string,
    startedMs: number,
  ) {
    this.context = context;
    this.route = route;
    this.reply = reply;
    this.principal = principal;
    this.#timer = timer;
    this.#startedMs = startedMs;
  }

  /** EventReply of a single event. */
  settled(_index: number, outcome: EventOutcome): void {
    if (typeof outcome !== "number") {
      this.problem(outcome);
      return;
    }
    this.#finish(204);
    this.reply.sendNoContent(outcome === REPLAYED);
  }

  json(status: number, value: unknown, headers: HttpHeaders = []): void {
    this.send(
      status,
      headers.length === 0 ? JSON_HEADERS : [...JSON_HEADERS, ...headers],
      JSON.stringify(value),
    );
  }

  text(status: number, text: string): void {
    this.send(status, TEXT_HEADERS, text);
  }

  noContent(): void {
    this.#finish(204);
    this.reply.sendNoContent(false);
  }

  send(status: number, headers: HttpHeaders, body: string | Uint8Array | null): void {
    this.#finish(status);
    this.reply.send(status, headers, body);
  }

  /** Answers with a problem; `members` are added to its body. Anything that is not a CatchallError is `internal`. */
  problem(cause: unknown, members: object = {}, extraHeaders: HttpHeaders = []): void {
    const error = toCatchallError(cause);
    if (error.code === "internal") {
      this.context.deps.logger.error(
        { error: error.cause, route: this.route?.pattern },
        "request failed",
      );
    }
    const headers: (readonly [string, string])[] = [
      ["Content-Type", PROBLEM_CONTENT_TYPE],
      NO_STORE,
      ...extraHeaders,
    ];
    const retryAfter = retryAfterOf(error);
    if (retryAfter !== null) headers.push(["Retry-After", retryAfter]);
    if (error.status === 401) headers.push(["WWW-Authenticate", 'Bearer realm="catchall"']);
    this.send(
      error.status,
      headers,
      JSON.stringify({ ...problemOf(error, this.context.nodeId), ...members }),
    );
  }

  openStream(status: number, headers: HttpHeaders): HttpStream {
    this.#finish(status);
    return this.reply.openStream(status, headers);
  }

  /** Answers with what `promise` brings, or with its problem. */
  answer<T>(promise: Promise<T>, onValue: (value: T) => void): void {
    promise.then(onValue).catch((error: unknown) => this.problem(error));
  }

  /** Reads the body. Whatever `onBody` throws is answered. The bytes are held until the answer. */
  readBody(
    request: HttpRequest,
    mediaTypes: readonly string[],
    onBody: (body: Uint8Array) => void,
  ): void {
    const limits = this.context.deps.limits;
    const refusal =
      refuseBody(request, mediaTypes, limits.bodyBytesMax) ??
      this.#hold(bodyBytes(request, limits.bodyBytesMax));
    if (refusal !== null) {
      this.problem(refusal);
      return;
    }
    this.reply.readBody(
      limits.bodyBytesMax,
      (body) => this.#attempt(() => onBody(body)),
      (reason) => this.#failBody(reason),
    );
  }

  /**
   * For requests that need no body and have one all the same: waits for its end and ignores its content, since a body
   * that turns out malformed is refused by the server with effect none. Whatever `onEnd` throws is answered.
   */
  skipBody(request: HttpRequest, onEnd: () => void): void {
    const bytesMax = this.context.deps.limits.bodyBytesMax;
    if (bodyBytes(request, 0) > bytesMax) return this.problem(new CatchallError("body_too_large"));
    return this.reply.skipBody(
      bytesMax,
      () => this.#attempt(onEnd),
      (reason) => this.#failBody(reason),
    );
  }

  #attempt(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.problem(error);
    }
  }

  #failBody(reason: "too_large" | "aborted" | "timeout"): void {
    if (reason === "aborted") return this.#finish(499);
    return this.problem(
      new CatchallError(reason === "timeout" ? "request_timeout" : "body_too_large"),
    );
  }

  #hold(bytes: number): CatchallError | null {
    const refusal = this.context.admission.reserveBody(bytes);
    if (refusal === null) this.#heldBytes = bytes;
    return refusal;
  }

  #finish(status: number): void {
    if (this.#isAnswered) return;
    this.#isAnswered = true;
    if (this.#heldBytes > 0) {
      this.context.admission.releaseBody(this.#heldBytes);
      this.#heldBytes = 0;
    }
    this.#timer.observe(status, (this.context.deps.clock.monotonicMs() - this.#startedMs) / 1000);
  }
}

function refuseBody(
  request: HttpRequest,
  mediaTypes: readonly string[],
  bytesMax: number,
): CatchallError | null {
  const encoding = request.header("content-encoding").trim().toLowerCase();
  if (encoding !== "" && encoding !== "identity") {
    return new CatchallError("unsupported_media_type", "Content-Encoding must be identity");
  }
  if (!mediaTypes.includes(mediaTypeOf(request.header("content-type")))) {
    return new CatchallError(
      "unsupported_media_type",
      `Content-Type must be ${mediaTypes.join(" or ")}`,
    );
  }
  return bodyBytes(request, 0) > bytesMax ? new CatchallError("body_too_large") : null;
}

/** The announced length, or `fallback` when there is none. */
function bodyBytes(request: HttpRequest, fallback: number): number {
  const header = request.header("content-length");
  return /^[0-9]{1,15}$/.test(header) ? Number(header) : fallback;
}

/** "application/json" of "Application/JSON; charset=utf-8". */
export function mediaTypeOf(header: string): string {
  const semicolon = header.indexOf(";");
  return (semicolon < 0 ? header : header.slice(0, semicolon)).trim().toLowerCase();
}
