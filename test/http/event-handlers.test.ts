/**
 * Single events and bulks through the whole surface, over an ingress in memory.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { CatchallError, ERROR_CODES, type ErrorCode } from "../../src/model/errors.ts";
import { openFixture } from "../support/http-fixture.ts";

const NDJSON = { "content-type": "application/x-ndjson" };
const JSON_TYPE = { "content-type": "application/json; charset=utf-8" };
const line = (domain: string, more = ""): string =>
  `{"domain":"${domain}","type":"delivered"${more}}`;
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("single events", () => {
  it("answers 204 to PUT and POST of both kinds and submits the canonical domain", async () => {
    const { http, ingress } = openFixture();
    for (const method of ["PUT", "POST"]) {
      for (const kind of ["delivered", "bounced"]) {
        const reply = await http.send(method, `/events/Example.COM/${kind}`);
        assert.equal(reply.status, 204);
        assert.equal(reply.body, "");
        assert.equal(reply.headers.has("idempotency-replayed"), false);
      }
    }
    assert.deepEqual(ingress.counts.get("example.com"), { delivered: 2, bounced: 2 });
  });

  it("does not answer before the event is settled", async () => {
    const { http, ingress } = openFixture();
    ingress.isDeferred = true;
    const reply = http.start("PUT", "/events/example.com/delivered");
    await turn();
    assert.equal(reply.isClosed, false);
    ingress.settleAll();
    assert.equal(reply.status, 204);
  });

  it("says when a key was seen before", async () => {
    const { http } = openFixture();
    const headers = { "idempotency-key": "k1" };
    const first = await http.send("PUT", "/events/example.com/delivered", { headers });
    const second = await http.send("PUT", "/events/example.com/delivered", { headers });
    assert.equal(first.headers.has("idempotency-replayed"), false);
    assert.equal(second.headers.get("idempotency-replayed"), "true");
  });

  it("refuses a bad key and counts nothing", async () => {
    const { http, ingress } = openFixture();
    for (const key of ["a b", "x".repeat(256), "é"]) {
      const reply = await http.send("PUT", "/events/example.com/delivered", {
        headers: { "idempotency-key": key },
      });
      assert.equal(reply.status, 400);
      assert.equal(reply.json()["code"], "invalid_event_id");
    }
    assert.equal(ingress.submitted.length, 0);
  });

  it("gives each error code its status, effect and Retry-After", async () => {
    for (const code of Object.keys(ERROR_CODES) as ErrorCode[]) {
      const { http, ingress } = openFixture();
      ingress.outcomeOf = () => new CatchallError(code, 'Detail "x"');
      const reply = await http.send("PUT", "/events/example.com/bounced");
      const row = ERROR_CODES[code];
      assert.equal(reply.status, row.status, code);
      assert.equal(reply.headers.get("content-type"), "application/problem+json");
      assert.deepEqual(reply.json(), {
        type: `urn:catchall:problem:${code}`,
        title: row.title,
        status: row.status,
        detail: 'Detail "x"',
        code,
        effect: row.effect,
        retryable: row.retryable,
        node: "n1",
      });
      assert.equal(
        reply.headers.has("retry-after"),
        row.status === 503 || row.status === 429,
        code,
      );
    }
  });

  it("sheds reads before writes, and writes before the body is read", async () => {
    const { http, ingress } = openFixture();
    ingress.pendingEvents = 800;
    assert.equal((await http.send("GET", "/domains/example.com")).status, 503);
    assert.equal((await http.send("PUT", "/events/example.com/delivered")).status, 204);
    ingress.pendingEvents = 1000;
    const single = await http.send("PUT", "/events/example.com/delivered");
    assert.equal(single.json()["code"], "overloaded");
    assert.equal(single.json()["effect"], "none");
    assert.equal(single.headers.get("retry-after"), "1");
    const bulk = await http.send("POST", "/events", {
      headers: NDJSON,
      body: line("a.example.com"),
    });
    assert.equal(bulk.status, 503);
    assert.equal(bulk.isBodyRead, false);
    for (const url of ["/healthz", "/readyz", "/metrics", "/", "/openapi.json", "/cluster"]) {
      assert.equal((await http.send("GET", url)).status, 200, url);
    }
    assert.equal(ingress.submitted.length, 1);
  });
});

describe("POST /events", () => {
  it("counts good lines though others are bad, and lists these by line without empty lines", async () => {
    const { http, ingress } = openFixture();
    const body = [
      line("a.example.com"),
      "",
      "{",
      line("b.example.com", ',"count":5'),
      '{"domain":"c.example.com"}',
    ];
    const reply = await http.send("POST", "/events", { headers: NDJSON, body: body.join("\n") });
    assert.equal(reply.status, 200);
    assert.deepEqual(reply.json(), {
      accepted: 2,
      replayed: 0,
      rejected: [
        { index: 1, code: "invalid_json", message: "Body is not valid JSON" },
        {
          index: 3,
          code: "invalid_event",
          message: "Event must be an object with domain and type",
        },
      ],
    });
    assert.equal(ingress.counts.get("b.example.com")?.delivered, 5);
  });

  it("answers 200 with zeros to an empty body, and 200 when all lines are bad", async () => {
    const { http } = openFixture();
    for (const [headers, body] of [
      [NDJSON, ""],
      [NDJSON, "\r\n\n"],
      [JSON_TYPE, ""],
      [JSON_TYPE, "[]"],
    ] as const) {
      const reply = await http.send("POST", "/events", { headers, body });
      assert.equal(reply.status, 200);
      assert.deepEqual(reply.json(), { accepted: 0, replayed: 0, rejected: [] });
    }
    const bad = await http.send("POST", "/events", { headers: NDJSON, body: "x\ny" });
    assert.equal(bad.status, 200);
    assert.equal((bad.json()["rejected"] as unknown[]).length, 2);
  });

  it("reads an array the same way, and refuses other JSON", async () => {
    const { http } = openFixture();
    const body = `[${line("a.example.com", ',"id":"1"')},${line("a.example.com", ',"id":"1"')},7]`;
    const reply = await http.send("POST", "/events", { headers: JSON_TYPE, body });
    assert.equal(reply.json()["accepted"], 1);
    assert.equal(reply.json()["replayed"], 1);
    assert.equal((reply.json()["rejected"] as { index: number }[])[0]?.index, 2);
    const rows: [string | Uint8Array, string][] = [
      ["{}", "invalid_body"],
      ["null", "invalid_body"],
      ['"x"', "invalid_body"],
      ["[", "invalid_json"],
      ["[".repeat(100_000), "invalid_json"],
      [Uint8Array.of(0x5b, 0xff, 0x5d), "invalid_utf8"],
    ];
    for (const [bad, code] of rows) {
      const answer = await http.send("POST", "/events", { headers: JSON_TYPE, body: bad });
      assert.equal(answer.status, 400, String(bad).slice(0, 20));
      assert.equal(answer.json()["code"], code);
    }
    const bom = await http.send("POST", "/events", {
      headers: JSON_TYPE,
      body: `\ufeff[${line("b.example.com")}]`,
    });
    assert.equal(bom.json()["accepted"], 1);
  });

  it("refuses other content types and encodings without reading the body", async () => {
    const { http } = openFixture();
    const rows: Record<string, string>[] = [
      {},
      { "content-type": "text/plain" },
      { "content-type": "application/jsonp" },
      { ...NDJSON, "content-encoding": "gzip" },
    ];
    for (const headers of rows) {
      const reply = await http.send("POST", "/events", { headers, body: line("a.example.com") });
      assert.equal(reply.status, 415);
      assert.equal(reply.isBodyRead, false);
    }
    const identity = { ...NDJSON, "content-encoding": "identity" };
    assert.equal((await http.send("POST", "/events", { headers: identity, body: "" })).status, 200);
  });

  it("answers 413 to an announced or a real length over the limit, and 408 to a slow body", async () => {
    const { http } = openFixture({ limits: { bodyBytesMax: 50 } });
    const announced = await http.send("POST", "/events", {
      headers: { ...NDJSON, "content-length": "51" },
      body: "",
    });
    assert.equal(announced.status, 413);
    assert.equal(announced.isBodyRead, false);
    const real = await http.send("POST", "/events", { headers: NDJSON, body: "x".repeat(51) });
    assert.equal(real.json()["code"], "body_too_large");
    const slow = http.start("POST", "/events", { headers: NDJSON }, (reply) => {
      reply.bodyFailure = "timeout";
    });
    await slow.answered;
    assert.equal(slow.json()["code"], "request_timeout");
  });

  it("never goes over the pending limit and still submits everything", async () => {
    const { http, ingress } = openFixture({ limits: { bulkChunkEvents: 400 } });
    ingress.isDeferred = true;
    ingress.pendingEventsMax = 1000;
    const lines = Array.from({ length: 5000 }, (_, i) => line(`d${i}.example.com`));
    const reply = http.start("POST", "/events", { headers: NDJSON, body: lines.join("\n") });
    while (!reply.isClosed) {
      await turn();
      await turn();
      ingress.settleAll();
    }
    assert.deepEqual(reply.json(), { accepted: 5000, replayed: 0, rejected: [] });
    assert.ok(ingress.pendingEventsPeak <= 1000, String(ingress.pendingEventsPeak));
  });

  it("waits a bounded time for room that others hold, then refuses the whole", async () => {
    const { http, ingress, time } = openFixture();
    ingress.isDeferred = true;
    const reply = http.start("POST", "/events", {
      headers: NDJSON,
      body: `${line("a.example.com")}\n${line("b.example.com")}`,
    });
    ingress.pendingEvents = 1000;
    await turn();
    time.advance(1000);
    assert.equal(reply.isClosed, false);
    time.advance(1500);
    await turn();
    assert.equal(reply.status, 503);
    assert.equal(reply.json()["code"], "overloaded");
    assert.equal(reply.headers.get("retry-after"), "1");
    assert.equal(ingress.submitted.length, 0);
  });

  it("lists what found no room when some of the body was submitted", async () => {
    const { http, ingress, time } = openFixture({ limits: { bulkChunkEvents: 1 } });
    ingress.isDeferred = true;
    const lines = ["a", "b", "c"].map((name) => line(`${name}.example.com`));
    const reply = http.start("POST", "/events", { headers: NDJSON, body: lines.join("\n") });
    await Promise.resolve();
    assert.equal(ingress.submitted.length, 1);
    ingress.pendingEvents = 1000;
    ingress.settleAll();
    ingress.pendingEvents = 1000;
    while (!reply.isClosed) {
      await turn();
      time.advance(2500);
    }
    assert.equal(reply.json()["accepted"], 1);
    assert.deepEqual(
      (reply.json()["rejected"] as { code: string }[]).map((each) => each.code),
      ["overloaded", "overloaded"],
    );
  });

  it("refuses bodies unread while others have stood in line for long", async () => {
    const { http, ingress, time } = openFixture({ limits: { bulkActiveMax: 1 } });
    ingress.pendingEventsMax = 1;
    ingress.isDeferred = true;
    const start = () =>
      http.start("POST", "/events", {
        headers: NDJSON,
        body: `${line("a.example.com")}\n${line("b.example.com")}`,
      });
    start();
    // The turn in which its second event finds no room.
    await turn();
    await turn();
    ingress.pendingEventsMax = 2;
    const waiting = start();
    await turn();
    time.nowMs += 99;
    const early = start();
    await turn();
    assert.equal(early.isClosed, false);
    assert.equal(early.isBodyRead, true);
    time.nowMs += 1;
    const late = start();
    assert.equal(late.status, 503);
    assert.equal(late.json()["code"], "overloaded");
    assert.equal(late.headers.get("retry-after"), "1");
    assert.equal(late.isBodyRead, false);
    assert.equal(waiting.isClosed, false);
  });

  it("answers 504 with what is certain when one outcome is unknown", async () => {
    const { http, ingress } = openFixture();
    ingress.outcomeOf = (event) =>
      event.domain === "b.example.com" ? new CatchallError("outcome_unknown") : null;
    const body = [line("a.example.com"), line("b.example.com"), "x"].join("\n");
    const reply = await http.send("POST", "/events", { headers: NDJSON, body });
    assert.equal(reply.status, 504);
    const json = reply.json();
    assert.equal(json["effect"], "unknown");
    assert.equal(json["accepted"], 1);
    assert.deepEqual(json["unknown"], [1]);
    assert.equal((json["rejected"] as unknown[]).length, 1);
  });

  it("bounds the list of bad lines but not the list of lines worth a retry", async () => {
    const { http, ingress } = openFixture({ limits: { bulkBadLinesListedMax: 3 } });
    ingress.outcomeOf = () => new CatchallError("not_owner");
    const body = [
      "x",
      "x",
      "x",
      "x",
      "x",
      ...Array.from({ length: 6 }, () => line("a.example.com")),
    ].join("\n");
    const reply = await http.send("POST", "/events", { headers: NDJSON, body });
    const rejected = reply.json()["rejected"] as { code: string }[];
    assert.equal(rejected.filter((each) => each.code === "invalid_json").length, 3);
    assert.equal(rejected.filter((each) => each.code === "not_owner").length, 6);
    assert.equal(reply.json()["rejectedOmitted"], 2);
  });

  it("gives back the bytes it holds, whatever becomes of the request", async () => {
    const { http, ingress, metrics } = openFixture({
      limits: { bodyBytesHeldMax: 100, bodyBytesMax: 60 },
    });
    ingress.isDeferred = true;
    const headers = { ...NDJSON, "content-length": "60" };
    const held = http.start("POST", "/events", { headers, body: line("a.example.com") });
    const refused = await http.send("POST", "/events", { headers, body: line("a.example.com") });
    assert.equal(refused.json()["code"], "overloaded");
    assert.equal(refused.isBodyRead, false);
    await turn();
    ingress.settleAll();
    await held.answered;
    for (const failure of ["aborted", "timeout", "too_large"] as const) {
      http.start("POST", "/events", { headers }, (reply) => {
        reply.bodyFailure = failure;
      });
      await turn();
    }
    await http.send("POST", "/events", {
      headers: { ...JSON_TYPE, "content-length": "60" },
      body: "{}",
    });
    assert.match((await metrics.text()).body, /^catchall_http_body_bytes 0$/m);
  });

  it("submits nothing more for a client that has gone", async () => {
    const { http, ingress } = openFixture({ limits: { bulkChunkEvents: 10 } });
    ingress.isDeferred = true;
    const body = Array.from({ length: 100 }, (_, i) => line(`d${i}.example.com`)).join("\n");
    const reply = http.start("POST", "/events", { headers: NDJSON, body });
    await Promise.resolve();
    reply.abort();
    for (let i = 0; i < 20; i++) await turn();
    ingress.settleAll();
    assert.equal(ingress.submitted.length, 10);
  });

  it("accounts for every event of any body, and counts what it says", async () => {
    const event = fc.record(
      {
        domain: fc.constantFrom("a.example.com", "b.example.com", "c.example.com"),
        type: fc.constantFrom("delivered", "bounced", "opened"),
        count: fc.constantFrom(1, 2, 0, 1.5),
        id: fc.constantFrom("1", "2", "3", ""),
      },
      { requiredKeys: ["domain", "type"] },
    );
    const lines = fc.array(
      fc.oneof(
        { weight: 4, arbitrary: event.map((e) => JSON.stringify(e)) },
        { weight: 1, arbitrary: fc.constantFrom("{", "[]", "nul") },
      ),
      { maxLength: 60 },
    );
    await fc.assert(
      fc.asyncProperty(
        lines,
        fc.nat({ max: 7 }),
        fc.boolean(),
        async (rows, failEvery, isDeferred) => {
          const { http, ingress } = openFixture({ limits: { bulkChunkEvents: 7 } });
          ingress.pendingEventsMax = 10;
          ingress.isDeferred = isDeferred;
          let seen = 0;
          let failed = 0;
          ingress.outcomeOf = () => {
            if (failEvery === 0 || ++seen % (failEvery + 1) !== 0) return null;
            failed++;
            return new CatchallError("not_owner");
          };
          const reply = http.start("POST", "/events", { headers: NDJSON, body: rows.join("\n") });
          while (!reply.isClosed) {
            await turn();
            ingress.settleAll();
          }
          const { accepted, replayed, rejected } = reply.json() as {
            accepted: number;
            replayed: number;
            rejected: unknown[];
          };
          assert.equal(accepted + replayed + rejected.length, rows.length);
          assert.equal(accepted + replayed + failed, ingress.submitted.length);
          assert.ok(ingress.pendingEventsPeak <= 10);
          assert.equal(ingress.pendingEvents, 0);
        },
      ),
      { numRuns: 200 },
    );
  });
});
