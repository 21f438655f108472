/**
 * Port: an HTTP/1.1 server. Two adapters: uWebSockets.js and node:http; one conformance suite.
 *
 * Promises: a handler that throws is answered 500; a reply is sent at most once and later sends are ignored; nothing is
 * written after the client has gone; the response headers of `SECURITY_HEADERS` go with every answer but
 * `sendNoContent`; a request whose reply is not sent within `requestDeadlineMs` is answered 504 by the
 * server, with effect "unknown" unless the handler said that it only reads; malformed requests get 400, unknown paths `fallback`.
 */

export interface HttpRequest {
  /** Upper case. Valid, as all of this, only until the handler returns. */
  readonly method: string;
  /** Raw path without query. */
  readonly path: string;
  /** Raw query without "?", "" when none. */
  readonly query: string;
  /** True when a body of at least a byte, or one in chunks, is announced: it may yet be malformed, or never end. */
  readonly hasBody: boolean;
  /** Raw (still percent-encoded) path parameter of the route pattern, from 0. */
  parameter(index: number): string;
  /** Header value by lower-case name, "" when absent. */
  header(name: string): string;
  /** Address of the other end of the connection, "" when it is gone. Never what a header or a proxy line says. */
  remoteAddress(): string;
}

export type HttpHeaders = readonly (readonly [name: string, value: string])[];

export interface HttpReply {
  /** True once answered or the client has gone. */
  readonly isClosed: boolean;
  /** Set by a handler that changes nothing: its deadline is then answered with effect "none". */
  isReadOnly: boolean;
  /** Answers. `body` null sends no body. Ignored when closed. */
  send(status: number, headers: HttpHeaders, body: string | Uint8Array | null): void;
  /** The hot path: `204` without headers of its own, or with `Idempotency-Replayed: true`. */
  sendNoContent(isReplayed: boolean): void;
  /** Starts a streamed answer (NDJSON, server-sent events). */
  openStream(status: number, headers: HttpHeaders): HttpStream;
  /**
   * Collects the body, at most `maxBytes`; must be called before the handler returns. What `onBody` gets may be read until
   * the reply is closed, by whatever: its memory is then used for other bodies.
   * Over the limit, at abort or at the body deadline `onError` gets "too_large" | "aborted" | "timeout" once.
   */
  readBody(
    maxBytes: number,
    onBody: (body: Uint8Array) => void,
    onError: (reason: "too_large" | "aborted" | "timeout") => void,
  ): void;
  /** Like `readBody` for a body that nobody wants: `onEnd` once it has arrived whole, and nothing of it is kept. */
  skipBody(
    maxBytes: number,
    onEnd: () => void,
    onError: (reason: "too_large" | "aborted" | "timeout") => void,
  ): void;
  /** At most one listener; called when the client goes before the answer (or during a stream). */
  onAborted(listener: () => void): void;
}

export interface HttpStream {
  /** False when the client reads slowly: wait for `onDrain` before writing more. */
  write(chunk: string | Uint8Array): boolean;
  onDrain(listener: () => void): void;
  end(): void;
  readonly isClosed: boolean;
}

export type HttpHandler = (request: HttpRequest, reply: HttpReply) => void;

export interface HttpRoute {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  /** Such as "/events/:domain/delivered". Static segments win over parameters. */
  readonly pattern: string;
  readonly handler: HttpHandler;
}

export interface HttpServerOptions {
  readonly routes: readonly HttpRoute[];
  /** Unknown path (`allow` empty) or wrong method (`allow` lists the right ones, HEAD and OPTIONS included). */
  readonly fallback: (request: HttpRequest, reply: HttpReply, allow: readonly string[]) => void;
  readonly onError: (error: unknown) => void;
  readonly requestDeadlineMs: number;
  readonly bodyDeadlineMs: number;
  readonly urlBytesMax: number;
  readonly tls: { readonly certFile: string; readonly keyFile: string } | null;
}

export interface HttpServer {
  /** "uws" or "node". */
  readonly kind: string;
  /** Rejects when the port is taken; resolves to the port bound (for port 0). Exclusive: two servers never share one. */
  listen(host: string, port: number): Promise<number>;
  /** From now on every answer closes its connection; new ones are still taken, to be told that this node stops. */
  beginStopping(): void;
  /** Stops accepting; answers close their connections. */
  stopAccepting(): void;
  /**
   * After stopAccepting: resolves when no connection is open, or when `graceMs` have passed. A client that sends on an
   * idle connection gets its answer in this time; cut off, it could not know what became of its request.
   */
  connectionsEnded(graceMs: number): Promise<void>;
  close(): Promise<void>;
}
