/**
 * The client of a catchall node or cluster: every route as a typed method. Needs nothing but `fetch`.
 * Invariant: an event is sent twice only when it carries an id or the node said that it was not counted, so retries
 * never count anything twice.
 */

import { isEventId } from "../model/event.ts";
import {
  badEventId,
  CatchallClientError,
  errorOfRejection,
  invalidResponse,
} from "./client-errors.ts";
import { type CallOptions, Connection, type ConnectionOptions } from "./connection.ts";
import { readEvents, readLines } from "./event-stream.ts";
import type {
  BulkResult,
  ClusterView,
  DomainLocation,
  DomainStatus,
  EventInput,
  EventKindName,
  EventResult,
  ImportChunk,
  ImportReport,
  LookupResult,
  Readiness,
  RebalancePlan,
  RebalanceProgress,
  Rule,
  RuleReport,
  Stats,
  StatusChange,
  StatusName,
  WatchEvent,
} from "./types.ts";

export interface ClientOptions extends ConnectionOptions {
  /**
   * Gives every single event without an id a random one, so that it can be sent again when an answer is lost.
   * Default true. Ids take room in the node's idempotency window; turn this off for very high rates.
   */
  readonly automaticIds?: boolean;
}

export interface SendOptions extends CallOptions {
  /** 1 to 255 visible ASCII characters; the same id on the same domain counts once. */
  readonly id?: string;
}

export interface ListOptions extends CallOptions {
  readonly status?: StatusName;
  /** Domains a page; the iterator asks for the next page by itself. */
  readonly pageSize?: number;
}

interface Page {
  readonly items: readonly DomainStatus[];
  readonly nextCursor: string | null;
}

const WATCH_RECONNECT_MS = 1000;

export class CatchallClient {
  readonly #connection: Connection;
  readonly #automaticIds: boolean;

  constructor(options: ClientOptions = {}) {
    this.#connection = new Connection(options);
    this.#automaticIds = options.automaticIds ?? true;
  }

  /** Counts one delivered event; resolves when it is durable. */
  delivered(domain: string, options: SendOptions = {}): Promise<EventResult> {
    return this.send(domain, "delivered", options);
  }

  /** Counts one bounced event; resolves when it is durable. */
  bounced(domain: string, options: SendOptions = {}): Promise<EventResult> {
    return this.send(domain, "bounced", options);
  }

  /** Counts one event; resolves when it is durable. Errors: `effect` says whether it may have been counted. */
  async send(domain: string, kind: EventKindName, options: SendOptions = {}): Promise<EventResult> {
    const id = options.id ?? (this.#automaticIds ? crypto.randomUUID() : undefined);
    // Some servers cut what is no ASCII from the ends of a header, and would take another id for this one.
    if (id !== undefined && !isEventId(id)) throw badEventId();
    const { headers } = await this.#connection.exchange({
      ...signalOf(options),
      method: "PUT",
      path: `/events/${encodeURIComponent(domain)}/${kind}`,
      ...(id === undefined ? {} : { headers: { "idempotency-key": id } }),
      isRepeatable: id !== undefined,
    });
    return { replayed: headers.get("idempotency-replayed") === "true" };
  }

  /**
   * Counts many events in one request. Good ones count even when others are rejected.
   * Sent again after an unknown outcome only when every event has an id.
   */
  sendMany(events: Iterable<EventInput>, options: CallOptions = {}): Promise<BulkResult> {
    let body = "";
    let isRepeatable = true;
    for (const event of events) {
      body += `${JSON.stringify(event)}\n`;
      isRepeatable &&= event.id !== undefined;
    }
    return this.#connection.json({
      ...signalOf(options),
      method: "POST",
      path: "/events",
      body,
      contentType: "application/x-ndjson",
      isRepeatable,
    });
  }

  status(domain: string, options: CallOptions = {}): Promise<DomainStatus> {
    return this.#get(`/domains/${encodeURIComponent(domain)}`, options);
  }

  /** Up to 10000 domains; results in the order asked. */
  lookup(domains: readonly string[], options: CallOptions = {}): Promise<LookupResult> {
    return this.#connection.json({
      ...signalOf(options),
      method: "POST",
      path: "/domains/lookup",
      body: JSON.stringify({ domains }),
      contentType: "application/json",
      isRepeatable: true,
    });
  }

  /** All domains, page by page as the loop goes on. */
  async *list(options: ListOptions = {}): AsyncGenerator<DomainStatus> {
    let cursor: string | null = null;
    do {
      const query = queryOf({ status: options.status, limit: options.pageSize, cursor });
      const page: Page = await this.#get(`/domains${query}`, options);
      yield* page.items;
      cursor = page.nextCursor;
    } while (cursor !== null);
  }

  /** All domains in one streamed answer (NDJSON). Errors: throws when the stream breaks off. */
  async *export(options: Omit<ListOptions, "pageSize"> = {}): AsyncGenerator<DomainStatus> {
    const body = await this.#connection.stream({
      ...signalOf(options),
      method: "GET",
      path: `/domains${queryOf({ status: options.status })}`,
      accept: "application/x-ndjson",
      isRepeatable: true,
    });
    try {
      for await (const line of readLines(body)) {
        if (line !== "") yield this.#parse<DomainStatus>(line);
      }
    } catch (error) {
      throw this.#streamError(error, options.signal);
    }
  }

  stats(options: CallOptions = {}): Promise<Stats> {
    return this.#get("/domains/stats", options);
  }

  /**
   * Status changes of one domain, or of all when `domain` is null, until the signal aborts or the loop is left.
   * Connects again by itself, naming the last change seen.
   */
  async *watch(
    domain: string | null,
    options: CallOptions & { readonly status?: StatusName } = {},
  ): AsyncGenerator<WatchEvent> {
    const path =
      domain === null
        ? `/changes${queryOf({ status: options.status })}`
        : `/domains/${encodeURIComponent(domain)}/watch`;
    let lastId: string | null = null;
    let hasConnected = false;
    while (options.signal?.aborted !== true) {
      try {
        const body = await this.#connection.stream({
          ...signalOf(options),
          method: "GET",
          path,
          accept: "text/event-stream",
          ...(lastId === null ? {} : { headers: { "last-event-id": lastId } }),
          isRepeatable: true,
        });
        hasConnected = true;
        for await (const { event, id, data } of readEvents(body)) {
          lastId = id ?? lastId;
          if (event === "status") yield { event, id, body: this.#parse<DomainStatus>(data) };
          if (event === "change") yield { event, id, body: this.#parse<StatusChange>(data) };
        }
      } catch (error) {
        const failure = this.#streamError(error, options.signal);
        if (failure.code === "aborted") return;
        // A refusal ends the watch; a stream that broke, or a node that restarts meanwhile, does not.
        if (!failure.retryable || !hasConnected) throw failure;
      }
      await pause(WATCH_RECONNECT_MS, options.signal);
    }
  }

  rule(options: CallOptions = {}): Promise<Rule> {
    return this.#get("/cluster/rule", options);
  }

  /** Changes the rule, or with `isDryRun` says what the change would do. */
  setRule(
    rule: Rule,
    options: CallOptions & { readonly isDryRun?: boolean } = {},
  ): Promise<RuleReport> {
    const isDryRun = options.isDryRun === true;
    return this.#write(
      "PUT",
      `/cluster/rule${isDryRun ? "?dryRun=true" : ""}`,
      options,
      rule,
      true,
    );
  }

  /** Pins a status, with the reason that is kept beside it. */
  setOverride(
    domain: string,
    override: { readonly status: StatusName; readonly reason: string },
    options: CallOptions = {},
  ): Promise<DomainStatus | null> {
    const path = `/domains/${encodeURIComponent(domain)}/override`;
    return this.#write("PUT", path, options, override, true);
  }

  async removeOverride(domain: string, options: CallOptions = {}): Promise<void> {
    await this.#write("DELETE", `/domains/${encodeURIComponent(domain)}/override`, options);
  }

  /** Forgets the counts of a domain. Not sent again after an unknown outcome: events may lie in between. */
  async reset(domain: string, options: CallOptions = {}): Promise<void> {
    await this.#write("POST", `/domains/${encodeURIComponent(domain)}/reset`, options);
  }

  cluster(options: CallOptions = {}): Promise<ClusterView> {
    return this.#get("/cluster", options);
  }

  locate(domain: string, options: CallOptions = {}): Promise<DomainLocation> {
    return this.#get(`/cluster/domains/${encodeURIComponent(domain)}`, options);
  }

  rebalance(options: CallOptions & { readonly isDryRun?: boolean } = {}): Promise<RebalancePlan> {
    const query = options.isDryRun === true ? "?dryRun=true" : "";
    return this.#write("POST", `/cluster/rebalance${query}`, options);
  }

  rebalanceProgress(id: string, options: CallOptions = {}): Promise<RebalanceProgress> {
    return this.#get(`/cluster/rebalances/${encodeURIComponent(id)}`, options);
  }

  drain(node: string, options: CallOptions = {}): Promise<RebalancePlan> {
    return this.#write("POST", `/cluster/nodes/${encodeURIComponent(node)}/drain`, options);
  }

  /** Ends a rebalance or a drain before its moves are done; resolves to how far it came. */
  cancelRebalance(id: string, options: CallOptions = {}): Promise<RebalanceProgress> {
    const path = `/cluster/rebalances/${encodeURIComponent(id)}`;
    return this.#write("DELETE", path, options, undefined, true);
  }

  /** Adds domains of another data directory; what was added before is not added again. */
  importChunk(chunk: ImportChunk, options: CallOptions = {}): Promise<ImportReport> {
    return this.#write("POST", "/cluster/import", options, chunk, true);
  }

  /** Resolves for a node that is not ready as well: the answer says so and why. */
  async readiness(options: CallOptions = {}): Promise<Readiness> {
    const { status, body } = await this.#connection.exchange({
      ...signalOf(options),
      method: "GET",
      path: "/readyz",
      isRepeatable: true,
      expect: [503],
    });
    const fields = typeof body === "object" && body !== null ? body : {};
    return { ...fields, ready: status === 200 };
  }

  #get<Answer>(path: string, options: CallOptions): Promise<Answer> {
    return this.#connection.json({ ...signalOf(options), method: "GET", path, isRepeatable: true });
  }

  #write<Answer>(
    method: "PUT" | "POST" | "DELETE",
    path: string,
    options: CallOptions,
    body?: object,
    isRepeatable = false,
  ): Promise<Answer> {
    return this.#connection.json({
      ...signalOf(options),
      method,
      path,
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), contentType: "application/json" }),
      isRepeatable,
    });
  }

  #parse<Body>(text: string): Body {
    try {
      return JSON.parse(text) as Body;
    } catch (error) {
      throw invalidResponse(this.#connection.address, error);
    }
  }

  #streamError(error: unknown, signal: AbortSignal | undefined): CatchallClientError {
    if (error instanceof CatchallClientError) return error;
    return errorOfRejection(error, this.#connection.address, signal);
  }
}

function signalOf(options: CallOptions): CallOptions {
  return options.signal === undefined ? {} : { signal: options.signal };
}

function queryOf(fields: Readonly<Record<string, string | number | null | undefined>>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined && value !== null) query.set(name, String(value));
  }
  return query.size === 0 ? "" : `?${query.toString()}`;
}

function pause(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  if (signal?.aborted === true) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, delayMs);
    signal?.addEventListener("abort", done, { once: true });
  });
}
