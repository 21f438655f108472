/**
 * A request and a reply without a network, and a dispatcher that matches routes as the servers do. Answers are
 * recorded; a promise tells when the answer is there.
 */
import type {
  HttpHeaders,
  HttpReply,
  HttpRequest,
  HttpRoute,
  HttpServerOptions,
  HttpStream,
} from "../../src/http/http-server.ts";

export interface FakeRequestOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  readonly remoteAddress?: string;
}

export class FakeStream implements HttpStream {
  chunks: string[] = [];
  isClosed = false;
  isEnded = false;
  /** What `write` answers. */
  isWritable = true;
  #drain: (() => void) | null = null;
  write(chunk: string | Uint8Array): boolean {
    if (!this.isClosed)
      this.chunks.push(typeof chunk === "string" ? chunk : new TextDecoder().decode(chunk));
    return this.isWritable;
  }
  onDrain(listener: () => void): void {
    this.#drain = listener;
  }
  end(): void {
    this.isClosed = true;
    this.isEnded = true;
  }
  drain(): void {
    this.isWritable = true;
    this.#drain?.();
  }
  get text(): string {
    return this.chunks.join("");
  }
}

export class FakeReply implements HttpReply {
  isClosed = false;
  isReadOnly = false;
  status = 0;
  headers: Map<string, string> = new Map();
  body = "";
  sends = 0;
  stream: FakeStream | null = null;
  isBodyRead = false;
  readonly answered: Promise<void>;
  #onAnswered: () => void = () => undefined;
  #onAborted: (() => void) | null = null;
  readonly #requestBody: Uint8Array;
  /** Set to withhold the body and fail the read instead. */
  bodyFailure: "too_large" | "aborted" | "timeout" | null = null;
  isStreamWritable = true;

  constructor(body: Uint8Array) {
    this.#requestBody = body;
    this.answered = new Promise((resolve) => {
      this.#onAnswered = resolve;
    });
  }
  send(status: number, headers: HttpHeaders, body: string | Uint8Array | null): void {
    this.sends++;
    if (this.isClosed) return;
    this.isClosed = true;
    this.status = status;
    for (const [name, value] of headers) this.headers.set(name.toLowerCase(), value);
    this.body =
      typeof body === "string" ? body : new TextDecoder().decode(body ?? new Uint8Array(0));
    this.#onAnswered();
  }
  sendNoContent(isReplayed: boolean): void {
    this.send(204, isReplayed ? [["Idempotency-Replayed", "true"]] : [], null);
  }
  openStream(status: number, headers: HttpHeaders): HttpStream {
    this.status = status;
    for (const [name, value] of headers) this.headers.set(name.toLowerCase(), value);
    this.stream = new FakeStream();
    this.stream.isWritable = this.isStreamWritable;
    this.#onAnswered();
    return this.stream;
  }
  readBody(
    maxBytes: number,
    onBody: (body: Uint8Array) => void,
    onError: (reason: "too_large" | "aborted" | "timeout") => void,
  ): void {
    this.isBodyRead = true;
    const failure = this.bodyFailure ?? (this.#requestBody.length > maxBytes ? "too_large" : null);
    if (failure === "aborted") this.isClosed = true;
    queueMicrotask(() => (failure === null ? onBody(this.#requestBody) : onError(failure)));
  }
  skipBody(
    maxBytes: number,
    onEnd: () => void,
    onError: (reason: "too_large" | "aborted" | "timeout") => void,
  ): void {
    this.readBody(maxBytes, onEnd, onError);
  }
  onAborted(listener: () => void): void {
    if (this.#onAborted !== null) throw new Error("onAborted twice");
    this.#onAborted = listener;
  }
  abort(): void {
    this.isClosed = true;
    if (this.stream !== null) this.stream.isClosed = true;
    this.#onAborted?.();
  }
  json(): Record<string, unknown> {
    return JSON.parse(this.body) as Record<string, unknown>;
  }
}

export class FakeHttp {
  readonly #routes: readonly HttpRoute[];
  readonly #fallback: HttpServerOptions["fallback"];

  constructor(surface: {
    readonly routes: readonly HttpRoute[];
    readonly fallback: HttpServerOptions["fallback"];
  }) {
    this.#routes = surface.routes;
    this.#fallback = surface.fallback;
  }

  /** Starts a request; the reply may be answered later. */
  start(
    method: string,
    url: string,
    options: FakeRequestOptions = {},
    prepare: (reply: FakeReply) => void = () => undefined,
  ): FakeReply {
    const [path = "", query = ""] = url.split("?", 2);
    const body =
      typeof options.body === "string" ? new TextEncoder().encode(options.body) : options.body;
    const reply = new FakeReply(body ?? new Uint8Array(0));
    prepare(reply);
    const headers = new Map<string, string>([["host", "127.0.0.1:8080"]]);
    for (const [name, value] of Object.entries(options.headers ?? {}))
      headers.set(name.toLowerCase(), value);
    const matches = this.#routes
      .filter((route) => match(route.pattern, path) !== null)
      .sort(byParameters);
    const best = matches[0];
    const route = matches.find((each) => each.method === method && each.pattern === best?.pattern);
    const parameters = route === undefined ? [] : (match(route.pattern, path) ?? []);
    const request: HttpRequest = {
      method,
      path,
      query,
      hasBody: (body?.length ?? 0) > 0,
      parameter: (index) => parameters[index] ?? "",
      header: (name) => headers.get(name) ?? "",
      remoteAddress: () => options.remoteAddress ?? "127.0.0.1",
    };
    if (route !== undefined) {
      route.handler(request, reply);
    } else {
      const allowed = matches
        .filter((each) => each.pattern === best?.pattern)
        .map((each) => each.method as string);
      if (allowed.includes("GET")) allowed.push("HEAD");
      if (allowed.length > 0) allowed.push("OPTIONS");
      this.#fallback(request, reply, allowed);
    }
    return reply;
  }

  /** Sends a request and waits for the answer. */
  async send(method: string, url: string, options: FakeRequestOptions = {}): Promise<FakeReply> {
    const reply = this.start(method, url, options);
    await reply.answered;
    return reply;
  }
}

/** Raw parameters, or null when the path does not match. */
function match(pattern: string, path: string): string[] | null {
  const wanted = pattern.split("/");
  const given = path.split("/");
  if (wanted.length !== given.length) return null;
  const parameters: string[] = [];
  for (const [i, segment] of wanted.entries()) {
    const value = given[i] as string;
    if (segment.startsWith(":")) parameters.push(value);
    else if (segment !== value) return null;
  }
  return parameters;
}

function byParameters(a: HttpRoute, b: HttpRoute): number {
  return a.pattern.split(":").length - b.pattern.split(":").length;
}
