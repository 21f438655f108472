/**
 * Joins the route table and the handlers. Every route passes the same gates in this order: who asks, is there room,
 * then the handler; whatever a handler throws becomes a problem.
 * Invariant: access and admission are decided from the headers, before a byte of the body is read; nothing is changed
 * before the body has arrived whole, also where its content does not matter.
 */

import { ROUTES, type RouteId, type RouteSpec, sheddingOf } from "../api/routes.ts";
import { CatchallError } from "../model/errors.ts";
import { BOUNCED, DELIVERED } from "../model/event.ts";
import { ANONYMOUS } from "./access-control.ts";
import { ChangeHistory } from "./change-history.ts";
import * as cluster from "./cluster-handlers.ts";
import * as domains from "./domain-handlers.ts";
import { bulkEventsHandler, singleEventHandler } from "./event-handlers.ts";
import { Exchange, ExchangeContext, type ExchangeHandler } from "./exchange.ts";
import type { HttpDeps } from "./http-deps.ts";
import type { HttpHandler, HttpRequest, HttpRoute, HttpServerOptions } from "./http-server.ts";
import { KeptRequest } from "./kept-request.ts";
import * as node from "./node-handlers.ts";
import { StatusStreams, type StreamObserver } from "./status-streams.ts";
import { changesHandler, watchDomainHandler } from "./stream-handlers.ts";

/** The routes whose handlers read the body themselves. */
const WITH_BODY: ReadonlySet<RouteId> = new Set([
  "postEvents",
  "lookup",
  "putOverride",
  "importChunk",
  "putRule",
]);

export interface HttpSurface {
  readonly routes: readonly HttpRoute[];
  readonly fallback: HttpServerOptions["fallback"];
  /** Ends all event streams; for shutdown, since they would never end by themselves. */
  endStreams(): void;
}

/** All routes of the table, the answer to everything else, and the way to end what is open. */
export function createSurface(deps: HttpDeps): HttpSurface {
  const context = new ExchangeContext(deps);
  const origin = `since-${deps.ingress.nodeId}-${deps.clock.wallMs().toString(36)}`;
  const history = new ChangeHistory(deps.limits.changesKeptMax, origin);
  const streams = new StatusStreams(deps.ingress, history, streamObserver(deps));
  const handlers = handlersOf(context, streams);
  deps.metrics.gauge(
    "http_streams",
    "Event streams and exports that are open",
    () => context.admission.streams,
  );
  deps.metrics.gauge(
    "http_body_bytes",
    "Bytes of request bodies held",
    () => context.admission.bodyBytesHeld,
  );
  return {
    routes: ROUTES.map((route) => ({
      method: route.method,
      pattern: route.pattern,
      handler: guard(context, route, handlers[route.id]),
    })),
    fallback: createFallbackOf(context),
    endStreams: () => streams.endAll(),
  };
}

function streamObserver({ metrics }: HttpDeps): StreamObserver {
  const of = (result: string) => {
    const labels = { channel: "stream", result };
    return metrics.counter(
      "notifications_total",
      "Status changes told outside, by channel and result",
      labels,
    );
  };
  const [sent, cutOff] = [of("sent"), of("cut_off")];
  return { sent: (changes) => sent.add(changes), cutOff: () => cutOff.add(1) };
}

function handlersOf(
  context: ExchangeContext,
  streams: StatusStreams,
): Readonly<Record<RouteId, ExchangeHandler>> {
  const delivered = singleEventHandler(context, DELIVERED);
  const bounced = singleEventHandler(context, BOUNCED);
  return {
    putDelivered: delivered,
    postDelivered: delivered,
    putBounced: bounced,
    postBounced: bounced,
    postEvents: bulkEventsHandler(context),
    getDomain: domains.getDomainHandler(context),
    lookup: domains.lookupHandler(context),
    listDomains: domains.listDomainsHandler(context),
    stats: domains.statsHandler(context),
    watchDomain: watchDomainHandler(context, streams),
    changes: changesHandler(context, streams),
    putOverride: cluster.putOverrideHandler(context),
    deleteOverride: cluster.deleteOverrideHandler(context),
    reset: cluster.resetHandler(context),
    cluster: cluster.clusterHandler(context),
    locate: cluster.locateHandler(context),
    rebalance: cluster.rebalanceHandler(context),
    rebalanceProgress: cluster.rebalanceProgressHandler(context),
    cancelRebalance: cluster.cancelRebalanceHandler(context),
    drain: cluster.drainHandler(context),
    importChunk: cluster.importChunkHandler(context),
    getRule: cluster.getRuleHandler(context),
    putRule: cluster.putRuleHandler(context),
    healthz: node.healthzHandler(),
    readyz: node.readyzHandler(context),
    metrics: node.metricsHandler(context),
    openapi: node.openApiHandler(context),
    landing: node.landingHandler(context),
  };
}

function guard(context: ExchangeContext, route: RouteSpec, handle: ExchangeHandler): HttpHandler {
  const { accessControl, clock } = context.deps;
  const timer = context.timer(route.method, route.pattern);
  const shedding = sheddingOf(route);
  const isReadOnly = route.method === "GET" || route.role === "read";
  const ignoresBody = !isReadOnly && !WITH_BODY.has(route.id);
  return (request, reply) => {
    if (isReadOnly) reply.isReadOnly = true;
    const startedMs = clock.monotonicMs();
    const access = limitFailures(context, accessControl.check(route.role, request), request);
    const principal = typeof access === "string" ? access : ANONYMOUS;
    const exchange = new Exchange(context, route, timer, reply, principal, startedMs);
    const refusal = typeof access === "string" ? context.admission.check(shedding) : access;
    if (refusal !== null) {
      if (route.role === "write" && refusal.code === "overloaded")
        context.countRejected("overloaded");
      return exchange.problem(refusal);
    }
    if (ignoresBody && request.hasBody) {
      const kept = new KeptRequest(request);
      return exchange.skipBody(request, () => handle(exchange, kept));
    }
    try {
      handle(exchange, request);
    } catch (error) {
      exchange.problem(error);
    }
  };
}

/** A failed authentication, or in its place 429 for an address that fails too often. Logged only within the limit. */
function limitFailures(
  { deps, authFailures }: ExchangeContext,
  access: string | CatchallError,
  request: HttpRequest,
): string | CatchallError {
  if (typeof access === "string" || access.code !== "unauthorized") return access;
  const address = request.remoteAddress();
  const retryAfterSeconds = authFailures.fail(address);
  if (retryAfterSeconds === 0) {
    deps.logger.warn({ audit: true, address, method: request.method }, "authentication failed");
    return access;
  }
  const detail = `Too many failed authentications from this address, try again in ${retryAfterSeconds} s`;
  return new CatchallError("rate_limited", detail);
}

/** Unknown paths and wrong methods. One metric label for all of them, since paths are not bounded. */
function createFallbackOf(context: ExchangeContext): HttpServerOptions["fallback"] {
  const timer = context.timer("other", "other");
  return (request, reply, allow) => {
    const exchange = new Exchange(
      context,
      null,
      timer,
      reply,
      ANONYMOUS,
      context.deps.clock.monotonicMs(),
    );
    if (allow.length === 0) return exchange.problem(new CatchallError("not_found"));
    const header = ["Allow", allow.join(", ")] as const;
    if (request.method === "OPTIONS") return exchange.send(204, [header], null);
    return exchange.problem(new CatchallError("method_not_allowed"), {}, [header]);
  };
}
