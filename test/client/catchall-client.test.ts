/** The client against a server that fails on purpose: what is sent again, what never is, and what the errors say. */

import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { after, describe, it } from "node:test";
import { CatchallClient, CatchallClientError, type ClientOptions } from "../../src/client/index.ts";
import {
  answerJson,
  answerProblem,
  type StubRequest,
  type StubServer,
  startStub,
} from "../support/stub-server.ts";

const open: StubServer[] = [];
after(async () => {
  await Promise.all(open.map((stub) => stub.close()));
});

const QUICK = { firstDelayMs: 1, delayMaxMs: 2 };

async function given(
  answer: (request: StubRequest, response: ServerResponse, index: number) => void,
  options: ClientOptions = {},
): Promise<{ stub: StubServer; client: CatchallClient }> {
  const stub = await startStub(answer);
  open.push(stub);
  return { stub, client: new CatchallClient({ url: stub.url, retry: QUICK, ...options }) };
}

async function failureOf(work: Promise<unknown>): Promise<CatchallClientError> {
  const error = await work.then(
    () => null,
    (cause: unknown) => cause,
  );
  assert.ok(error instanceof CatchallClientError, `not a CatchallClientError: ${String(error)}`);
  return error;
}

function noContent(response: ServerResponse, headers: Record<string, string> = {}): void {
  response.writeHead(204, headers).end();
}

describe("CatchallClient events", () => {
  it("puts one event with an id of its own, the token and the escaped domain", async () => {
    const { stub, client } = await given((_, response) => noContent(response), { token: "t" });
    assert.deepEqual(await client.delivered("a/b.com"), { replayed: false });
    const [request] = stub.requests;
    assert.equal(`${request?.method} ${request?.path}`, "PUT /events/a%2Fb.com/delivered");
    assert.equal(request?.headers["authorization"], "Bearer t");
    assert.match(String(request?.headers["idempotency-key"]), /^[0-9a-f-]{36}$/);
  });

  it("sends the caller's id and says when it was replayed", async () => {
    const { stub, client } = await given((_, response) =>
      noContent(response, { "idempotency-replayed": "true" }),
    );
    assert.deepEqual(await client.bounced("x.com", { id: "k1" }), { replayed: true });
    assert.equal(stub.requests[0]?.headers["idempotency-key"], "k1");
  });

  it("sends nothing under an id that no node takes", async () => {
    const { client, stub } = await given((_, response) => response.writeHead(204).end());
    for (const id of ["", "order1é", "a b", "x".repeat(256)]) {
      const { code, effect, retryable } = await failureOf(client.delivered("x.com", { id }));
      assert.deepEqual([code, effect, retryable], ["invalid_event_id", "none", false]);
    }
    assert.equal(stub.requests.length, 0);
  });

  it("sends an event with an unknown outcome again under the same id", async () => {
    const { stub, client } = await given((_, response, index) => {
      if (index === 0) response.destroy();
      else if (index === 1) answerProblem(response, 504, "outcome_unknown", { effect: "unknown" });
      else noContent(response);
    });
    await client.delivered("x.com");
    const ids = stub.requests.map((request) => request.headers["idempotency-key"]);
    assert.equal(ids.length, 3);
    assert.equal(new Set(ids).size, 1);
  });

  it("never sends an event without an id again when it may have been counted", async () => {
    const options = { automaticIds: false };
    const lost = await given((_, response) => response.destroy(), options);
    const first = await failureOf(lost.client.delivered("x.com"));
    assert.deepEqual(
      [first.code, first.effect, lost.stub.requests.length],
      ["connection_lost", "unknown", 1],
    );
    const late = await given(
      (_, response) => answerProblem(response, 504, "outcome_unknown", { effect: "unknown" }),
      options,
    );
    const second = await failureOf(late.client.delivered("x.com"));
    assert.deepEqual(
      [second.status, second.effect, late.stub.requests.length],
      [504, "unknown", 1],
    );
  });

  it("sends an event without an id again when the node says that nothing was counted", async () => {
    const { stub, client } = await given(
      (_, response, index) =>
        index < 2 ? answerProblem(response, 503, "overloaded") : noContent(response),
      { automaticIds: false },
    );
    await client.delivered("x.com");
    assert.equal(stub.requests.length, 3);
  });

  it("does not repeat what can't succeed", async () => {
    const { stub, client } = await given((_, response) =>
      answerProblem(response, 400, "single_label"),
    );
    const error = await failureOf(client.delivered("com"));
    assert.deepEqual(
      [error.code, error.status, error.effect, error.retryable],
      ["single_label", 400, "none", false],
    );
    assert.equal(error.message, "Problem single_label");
    assert.equal(error.problem?.["code"], "single_label");
    assert.equal(stub.requests.length, 1);
  });

  it("stops after the limit of retries", async () => {
    const { stub, client } = await given(
      (_, response) => answerProblem(response, 503, "overloaded"),
      {
        retry: { ...QUICK, retryCountMax: 2 },
      },
    );
    assert.equal((await failureOf(client.delivered("x.com"))).code, "overloaded");
    assert.equal(stub.requests.length, 3);
  });

  it("waits as long as Retry-After says, and gives up at once when that is too long", async () => {
    const waits = await given((_, response, index) =>
      index === 0
        ? answerProblem(response, 503, "not_ready", { retryAfter: "1" })
        : noContent(response),
    );
    const startMs = performance.now();
    await waits.client.delivered("x.com");
    assert.ok(performance.now() - startMs >= 990);
    const { stub, client } = await given((_, response) =>
      answerProblem(response, 503, "log_failed", { retryAfter: "3600" }),
    );
    assert.equal((await failureOf(client.delivered("x.com"))).retryAfterMs, 3_600_000);
    assert.equal(stub.requests.length, 1);
  });

  it("takes a proxy's error page for an unknown effect", async () => {
    const { client } = await given((_, response) => response.writeHead(502).end("<html>"), {
      retry: { retryCountMax: 0 },
    });
    const error = await failureOf(client.delivered("x.com"));
    assert.deepEqual([error.code, error.effect, error.problem], ["http_502", "unknown", null]);
  });

  it("sends many events as NDJSON and returns every rejection", async () => {
    const answer = { accepted: 1, replayed: 0, rejected: [{ index: 1, code: "ip", message: "m" }] };
    const { stub, client } = await given((_, response) => answerJson(response, 200, answer));
    const result = await client.sendMany([
      { domain: "x.com", type: "delivered", count: 7 },
      { domain: "1.2.3.4", type: "bounced", id: "i" },
    ]);
    assert.deepEqual(result, answer);
    assert.equal(stub.requests[0]?.headers["content-type"], "application/x-ndjson");
    assert.equal(
      stub.requests[0]?.body,
      '{"domain":"x.com","type":"delivered","count":7}\n{"domain":"1.2.3.4","type":"bounced","id":"i"}\n',
    );
  });

  it("repeats a bulk request with an unknown outcome only when every event has an id", async () => {
    const body = { accepted: 1, replayed: 0, rejected: [] };
    const cut = (_: StubRequest, response: ServerResponse, index: number): void => {
      if (index === 0) response.destroy();
      else answerJson(response, 200, body);
    };
    const keyed = await given(cut);
    await keyed.client.sendMany([{ domain: "x.com", type: "delivered", id: "1" }]);
    assert.equal(keyed.stub.requests.length, 2);
    const open = await given(cut);
    const events = [
      { domain: "x.com", type: "delivered" as const },
      { domain: "x.com", type: "delivered" as const, id: "1" },
    ];
    assert.equal((await failureOf(open.client.sendMany(events))).effect, "unknown");
    assert.equal(open.stub.requests.length, 1);
  });
});

describe("CatchallClient connection", () => {
  it("says that nothing was sent when nobody listens", async () => {
    const { stub } = await given(() => undefined);
    await stub.close();
    open.pop();
    const client = new CatchallClient({ url: stub.url, retry: { retryCountMax: 0 } });
    const error = await failureOf(client.delivered("x.com"));
    assert.deepEqual([error.code, error.effect, error.status], ["unreachable", "none", null]);
    assert.match(error.message, /^Can't reach http:\/\/127\.0\.0\.1:\d+ \(ECONNREFUSED\)$/);
  });

  it("goes to the next address when one does not answer", async () => {
    const dead = await startStub(() => undefined);
    await dead.close();
    const { stub, client } = await given((_, response) => noContent(response));
    const both = new CatchallClient({ url: [dead.url, stub.url], retry: QUICK });
    await both.delivered("x.com");
    assert.equal(stub.requests.length, 1);
    assert.ok(client);
  });

  it("gives up after its time limit", async () => {
    const { client } = await given(() => undefined, { timeoutMs: 30, retry: { retryCountMax: 0 } });
    const error = await failureOf(client.status("x.com"));
    assert.deepEqual([error.code, error.effect], ["timeout", "unknown"]);
  });

  it("ends when the caller aborts, in a call and between two attempts", async () => {
    const silent = await given(() => undefined);
    assert.equal(
      (await failureOf(silent.client.status("x.com", { signal: AbortSignal.timeout(20) }))).code,
      "aborted",
    );
    const busy = await given((_, response) =>
      answerProblem(response, 503, "overloaded", { retryAfter: "20" }),
    );
    const startMs = performance.now();
    await failureOf(busy.client.status("x.com", { signal: AbortSignal.timeout(50) }));
    assert.ok(performance.now() - startMs < 5000);
  });

  it("refuses an answer that is not JSON", async () => {
    const { client } = await given((_, response) => response.end("hello"));
    assert.equal((await failureOf(client.stats())).code, "invalid_response");
  });

  it("refuses addresses that are none", () => {
    for (const url of ["localhost:8080", "ftp://x", "", []]) {
      assert.throws(() => new CatchallClient({ url }), TypeError);
    }
  });

  it("keeps the path of an address behind a proxy", async () => {
    const { stub } = await given((_, response) => answerJson(response, 200, {}));
    await new CatchallClient({ url: `${stub.url}/catchall/` }).stats();
    assert.equal(stub.requests[0]?.path, "/catchall/domains/stats");
  });
});

describe("CatchallClient reads and operations", () => {
  it("follows the cursor until the last page", async () => {
    const { stub, client } = await given(({ path }, response) => {
      const isSecond = path.includes("cursor=c%2B1");
      answerJson(response, 200, {
        items: [{ domain: isSecond ? "b.com" : "a.com" }],
        nextCursor: isSecond ? null : "c+1",
      });
    });
    const names: string[] = [];
    for await (const { domain } of client.list({ status: "not catch-all", pageSize: 1 }))
      names.push(domain);
    assert.deepEqual(names, ["a.com", "b.com"]);
    assert.equal(stub.requests[0]?.path, "/domains?status=not+catch-all&limit=1");
  });

  it("exports line by line and throws when the stream breaks off", async () => {
    const whole = await given((_, response) =>
      response.end('{"domain":"a.com"}\n{"domain":"b.com"}'),
    );
    const names: string[] = [];
    for await (const { domain } of whole.client.export()) names.push(domain);
    assert.deepEqual(names, ["a.com", "b.com"]);
    assert.equal(whole.stub.requests[0]?.headers["accept"], "application/x-ndjson");
    const cut = await given((_, response) => {
      response.write('{"domain":"a.com"}\n', () => setImmediate(() => response.destroy()));
    });
    const error = await failureOf(
      (async () => {
        for await (const line of cut.client.export()) assert.ok(line);
      })(),
    );
    assert.equal(error.code, "connection_lost");
  });

  it("asks every route of the contract", async () => {
    const { stub, client } = await given((_, response) => answerJson(response, 200, {}));
    await client.status("x.com");
    await client.lookup(["x.com"]);
    await client.stats();
    await client.rule();
    await client.setRule(
      { deliveredThreshold: 1, bouncedThreshold: 1, maxBounceRatio: null },
      { isDryRun: true },
    );
    await client.setOverride("x.com", { status: "unknown", reason: "r" });
    await client.removeOverride("x.com");
    await client.reset("x.com");
    await client.cluster();
    await client.locate("x.com");
    await client.rebalance({ isDryRun: true });
    await client.rebalance();
    await client.rebalanceProgress("r1");
    await client.cancelRebalance("r1");
    await client.drain("n1");
    assert.deepEqual(
      stub.requests.map(({ method, path, body }) => [`${method} ${path}`, body].join(" ").trim()),
      [
        "GET /domains/x.com",
        'POST /domains/lookup {"domains":["x.com"]}',
        "GET /domains/stats",
        "GET /cluster/rule",
        'PUT /cluster/rule?dryRun=true {"deliveredThreshold":1,"bouncedThreshold":1,"maxBounceRatio":null}',
        'PUT /domains/x.com/override {"status":"unknown","reason":"r"}',
        "DELETE /domains/x.com/override",
        "POST /domains/x.com/reset",
        "GET /cluster",
        "GET /cluster/domains/x.com",
        "POST /cluster/rebalance?dryRun=true",
        "POST /cluster/rebalance",
        "GET /cluster/rebalances/r1",
        "DELETE /cluster/rebalances/r1",
        "POST /cluster/nodes/n1/drain",
      ],
    );
  });

  it("never resets twice when the first outcome is unknown", async () => {
    const { stub, client } = await given((_, response) => response.destroy());
    assert.equal((await failureOf(client.reset("x.com"))).effect, "unknown");
    assert.equal(stub.requests.length, 1);
  });

  it("answers for a node that is not ready instead of failing", async () => {
    const body = { ready: false, reasons: ["The log is being read"] };
    const { client } = await given((_, response) => answerJson(response, 503, body));
    assert.deepEqual(await client.readiness(), body);
  });
});

describe("CatchallClient watch", () => {
  const event = (id: string): string =>
    `id: ${id}\nevent: change\ndata: {"id":"${id}",\ndata: "domain":"x.com"}\n\n`;

  it("yields events across chunks, skips heartbeats, and goes on after the last one when the stream breaks", async () => {
    const { stub, client } = await given((_, response, index) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      const text = `: hello\r\n\r\n${event(`${index + 1}`)}`;
      response.write(text.slice(0, 30), () => {
        setImmediate(() =>
          response.write(`${text.slice(30)}data: {"cut"`, () =>
            setImmediate(() => response.destroy()),
          ),
        );
      });
    });
    const seen: unknown[] = [];
    for await (const { event: name, id, body } of client.watch(null, { status: "catch-all" })) {
      seen.push([name, id, body.domain]);
      if (seen.length === 2) break;
    }
    assert.deepEqual(seen, [
      ["change", "1", "x.com"],
      ["change", "2", "x.com"],
    ]);
    assert.equal(stub.requests[0]?.path, "/changes?status=catch-all");
    assert.equal(stub.requests[0]?.headers["last-event-id"], undefined);
    assert.equal(stub.requests[1]?.headers["last-event-id"], "1");
  });

  it("ends without an error when the caller aborts", async () => {
    const { stub, client } = await given((_, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(event("1"));
    });
    const end = new AbortController();
    let count = 0;
    for await (const { body } of client.watch("x.com", { signal: end.signal })) {
      assert.equal(body.domain, "x.com");
      count++;
      end.abort();
    }
    assert.equal(count, 1);
    assert.equal(stub.requests[0]?.path, "/domains/x.com/watch");
  });

  it("throws when the node refuses", async () => {
    const { client } = await given((_, response) => answerProblem(response, 401, "unauthorized"));
    const error = await failureOf(client.watch(null).next());
    assert.equal(error.code, "unauthorized");
  });
});
