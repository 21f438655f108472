/**
 * What probes, scrapers and people ask of this node itself: alive, ready, metrics, the OpenAPI document, the first
 * page. Never shed under overload. Invariant: `/healthz` depends on nothing but the event loop.
 */

import { openApiDocument } from "../api/openapi.ts";
import { CatchallError } from "../model/errors.ts";
import { type ExchangeContext, type ExchangeHandler, JSON_HEADERS } from "./exchange.ts";
import { landingPage } from "./landing-page.ts";

/** `GET /healthz`. */
export function healthzHandler(): ExchangeHandler {
  return (exchange) => exchange.json(200, { status: "ok" });
}

/** `GET /readyz`: 200, or 503 with the reasons. */
export function readyzHandler(context: ExchangeContext): ExchangeHandler {
  return (exchange) => {
    const readiness = context.deps.ingress.readiness();
    if (readiness.ready) return exchange.json(200, { ...readiness, node: context.nodeId });
    const detail = readiness.reasons.join("; ");
    const error =
      detail === "" ? new CatchallError("not_ready") : new CatchallError("not_ready", detail);
    return exchange.problem(error, { ...readiness });
  };
}

/** `GET /metrics`. */
export function metricsHandler(context: ExchangeContext): ExchangeHandler {
  return (exchange) =>
    exchange.answer(context.deps.metrics.text(), ({ contentType, body }) =>
      exchange.send(200, [["Content-Type", contentType]], body),
    );
}

/** `GET /openapi.json`. */
export function openApiHandler(context: ExchangeContext): ExchangeHandler {
  const body = JSON.stringify(openApiDocument({ version: context.deps.version }));
  return (exchange) => exchange.send(200, JSON_HEADERS, body);
}

/** `GET /`. */
export function landingHandler(context: ExchangeContext): ExchangeHandler {
  const headers = [
    ["Content-Type", "text/html; charset=utf-8"],
    ["Cache-Control", "no-store"],
  ] as const;
  return (exchange, request) => {
    const { accessControl, ingress, scheme, version } = context.deps;
    const facts = {
      node: context.nodeId,
      version,
      readiness: ingress.readiness(),
      host: request.header("host"),
      scheme,
      needsToken: accessControl.hasTokens,
    };
    exchange.send(200, headers, landingPage(facts));
  };
}
