/**
 * The HTTP server on node:http(s): the fallback where uWebSockets.js has no binary, and the second opinion of the
 * conformance suite. Invariants: the same answers as the other adapter; only origin-form targets are served; what its
 * parser refuses is answered 400 and cut off. Never upgrades a connection, never tunnels.
 */

import { readFileSync } from "node:fs";
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerOptions,
  STATUS_CODES,
} from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { ERROR_CODES } from "../model/errors.ts";
import { DeadlineList } from "./deadline-list.ts";
import type { HttpServer, HttpServerOptions } from "./http-server.ts";
import { closeSocket, NodeConnection, type RefusalCode } from "./node-connection.ts";
import { NodeExchange, type NodeServerState } from "./node-exchange.ts";
import { RouteTable } from "./route-table.ts";
import { SECURITY_HEADERS } from "./security-headers.ts";
import { cannotListen, PROBLEM_HEADERS, serverProblem } from "./server-problem.ts";

/** Deadlines are kept to within this. */
const TICK_MS = 100;
const HEADER_BYTES_MAX = 16_384;
const HEADERS_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_MS = 10_000;
const LENGTH_PATTERN = /^[0-9]{1,15}$/;
const HOST_PATTERN = /^[A-Za-z0-9._~:[\]%!$&'()*+,;=-]*$/;

/** Never fails before `listen`, except for unreadable certificate files. */
export function createNodeHttpServer(options: HttpServerOptions): HttpServer {
  return new NodeHttpServer(options);
}

class NodeHttpServer implements HttpServer {
  readonly kind: string = "node";
  private readonly server: Server;
  private readonly state: NodeServerState;
  private readonly options: HttpServerOptions;
  private readonly table: RouteTable;
  private readonly connections: WeakMap<Duplex, NodeConnection> = new WeakMap();
  private readonly ticker: { handle: NodeJS.Timeout | null } = { handle: null };

  constructor(options: HttpServerOptions) {
    this.options = options;
    this.table = new RouteTable(options.routes);
    this.state = {
      isStopping: false,
      replyDeadlines: new DeadlineList(Math.ceil(options.requestDeadlineMs / TICK_MS)),
      bodyDeadlines: new DeadlineList(Math.ceil(options.bodyDeadlineMs / TICK_MS)),
      onError: options.onError,
    };
    this.server = createListener(options);
    this.server.maxHeadersCount = 200;
    this.server.on("request", (message, response) => {
      // The parser goes on with the bytes after a request that was refused: they must not be handled.
      const connection = this.connectionOf(message.socket);
      if (connection.isEnded) return;
      const exchange = new NodeExchange(this.state, connection, message, response);
      this.onRequest(exchange, message);
      if (exchange.isLast) connection.isEnded = true;
    });
    // What a client expects beyond "100-continue" is not met, and not refused: RFC 9110 section 10.1.1 leaves it open.
    this.server.on("checkExpectation", (message, response) => {
      this.server.emit("request", message, response);
    });
    this.server.on("clientError", (error, socket) => this.onClientError(error, socket));
    this.server.on("connect", (_message, socket) => {
      // Nobody reads such a connection any more, and its end would not be seen: what is open before could be a stream.
      socket.resume();
      socket.once("end", () => closeSocket(socket));
      this.refuse("bad_request", socket, false);
    });
  }

  listen(host: string, port: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.server.once("error", (cause) => {
        reject(cannotListen(host, port, cause));
      });
      this.server.listen({ host, port, exclusive: true, backlog: 1024 }, () => {
        this.server.on("error", this.options.onError);
        this.ticker.handle = setInterval(() => {
          this.state.replyDeadlines.advance();
          this.state.bodyDeadlines.advance();
        }, TICK_MS);
        this.ticker.handle.unref();
        resolve((this.server.address() as AddressInfo).port);
      });
    });
  }

  beginStopping(): void {
    this.state.isStopping = true;
  }

  stopAccepting(): void {
    this.beginStopping();
    if (this.server.listening) this.server.close();
  }

  connectionsEnded(graceMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, graceMs);
      this.server.close(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  close(): Promise<void> {
    this.state.isStopping = true;
    if (this.ticker.handle !== null) clearInterval(this.ticker.handle);
    return new Promise((resolve) => {
      this.server.close(() => resolve());
      this.server.closeAllConnections();
    });
  }

  private connectionOf(socket: Socket): NodeConnection {
    const known = this.connections.get(socket);
    if (known !== undefined) return known;
    const connection = new NodeConnection(socket);
    this.connections.set(socket, connection);
    return connection;
  }

  /** What the parser can't read, or what took too long to arrive. */
  private onClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
    // Told once; the parser goes on with the bytes that come after.
    if (this.connections.get(socket)?.isBroken) return;
    if (!socket.writable || error.code === "ECONNRESET") {
      socket.destroy();
      return;
    }
    const refusal = CODE_BY_PARSER_ERROR[error.code ?? ""] ?? "bad_request";
    this.refuse(refusal, socket, error.code === "HPE_INVALID_EOF_STATE");
  }

  private refuse(code: RefusalCode, socket: Duplex, hasClientEnded: boolean): void {
    const connection = this.connections.get(socket);
    if (connection?.refuse(code, hasClientEnded) !== true) refuseConnection(code, socket);
  }

  private onRequest(exchange: NodeExchange, message: IncomingMessage): void {
    try {
      const refusal = refusalOf(message);
      if (refusal !== null) exchange.refuse(refusal);
      else if (exchange.urlLength > this.options.urlBytesMax) exchange.refuse("uri_too_long");
      else this.route(exchange);
    } catch (error) {
      exchange.fail(error);
    }
    exchange.onHandlerReturned();
  }

  private route(exchange: NodeExchange): void {
    const match = this.table.match(exchange.method, exchange.path);
    if (match !== null) {
      exchange.parameters = match.parameters;
      match.route.handler(exchange, exchange);
      return;
    }
    const allow = this.table.methodsOf(exchange.path);
    if (exchange.method === "OPTIONS" && allow.length > 0) {
      exchange.send(204, [["Allow", allow.join(", ")]], null);
    } else this.options.fallback(exchange, exchange, allow);
  }
}

function createListener({ bodyDeadlineMs, requestDeadlineMs, tls }: HttpServerOptions): Server {
  const options: ServerOptions = {
    insecureHTTPParser: false,
    // Checked here instead, so that the answer is the same as for everything else that is malformed.
    requireHostHeader: false,
    maxHeaderSize: HEADER_BYTES_MAX,
    headersTimeout: HEADERS_TIMEOUT_MS,
    // Only a backstop: the deadlines of the exchange come first and give an answer.
    requestTimeout: HEADERS_TIMEOUT_MS + bodyDeadlineMs + requestDeadlineMs,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: 1000,
    noDelay: true,
  };
  if (tls === null) return createServer(options);
  const files = { key: readFileSync(tls.keyFile), cert: readFileSync(tls.certFile) };
  return createTlsServer({ ...options, ...files, minVersion: "TLSv1.2" });
}

// What the parser lets pass: a second Host (it drops it), bytes in Host that no host has, targets that name another
// server, codings other than chunked, lengths beyond what a number holds. An Idempotency-Key that is empty or not the
// only one is refused here too: handlers see neither.
function refusalOf({ headers, rawHeaders, url, httpVersion }: IncomingMessage): RefusalCode | null {
  if (httpVersion !== "1.1" || url === undefined || !url.startsWith("/")) return "bad_request";
  const coding = headers["transfer-encoding"];
  if (coding !== undefined && coding.toLowerCase() !== "chunked") return "bad_request";
  const length = headers["content-length"];
  if (length !== undefined && !LENGTH_PATTERN.test(length)) return "bad_request";
  let hostCount = 0;
  let keyCount = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string;
    if (name.length === 4 && name.toLowerCase() === "host") {
      hostCount += 1;
      if (!HOST_PATTERN.test(rawHeaders[index + 1] as string)) return "bad_request";
    } else if (name.length === 15 && name.toLowerCase() === "idempotency-key") keyCount += 1;
  }
  if (hostCount !== 1) return "bad_request";
  const isBadKey = keyCount > 1 || (keyCount === 1 && headers["idempotency-key"] === "");
  return isBadKey ? "invalid_event_id" : null;
}

const CODE_BY_PARSER_ERROR: Readonly<Record<string, RefusalCode>> = {
  HPE_HEADER_OVERFLOW: "headers_too_large",
  ERR_HTTP_REQUEST_TIMEOUT: "request_timeout",
};

/** Refuses what is no request yet: nothing of its connection is pending. */
function refuseConnection(code: RefusalCode, socket: Duplex): void {
  const body = serverProblem(code);
  const { status } = ERROR_CODES[code];
  const headers = [...PROBLEM_HEADERS, ...SECURITY_HEADERS, ["Connection", "close"]]
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join("");
  const line = `HTTP/1.1 ${status} ${STATUS_CODES[status]}`;
  closeSocket(socket, `${line}\r\n${headers}Content-Length: ${body.length}\r\n\r\n${body}`);
}
