/**
 * The schemas of the OpenAPI document: everything that requests and answers are made of. JSON Schema 2020-12, as
 * OpenAPI 3.1 has it. Invariant: the codes of the problem schema are those of `model/errors.ts`, all of them.
 */

import { ERROR_CODES } from "../model/errors.ts";

type Schema = Readonly<Record<string, unknown>>;

const text: Schema = { type: "string" };
const count: Schema = { type: "integer", minimum: 0 };
const nullableTime: Schema = { type: ["string", "null"], format: "date-time" };
const time: Schema = { type: "string", format: "date-time" };
const status: Schema = { $ref: "#/components/schemas/Status" };
const domain: Schema = { type: "string", maxLength: 253, examples: ["example.com"] };

export function ref(name: string): Schema {
  return { $ref: `#/components/schemas/${name}` };
}

function object(
  properties: Readonly<Record<string, unknown>>,
  optional: readonly string[] = [],
): Schema {
  return {
    type: "object",
    required: Object.keys(properties).filter((key) => !optional.includes(key)),
    properties,
  };
}

function list(items: Schema): Schema {
  return { type: "array", items };
}

const problem = {
  type: { type: "string", format: "uri" },
  title: text,
  status: { type: "integer" },
  detail: text,
  code: { type: "string", enum: Object.keys(ERROR_CODES) },
  effect: {
    type: "string",
    enum: ["none", "unknown"],
    description:
      "none: nothing was counted, a retry is safe; unknown (504 only): it may have been counted",
  },
  retryable: { type: "boolean" },
  node: text,
};

const totals = {
  domains: object({ "catch-all": count, "not catch-all": count, unknown: count }),
  delivered: count,
  bounced: count,
};

const rejectedLine: Schema = object({ index: count, code: text, message: text });

const importPlace: Schema = object({
  page: { type: "integer", minimum: 0, maximum: 65_535 },
  domain,
});
const exactCount: Schema = { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER };
const timeMs: Schema = { ...count, description: "Milliseconds since 1970; 0 for never" };

const bulkAnswer = {
  accepted: { ...count, description: "Events that are durable and counted now" },
  replayed: { ...count, description: "Events that were counted before under the same id" },
  rejected: list(rejectedLine),
  rejectedOmitted: {
    ...count,
    description: "Lines of bad input beyond those listed; absent when all are listed",
  },
};

export const SCHEMAS: Readonly<Record<string, Schema>> = {
  Problem: object(problem, ["node"]),
  BulkProblem: object({ ...problem, ...bulkAnswer, unknown: list(count) }, [
    "node",
    "accepted",
    "replayed",
    "rejected",
    "rejectedOmitted",
    "unknown",
  ]),
  Status: { type: "string", enum: ["catch-all", "not catch-all", "unknown"] },
  Event: object(
    {
      domain: {
        type: "string",
        description: "A domain, or an e-mail address, which counts for its domain",
      },
      type: { type: "string", enum: ["delivered", "bounced"] },
      count: { type: "integer", minimum: 1, maximum: 1_000_000, default: 1 },
      id: { type: "string", minLength: 1, maxLength: 255, pattern: "^[\\x21-\\x7e]+$" },
    },
    ["count", "id"],
  ),
  Events: list(ref("Event")),
  BulkAnswer: object(bulkAnswer, ["rejectedOmitted"]),
  Override: object({ status, reason: text, by: text, at: time }),
  OverrideRequest: {
    ...object({ status, reason: { type: "string", minLength: 1, maxLength: 500 } }),
    additionalProperties: false,
  },
  DomainStatus: object(
    {
      domain,
      status,
      reason: text,
      delivered: count,
      bounced: count,
      threshold: count,
      firstSeen: nullableTime,
      lastSeen: nullableTime,
      statusSince: nullableTime,
      overridden: { type: "boolean" },
      override: ref("Override"),
      node: text,
      asOf: time,
    },
    ["override"],
  ),
  LookupRequest: object({ domains: { type: "array", items: text, maxItems: 10_000 } }),
  LookupError: object({
    domain: text,
    error: { type: "string", description: "An error code" },
    message: text,
  }),
  LookupAnswer: object({
    results: list({ oneOf: [ref("DomainStatus"), ref("LookupError")] }),
    summary: object({ "catch-all": count, "not catch-all": count, unknown: count, invalid: count }),
  }),
  DomainPage: object({
    items: list(ref("DomainStatus")),
    nextCursor: { type: ["string", "null"] },
  }),
  Stats: object({ ...totals, nodes: list(object({ node: text, ...totals })), asOf: time }),
  StatusChange: object({
    id: text,
    domain,
    from: status,
    to: status,
    delivered: count,
    bounced: count,
    at: time,
  }),
  MissedChanges: object({ lastEventId: text, detail: text }),
  Rule: {
    ...object(
      {
        deliveredThreshold: { type: "integer", minimum: 0, maximum: 1_000_000_000 },
        bouncedThreshold: { type: "integer", minimum: 1, maximum: 1_000_000_000 },
        maxBounceRatio: { type: ["number", "null"], minimum: 0, maximum: 1 },
      },
      ["maxBounceRatio"],
    ),
    additionalProperties: false,
  },
  RuleReport: object({
    rule: ref("Rule"),
    transitions: list(object({ from: status, to: status, count })),
    domainsChanged: count,
  }),
  Readiness: object({
    ready: { type: "boolean" },
    reasons: list(text),
    checks: { type: "object", additionalProperties: text },
    node: text,
  }),
  Health: object({ status: { type: "string", const: "ok" } }),
  Cluster: object({
    cluster: text,
    mode: { type: "string", enum: ["embedded", "cluster"] },
    epoch: count,
    partitions: count,
    nodes: list(
      object({
        id: text,
        incarnation: count,
        state: { type: "string", enum: ["alive", "draining", "dead"] },
        partitionsOwned: count,
        leaseRemainingMs: { type: ["number", "null"] },
        walLagEvents: count,
        checkpointAgeMs: { type: ["number", "null"] },
      }),
    ),
    owners: list(object({ partition: count, node: text, epoch: count, state: text })),
    handoffs: { type: "array" },
    log: object({ kind: text, synced: { type: "boolean" }, sizeBytes: count }),
  }),
  Location: object({ domain, hash: count, partition: count, owner: text, epoch: count }),
  ImportChunk: object({
    source: object({ storeId: count, digest: { type: "string", pattern: "^[0-9a-f]{32,64}$" } }),
    previous: {
      oneOf: [importPlace, { type: "null" }],
      description:
        "The domain before the first in the source, by page (hash >>> 16), then name; null for none",
    },
    domains: {
      type: "array",
      minItems: 1,
      maxItems: 1_000,
      description: "In order, all of one partition of this cluster",
      items: object(
        {
          domain,
          delivered: exactCount,
          bounced: exactCount,
          firstSeenMs: timeMs,
          lastSeenMs: timeMs,
          status,
          statusSinceMs: timeMs,
          override: object({ status, reason: text, by: text, atMs: timeMs }),
        },
        ["override"],
      ),
    },
  }),
  ImportReport: object({
    domains: count,
    added: { ...count, description: "Of these; the others were there already" },
  }),
  RebalancePlan: object({
    id: text,
    moves: list(object({ partition: count, from: text, to: text })),
  }),
  RebalanceProgress: object({
    id: text,
    state: { type: "string", enum: ["done", "running", "cancelled", "failed"] },
    done: count,
    total: count,
    bytes: count,
    etaMs: { type: ["number", "null"] },
  }),
};
