/**
 * The answers of a running node against its own `/openapi.json`: each route, good and bad. A status, media type or shape
 * that the document does not declare fails.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { ROUTES, type RouteSpec, templateOf } from "../../src/api/routes.ts";
import { loadConfig } from "../../src/config/config.ts";
import type { AccessToken } from "../../src/http/access-tokens.ts";
import { SILENT_LOGGER } from "../../src/runtime/logger.ts";
import { PrometheusMetrics } from "../../src/runtime/prometheus-metrics.ts";
import { type EmbeddedNode, startEmbeddedNode } from "../../src/server/embedded.ts";
import { roleTokens } from "../support/http-fixture.ts";
import { type Listening, listenWith, surfaceOver } from "../support/served-surface.ts";

interface Answer {
  readonly status: number;
  readonly mediaType: string;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

interface Ask {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

interface Declared {
  readonly content?: Readonly<Record<string, { readonly schema: { readonly type?: string } }>>;
}

interface OpenApi {
  readonly paths: Record<string, Record<string, { responses: Record<string, Declared> }>>;
}

const ID = "https://catchall.invalid/openapi.json";
const JSON_BODY = { "content-type": "application/json" };
const NDJSON_BODY = { "content-type": "application/x-ndjson" };
const BODY_BYTES_MAX = 100_000;
const LINE = '{"domain":"a.example","type":"delivered","count":1001}';
const OVERRIDE = '{"status":"catch-all","reason":"Asked"}';

const CHUNK = chunkOf("imported.example");

/** Asks about each route that succeed, or fail as they should; the wanted status with each. */
const ASKED: readonly (readonly [number, Ask])[] = [
  [204, { method: "PUT", path: "/events/a.example/delivered" }],
  [204, { method: "POST", path: "/events/a.example/delivered" }],
  [204, { method: "PUT", path: "/events/b.example/bounced", headers: { "idempotency-key": "k" } }],
  [204, { method: "PUT", path: "/events/b.example/bounced", headers: { "idempotency-key": "k" } }],
  [
    422,
    { method: "PUT", path: "/events/b.example/delivered", headers: { "idempotency-key": "k" } },
  ],
  [204, { method: "POST", path: "/events/b.example/bounced" }],
  [400, { method: "PUT", path: "/events/127.0.0.1/bounced" }],
  [400, { method: "PUT", path: "/events/%FF.example/bounced" }],
  [400, { method: "POST", path: "/events/-/delivered" }],
  [200, { method: "POST", path: "/events", headers: NDJSON_BODY, body: `${LINE}\n{"a":1}\n[` }],
  [200, { method: "POST", path: "/events", headers: JSON_BODY, body: `[${LINE},5]` }],
  [200, { method: "POST", path: "/events", headers: NDJSON_BODY, body: "" }],
  [400, { method: "POST", path: "/events", headers: JSON_BODY, body: "{}" }],
  [415, { method: "POST", path: "/events", body: "x" }],
  [413, { method: "POST", path: "/events", headers: NDJSON_BODY, body: "x".repeat(100_001) }],
  [200, { method: "GET", path: "/domains/a.example" }],
  [200, { method: "GET", path: "/domains/never.example" }],
  [200, { method: "GET", path: "/domains/a.example", headers: { accept: "text/plain" } }],
  [400, { method: "GET", path: "/domains/nope" }],
  [
    200,
    {
      method: "POST",
      path: "/domains/lookup",
      headers: JSON_BODY,
      body: '{"domains":["b.example","x"]}',
    },
  ],
  [400, { method: "POST", path: "/domains/lookup", headers: JSON_BODY, body: '{"domains":[1]}' }],
  [415, { method: "POST", path: "/domains/lookup", body: "{}" }],
  [200, { method: "GET", path: "/domains?limit=1" }],
  [200, { method: "GET", path: "/domains?status=not%20catch-all" }],
  [200, { method: "GET", path: "/domains", headers: { accept: "application/x-ndjson" } }],
  [400, { method: "GET", path: "/domains?cursor=nonsense" }],
  [400, { method: "GET", path: "/domains?limit=0" }],
  [200, { method: "GET", path: "/domains/stats" }],
  [200, { method: "GET", path: "/domains/a.example/watch" }],
  [400, { method: "GET", path: "/domains/nope/watch" }],
  [200, { method: "GET", path: "/changes", headers: { "last-event-id": "unknown" } }],
  [400, { method: "GET", path: "/changes?status=x" }],
  [200, { method: "PUT", path: "/domains/c.example/override", headers: JSON_BODY, body: OVERRIDE }],
  [200, { method: "GET", path: "/domains/c.example" }],
  [400, { method: "PUT", path: "/domains/c.example/override", headers: JSON_BODY, body: "{}" }],
  [204, { method: "DELETE", path: "/domains/c.example/override" }],
  [404, { method: "DELETE", path: "/domains/c.example/override" }],
  [204, { method: "POST", path: "/domains/b.example/reset" }],
  [400, { method: "POST", path: "/domains/nope/reset" }],
  [200, { method: "GET", path: "/cluster" }],
  [200, { method: "GET", path: "/cluster/domains/a.example" }],
  [400, { method: "GET", path: "/cluster/domains/nope" }],
  [200, { method: "POST", path: "/cluster/rebalance?dryRun=true" }],
  [202, { method: "POST", path: "/cluster/rebalance" }],
  [400, { method: "POST", path: "/cluster/rebalance?dryRun=perhaps" }],
  [404, { method: "GET", path: "/cluster/rebalances/nope" }],
  [404, { method: "DELETE", path: "/cluster/rebalances/nope" }],
  [200, { method: "POST", path: "/cluster/import", headers: JSON_BODY, body: CHUNK }],
  [200, { method: "POST", path: "/cluster/import", headers: JSON_BODY, body: CHUNK }],
  [
    422,
    {
      method: "POST",
      path: "/cluster/import",
      headers: JSON_BODY,
      body: CHUNK.replace("0123", "4567"),
    },
  ],
  [400, { method: "POST", path: "/cluster/import", headers: JSON_BODY, body: "{}" }],
  [404, { method: "POST", path: "/cluster/nodes/nope/drain" }],
  [200, { method: "GET", path: "/cluster/rule" }],
  [
    200,
    {
      method: "PUT",
      path: "/cluster/rule?dryRun=true",
      headers: JSON_BODY,
      body: '{"deliveredThreshold":5,"bouncedThreshold":1}',
    },
  ],
  [
    200,
    {
      method: "PUT",
      path: "/cluster/rule",
      headers: JSON_BODY,
      body: '{"deliveredThreshold":5,"bouncedThreshold":1}',
    },
  ],
  [400, { method: "PUT", path: "/cluster/rule", headers: JSON_BODY, body: "{}" }],
  [200, { method: "GET", path: "/healthz" }],
  [200, { method: "GET", path: "/readyz" }],
  [200, { method: "GET", path: "/metrics" }],
  [200, { method: "GET", path: "/openapi.json" }],
  [200, { method: "GET", path: "/" }],
];

/** What `catchall import` sends for one domain. */
function chunkOf(domain: string): string {
  const counts = { delivered: 2000, bounced: 0, firstSeenMs: 1, lastSeenMs: 2, statusSinceMs: 2 };
  return JSON.stringify({
    source: { storeId: 1, digest: "0123456789abcdef0123456789abcdef" },
    previous: null,
    domains: [{ domain, ...counts, status: "catch-all" }],
  });
}

describe("Answers of a node", () => {
  let directory = "";
  let node: EmbeddedNode;
  const open: Listening[] = [];
  let port = 0;
  let tokenPort = 0;
  let document: OpenApi;
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  const asked = new Set<string>();

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), "catchall-openapi-"));
    const loaded = loadConfig({
      argv: ["--data-dir", directory, "--partitions", "4"],
      env: {},
      readFile: () => "",
      hostName: "host",
    });
    assert.ok("config" in loaded);
    node = await startEmbeddedNode({
      config: loaded.config,
      logger: SILENT_LOGGER,
      metrics: new PrometheusMetrics({ withProcess: false }),
      onLogFailed: (reason) => assert.fail(reason),
    });
    port = await serve(null);
    tokenPort = await serve(roleTokens());
    const { body } = await send(port, { method: "GET", path: "/openapi.json" });
    document = JSON.parse(body) as OpenApi;
    ajv.addSchema({ $id: ID, ...document });
  });

  after(async () => {
    for (const listening of open) await listening.close();
    await node.stop();
    await rm(directory, { recursive: true, force: true });
  });

  async function serve(tokens: readonly AccessToken[] | null): Promise<number> {
    const surface = surfaceOver({
      ...{ ingress: node.router, clock: node.clock, timers: node.timers, tokens },
      limits: { bodyBytesMax: BODY_BYTES_MAX, authFailuresBurst: 100 },
    });
    const listening = await listenWith(surface, {
      kind: "auto",
      onError: (error) => assert.fail(String(error)),
      requestDeadlineMs: 5_000,
      bodyDeadlineMs: 5_000,
    });
    open.push(listening);
    return listening.port;
  }

  /** Fails unless the document declares this answer, with its media type and shape. */
  function check(route: RouteSpec, { status, mediaType, headers, body }: Answer): void {
    const what = `${route.method} ${route.pattern} ${status} ${body.slice(0, 300)}`;
    const template = templateOf(route.pattern);
    const method = route.method.toLowerCase();
    const declared = document.paths[template]?.[method]?.responses[String(status)];
    assert.ok(declared !== undefined, `undeclared status: ${what}`);
    asked.add(`${method} ${template} ${status}`);
    if (status === 429 || status === 503) assert.match(String(headers["retry-after"]), /^[0-9]+$/);
    if (declared.content === undefined) {
      assert.equal(body, "", `undeclared body: ${what}`);
      return;
    }
    const schema = declared.content[mediaType]?.schema;
    assert.ok(schema !== undefined, `undeclared media type ${mediaType}: ${what}`);
    const pointer = ["paths", template, method, "responses", String(status), "content", mediaType];
    const validate = validatorOf([...pointer, "schema"]);
    for (const value of valuesOf(mediaType, body)) {
      assert.ok(validate(value), `${what}\n${ajv.errorsText(validate.errors)}`);
    }
  }

  function validatorOf(path: readonly string[]): ValidateFunction {
    const pointer = path
      .map((part) => encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1")))
      .join("/");
    return ajv.compile({ $ref: `${ID}#/${pointer}` });
  }

  for (const [status, ask] of ASKED) {
    const shown = `${ask.method} ${ask.path} ${ask.headers?.["accept"] ?? ""}`;
    it(`are as declared: ${status} to ${shown}`, async () => {
      const answer = await send(port, ask);
      assert.equal(answer.status, status, answer.body);
      check(routeOf(ask), answer);
    });
  }

  it("are as declared when the caller may not ask, asks too often, too long, or without a Host", async () => {
    for (const route of ROUTES) {
      const path = pathOf(route);
      const { method } = route;
      const wrong = { authorization: "Bearer secret-nobody" };
      const asks: readonly (readonly [number, Ask])[] = [
        [tokenPort, { method, path, headers: wrong }],
        [tokenPort, { method, path, headers: { authorization: "Bearer secret-read" } }],
        [port, { method, path: `${path}?q=${"x".repeat(3_000)}` }],
        [port, { method, path, headers: { host: "a/b" } }],
      ];
      for (const [at, ask] of asks) check(route, await send(at, ask));
    }
    for (let i = 0; i < 100; i++) {
      await send(tokenPort, { method: "GET", path: "/domains/stats" });
    }
    for (const route of ROUTES) {
      const ask = { method: route.method, path: pathOf(route) };
      let answer = await send(tokenPort, ask);
      // One failure a second is forgiven, and a slow machine takes seconds for all routes.
      for (let tries = 0; answer.status === 401 && tries < 10; tries++) {
        answer = await send(tokenPort, ask);
      }
      assert.equal(answer.status, route.role === "open" ? 200 : 429);
      check(route, answer);
    }
  });

  it("are as declared while the node drains", async () => {
    node.gate.moveTo("draining");
    for (const [, ask] of ASKED) check(routeOf(ask), await send(port, ask));
    const { status } = await send(port, { method: "PUT", path: "/events/a.example/delivered" });
    assert.equal(status, 503);
    const wanted = [...ROUTES].map(
      (route) => `${route.method.toLowerCase()} ${templateOf(route.pattern)} `,
    );
    const missing = wanted.filter((route) => ![...asked].some((each) => each.startsWith(route)));
    assert.deepEqual(missing, [], "every route was asked");
  });
});

function routeOf({ method, path }: Ask): RouteSpec {
  const given = (path.split("?")[0] ?? "").split("/");
  const fitting = ROUTES.filter((route) => {
    const wanted = route.pattern.split("/");
    return (
      route.method === method &&
      wanted.length === given.length &&
      wanted.every((part, i) => part.startsWith(":") || part === given[i])
    );
  });
  const route = fitting.sort(
    (a, b) => a.pattern.split(":").length - b.pattern.split(":").length,
  )[0];
  assert.ok(route !== undefined, path);
  return route;
}

function pathOf({ pattern }: RouteSpec): string {
  return pattern.replace(":domain", "a.example").replace(":id", "r1").replace(":node", "n1");
}

/** What the schema speaks of: the lines of NDJSON, the text of the rest. */
function valuesOf(mediaType: string, body: string): readonly unknown[] {
  if (mediaType.endsWith("json") && mediaType !== "application/x-ndjson") {
    return [JSON.parse(body) as unknown];
  }
  if (mediaType !== "application/x-ndjson") return [body];
  return body.trim() === ""
    ? []
    : body
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as unknown);
}

/** One request on a connection of its own. A stream is read up to its first event. */
function send(port: number, { method, path, headers = {}, body }: Ask): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: "127.0.0.1", port, method, path, agent: false, headers });
    asked.on("error", reject);
    asked.on("response", (response) => {
      const [mediaType = ""] = (response.headers["content-type"] ?? "").split(";");
      let text = "";
      const settle = (): void => {
        resolve({
          status: response.statusCode ?? 0,
          mediaType,
          headers: response.headers,
          body: text,
        });
        asked.destroy();
      };
      response.on("data", (chunk: Buffer) => {
        text += chunk.toString();
        if (mediaType === "text/event-stream") settle();
      });
      response.on("end", settle);
      response.on("error", reject);
    });
    asked.end(body);
  });
}
