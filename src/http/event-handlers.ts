/**
 * Events, one or many. A single event is canonicalised and submitted in the handler; its exchange is its reply.
 * Invariant: 204, or a place in `accepted` or `replayed`, is given only for what the ingress has settled as durable.
 */

import { EventLineReader } from "../api/event-lines.ts";
import { EventArrayReader, type EventReader } from "../api/event-object.ts";
import { parseJsonBytes } from "../api/json-body.ts";
import { DomainParser } from "../model/domain-name.ts";
import { CatchallError } from "../model/errors.ts";
import { type EventKind, isEventId } from "../model/event.ts";
import { BulkSubmission } from "./bulk-submission.ts";
import type { ExchangeContext, ExchangeHandler } from "./exchange.ts";
import { mediaTypeOf } from "./exchange.ts";

const NDJSON = "application/x-ndjson";
const JSON_TYPE = "application/json";

/** `PUT /events/{domain}/{kind}`. */
export function singleEventHandler(context: ExchangeContext, kind: EventKind): ExchangeHandler {
  const { ingress } = context.deps;
  const parser = new DomainParser();
  return (exchange, request) => {
    const key = request.header("idempotency-key");
    if (key !== "" && !isEventId(key)) {
      context.countRejected("invalid_event_id");
      return exchange.problem(new CatchallError("invalid_event_id"));
    }
    const error = parser.parseText(request.parameter(0), true);
    if (error !== null) {
      context.countRejected(error);
      return exchange.problem(new CatchallError(error));
    }
    ingress.submit(parser, kind, 1, key === "" ? null : key, exchange, 0);
  };
}

/** `POST /events`. */
export function bulkEventsHandler(context: ExchangeContext): ExchangeHandler {
  return (exchange, request) => {
    const refusal = context.bulks.admit();
    if (refusal !== null) {
      context.countRejected(refusal.code);
      return exchange.problem(refusal);
    }
    const mediaType = mediaTypeOf(request.header("content-type"));
    return exchange.readBody(request, [NDJSON, JSON_TYPE], (body) => {
      const parser = new DomainParser();
      const events =
        mediaType === NDJSON ? new EventLineReader(body, parser) : arrayReader(body, parser);
      context.bulks.enter(new BulkSubmission(context, exchange, events, parser));
    });
  };
}

function arrayReader(body: Uint8Array, parser: DomainParser): EventReader {
  if (body.length === 0) return new EventArrayReader([], parser);
  const values = parseJsonBytes(body);
  if (!Array.isArray(values))
    throw new CatchallError("invalid_body", "Body must be an array of events");
  return new EventArrayReader(values as readonly unknown[], parser);
}
