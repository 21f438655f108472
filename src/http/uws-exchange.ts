/**
 * One request and its reply on uWebSockets.js, in one object: the hot path allocates this and one closure.
 * Invariant: the native response is touched only while `isClosed` is false (it throws, or worse, afterwards); the native
 * request only until the handler returns. `Connection: close` ends every connection whose next bytes could be misread.
 * Never: `endWithoutBody(n)` with a length other than 0, which leaves the library waiting for a body it was never given.
 */

import type { HttpRequest as UwsRequest, HttpResponse as UwsResponse } from "uWebSockets.js";
import { STATUS_CODES } from "node:http";
import { ERROR_CODES } from "../model/errors.ts";
import { assert, InvariantViolation } from "../runtime/assert.ts";
import { type BodyMemory, ReceivedBody } from "./body-memory.ts";
import type { DeadlineEntry, DeadlineList } from "./deadline-list.ts";
import type { HttpHeaders, HttpReply, HttpRequest, HttpStream } from "./http-server.ts";
import { areHeadersSafe, SECURITY_HEADERS, withSecurityHeaders } from "./security-headers.ts";
import { PROBLEM_HEADERS, serverProblem } from "./server-problem.ts";
import { FRAMING_CHUNKED, headerBit } from "./uws-request-framing.ts";
import { CLOSED_STREAM, UwsStream } from "./uws-stream.ts";

/** What the exchanges of one server share. */
export interface UwsServerState {
  isStopping: boolean;
  readonly replyDeadlines: DeadlineList;
  readonly bodyDeadlines: DeadlineList;
  readonly bodyMemory: BodyMemory;
  readonly onError: (error: unknown) => void;
}

/** What a route's pattern says about the length of its paths. */
export interface PathShape {
  /** Length of all but the parameter; null: read the path. */
  readonly fixedLength: number | null;
  readonly hasParameter: boolean;
}

type BodyErrorReason = "too_large" | "aborted" | "timeout";

// A body over its limit by no more than this is read to its end first, so that the client gets to see the answer.
const DRAIN_BYTES_MAX = 262_144;

const STATUS_LINES: ReadonlyMap<number, string> = new Map(
  Object.entries(STATUS_CODES).map(([code, text]) => [Number(code), `${code} ${text}`]),
);
const NO_CONTENT_LINE = "204 No Content";
const SECURITY_BLOCK = blockOf(SECURITY_HEADERS);

// The answer being corked: one function for all of them instead of a closure for each.
let corkedResponse: UwsResponse | null = null;
let isCorkedReplayed = false;
let isCorkedClosing = false;

export class UwsExchange implements HttpRequest, HttpReply, DeadlineEntry {
  readonly method: string;
  readonly query: string;
  isClosed: boolean = false;
  isReadOnly: boolean = false;
  deadlineTick: number = 0;
  deadlineList: DeadlineList | null = null;
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  /** FRAMING_* or the Content-Length. */
  readonly framing: number;
  private readonly headerBits: number;
  private readonly server: UwsServerState;
  private readonly response: UwsResponse;
  private request: UwsRequest | null;
  private pathText: string | null = null;
  private firstParameter: string | null = null;
  private isGone: boolean = false;
  /** The library is in the middle of a buffer that may hold another request. */
  private isParsing: boolean = true;
  private mustClose: boolean;
  private stream: UwsStream | null = null;
  private body: ReceivedBody | null = null;
  private abortListener: (() => void) | null = null;
  private bodyErrorListener: ((reason: BodyErrorReason) => void) | null = null;

  constructor(
    server: UwsServerState,
    response: UwsResponse,
    request: UwsRequest,
    method: string,
    framing: number,
    headerBits: number,
  ) {
    this.server = server;
    this.response = response;
    this.request = request;
    this.method = method;
    this.query = request.getQuery() ?? "";
    this.framing = framing;
    this.headerBits = headerBits;
    // Chunked bodies are read leniently by the library: no second request follows one on its connection.
    this.mustClose = framing === FRAMING_CHUNKED || framing > DRAIN_BYTES_MAX;
    server.replyDeadlines.add(this);
  }

  /** Read when asked for: the route says what the path is, but for its parameters. */
  get path(): string {
    this.pathText ??= this.openRequest().getUrl();
    return this.pathText;
  }

  get hasBody(): boolean {
    return this.framing > 0 || this.framing === FRAMING_CHUNKED;
  }

  /** Length of path and query, from what the handler needs anyway. */
  urlLength(shape: PathShape): number {
    let length = shape.fixedLength ?? this.path.length;
    if (shape.hasParameter) length += this.parameter(0).length;
    return this.query === "" ? length : length + 1 + this.query.length;
  }

  parameter(index: number): string {
    const request = this.openRequest();
    if (index !== 0) return request.getParameter(index) ?? "";
    this.firstParameter ??= request.getParameter(0) ?? "";
    return this.firstParameter;
  }

  header(name: string): string {
    const request = this.openRequest();
    return (this.headerBits & headerBit(name)) === 0 ? "" : request.getHeader(name);
  }

  remoteAddress(): string {
    this.openRequest();
    return this.isClosed ? "" : Buffer.from(this.response.getRemoteAddressAsText()).toString();
  }

  sendNoContent(isReplayed: boolean): void {
    if (this.isClosed || this.stream !== null) return;
    this.finish();
    const isClosing = this.mustClose || this.server.isStopping;
    if (isClosing && this.isParsing) this.deferClosing(() => this.corkNoContent(isReplayed, true));
    else this.corkNoContent(isReplayed, isClosing);
  }

  send(status: number, headers: HttpHeaders, body: string | Uint8Array | null): void {
    if (this.isClosed || this.stream !== null) return;
    if (!areHeadersSafe(headers)) {
      this.server.onError(new InvariantViolation("an answer's header has a forbidden character"));
      this.sendProblem();
      return;
    }
    this.finish();
    const isClosing = this.mustClose || this.server.isStopping;
    const answer = (): void => {
      writeHead(this.response, status, headers);
      if (status === 204 || status === 304) endEmpty(this.response, isClosing);
      else if (this.method === "HEAD") this.endHead(body, isClosing);
      else this.response.end(body ?? "", isClosing);
      // Not before: what is sent may be what was received.
      this.body?.release();
    };
    if (isClosing && this.isParsing) this.deferClosing(() => this.response.cork(answer));
    else this.response.cork(answer);
  }

  openStream(status: number, headers: HttpHeaders): HttpStream {
    if (this.isClosed || this.stream !== null) return CLOSED_STREAM;
    assert(areHeadersSafe(headers), "a stream's header has a forbidden character");
    if (this.method === "HEAD") {
      this.finish();
      this.response.cork(() => {
        writeHead(this.response, status, headers);
        this.response.endWithoutBody();
      });
      return CLOSED_STREAM;
    }
    this.leaveDeadline();
    const isClosing = this.mustClose || this.server.isStopping;
    this.response.cork(() => {
      writeHead(this.response, status, headers);
      if (isClosing) this.response.writeHeader("Connection", "close");
    });
    this.stream = new UwsStream(this.response, () => this.finish());
    return this.stream;
  }

  readBody(
    maxBytes: number,
    onBody: (body: Uint8Array) => void,
    onError: (reason: BodyErrorReason) => void,
  ): void {
    const { bodyMemory } = this.server;
    const body = new ReceivedBody(bodyMemory, Math.min(Math.max(this.framing, 0), maxBytes));
    this.receiveBody(maxBytes, body, () => onBody(body.bytes), onError);
  }

  skipBody(maxBytes: number, onEnd: () => void, onError: (reason: BodyErrorReason) => void): void {
    this.receiveBody(maxBytes, null, onEnd, onError);
  }

  /** `body` null: the content is dropped. */
  private receiveBody(
    maxBytes: number,
    body: ReceivedBody | null,
    onEnd: () => void,
    onError: (reason: BodyErrorReason) => void,
  ): void {
    if (this.isClosed) {
      onError("aborted");
      return;
    }
    this.openRequest();
    if (this.framing > maxBytes + DRAIN_BYTES_MAX) {
      this.mustClose = true;
      onError("too_large");
      return;
    }
    // A body within its limit may be longer than what an unread one is drained to.
    if (this.framing <= maxBytes && this.framing !== FRAMING_CHUNKED) this.mustClose = false;
    this.leaveDeadline();
    this.server.bodyDeadlines.add(this);
    this.bodyErrorListener = onError;
    this.body = body;
    let receivedBytes = 0;
    this.response.onData((chunk, isLast) => {
      if (this.bodyErrorListener === null) return;
      this.isParsing = true;
      receivedBytes += chunk.byteLength;
      if (receivedBytes > maxBytes) {
        body?.release();
        const isHopeless = receivedBytes > maxBytes + DRAIN_BYTES_MAX;
        if (isHopeless || isLast) this.failBody("too_large", isHopeless);
      } else {
        // The library takes the memory back when this returns.
        if (chunk.byteLength > 0) body?.add(new Uint8Array(chunk));
        if (isLast) this.finishBody(onEnd);
      }
      this.isParsing = false;
    });
  }

  onAborted(listener: () => void): void {
    this.abortListener = listener;
  }

  /** The handler has returned: the native request is gone. */
  onHandlerReturned(): void {
    this.request = null;
    this.isParsing = false;
  }

  /** The client has gone, or the library closed the connection. */
  abort(): void {
    this.isGone = true;
    if (this.isClosed) return;
    this.finish();
    this.body?.release();
    this.stream?.close();
    const bodyErrorListener = this.bodyErrorListener;
    const abortListener = this.abortListener;
    this.bodyErrorListener = null;
    this.abortListener = null;
    this.guard(() => bodyErrorListener?.("aborted"));
    this.guard(() => abortListener?.());
  }

  /** Something threw on the way to the answer. */
  fail(error: unknown): void {
    this.server.onError(error);
    if (this.stream === null) this.sendProblem();
    else if (!this.isClosed) this.response.close();
  }

  /** Answers with the problem and closes: the bytes after this request can't be trusted. */
  refuse(code: "bad_request" | "uri_too_long" | "invalid_event_id"): void {
    this.mustClose = true;
    this.send(ERROR_CODES[code].status, PROBLEM_HEADERS, serverProblem(code));
  }

  onDeadline(list: DeadlineList): void {
    if (list === this.server.bodyDeadlines) {
      this.failBody("timeout", true);
      return;
    }
    this.mustClose = true;
    const code = this.isReadOnly ? "deadline_exceeded" : "outcome_unknown";
    this.send(504, PROBLEM_HEADERS, serverProblem(code));
  }

  /**
   * Safety: an answer that closes must not be given while the library parses. It would close only after the buffer,
   * and handle the bytes that follow as another request. While an answer is pending it cuts the connection instead.
   */
  private deferClosing(answer: () => void): void {
    setImmediate(() => {
      if (!this.isGone) answer();
    });
  }

  private corkNoContent(isReplayed: boolean, isClosing: boolean): void {
    corkedResponse = this.response;
    isCorkedReplayed = isReplayed;
    isCorkedClosing = isClosing;
    this.response.cork(writeNoContent);
    this.body?.release();
  }

  private sendProblem(): void {
    this.send(500, PROBLEM_HEADERS, serverProblem("internal"));
  }

  private endHead(body: string | Uint8Array | null, isClosing: boolean): void {
    const bodyBytes = body === null ? 0 : Buffer.byteLength(body);
    this.response.writeHeader("Content-Length", String(bodyBytes));
    if (isClosing) this.response.writeHeader("Connection", "close");
    this.response.endWithoutBody();
  }

  private finishBody(onEnd: () => void): void {
    this.bodyErrorListener = null;
    this.restartReplyDeadline();
    this.guard(onEnd);
  }

  private failBody(reason: BodyErrorReason, isClosing: boolean): void {
    const listener = this.bodyErrorListener;
    if (listener === null) return;
    this.bodyErrorListener = null;
    if (isClosing) this.mustClose = true;
    this.restartReplyDeadline();
    this.guard(() => listener(reason));
  }

  private restartReplyDeadline(): void {
    if (this.isClosed || this.stream !== null) return;
    this.leaveDeadline();
    this.server.replyDeadlines.add(this);
  }

  private guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.fail(error);
    }
  }

  private finish(): void {
    this.isClosed = true;
    this.leaveDeadline();
  }

  private leaveDeadline(): void {
    if (this.deadlineList !== null) this.deadlineList.remove(this);
  }

  private openRequest(): UwsRequest {
    if (this.request === null) throw new InvariantViolation("request read after its handler");
    return this.request;
  }
}

function writeNoContent(): void {
  const response = corkedResponse as UwsResponse;
  corkedResponse = null;
  response.writeStatus(NO_CONTENT_LINE);
  if (isCorkedReplayed) response.writeHeader("Idempotency-Replayed", "true");
  endEmpty(response, isCorkedClosing);
}

// Closing needs a length of 0 here: without one the library writes 2^63.
function endEmpty(response: UwsResponse, isClosing: boolean): void {
  if (isClosing) response.endWithoutBody(0, true);
  else response.endWithoutBody();
}

function writeHead(response: UwsResponse, status: number, headers: HttpHeaders): void {
  response.writeStatus(STATUS_LINES.get(status) ?? String(status));
  const all = withSecurityHeaders(headers);
  if (all.length === headers.length + SECURITY_HEADERS.length || headers.length === 0) {
    // The usual case: all security headers in one call, as one prebuilt block.
    for (const [name, value] of headers) response.writeHeader(name, value);
    response.writeHeader(SECURITY_BLOCK.name, SECURITY_BLOCK.rest);
    return;
  }
  for (const [name, value] of all) response.writeHeader(name, value);
}

function blockOf(headers: HttpHeaders): { readonly name: string; readonly rest: string } {
  const text = headers.map(([name, value]) => `${name}: ${value}`).join("\r\n");
  const colon = text.indexOf(":");
  return { name: text.slice(0, colon), rest: text.slice(colon + 2) };
}
