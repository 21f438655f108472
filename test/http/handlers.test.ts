/** Reads, operators' routes, probes and the fallback through the whole surface. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ROUTES } from "../../src/api/routes.ts";
import { DomainParser } from "../../src/model/domain-name.ts";
import { CatchallError } from "../../src/model/errors.ts";
import { pageOf } from "../../src/model/partition-id.ts";
import { type Fixture, openFixture, roleTokens, urlOf } from "../support/http-fixture.ts";

const JSON_TYPE = { "content-type": "application/json" };

function seeded(): Fixture {
  const fixture = openFixture();
  fixture.ingress.counts.set("a.example.com", { delivered: 1001, bounced: 0 });
  fixture.ingress.counts.set("b.example.com", { delivered: 5000, bounced: 1 });
  fixture.ingress.counts.set("c.example.com", { delivered: 1000, bounced: 0 });
  return fixture;
}

describe("GET /domains/{domain}", () => {
  it("answers the status with its evidence, and the bare word as plain text", async () => {
    const { http } = seeded();
    const rows = [
      ["a", "catch-all"],
      ["b", "not catch-all"],
      ["c", "unknown"],
      ["never-seen", "unknown"],
    ] as const;
    for (const [name, status] of rows) {
      const json = await http.send("GET", `/domains/${name.toUpperCase()}.example.com`);
      assert.equal(json.json()["status"], status);
      assert.equal(json.json()["domain"], `${name}.example.com`);
      const plain = await http.send("GET", `/domains/${name}.example.com`, {
        headers: { accept: "text/plain" },
      });
      assert.equal(plain.body, status);
      assert.match(plain.headers.get("content-type") ?? "", /^text\/plain/);
    }
    const both = await http.send("GET", "/domains/a.example.com", {
      headers: { accept: "application/json, text/plain, */*" },
    });
    assert.equal(both.headers.get("content-type"), "application/json");
    const refused = await http.send("GET", "/domains/a.example.com", {
      headers: { accept: "text/plain;q=0, application/json;q=0.5" },
    });
    assert.equal(refused.headers.get("content-type"), "application/json");
  });

  it("never answers a status when the owner can't be reached", async () => {
    const { http, ingress } = seeded();
    ingress.failure = new CatchallError("not_owner");
    for (const accept of ["*/*", "text/plain"]) {
      const reply = await http.send("GET", "/domains/a.example.com", { headers: { accept } });
      assert.equal(reply.status, 503);
      assert.equal(reply.headers.get("content-type"), "application/problem+json");
      assert.equal(reply.json()["effect"], "none");
      assert.equal("delivered" in reply.json(), false);
    }
  });

  it("hides what an unexpected error says, and logs it", async () => {
    const { http, ingress, logged } = seeded();
    ingress.failure = new Error("mongodb://user:secret@host");
    const reply = await http.send("GET", "/domains/a.example.com");
    assert.equal(reply.status, 500);
    assert.equal(reply.json()["code"], "internal");
    assert.doesNotMatch(reply.body, /secret/);
    assert.equal(logged.length, 1);
  });
});

describe("bad domains", () => {
  it("are 400 on every route with a domain", async () => {
    for (const route of ROUTES.filter((each) => each.pattern.includes(":domain"))) {
      const { http, ingress } = openFixture();
      for (const domain of [
        "localhost",
        "a..b",
        "1.2.3.4",
        "%zz.com",
        "a%2Fb.com",
        "*.example.com",
        "x".repeat(300),
      ]) {
        const reply = await http.send(route.method, route.pattern.replace(":domain", domain), {
          headers: JSON_TYPE,
        });
        assert.equal(reply.status, 400, `${route.id} ${domain}`);
        assert.equal(reply.json()["effect"], "none");
      }
      assert.equal(ingress.submitted.length + ingress.by.length, 0);
    }
  });
});

describe("POST /domains/lookup", () => {
  it("answers in the order asked, with errors in their places and a summary", async () => {
    const { http } = seeded();
    const body = JSON.stringify({
      domains: ["b.example.com", "nodot", "A.example.com", "", "a.example.com"],
    });
    const reply = await http.send("POST", "/domains/lookup", { headers: JSON_TYPE, body });
    const { results, summary } = reply.json() as {
      results: Record<string, unknown>[];
      summary: unknown;
    };
    assert.deepEqual(
      results.map((each) => each["error"] ?? each["status"]),
      ["not catch-all", "single_label", "catch-all", "empty", "catch-all"],
    );
    assert.equal(results[1]?.["domain"], "nodot");
    assert.deepEqual(summary, { "catch-all": 2, "not catch-all": 1, unknown: 0, invalid: 2 });
  });

  it("refuses too many, other shapes and other content types", async () => {
    const { http } = openFixture();
    const domains = Array.from({ length: 10_001 }, () => "a.example.com");
    const many = await http.send("POST", "/domains/lookup", {
      headers: JSON_TYPE,
      body: JSON.stringify({ domains }),
    });
    assert.equal(many.json()["code"], "too_many_domains");
    assert.equal(
      (await http.send("POST", "/domains/lookup", { headers: JSON_TYPE, body: "{}" })).status,
      400,
    );
    assert.equal((await http.send("POST", "/domains/lookup", { body: "{}" })).status, 415);
  });
});

describe("GET /domains", () => {
  it("pages with a cursor and filters by status", async () => {
    const { http } = seeded();
    const first = (await http.send("GET", "/domains?limit=2")).json() as {
      items: { domain: string }[];
      nextCursor: string;
    };
    assert.deepEqual(
      first.items.map((item) => item.domain),
      ["a.example.com", "b.example.com"],
    );
    const second = (
      await http.send("GET", `/domains?limit=2&cursor=${first.nextCursor}&other=1`)
    ).json();
    assert.equal((second["items"] as unknown[]).length, 1);
    assert.equal(second["nextCursor"], null);
    const some = (await http.send("GET", "/domains?status=not%20catch-all")).json();
    assert.deepEqual(
      (some["items"] as { domain: string }[]).map((item) => item.domain),
      ["b.example.com"],
    );
  });

  it("refuses wrong parameters", async () => {
    const { http } = openFixture();
    for (const query of [
      "limit=0",
      "limit=1001",
      "limit=x",
      "status=maybe",
      "cursor=%00",
      "status=%zz",
    ]) {
      const reply = await http.send("GET", `/domains?${query}`);
      assert.equal(reply.json()["code"], "invalid_parameter", query);
    }
  });

  it("exports all as NDJSON, waiting for a slow reader", async () => {
    const { http, ingress } = openFixture({ limits: { pageItemsMax: 2 } });
    for (let i = 0; i < 7; i++)
      ingress.counts.set(`d${i}.example.com`, { delivered: 1, bounced: 0 });
    const headers = { accept: "application/x-ndjson" };
    const reply = http.start("GET", "/domains", { headers }, (each) => {
      each.isStreamWritable = false;
    });
    await reply.answered;
    const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
    await turn();
    assert.equal(reply.stream?.text.split("\n").length, 3);
    reply.stream?.drain();
    while (reply.stream?.isEnded === false) await turn();
    const lines = reply.stream?.text.trim().split("\n") ?? [];
    assert.deepEqual(
      lines.map((text) => (JSON.parse(text) as { domain: string }).domain),
      [...ingress.counts.keys()],
    );
  });

  it("says in the last line that an export broke off, and a failure before the first is a problem", async () => {
    const { http, ingress, metrics } = openFixture({ limits: { pageItemsMax: 1 } });
    ingress.counts.set("a.example.com", { delivered: 1, bounced: 0 });
    ingress.counts.set("b.example.com", { delivered: 1, bounced: 0 });
    const headers = { accept: "application/x-ndjson" };
    const reply = http.start("GET", "/domains", { headers }, (each) => {
      each.isStreamWritable = false;
    });
    await reply.answered;
    ingress.failure = new CatchallError("partition_closed");
    reply.stream?.drain();
    while (reply.stream?.isEnded === false) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(JSON.parse(reply.stream?.text.trim().split("\n").at(-1) ?? ""), {
      error: { code: "partition_closed", message: "The partition is not open" },
    });
    assert.equal((await http.send("GET", "/domains", { headers })).status, 503);
    await new Promise((resolve) => setImmediate(resolve));
    assert.match((await metrics.text()).body, /^catchall_http_streams 0$/m);
  });
});

describe("operators' routes", () => {
  it("show and change the rule, and try it without changing it", async () => {
    const { http, ingress } = openFixture();
    assert.deepEqual((await http.send("GET", "/cluster/rule")).json(), {
      deliveredThreshold: 1000,
      bouncedThreshold: 1,
      maxBounceRatio: null,
    });
    const body = '{"deliveredThreshold":5,"bouncedThreshold":2,"maxBounceRatio":0.5}';
    const dry = await http.send("PUT", "/cluster/rule?dryRun=true", { headers: JSON_TYPE, body });
    assert.equal(dry.json()["domainsChanged"], 2);
    assert.equal(ingress.rule().deliveredThreshold, 1000);
    assert.equal(
      (await http.send("PUT", "/cluster/rule", { headers: JSON_TYPE, body })).status,
      200,
    );
    assert.equal(ingress.rule().deliveredThreshold, 5);
    assert.equal(
      (await http.send("PUT", "/cluster/rule", { headers: JSON_TYPE, body: "{}" })).json()["code"],
      "invalid_rule",
    );
    assert.equal(
      (await http.send("PUT", "/cluster/rule?dryRun=maybe", { headers: JSON_TYPE, body })).status,
      400,
    );
  });

  it("pin and unpin a status, and reset", async () => {
    const { http, ingress } = seeded();
    const body = '{"status":"not catch-all","reason":"Known trap"}';
    const pinned = await http.send("PUT", "/domains/a.example.com/override", {
      headers: JSON_TYPE,
      body,
    });
    assert.equal(pinned.json()["status"], "not catch-all");
    assert.equal((await http.send("DELETE", "/domains/a.example.com/override")).status, 204);
    assert.equal(
      (await http.send("DELETE", "/domains/a.example.com/override")).json()["code"],
      "override_not_found",
    );
    assert.equal((await http.send("POST", "/domains/a.example.com/reset")).status, 204);
    assert.equal(ingress.counts.has("a.example.com"), false);
  });

  it("plan, start and follow a rebalance, and drain", async () => {
    const { http } = openFixture();
    assert.equal((await http.send("POST", "/cluster/rebalance?dryRun=true")).status, 200);
    const started = await http.send("POST", "/cluster/rebalance");
    assert.equal(started.status, 202);
    const location = started.headers.get("location") ?? "";
    assert.equal(location, "/cluster/rebalances/r%2F1");
    assert.equal((await http.send("GET", location)).json()["state"], "running");
    assert.equal((await http.send("GET", "/cluster/rebalances/none")).status, 404);
    assert.equal((await http.send("GET", "/cluster/rebalances/%zz")).status, 400);
    assert.equal((await http.send("DELETE", location)).json()["state"], "cancelled");
    assert.equal((await http.send("DELETE", "/cluster/rebalances/none")).status, 404);
    assert.equal((await http.send("POST", "/cluster/nodes/n2/drain")).status, 202);
    assert.equal((await http.send("POST", "/cluster/nodes/n1/drain")).status, 409);
    assert.equal(
      (await http.send("POST", "/cluster/nodes/n9/drain")).json()["code"],
      "node_not_found",
    );
    assert.equal(
      (await http.send("GET", "/cluster/domains/Example.com")).json()["domain"],
      "example.com",
    );
    assert.equal((await http.send("GET", "/cluster")).json()["mode"], "embedded");
    assert.equal((await http.send("GET", "/domains/stats")).status, 200);
  });
});

describe("an import", () => {
  const domain = {
    domain: "example.com",
    delivered: 2 ** 53 - 1,
    bounced: 0,
    firstSeenMs: 5,
    lastSeenMs: 6,
    status: "catch-all",
    statusSinceMs: 5,
  };
  const parser = new DomainParser();
  parser.parseText(domain.domain, false);
  const page = pageOf(parser.hash);
  const chunk = {
    source: { storeId: 7, digest: "0123456789abcdef0123456789abcdef" },
    previous: null,
    domains: [domain],
  };

  it("passes a chunk on with the name of who sent it", async () => {
    const { http, ingress } = openFixture();
    const send = (body: unknown) =>
      http.send("POST", "/cluster/import", { headers: JSON_TYPE, body: JSON.stringify(body) });
    assert.deepEqual((await send(chunk)).json(), { domains: 1, added: 1 });
    assert.equal(ingress.by.length, 1);
  });

  it("refuses what is no chunk, and says what is wrong with it", async () => {
    const { http, ingress } = openFixture();
    const wrong: readonly [object, RegExp][] = [
      [{ ...chunk, domains: [] }, /"domains"/],
      [{ ...chunk, source: { storeId: 2 ** 32, digest: chunk.source.digest } }, /"storeId"/],
      [{ ...chunk, source: { storeId: 1, digest: "x" } }, /"digest"/],
      [{ ...chunk, previous: { page: 65_536, domain: "a.com" } }, /"page"/],
      [{ ...chunk, previous: { page: 0, domain: "a.com" } }, /another page/],
      [{ ...chunk, previous: { page, domain: domain.domain } }, /order/],
      [{ ...chunk, domains: [domain, domain] }, /order/],
      [{ ...chunk, domains: [{ ...domain, domain: "Example.com" }] }, /canonical/],
      [{ ...chunk, domains: [{ ...domain, delivered: 2 ** 53 }] }, /"delivered"/],
      [{ ...chunk, domains: [{ ...domain, bounced: -1 }] }, /"bounced"/],
      [{ ...chunk, domains: [{ ...domain, firstSeenMs: 7 }] }, /times/],
      [{ ...chunk, domains: [{ ...domain, firstSeenMs: 0, lastSeenMs: 0 }] }, /never seen/],
      [{ ...chunk, domains: [{ ...domain, status: "perhaps" }] }, /"status"/],
      [{ ...chunk, domains: [{ ...domain, override: 1 }] }, /"override"/],
    ];
    for (const [body, detail] of wrong) {
      const options = { headers: JSON_TYPE, body: JSON.stringify(body) };
      const answer = await http.send("POST", "/cluster/import", options);
      assert.equal(answer.status, 400, JSON.stringify(body));
      assert.match(String(answer.json()["detail"]), detail);
    }
    const large = { ...chunk, padding: "x".repeat(300_000) };
    const options = { headers: JSON_TYPE, body: JSON.stringify(large) };
    assert.equal((await http.send("POST", "/cluster/import", options)).status, 413);
    assert.deepEqual(ingress.by, []);
  });
});

describe("probes and pages", () => {
  it("say why the node is not ready", async () => {
    const { http, ingress } = openFixture();
    assert.equal((await http.send("GET", "/readyz")).json()["ready"], true);
    ingress.ready = {
      ready: false,
      reasons: ["Partition table is not known"],
      checks: { table: "missing" },
    };
    const reply = await http.send("GET", "/readyz");
    assert.equal(reply.status, 503);
    assert.deepEqual(reply.json()["reasons"], ["Partition table is not known"]);
    assert.equal(reply.headers.has("retry-after"), true);
    assert.deepEqual((await http.send("GET", "/healthz")).json(), { status: "ok" });
  });

  it("escape what they show", async () => {
    const { http, ingress } = openFixture();
    ingress.ready = { ready: false, reasons: ["<img src=x onerror=alert(1)>"], checks: {} };
    const reply = await http.send("GET", "/", { headers: { host: '"><script>' } });
    assert.match(reply.body, /&lt;img src=x/);
    assert.doesNotMatch(reply.body, /<script|<img/);
  });

  it("show lines to try that work as they stand: the scheme of the node, its token when it wants one", async () => {
    const headers = { host: "node.example:8443" };
    const open = await openFixture().http.send("GET", "/", { headers });
    assert.match(
      open.body,
      /<pre>curl -X PUT http:\/\/node\.example:8443\/events\/example\.com\/delivered\n/,
    );
    assert.match(open.body, /\ncurl http:\/\/node\.example:8443\/domains\/example\.com<\/pre>/);
    assert.doesNotMatch(open.body, /Authorization/);
    const guarded = openFixture({ tokens: roleTokens(), scheme: "https" });
    const { body } = await guarded.http.send("GET", "/", { headers });
    const lines = /<pre>(.*)<\/pre>/s.exec(body)?.[1]?.replaceAll("&quot;", '"').split("\n");
    assert.deepEqual(lines, [
      'curl -H "Authorization: Bearer $TOKEN" -X PUT https://node.example:8443/events/example.com/delivered',
      'curl -H "Authorization: Bearer $TOKEN" https://node.example:8443/domains/example.com',
    ]);
  });

  it("time every request under its pattern, method and status, and never under a domain", async () => {
    const { http, metrics } = openFixture();
    await http.send("PUT", "/events/example.com/delivered");
    await http.send("GET", "/domains/nodot");
    await http.send("GET", "/nowhere/example.com");
    const { body } = await metrics.text();
    assert.match(
      body,
      /http_request_duration_seconds_count\{route="\/events\/:domain\/delivered",method="PUT",status="204"\} 1/,
    );
    assert.match(body, /_count\{route="\/domains\/:domain",method="GET",status="400"\} 1/);
    assert.match(body, /_count\{route="other",method="other",status="404"\} 1/);
    assert.doesNotMatch(body, /example|nodot|nowhere/);
  });
});

describe("the fallback", () => {
  it("answers 404 to unknown paths, 405 with Allow to wrong methods, and OPTIONS", async () => {
    const { http } = openFixture();
    assert.equal((await http.send("GET", "/nope")).json()["code"], "not_found");
    const wrong = await http.send("DELETE", "/events/example.com/delivered");
    assert.equal(wrong.status, 405);
    assert.equal(wrong.json()["code"], "method_not_allowed");
    assert.equal(wrong.headers.get("allow"), "PUT, POST, OPTIONS");
    const options = await http.send("OPTIONS", "/domains");
    assert.equal(options.status, 204);
    assert.equal(options.headers.get("allow"), "GET, HEAD, OPTIONS");
  });

  it("answers 415 to a body of the wrong type on every route that reads one", async () => {
    for (const route of ROUTES.filter((each) =>
      ["lookup", "putRule", "putOverride", "postEvents"].includes(each.id),
    )) {
      const { http } = openFixture();
      const reply = await http.send(route.method, urlOf(route.pattern), {
        body: "{}",
        headers: { "content-type": "text/plain" },
      });
      assert.equal(reply.status, 415, route.id);
      assert.equal(reply.isBodyRead, false);
    }
  });
});
