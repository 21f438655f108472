/**
 * The HTTP server on uWebSockets.js: the fast adapter. The library is loaded when a server is created, so that a
 * missing binary is an error to catch. Invariants: `onAborted` is attached before anything can throw (the process dies
 * otherwise); every path reaches a handler (unknown ones would be cut off); nothing native is kept after an answer.
 * Never listens on a port shared with another process, which is the library's default.
 */

import type {
  TemplatedApp,
  HttpRequest as UwsRequest,
  HttpResponse as UwsResponse,
  us_listen_socket,
} from "uWebSockets.js";
import { BodyMemory } from "./body-memory.ts";
import { DeadlineList } from "./deadline-list.ts";
import type {
  HttpHandler,
  HttpReply,
  HttpRequest,
  HttpRoute,
  HttpServer,
  HttpServerOptions,
} from "./http-server.ts";
import { listenProblem } from "./node-listen-problem.ts";
import { RouteTable } from "./route-table.ts";
import { cannotListen } from "./server-problem.ts";
import { type PathShape, UwsExchange, type UwsServerState } from "./uws-exchange.ts";
import {
  FRAMING_AMBIGUOUS,
  FRAMING_BAD_KEY,
  readFraming,
  seenHeaderBits,
} from "./uws-request-framing.ts";

type UwsModule = typeof import("uWebSockets.js");
type UwsHandler = (response: UwsResponse, request: UwsRequest) => void;

/** Deadlines are kept to within this. */
const TICK_MS = 100;
const HEADER_BYTES_MAX = 16_384;

/** Rejects when the library has no binary for this system. */
export async function createUwsHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  // Read by the library once, while it loads; its own 4 KiB is too little for some proxies.
  // biome-ignore lint/style/noProcessEnv: a setting of the library, which has no other way in.
  process.env["UWS_HTTP_MAX_HEADERS_SIZE"] ??= String(HEADER_BYTES_MAX);
  const uws = await import("uWebSockets.js");
  return new UwsHttpServer(uws, options);
}

class UwsHttpServer implements HttpServer {
  readonly kind: string = "uws";
  private readonly uws: UwsModule;
  private readonly app: TemplatedApp;
  private readonly state: UwsServerState;
  private readonly options: HttpServerOptions;
  private readonly table: RouteTable;
  private listenSocket: us_listen_socket | null = null;
  private ticker: NodeJS.Timeout | null = null;
  private isClosed: boolean = false;
  private openConnections: number = 0;
  private readonly onNoConnection: Set<() => void> = new Set();

  constructor(uws: UwsModule, options: HttpServerOptions) {
    this.uws = uws;
    this.options = options;
    this.table = new RouteTable(options.routes);
    this.state = {
      isStopping: false,
      replyDeadlines: new DeadlineList(Math.ceil(options.requestDeadlineMs / TICK_MS)),
      bodyDeadlines: new DeadlineList(Math.ceil(options.bodyDeadlineMs / TICK_MS)),
      bodyMemory: new BodyMemory(),
      onError: options.onError,
    };
    const { tls } = options;
    this.app =
      tls === null
        ? uws.App()
        : uws.SSLApp({ key_file_name: tls.keyFile, cert_file_name: tls.certFile });
    // Called with 1 for every connection that opens, -1 for every one that ends.
    this.app.filter((_response, change) => this.onConnection(Number(change)));
    for (const route of options.routes) this.register(route);
    this.app.any(
      "/*",
      this.handlerOf(null, "/*", (request, reply) => this.fallback(request, reply)),
    );
  }

  listen(host: string, port: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const exclusive = this.uws.LIBUS_LISTEN_EXCLUSIVE_PORT;
      this.app.listen(host, port, exclusive, (socket) => {
        if (socket === false) {
          // The library does not say why.
          void listenProblem(host, port).then((cause) => reject(cannotListen(host, port, cause)));
          return;
        }
        this.listenSocket = socket;
        this.ticker = setInterval(() => this.tick(), TICK_MS);
        this.ticker.unref();
        resolve(this.uws.us_socket_local_port(socket as never));
      });
    });
  }

  beginStopping(): void {
    this.state.isStopping = true;
  }

  stopAccepting(): void {
    this.beginStopping();
    if (this.listenSocket !== null) this.uws.us_listen_socket_close(this.listenSocket);
    this.listenSocket = null;
  }

  connectionsEnded(graceMs: number): Promise<void> {
    if (this.openConnections === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.onNoConnection.delete(end);
        resolve();
      };
      const timer = setTimeout(end, graceMs);
      this.onNoConnection.add(end);
    });
  }

  close(): Promise<void> {
    if (this.isClosed) return Promise.resolve();
    this.isClosed = true;
    this.state.isStopping = true;
    this.listenSocket = null;
    if (this.ticker !== null) clearInterval(this.ticker);
    this.app.close();
    return Promise.resolve();
  }

  private onConnection(change: number): void {
    this.openConnections += change;
    if (this.openConnections > 0) return;
    for (const listener of this.onNoConnection) listener();
  }

  private tick(): void {
    this.state.replyDeadlines.advance();
    this.state.bodyDeadlines.advance();
  }

  private register({ method, pattern, handler }: HttpRoute): void {
    const { app } = this;
    const uwsHandler = this.handlerOf(method, pattern, handler);
    if (method === "PUT") app.put(pattern, uwsHandler);
    else if (method === "POST") app.post(pattern, uwsHandler);
    else if (method === "DELETE") app.del(pattern, uwsHandler);
    else {
      app.get(pattern, uwsHandler);
      app.head(pattern, this.handlerOf("HEAD", pattern, handler));
    }
  }

  /** What runs for every request. `method` null: read it from the request. */
  private handlerOf(method: string | null, pattern: string, handler: HttpHandler): UwsHandler {
    const { state } = this;
    const shape = shapeOf(pattern);
    const { urlBytesMax } = this.options;
    return (response, request) => {
      let exchange: UwsExchange | null = null;
      response.onAborted(() => exchange?.abort());
      try {
        exchange = new UwsExchange(
          state,
          response,
          request,
          method ?? request.getCaseSensitiveMethod(),
          readFraming(request),
          seenHeaderBits(),
        );
        if (exchange.framing === FRAMING_AMBIGUOUS) exchange.refuse("bad_request");
        else if (exchange.framing === FRAMING_BAD_KEY) exchange.refuse("invalid_event_id");
        else if (exchange.urlLength(shape) > urlBytesMax) exchange.refuse("uri_too_long");
        else handler(exchange, exchange);
      } catch (error) {
        if (exchange === null) throw error;
        exchange.fail(error);
      }
      exchange.onHandlerReturned();
    };
  }

  private fallback(request: HttpRequest, reply: HttpReply): void {
    const allow = this.table.methodsOf(request.path);
    if (request.method === "OPTIONS" && allow.length > 0) {
      reply.send(204, [["Allow", allow.join(", ")]], null);
      return;
    }
    this.options.fallback(request, reply, allow);
  }
}

/** A path that matched a pattern has its length, but for the parameter; with a wildcard or more it must be read. */
function shapeOf(pattern: string): PathShape {
  const parameters = pattern.split("/").filter((segment) => segment.startsWith(":"));
  const isOpen = pattern.includes("*") || parameters.length > 1;
  if (isOpen) return { fixedLength: null, hasParameter: false };
  const name = parameters[0];
  if (name === undefined) return { fixedLength: pattern.length, hasParameter: false };
  return { fixedLength: pattern.length - name.length, hasParameter: true };
}
