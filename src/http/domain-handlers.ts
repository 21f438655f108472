/**
 * Reads of domains: one, many, a page, an export, totals. Answers come from the owners at the time of asking; nothing
 * is kept here. Invariant: an error never looks like a status; an export that breaks off says so in its last line.
 */

import {
  decodeSegment,
  limitParameter,
  parseLookup,
  queryParameter,
  statusParameter,
} from "../api/messages.ts";
import { toCatchallError } from "../api/problem.ts";
import { type DomainName, DomainParser } from "../model/domain-name.ts";
import { CatchallError, ERROR_CODES, type ErrorCode } from "../model/errors.ts";
import type { StatusName } from "../model/status.ts";
import type { DomainPage, DomainStatus } from "../router/ingress.ts";
import { TurnBudget } from "../runtime/turn-budget.ts";
import { prefers } from "./accept-header.ts";
import {
  type Exchange,
  type ExchangeContext,
  type ExchangeHandler,
  NDJSON_HEADERS,
} from "./exchange.ts";
import type { HttpStream } from "./http-server.ts";

const JSON_ONLY: readonly string[] = ["application/json"];

/** `GET /domains/{domain}`; `Accept: text/plain` gets the bare status word. */
export function getDomainHandler(context: ExchangeContext): ExchangeHandler {
  const parser = new DomainParser();
  return (exchange, request) => {
    const domain = parseDomain(parser, request.parameter(0));
    const isPlain = prefers(request.header("accept"), "text/plain");
    exchange.answer(context.deps.ingress.status(domain), (status) => {
      if (isPlain) exchange.text(200, status.status);
      else exchange.json(200, status);
    });
  };
}

/** The canonical name of a raw path segment. Errors: a domain code (400). */
export function parseDomain(parser: DomainParser, segment: string): DomainName {
  const error = parser.parseText(segment, true);
  if (error !== null) throw new CatchallError(error);
  return parser.name();
}

interface LookupError {
  readonly domain: string;
  readonly error: ErrorCode;
  readonly message: string;
}

/** `POST /domains/lookup`. */
export function lookupHandler(context: ExchangeContext): ExchangeHandler {
  return (exchange, request) => {
    exchange.readBody(request, JSON_ONLY, (body) => {
      const asked = parseLookup(body, context.deps.limits.lookupDomainsMax);
      exchange.answer(lookUp(context, exchange, asked), (answer) => exchange.json(200, answer));
    });
  };
}

async function lookUp(
  { deps }: ExchangeContext,
  exchange: Exchange,
  asked: readonly string[],
): Promise<LookupAnswer> {
  const parser = new DomainParser();
  const budget = new TurnBudget(deps.clock, deps.limits.turnMs);
  const results: (DomainStatus | LookupError | null)[] = [];
  const valid: DomainName[] = [];
  let slowCount = 0;
  for (const text of asked) {
    const error = parser.parseText(text, false);
    if (error === null) valid.push(parser.name());
    results.push(
      error === null ? null : { domain: text, error, message: ERROR_CODES[error].title },
    );
    if (parser.slowCount === slowCount) continue;
    slowCount = parser.slowCount;
    if (!budget.isSpent()) continue;
    await budget.nextTurn(deps.timers);
    // Nobody waits for the rest.
    if (exchange.reply.isClosed) return mergeLookup([], []);
  }
  return mergeLookup(results, await deps.ingress.statuses(valid));
}

interface LookupAnswer {
  readonly results: readonly unknown[];
  readonly summary: Readonly<Record<StatusName | "invalid", number>>;
}

/** Puts the statuses found, in order, where `results` has null. */
function mergeLookup(
  results: readonly (DomainStatus | LookupError | null)[],
  found: readonly DomainStatus[],
): LookupAnswer {
  const summary = {
    "catch-all": 0,
    "not catch-all": 0,
    unknown: 0,
    invalid: results.length - found.length,
  };
  let next = 0;
  const merged = results.map((result) => {
    if (result !== null) return result;
    const status = found[next++];
    if (status === undefined) throw new CatchallError("internal");
    summary[status.status]++;
    return status;
  });
  return { results: merged, summary };
}

/** `GET /domains`: a page, or with `Accept: application/x-ndjson` all. */
export function listDomainsHandler(context: ExchangeContext): ExchangeHandler {
  const { ingress, limits } = context.deps;
  return (exchange, request) => {
    const status = statusParameter(request.query);
    const cursor = cursorParameter(request.query);
    if (prefers(request.header("accept"), "application/x-ndjson")) {
      startExport(context, exchange, status, cursor);
      return;
    }
    const limit = limitParameter(request.query, limits.pageItemsDefault, limits.pageItemsMax);
    exchange.answer(ingress.page({ status, cursor, limit }), (page) => exchange.json(200, page));
  };
}

function cursorParameter(query: string): string | null {
  const cursor = queryParameter(query, "cursor");
  if (cursor === null || cursor === "") return null;
  if (!/^[\x21-\x7e]{1,512}$/.test(cursor)) {
    throw new CatchallError("invalid_parameter", '"cursor" must be a cursor that a page gave');
  }
  return cursor;
}

function startExport(
  context: ExchangeContext,
  exchange: Exchange,
  status: StatusName | null,
  cursor: string | null,
): void {
  const refusal = context.admission.openStream();
  if (refusal !== null) {
    exchange.problem(refusal);
    return;
  }
  let isOver = false;
  const end = (): void => {
    if (isOver) return;
    isOver = true;
    context.admission.closeStream();
  };
  exchange.reply.onAborted(end);
  runExport(context, exchange, status, cursor)
    .catch((error: unknown) => exchange.problem(error))
    .finally(end);
}

async function runExport(
  context: ExchangeContext,
  exchange: Exchange,
  status: StatusName | null,
  firstCursor: string | null,
): Promise<void> {
  const { ingress, limits } = context.deps;
  const limit = limits.pageItemsMax;
  // The first page comes before the headers, so that the usual failures are still a problem and a status.
  let page: DomainPage = await ingress.page({ status, cursor: firstCursor, limit });
  if (exchange.reply.isClosed) return;
  const stream = exchange.openStream(200, NDJSON_HEADERS);
  const gate = new DrainGate(stream);
  try {
    for (;;) {
      const chunk = page.items.map((item) => `${JSON.stringify(item)}\n`).join("");
      if (chunk !== "" && !stream.write(chunk)) await gate.drained();
      if (stream.isClosed) return;
      if (page.nextCursor === null) break;
      page = await ingress.page({ status, cursor: page.nextCursor, limit });
    }
  } catch (cause) {
    const error = toCatchallError(cause);
    stream.write(`${JSON.stringify({ error: { code: error.code, message: error.message } })}\n`);
  }
  stream.end();
}

/** Turns the drain calls of a stream into promises. One listener for the life of the stream. */
class DrainGate {
  readonly #stream: HttpStream;
  #open: (() => void) | null = null;

  constructor(stream: HttpStream) {
    this.#stream = stream;
    stream.onDrain(() => {
      this.#open?.();
      this.#open = null;
    });
  }

  drained(): Promise<void> {
    if (this.#stream.isClosed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#open = resolve;
    });
  }
}

/** `GET /domains/stats`. */
export function statsHandler(context: ExchangeContext): ExchangeHandler {
  return (exchange) =>
    exchange.answer(context.deps.ingress.stats(), (stats) => exchange.json(200, stats));
}

/** A decoded path parameter that is not a domain: a node or a rebalance. */
export function nameParameter(raw: string, name: string): string {
  const text = decodeSegment(raw, name);
  if (!/^[\x21-\x7e]{1,255}$/.test(text)) {
    throw new CatchallError(
      "invalid_parameter",
      `"${name}" must be 1 to 255 visible ASCII characters`,
    );
  }
  return text;
}
