/**
 * What each route takes and answers, for the OpenAPI document. Keyed by route, so that a route without an entry does
 * not compile. The codes 401, 403 and 503 that the gates before a handler give are added by `openapi.ts`.
 */

import { ref } from "./openapi-schemas.ts";
import type { RouteId } from "./routes.ts";

type Json = Readonly<Record<string, unknown>>;

export interface OperationSpec {
  readonly tag: "events" | "domains" | "cluster" | "node";
  readonly summary: string;
  readonly description?: string;
  readonly parameters?: readonly Json[];
  /** Media type → schema. */
  readonly body?: Json;
  /** Success status → what it is and its content (media type → schema), null for no body. */
  readonly success: Readonly<
    Record<
      string,
      { readonly description: string; readonly content: Json | null; readonly headers?: Json }
    >
  >;
  /** Statuses of problems that the handler itself gives. */
  readonly problems: readonly number[];
}

const BODY_PROBLEMS: readonly number[] = [400, 408, 413, 415];

function json(schema: string): Json {
  return { "application/json": { schema: ref(schema) } };
}

function ok(schema: string, description: string): OperationSpec["success"] {
  return { "200": { description, content: json(schema) } };
}

function query(name: string, description: string, schema: Json): Json {
  return { name, in: "query", required: false, description, schema };
}

const statusQuery = query("status", "Only domains of this status", ref("Status"));
const dryRunQuery = query("dryRun", "Answer what would happen and change nothing", {
  type: "boolean",
  default: false,
});
const locationHeader = {
  Location: { description: "Where the progress is", schema: { type: "string" } },
};
const keyHeader: Json = {
  name: "Idempotency-Key",
  in: "header",
  required: false,
  description: "The same key on the same domain counts once within the idempotency window",
  schema: { type: "string", minLength: 1, maxLength: 255, pattern: "^[\\x21-\\x7e]+$" },
};

const lastEventId = "The id of the last event that the client has seen";
const lastEventIdHeader: Json = {
  name: "Last-Event-ID",
  in: "header",
  required: false,
  description: lastEventId,
  schema: { type: "string" },
};
const lastEventIdQuery = query("lastEventId", `${lastEventId}, for a first request`, {
  type: "string",
});

function single(kind: "delivered" | "bounced"): OperationSpec {
  return {
    tag: "events",
    summary: `Count one ${kind} event`,
    description:
      "Counts each time it is called, PUT too; give an Idempotency-Key to make retries safe. Needs no body.",
    parameters: [keyHeader],
    success: {
      "204": {
        description: "The event is durable and is counted exactly once",
        content: null,
        headers: {
          "Idempotency-Replayed": {
            description: '"true" when the key was seen before and nothing new was counted',
            schema: { type: "string", const: "true" },
          },
        },
      },
    },
    problems: [400, 422, 504],
  };
}

/** What the `data` lines of a stream hold. */
function sse(...schemas: readonly string[]): Json {
  return { "text/event-stream": { schema: { type: "string", "x-event-data": schemas.map(ref) } } };
}

const accepted = (description: string): OperationSpec["success"][string] => ({
  description,
  content: json("RebalancePlan"),
  headers: locationHeader,
});

export const OPERATIONS: Readonly<Record<RouteId, OperationSpec>> = {
  putDelivered: single("delivered"),
  postDelivered: single("delivered"),
  putBounced: single("bounced"),
  postBounced: single("bounced"),
  postEvents: {
    tag: "events",
    summary: "Count many events",
    description:
      "Good lines count even when others are bad. `index` counts from 0 without empty lines. When the outcome of one " +
      "is unknown the answer is 504, with what is certain about the others beside it.",
    body: { "application/x-ndjson": { schema: ref("Event") }, ...json("Events") },
    success: ok("BulkAnswer", "What became of each event"),
    problems: [...BODY_PROBLEMS, 504],
  },
  getDomain: {
    tag: "domains",
    summary: "Status of a domain with its evidence",
    success: {
      "200": {
        description: "From the memory of the owner; a domain never seen is `unknown` with zeros",
        content: { ...json("DomainStatus"), "text/plain": { schema: ref("Status") } },
      },
    },
    problems: [400],
  },
  lookup: {
    tag: "domains",
    summary: "Statuses of up to 10,000 domains, in the order asked",
    body: json("LookupRequest"),
    success: ok("LookupAnswer", "One result per domain asked"),
    problems: BODY_PROBLEMS,
  },
  listDomains: {
    tag: "domains",
    summary: "Page through domains, or export all",
    description:
      "With `Accept: application/x-ndjson` all domains are streamed, one object a line; a last line " +
      '`{"error":{"code","message"}}` means that the export is not complete.',
    parameters: [
      statusQuery,
      query("cursor", "`nextCursor` of the page before", { type: "string", maxLength: 512 }),
      query("limit", "Domains per page", {
        type: "integer",
        minimum: 1,
        maximum: 1000,
        default: 100,
      }),
    ],
    success: {
      "200": {
        description: "A page, or the export",
        content: { ...json("DomainPage"), "application/x-ndjson": { schema: ref("DomainStatus") } },
      },
    },
    problems: [400],
  },
  stats: {
    tag: "domains",
    summary: "Totals of the cluster and of each node",
    success: ok("Stats", "Totals"),
    problems: [],
  },
  watchDomain: {
    tag: "domains",
    summary: "Server-sent events: the status of now, then each change",
    success: {
      "200": {
        description: "Events `status` (DomainStatus) and `change` (StatusChange)",
        content: sse("DomainStatus", "StatusChange"),
      },
    },
    problems: [400],
  },
  changes: {
    tag: "domains",
    summary: "Server-sent events: status changes of all domains from now on, or since an event",
    description:
      "Each event has an id. A client that comes back with `Last-Event-ID` gets what changed since. When the node does " +
      "not know that any more (too long ago, a restart, another node), the first event is `missed`: read again what " +
      "you need, for example with an export; the stream goes on from now. Blocks of an id without data are no events.",
    parameters: [statusQuery, lastEventIdHeader, lastEventIdQuery],
    success: {
      "200": {
        description: "Events `change` (StatusChange) and `missed` (MissedChanges)",
        content: sse("StatusChange", "MissedChanges"),
      },
    },
    problems: [400],
  },
  putOverride: {
    tag: "domains",
    summary: "Pin the status of a domain, with a reason",
    body: json("OverrideRequest"),
    success: ok("DomainStatus", "The status now"),
    problems: [...BODY_PROBLEMS, 504],
  },
  deleteOverride: {
    tag: "domains",
    summary: "Unpin the status of a domain",
    success: { "204": { description: "Unpinned", content: null } },
    problems: [400, 404, 504],
  },
  reset: {
    tag: "domains",
    summary: "Forget the counts of a domain",
    success: { "204": { description: "Forgotten, durably and once", content: null } },
    problems: [400, 504],
  },
  cluster: {
    tag: "cluster",
    summary: "Nodes, owners, leases, lag and handoffs",
    success: ok("Cluster", "The cluster"),
    problems: [],
  },
  locate: {
    tag: "cluster",
    summary: "Hash, partition and owner of a domain",
    success: ok("Location", "Where the domain lives"),
    problems: [400],
  },
  rebalance: {
    tag: "cluster",
    summary: "Plan and start a rebalance",
    parameters: [dryRunQuery],
    success: { ...ok("RebalancePlan", "The plan of a dry run"), "202": accepted("Started") },
    problems: [400, 409, 504],
  },
  rebalanceProgress: {
    tag: "cluster",
    summary: "Progress of a rebalance or a drain",
    success: ok("RebalanceProgress", "Progress"),
    problems: [400, 404],
  },
  cancelRebalance: {
    tag: "cluster",
    summary: "End a rebalance or a drain before its moves are done",
    description:
      "A move that is already being handed over ends as it would have; everything else stays where it is. A node that " +
      "was to be drained takes part again. Cancelling again changes nothing; what is done can't be cancelled (409).",
    success: ok("RebalanceProgress", "How far it came"),
    problems: [400, 404, 409, 504],
  },
  drain: {
    tag: "cluster",
    summary: "Move everything off a node",
    success: { "202": accepted("Started") },
    problems: [400, 404, 409, 504],
  },
  importChunk: {
    tag: "cluster",
    summary: "Add domains of another data directory, each once",
    description:
      "What `catchall import` sends. Counts add up, first and last seen widen, this cluster's rule decides the status, " +
      "an override is taken over where there is none. A domain that was imported before adds nothing, so that any " +
      "chunk may be sent again; a chunk is refused (422) when the domain before it, of the same partition, is missing.",
    body: json("ImportChunk"),
    success: ok("ImportReport", "Imported, durably and once"),
    problems: [...BODY_PROBLEMS, 422, 504],
  },
  getRule: {
    tag: "cluster",
    summary: "The classification rule",
    success: ok("Rule", "The rule"),
    problems: [],
  },
  putRule: {
    tag: "cluster",
    summary: "Change the rule and evaluate every domain again",
    parameters: [dryRunQuery],
    body: json("Rule"),
    success: ok("RuleReport", "What changed, or would change"),
    problems: [...BODY_PROBLEMS, 409, 504],
  },
  healthz: {
    tag: "node",
    summary: "Is the process alive",
    success: ok("Health", "Alive"),
    problems: [],
  },
  readyz: {
    tag: "node",
    summary: "May the node receive traffic",
    success: ok("Readiness", "It may"),
    problems: [503],
  },
  metrics: {
    tag: "node",
    summary: "Metrics as Prometheus text",
    success: {
      "200": { description: "Metrics", content: { "text/plain": { schema: { type: "string" } } } },
    },
    problems: [],
  },
  openapi: {
    tag: "node",
    summary: "This document",
    success: {
      "200": {
        description: "OpenAPI 3.1",
        content: { "application/json": { schema: { type: "object" } } },
      },
    },
    problems: [],
  },
  landing: {
    tag: "node",
    summary: "First page for people",
    success: {
      "200": { description: "HTML", content: { "text/html": { schema: { type: "string" } } } },
    },
    problems: [],
  },
};
