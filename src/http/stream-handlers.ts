/**
 * Server-sent events: changes of one domain (after its status of now), and changes of all.
 * Invariant: the subscription begins before the status is read, so that no change falls between the two.
 */

import { statusParameter } from "../api/messages.ts";
import { DomainParser } from "../model/domain-name.ts";
import type { StatusChange } from "../router/ingress.ts";
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

/** `GET /changes`: changes from now on, of all domains or into one status. */
export function changesHandler(context: ExchangeContext, streams: StatusStreams): ExchangeHandler {
  return (exchange, request) => {
    const status = statusParameter(request.query);
    const accepts = (change: StatusChange): boolean => status === null || change.to === status;
    const stream = subscribe(context, streams, exchange, accepts);
    stream?.start(exchange.openStream(200, STREAM_HEADERS), ":\n\n");
  };
}

/** Null when refused, and then answered. */
function subscribe(
  context: ExchangeContext,
  streams: StatusStreams,
  exchange: Exchange,
  accepts: (change: StatusChange) => boolean,
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
    backlogMax: limits.streamBacklogMax,
    heartbeatMs: limits.heartbeatMs,
    onEnd: () => context.admission.closeStream(),
  });
  exchange.reply.onAborted(() => stream.end());
  return stream;
}
