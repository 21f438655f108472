/**
 * One request and its reply on node:http. Invariants: a reply is sent at most once; nothing is written after the client
 * has gone; a body is collected up to its limit and no further; a slow reader of a stream is cut off, never buffered
 * without bound.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { ERROR_CODES } from "../model/errors.ts";
import { InvariantViolation } from "../runtime/assert.ts";
import type { DeadlineEntry, DeadlineList } from "./deadline-list.ts";
import type { HttpHeaders, HttpReply, HttpRequest, HttpStream } from "./http-server.ts";
import type { ConnectionExchange, NodeConnection, RefusalCode } from "./node-connection.ts";
import { areHeadersSafe, withSecurityHeaders } from "./security-headers.ts";
import { PROBLEM_HEADERS, serverProblem } from "./server-problem.ts";

/** What the exchanges of one server share. */
export interface NodeServerState {
  isStopping: boolean;
  readonly replyDeadlines: DeadlineList;
  readonly bodyDeadlines: DeadlineList;
  readonly onError: (error: unknown) => void;
}

type BodyErrorReason = "too_large" | "aborted" | "timeout";

const DRAIN_BYTES_MAX = 262_144;
const STREAM_BYTES_MAX = 1_048_576;

export class NodeExchange implements HttpRequest, HttpReply, DeadlineEntry, ConnectionExchange {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  isClosed: boolean = false;
  isReadOnly: boolean = false;
  deadlineTick: number = 0;
  deadlineList: DeadlineList | null = null;
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  /** Set by the router before the handler runs. */
  parameters: readonly string[] = [];
  private readonly server: NodeServerState;
  private readonly message: IncomingMessage;
  private readonly response: ServerResponse;
  private readonly contentLength: number;
  private isReadable: boolean = true;
  private mustClose: boolean;
  private stream: NodeStream | null = null;
  private abortListener: (() => void) | null = null;
  private bodyErrorListener: ((reason: BodyErrorReason) => void) | null = null;

  constructor(
    server: NodeServerState,
    connection: NodeConnection,
    message: IncomingMessage,
    response: ServerResponse,
  ) {
    this.server = server;
    this.message = message;
    this.response = response;
    this.method = message.method ?? "";
    const url = textOf(message.url ?? "");
    const mark = url.indexOf("?");
    this.path = mark === -1 ? url : url.slice(0, mark);
    this.query = mark === -1 ? "" : url.slice(mark + 1);
    this.contentLength = Number(message.headers["content-length"] ?? 0);
    this.mustClose = this.contentLength > DRAIN_BYTES_MAX;
    server.replyDeadlines.add(this);
    connection.onRequest(this);
    response.on("close", () => {
      this.abort();
      connection.onAnswered();
    });
    // A reply that waits behind another on its connection has no socket yet, and hears nothing of the close.
    message.on("close", () => {
      if (message.socket.destroyed) this.abort();
    });
  }

  /** No request that follows on this connection may be handled. */
  get isLast(): boolean {
    return this.mustClose;
  }

  get isWhole(): boolean {
    return this.message.complete;
  }

  closeAfterAnswer(): void {
    this.mustClose = true;
  }

  refuseUnread(code: RefusalCode): void {
    // A stream has begun its answer and has no end of its own.
    if (this.stream !== null) {
      this.response.destroy();
      return;
    }
    const listener = this.bodyErrorListener;
    this.bodyErrorListener = null;
    this.refuse(code);
    this.guard(() => listener?.("aborted"));
  }

  get urlLength(): number {
    return this.query === "" ? this.path.length : this.path.length + 1 + this.query.length;
  }

  get hasBody(): boolean {
    return this.contentLength > 0 || this.message.headers["transfer-encoding"] !== undefined;
  }

  parameter(index: number): string {
    this.assertReadable();
    return this.parameters[index] ?? "";
  }

  header(name: string): string {
    this.assertReadable();
    const value = this.message.headers[name];
    return typeof value === "string" ? value : (value?.join(", ") ?? "");
  }

  remoteAddress(): string {
    return this.message.socket.remoteAddress ?? "";
  }

  sendNoContent(isReplayed: boolean): void {
    if (this.isClosed || this.stream !== null) return;
    this.finish();
    if (isReplayed) this.response.setHeader("Idempotency-Replayed", "true");
    this.applyClosing();
    this.response.writeHead(204);
    this.response.end();
  }

  send(status: number, headers: HttpHeaders, body: string | Uint8Array | null): void {
    if (this.isClosed || this.stream !== null) return;
    if (!areHeadersSafe(headers)) {
      this.server.onError(new InvariantViolation("an answer's header has a forbidden character"));
      this.send(500, PROBLEM_HEADERS, serverProblem("internal"));
      return;
    }
    this.finish();
    this.writeHead(status, headers, body === null ? 0 : Buffer.byteLength(body));
    // node:http leaves the body out where the method or the status forbids one.
    if (body === null) this.response.end();
    else this.response.end(body);
  }

  openStream(status: number, headers: HttpHeaders): HttpStream {
    const stream = new NodeStream(this.response, () => this.finish());
    if (this.isClosed || this.stream !== null) stream.isClosed = true;
    else {
      this.leaveDeadline();
      this.writeHead(status, headers, null);
      this.response.flushHeaders();
      this.stream = stream;
      if (this.method === "HEAD") stream.end();
    }
    return stream;
  }

  readBody(
    maxBytes: number,
    onBody: (body: Uint8Array) => void,
    onError: (reason: BodyErrorReason) => void,
  ): void {
    const chunks: Uint8Array[] = [];
    this.receiveBody(maxBytes, chunks, () => onBody(Buffer.concat(chunks)), onError);
  }

  skipBody(maxBytes: number, onEnd: () => void, onError: (reason: BodyErrorReason) => void): void {
    this.receiveBody(maxBytes, null, onEnd, onError);
  }

  /** `chunks` null: the content is dropped. */
  private receiveBody(
    maxBytes: number,
    chunks: Uint8Array[] | null,
    onEnd: () => void,
    onError: (reason: BodyErrorReason) => void,
  ): void {
    if (this.isClosed) {
      onError("aborted");
      return;
    }
    this.assertReadable();
    if (this.contentLength > maxBytes + DRAIN_BYTES_MAX) {
      this.mustClose = true;
      onError("too_large");
      return;
    }
    if (this.contentLength <= maxBytes) this.mustClose = false;
    this.leaveDeadline();
    this.server.bodyDeadlines.add(this);
    this.bodyErrorListener = onError;
    this.collectBody(maxBytes, chunks, onEnd);
  }

  onAborted(listener: () => void): void {
    this.abortListener = listener;
  }

  onHandlerReturned(): void {
    this.isReadable = false;
  }

  /** The connection has closed (after the answer too: then nothing is left to do). */
  abort(): void {
    const isStreaming = this.stream !== null && !this.stream.isClosed;
    if (this.isClosed && !isStreaming) return;
    this.finish();
    this.stream?.forget();
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
    if (this.stream === null) this.send(500, PROBLEM_HEADERS, serverProblem("internal"));
    else this.response.destroy();
  }

  /** Answers with the problem and closes: the bytes after this request can't be trusted. */
  refuse(code: RefusalCode): void {
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

  private collectBody(maxBytes: number, chunks: Uint8Array[] | null, onEnd: () => void): void {
    let receivedBytes = 0;
    this.message.on("data", (chunk: Uint8Array) => {
      if (this.bodyErrorListener === null) return;
      receivedBytes += chunk.byteLength;
      if (receivedBytes <= maxBytes) chunks?.push(chunk);
      else {
        if (chunks !== null) chunks.length = 0;
        if (receivedBytes > maxBytes + DRAIN_BYTES_MAX) this.failBody("too_large", true);
      }
    });
    this.message.on("end", () => {
      if (this.bodyErrorListener === null) return;
      if (receivedBytes > maxBytes) {
        this.failBody("too_large", false);
        return;
      }
      this.bodyErrorListener = null;
      this.restartReplyDeadline();
      this.guard(onEnd);
    });
    this.message.on("error", () => this.abort());
  }

  private writeHead(status: number, headers: HttpHeaders, bodyBytes: number | null): void {
    for (const [name, value] of withSecurityHeaders(headers)) {
      // A header given twice (Set-Cookie, Link) stays two lines.
      this.response.appendHeader(name, value);
    }
    if (bodyBytes !== null && status !== 204 && status !== 304) {
      this.response.setHeader("Content-Length", bodyBytes);
    }
    this.applyClosing();
    this.response.writeHead(status);
  }

  private applyClosing(): void {
    if (this.mustClose || this.server.isStopping) this.response.setHeader("Connection", "close");
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

  private assertReadable(): void {
    if (!this.isReadable) throw new InvariantViolation("request read after its handler");
  }
}

class NodeStream implements HttpStream {
  isClosed: boolean = false;
  private readonly response: ServerResponse;
  private readonly onEnded: () => void;

  constructor(response: ServerResponse, onEnded: () => void) {
    this.response = response;
    this.onEnded = onEnded;
  }

  write(chunk: string | Uint8Array): boolean {
    if (this.isClosed || chunk.length === 0)
      return !this.isClosed && !this.response.writableNeedDrain;
    if (this.response.writableNeedDrain && this.response.writableLength > STREAM_BYTES_MAX) {
      this.response.destroy();
      return false;
    }
    return this.response.write(chunk);
  }

  onDrain(listener: () => void): void {
    this.response.removeAllListeners("drain");
    this.response.on("drain", () => {
      if (!this.isClosed) listener();
    });
  }

  end(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.onEnded();
    this.response.end();
  }

  forget(): void {
    this.isClosed = true;
  }
}

// node:http gives the bytes of the URL as Latin-1; the other adapter decodes them as UTF-8.
function textOf(url: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the ASCII range.
  return /^[\x00-\x7f]*$/.test(url) ? url : Buffer.from(url, "latin1").toString("utf8");
}
