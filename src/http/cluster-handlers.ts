/**
 * Operators' routes: the cluster, the rule, overrides and resets. Every change carries the name of who asked, and is
 * logged with it. Never decides anything about placement or counts itself.
 */

import { booleanParameter, parseImportChunk, parseOverride, parseRule } from "../api/messages.ts";
import { DomainParser } from "../model/domain-name.ts";
import { nameParameter, parseDomain } from "./domain-handlers.ts";
import type { Exchange, ExchangeContext, ExchangeHandler } from "./exchange.ts";
import type { HttpHeaders } from "./http-server.ts";

const JSON_ONLY: readonly string[] = ["application/json"];

/** `GET /cluster`. */
export function clusterHandler(context: ExchangeContext): ExchangeHandler {
  return (exchange) =>
    exchange.answer(context.deps.ingress.cluster(), (view) => exchange.json(200, view));
}

/** `GET /cluster/domains/{domain}`. */
export function locateHandler(context: ExchangeContext): ExchangeHandler {
  const parser = new DomainParser();
  return (exchange, request) => {
    const domain = parseDomain(parser, request.parameter(0));
    exchange.answer(context.deps.ingress.locate(domain), (location) =>
      exchange.json(200, location),
    );
  };
}

/** `POST /cluster/rebalance`: 202 and where to look, or 200 with the plan only. */
export function rebalanceHandler(context: ExchangeContext): ExchangeHandler {
  return (exchange, request) => {
    const isDryRun = booleanParameter(request.query, "dryRun");
    exchange.reply.isReadOnly = isDryRun;
    exchange.answer(context.deps.ingress.rebalance({ isDryRun }), (plan) => {
      if (isDryRun) return exchange.json(200, plan);
      audit(exchange, "rebalance started", { rebalance: plan.id });
      return exchange.json(202, plan, locationOf(plan.id));
    });
  };
}

/** `GET /cluster/rebalances/{id}`. */
export function rebalanceProgressHandler(context: ExchangeContext): ExchangeHandler {
  return (exchange, request) => {
    const id = nameParameter(request.parameter(0), "id");
    exchange.answer(context.deps.ingress.rebalanceProgress(id), (progress) =>
      exchange.json(200, progress),
    );
  };
}

/** `DELETE /cluster/rebalances/{id}`. */
export function cancelRebalanceHandler(context: ExchangeContext): ExchangeHandler {
  return (exchange, request) => {
    const id = nameParameter(request.parameter(0), "id");
    exchange.answer(context.deps.ingress.cancelRebalance(id), (progress) => {
      audit(exchange, "rebalance cancelled", { rebalance: id });
      exchange.json(200, progress);
    });
  };
}

/** `POST /cluster/import`. */
export function importChunkHandler(context: ExchangeContext): ExchangeHandler {
  return (exchange, request) => {
    exchange.readBody(request, JSON_ONLY, (body) => {
      const chunk = parseImportChunk(body);
      exchange.answer(context.deps.ingress.importChunk(chunk, exchange.principal), (report) => {
        // One line for an import, not one for each of its thousands of chunks.
        if (chunk.previous === null) audit(exchange, "import began", { ...chunk.source });
        exchange.json(200, report);
      });
    });
  };
}

/** `POST /cluster/nodes/{node}/drain`. */
export function drainHandler(context: ExchangeContext): ExchangeHandler {
  return (exchange, request) => {
    const node = nameParameter(request.parameter(0), "node");
    exchange.answer(context.deps.ingress.drain(node), (plan) => {
      audit(exchange, "drain started", { drained: node, rebalance: plan.id });
      exchange.json(202, plan, locationOf(plan.id));
    });
  };
}

function locationOf(id: string): HttpHeaders {
  return [["Location", `/cluster/rebalances/${encodeURIComponent(id)}`]];
}

/** `GET /cluster/rule`. */
export function getRuleHandler(context: ExchangeContext): ExchangeHandler {
  return (exchange) => exchange.json(200, context.deps.ingress.rule());
}

/** `PUT /cluster/rule`: the report of what changed, or with `dryRun` would change. */
export function putRuleHandler(context: ExchangeContext): ExchangeHandler {
  const { ingress } = context.deps;
  return (exchange, request) => {
    const isDryRun = booleanParameter(request.query, "dryRun");
    exchange.reply.isReadOnly = isDryRun;
    exchange.readBody(request, JSON_ONLY, (body) => {
      const rule = parseRule(body);
      if (isDryRun)
        return exchange.answer(ingress.tryRule(rule), (report) => exchange.json(200, report));
      return exchange.answer(ingress.setRule(rule, exchange.principal), (report) => {
        audit(exchange, "rule changed", { rule, domainsChanged: report.domainsChanged });
        exchange.json(200, report);
      });
    });
  };
}

/** `PUT /domains/{domain}/override`. */
export function putOverrideHandler(context: ExchangeContext): ExchangeHandler {
  const parser = new DomainParser();
  return (exchange, request) => {
    const domain = parseDomain(parser, request.parameter(0));
    exchange.readBody(request, JSON_ONLY, (body) => {
      const override = parseOverride(body);
      exchange.answer(
        context.deps.ingress.setOverride(domain, override, exchange.principal),
        (status) => {
          audit(exchange, "override set", { domain, status: override.status });
          exchange.json(200, status);
        },
      );
    });
  };
}

/** `DELETE /domains/{domain}/override`. */
export function deleteOverrideHandler(context: ExchangeContext): ExchangeHandler {
  const parser = new DomainParser();
  return (exchange, request) => {
    const domain = parseDomain(parser, request.parameter(0));
    exchange.answer(context.deps.ingress.removeOverride(domain, exchange.principal), () => {
      audit(exchange, "override removed", { domain });
      exchange.noContent();
    });
  };
}

/** `POST /domains/{domain}/reset`. */
export function resetHandler(context: ExchangeContext): ExchangeHandler {
  const parser = new DomainParser();
  return (exchange, request) => {
    const domain = parseDomain(parser, request.parameter(0));
    exchange.answer(context.deps.ingress.reset(domain, exchange.principal), () => {
      audit(exchange, "domain reset", { domain });
      exchange.noContent();
    });
  };
}

function audit(
  exchange: Exchange,
  message: string,
  fields: Readonly<Record<string, unknown>>,
): void {
  exchange.context.deps.logger.info({ audit: true, by: exchange.principal, ...fields }, message);
}
