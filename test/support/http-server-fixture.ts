/** Routes that try everything the HTTP port promises, and the counts that the laws are stated over. */

import type {
  HttpReply,
  HttpRoute,
  HttpServer,
  HttpServerOptions,
} from "../../src/http/http-server.ts";

export const BODY_BYTES_MAX = 1024;
export const DEADLINE_MS = 400;
export const BODY_DEADLINE_MS = 600;
export const URL_BYTES_MAX = 512;

/** A body that begins with this byte is echoed later. */
const SLOW_BYTE = 0x73;
const SLOW_MS = 50;

export type OpenHttpServer = (options: HttpServerOptions) => Promise<HttpServer>;

export class HttpServerFixture {
  port: number = 0;
  /** Handler calls on the event route, per domain. */
  readonly handled: Map<string, number> = new Map();
  /** Events, reads, and bodies that came to their end: what the laws call handled. */
  handledCount: number = 0;
  abortedCount: number = 0;
  /** Requests on the silent route that were not aborted yet. */
  openCount: number = 0;
  readonly errors: unknown[] = [];
  readonly bodyErrors: string[] = [];
  readonly notes: string[] = [];
  readonly server: HttpServer;
  private waiting: HttpReply[] = [];

  private constructor(server: HttpServer) {
    this.server = server;
  }

  static async start(
    open: OpenHttpServer,
    changes: Partial<HttpServerOptions> = {},
  ): Promise<HttpServerFixture> {
    const holder: { fixture: HttpServerFixture | null } = { fixture: null };
    const get = (): HttpServerFixture => holder.fixture as HttpServerFixture;
    const server = await open({
      routes: [
        ...eventRoutes(get),
        ...readRoutes(get),
        ...faultyRoutes(get),
        ...silentRoutes(get),
        ...streamRoutes(get),
      ],
      fallback: (_request, reply, allow) => {
        if (allow.length === 0) reply.send(404, [], `{"allow":[]}`);
        else reply.send(405, [["Allow", allow.join(", ")]], null);
      },
      onError: (error) => get().errors.push(error),
      requestDeadlineMs: DEADLINE_MS,
      bodyDeadlineMs: BODY_DEADLINE_MS,
      urlBytesMax: URL_BYTES_MAX,
      tls: null,
      ...changes,
    });
    const fixture = new HttpServerFixture(server);
    holder.fixture = fixture;
    fixture.port = await server.listen("127.0.0.1", 0);
    return fixture;
  }

  /** Answers later, many at once, as a group commit does. */
  answerSoon(reply: HttpReply, isReplayed: boolean): void {
    if (isReplayed) {
      setImmediate(() => reply.sendNoContent(true));
      return;
    }
    this.waiting.push(reply);
    if (this.waiting.length > 1) return;
    setImmediate(() => {
      const replies = this.waiting;
      this.waiting = [];
      for (const waiting of replies) waiting.sendNoContent(false);
    });
  }

  stop(): Promise<void> {
    return this.server.close();
  }
}

type GetFixture = () => HttpServerFixture;

function eventRoutes(get: GetFixture): HttpRoute[] {
  return [
    {
      method: "PUT",
      pattern: "/events/:domain/delivered",
      handler: (request, reply) => {
        const fixture = get();
        const domain = request.parameter(0);
        const isReplayed = request.header("idempotency-key") === "again";
        const count = (): void => {
          fixture.handledCount += 1;
          fixture.handled.set(domain, (fixture.handled.get(domain) ?? 0) + 1);
          fixture.answerSoon(reply, isReplayed);
        };
        if (!request.hasBody) return count();
        return reply.skipBody(BODY_BYTES_MAX, count, (reason) => {
          fixture.bodyErrors.push(reason);
          reply.send(reason === "timeout" ? 408 : 413, [], null);
        });
      },
    },
    {
      method: "POST",
      pattern: "/events",
      handler: (_request, reply) => {
        const fixture = get();
        reply.readBody(
          BODY_BYTES_MAX,
          (body) => {
            fixture.handledCount += 1;
            const echo = () =>
              reply.send(200, [["Content-Type", "application/octet-stream"]], body);
            if (body[0] === SLOW_BYTE) setTimeout(echo, SLOW_MS);
            else echo();
          },
          (reason) => {
            fixture.bodyErrors.push(reason);
            reply.send(reason === "timeout" ? 408 : 413, [], null);
          },
        );
      },
    },
  ];
}

function readRoutes(get: GetFixture): HttpRoute[] {
  return [
    { method: "GET", pattern: "/", handler: (_request, reply) => reply.send(200, [], "root") },
    {
      method: "GET",
      pattern: "/domains/:domain",
      handler: (request, reply) => {
        get().handledCount += 1;
        const { method, path, query } = request;
        const [parameter, note] = [request.parameter(0), request.header("x-note")];
        const seen = { method, path, query, parameter, note };
        reply.send(200, [["Content-Type", "application/json"]], JSON.stringify(seen));
      },
    },
    {
      method: "GET",
      pattern: "/domains/stats",
      handler: (_request, reply) => reply.send(200, [], "stats"),
    },
    {
      method: "DELETE",
      pattern: "/domains/:domain",
      handler: (_request, reply) => {
        get().handledCount += 1;
        reply.send(204, [], null);
      },
    },
    {
      method: "GET",
      pattern: "/own-policy",
      handler: (_request, reply) => reply.send(200, [["cache-control", "max-age=60"]], "x"),
    },
  ];
}

function faultyRoutes(get: GetFixture): HttpRoute[] {
  const fail = (): never => {
    throw new Error("secret detail");
  };
  return [
    { method: "GET", pattern: "/throw", handler: fail },
    {
      method: "POST",
      pattern: "/throw-in-body",
      handler: (_request, reply) => reply.readBody(BODY_BYTES_MAX, fail, () => undefined),
    },
    {
      method: "GET",
      pattern: "/twice",
      handler: (_request, reply) => {
        reply.send(200, [], "first");
        reply.send(500, [], "second");
        reply.sendNoContent(false);
        reply.openStream(200, []).write("third");
        if (!reply.isClosed) get().notes.push("not closed");
      },
    },
    {
      method: "GET",
      pattern: "/bad-header",
      handler: (_request, reply) => reply.send(200, [["X-A", "a\r\nX-B: b"]], "x"),
    },
    {
      method: "GET",
      pattern: "/late-read",
      handler: (request, reply) => {
        setImmediate(() => {
          try {
            reply.send(200, [], request.header("host"));
          } catch {
            reply.send(200, [], "refused");
          }
        });
      },
    },
  ];
}

function silentRoutes(get: GetFixture): HttpRoute[] {
  return [
    {
      method: "GET",
      pattern: "/silent",
      handler: (_request, reply) => {
        const fixture = get();
        fixture.openCount += 1;
        reply.onAborted(() => {
          fixture.abortedCount += 1;
          fixture.openCount -= 1;
          reply.sendNoContent(false);
          reply.send(200, [], "too late");
        });
      },
    },
    {
      method: "GET",
      pattern: "/silent-read",
      handler: (_request, reply) => {
        reply.isReadOnly = true;
      },
    },
    {
      method: "GET",
      pattern: "/late",
      handler: (_request, reply) => {
        setTimeout(() => reply.send(200, [], "late"), DEADLINE_MS * 2);
      },
    },
  ];
}

function streamRoutes(get: GetFixture): HttpRoute[] {
  return [
    {
      method: "GET",
      pattern: "/stream",
      handler: (_request, reply) => {
        const stream = reply.openStream(200, [["Content-Type", "application/x-ndjson"]]);
        stream.write("one\n");
        reply.send(200, [], "not in a stream");
        reply.sendNoContent(false);
        setImmediate(() => {
          stream.write(Buffer.from("two\n"));
          stream.end();
          stream.write("after the end");
          stream.end();
        });
      },
    },
    {
      method: "GET",
      pattern: "/export",
      handler: (request, reply) => startExport(get(), reply, Number(request.query)),
    },
    { method: "GET", pattern: "/flood", handler: (_request, reply) => startFlood(get(), reply) },
    {
      method: "GET",
      pattern: "/watch",
      handler: (_request, reply) => {
        const stream = reply.openStream(200, [["Content-Type", "text/event-stream"]]);
        stream.write(":\n\n");
      },
    },
  ];
}

/** Chunks of 64 KiB, each of one letter; waits when told to. */
function startExport(fixture: HttpServerFixture, reply: HttpReply, countMax: number): void {
  const stream = reply.openStream(200, []);
  let count = 0;
  const pump = (): void => {
    while (count < countMax) {
      const canGoOn = stream.write(Buffer.alloc(65_536, 97 + (count % 26)));
      count += 1;
      if (!canGoOn) {
        fixture.notes.push("paused");
        return;
      }
    }
    stream.end();
  };
  stream.onDrain(() => {
    fixture.notes.push("drained");
    pump();
  });
  reply.onAborted(() => {
    fixture.abortedCount += 1;
    fixture.notes.push(`aborted ${stream.isClosed}`);
  });
  pump();
}

/** Takes no notice of back-pressure; a bound on the turns keeps a failing test finite. */
function startFlood(fixture: HttpServerFixture, reply: HttpReply): void {
  const stream = reply.openStream(200, []);
  const chunk = Buffer.alloc(65_536, 97);
  let count = 0;
  const pump = (): void => {
    for (let index = 0; index < 16; index += 1) stream.write(chunk);
    count += 16;
    if (stream.isClosed || count > 4096) fixture.notes.push(`flooded ${stream.isClosed}`);
    else setImmediate(pump);
  };
  pump();
}
