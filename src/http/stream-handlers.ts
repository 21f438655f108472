/**
 * Server-sent events: changes of one domain (after its status of now), and changes of all.
 * Invariants: the subscription begins before the status is read, so that no change falls between the two; a client that
 * comes back with a `Last-Event-ID` gets every change since, or an event `missed` that says that it did not.
 */

import { queryParameter, statusParameter } from "../api/messages.ts";
import { DomainParser } from "../model/domain-name.ts";
import type { StatusChange } from "../model/status-change.ts";
import { parseDomain } from "./domain-handlers.ts";
import type { Exchange, ExchangeContext, ExchangeHandler } from "./exchange.ts";
import type { HttpHeaders } from "./http-server.ts";
import { formatEvent, type StatusStream, type StatusStreams } from "./status-streams.ts";

const STREAM_HEADERS: HttpHeaders = [
  ["Content-Type", "text/event-stream"],
  ["Cache-Control", "no-store"],
  // Proxies of the nginx family hold streams back without this.
  ["X-Accel-Buffering", "no"],
];

const LAST_EVENT_ID_SHOWN = 100;

/** `GET /domains/{domain}/watch`. */
export function watchDomainHandler(
  context: ExchangeContext,
  streams: StatusStreams,
): ExchangeHandler {
  const parser = new DomainParser();
  return (exchange, request) => {
    const domain = parseDomain(parser, request.parameter(0));
    const stream = subscribe(context, streams, exchange, (change) => change.domain === domain);
    if (stream === null) return;
    context.deps.ingress
      .status(domain)
      .then((status) => {
        if (stream.isEnded) return;
        stream.start(exchange.openStream(200, STREAM_HEADERS), formatEvent("status", status));
      })
      .catch((error: unknown) => {
        stream.end();
        exchange.problem(error);
      });
  };
}

/** `GET /changes`: changes from now on, or since `Last-Event-ID`, of all domains or into one status. */
export function changesHandler(context: ExchangeContext, streams: StatusStreams): ExchangeHandler {
  return (exchange, request) => {
    const status = statusParameter(request.query);
    const accepts = (change: StatusChange): boolean => status === null || change.to === status;
    // EventSource can't set the header on its first request, so that the query may say it too; the header is newer.
    const lastEventId =
      request.header("last-event-id") || queryParameter(request.query, "lastEventId") || null;
    streams.keepHistory();
    const lastId = (): string => streams.history.lastId;
    const missed = lastEventId === null ? [] : streams.history.after(lastEventId);
    const stream = subscribe(context, streams, exchange, accepts, lastId);
    if (stream === null) return;
    const first = missed === null ? missedEvent(streams, lastEventId ?? "") : ":\n\n";
    stream.start(exchange.openStream(200, STREAM_HEADERS), first, missed ?? []);
  };
}

/** Says that changes were lost, so that the client reads again what it needs; the stream goes on from now. */
function missedEvent(streams: StatusStreams, lastEventId: string): string {
  const { lastId, changesMax } = streams.history;
  const detail = `Changes after this id are not known here any more: a node keeps its last ${changesMax} changes`;
  const data = { lastEventId: lastEventId.slice(0, LAST_EVENT_ID_SHOWN), detail };
  return formatEvent("missed", data, lastId);
}

/** Null when refused, and then answered. */
function subscribe(
  context: ExchangeContext,
  streams: StatusStreams,
  exchange: Exchange,
  accepts: (change: StatusChange) => boolean,
  lastId: (() => string) | null = null,
): StatusStream | null {
  const refusal = context.admission.openStream();
  if (refusal !== null) {
    exchange.problem(refusal);
    return null;
  }
  const { limits, timers } = context.deps;
  const stream = streams.open({
    accepts,
    timers,
    lastId,
    backlogMax: limits.streamBacklogMax,
    heartbeatMs: limits.heartbeatMs,
    onEnd: () => context.admission.closeStream(),
  });
  exchange.reply.onAborted(() => stream.end());
  return stream;
}
