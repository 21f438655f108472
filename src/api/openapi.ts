/**
 * The OpenAPI 3.1 document, made from the route table, so that it can't name a route that is not served or miss one
 * that is (test/api/openapi.test.ts).
 */

import { OPERATIONS, type OperationSpec } from "./openapi-operations.ts";
import { ref, SCHEMAS } from "./openapi-schemas.ts";
import { PROBLEM_CONTENT_TYPE } from "./problem.ts";
import { ROUTES, type RouteSpec, templateOf } from "./routes.ts";

type Json = Readonly<Record<string, unknown>>;

const TAGS: readonly Json[] = [
  { name: "events", description: "Reports of delivered and bounced mail" },
  { name: "domains", description: "What is known about domains" },
  { name: "cluster", description: "For operators" },
  { name: "node", description: "This node itself" },
];

/** Ids of nodes and rebalances. */
const ID_SCHEMA: Json = { type: "string", maxLength: 255, pattern: "^[\\x21-\\x7e]+$" };

const PROBLEM_TEXTS: Readonly<Record<number, string>> = {
  400: "Bad input, or a malformed request; nothing was counted",
  401: "A valid token is needed",
  403: "Not allowed with this token, from this origin, or without a token",
  404: "No such thing",
  408: "The body did not arrive in time",
  409: "In conflict with another operation",
  413: "The body is over the limit",
  414: "The URL is over the limit",
  415: "The content type is not supported",
  422: "Not what was sent before: a reused Idempotency-Key, or an import that does not go on from there",
  429: "Too many failed authentications from this address",
  431: "The headers are over the limit",
  500: "Internal error",
  503: "The node can't answer now; nothing was counted, a retry is safe",
  504: "It may or may not have happened; retry with the same Idempotency-Key",
};

export function openApiDocument(options: { readonly version: string }): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const route of ROUTES) {
    const template = templateOf(route.pattern);
    const operations = paths[template] ?? {};
    operations[route.method.toLowerCase()] = operationOf(route, OPERATIONS[route.id]);
    paths[template] = operations;
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "catchall",
      version: options.version,
      description: "Tells senders of e-mail which domains accept mail for any address.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/", description: "This node; every node answers for every domain" }],
    tags: TAGS,
    paths,
    components: {
      schemas: SCHEMAS,
      securitySchemes: {
        bearer: {
          type: "http",
          scheme: "bearer",
          description: "Needed only when the node has a tokens file",
        },
      },
    },
  };
}

function operationOf(route: RouteSpec, spec: OperationSpec): Json {
  const parameters = [...pathParameters(route.pattern), ...(spec.parameters ?? [])];
  return {
    operationId: route.id,
    tags: [spec.tag],
    summary: spec.summary,
    ...(spec.description === undefined ? {} : { description: spec.description }),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(spec.body === undefined ? {} : { requestBody: { required: true, content: spec.body } }),
    responses: responsesOf(route, spec),
    security: route.role === "open" ? [] : [{}, { bearer: [] }],
  };
}

function pathParameters(pattern: string): readonly Json[] {
  return [...pattern.matchAll(/:([a-z]+)/g)].map(([, name]) => ({
    name,
    in: "path",
    required: true,
    schema: name === "domain" ? { type: "string", examples: ["example.com"] } : ID_SCHEMA,
  }));
}

function responsesOf(route: RouteSpec, spec: OperationSpec): Json {
  const responses: Record<string, Json> = {};
  for (const [status, { description, content, headers }] of Object.entries(spec.success)) {
    responses[status] = {
      description,
      ...(headers === undefined ? {} : { headers }),
      ...(content === null ? {} : { content }),
    };
  }
  for (const status of problemStatusesOf(route, spec)) {
    responses[String(status)] = problemResponse(route, status);
  }
  return responses;
}

/** What the handler gives and what the gates and the server before it give. */
function problemStatusesOf(route: RouteSpec, spec: OperationSpec): readonly number[] {
  const gates =
    route.role === "open" ? [400, 414, 431, 500] : [400, 401, 403, 414, 429, 431, 500, 503, 504];
  return [...new Set([...spec.problems, ...gates])].sort((a, b) => a - b);
}

function problemResponse(route: RouteSpec, status: number): Json {
  const retryAfter = {
    "Retry-After": { description: "Seconds to wait", schema: { type: "integer" } },
  };
  const schema = route.id === "postEvents" && status === 504 ? "BulkProblem" : "Problem";
  return {
    description: PROBLEM_TEXTS[status] ?? "Error",
    ...(status === 429 || status === 503 ? { headers: retryAfter } : {}),
    content: { [PROBLEM_CONTENT_TYPE]: { schema: ref(schema) } },
  };
}
