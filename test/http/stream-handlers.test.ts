/** Server-sent events: order, filters, heartbeats, limits, slow clients and the end. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CatchallError } from "../../src/model/errors.ts";
import type { StatusName } from "../../src/model/status.ts";
import type { StatusChange } from "../../src/router/ingress.ts";
import { openFixture } from "../support/http-fixture.ts";

const change = (
  domain: string,
  to: StatusName = "catch-all",
  id = `1-1-1-0-${domain}`,
): StatusChange => ({
  id,
  domain,
  from: "unknown",
  to,
  delivered: 1001,
  bounced: 0,
  at: "2026-11-21T10:00:00.000Z",
});
const eventsOf = (text: string): string[] =>
  [...text.matchAll(/^event: (\w+)$/gm)].map((found) => found[1] as string);

describe("GET /domains/{domain}/watch", () => {
  it("sends the status of now first, then what changed meanwhile, then each change of that domain", async () => {
    const { http, ingress } = openFixture();
    const reply = http.start("GET", "/domains/A.example.com/watch");
    ingress.emit(change("a.example.com"));
    ingress.emit(change("b.example.com"));
    await reply.answered;
    assert.equal(reply.headers.get("content-type"), "text/event-stream");
    ingress.emit(change("a.example.com", "not catch-all", "1-1-2-0-0"));
    const text = reply.stream?.text ?? "";
    assert.deepEqual(eventsOf(text), ["status", "change", "change"]);
    assert.match(text, /id: 1-1-2-0-0\ndata: \{"id":"1-1-2-0-0","domain":"a.example.com"/);
    assert.doesNotMatch(text, /b\.example\.com/);
  });

  it("answers a problem, and subscribes to nothing, when the status can't be read", async () => {
    const { http, ingress } = openFixture();
    ingress.failure = new CatchallError("lease_lost");
    const reply = await http.send("GET", "/domains/a.example.com/watch");
    assert.equal(reply.status, 503);
    assert.equal(ingress.listeners.size, 0);
  });

  it("opens no stream for a client that went before the status came", async () => {
    const { http, ingress } = openFixture();
    const reply = http.start("GET", "/domains/a.example.com/watch");
    reply.abort();
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(reply.stream, null);
    assert.equal(ingress.listeners.size, 0);
  });
});

describe("GET /changes", () => {
  it("sends changes of all domains, or into one status", async () => {
    const { http, ingress } = openFixture();
    const all = await http.send("GET", "/changes");
    const some = await http.send("GET", "/changes?status=not%20catch-all");
    ingress.emit(change("a.example.com"));
    ingress.emit(change("b.example.com", "not catch-all"));
    assert.equal(eventsOf(all.stream?.text ?? "").length, 2);
    assert.equal(eventsOf(some.stream?.text ?? "").length, 1);
    assert.equal(ingress.listeners.size, 1);
    assert.equal((await http.send("GET", "/changes?status=x")).status, 400);
  });

  it("sends a comment each heartbeat until the client goes", async () => {
    const { http, time, ingress } = openFixture();
    const reply = await http.send("GET", "/changes");
    const before = reply.stream?.chunks.length ?? 0;
    time.advance(45_000);
    assert.equal((reply.stream?.chunks.length ?? 0) - before, 3);
    assert.equal(reply.stream?.chunks.at(-1), ":\n\n");
    reply.abort();
    assert.equal(ingress.listeners.size, 0);
  });

  it("holds changes for a slow client and cuts it off over the limit, others unharmed", async () => {
    const { http, ingress } = openFixture({ limits: { streamBacklogMax: 3 } });
    const slow = await http.send("GET", "/changes");
    const quick = await http.send("GET", "/changes");
    const stream = slow.stream;
    assert.ok(stream !== null);
    stream.isWritable = false;
    for (let i = 0; i < 3; i++) ingress.emit(change(`d${i}.example.com`));
    assert.equal(eventsOf(stream.text).length, 1);
    stream.drain();
    assert.equal(eventsOf(stream.text).length, 3);
    stream.isWritable = false;
    for (let i = 0; i < 5; i++) ingress.emit(change(`e${i}.example.com`));
    assert.equal(stream.isEnded, true);
    assert.equal(eventsOf(quick.stream?.text ?? "").length, 8);
    assert.equal(quick.stream?.isEnded, false);
  });

  it("refuses more streams than the limit, and gives places back", async () => {
    const { http } = openFixture({ limits: { streamsMax: 1 } });
    const first = await http.send("GET", "/changes");
    const refused = await http.send("GET", "/domains/a.example.com/watch");
    assert.equal(refused.json()["code"], "overloaded");
    assert.equal(
      (await http.send("GET", "/domains", { headers: { accept: "application/x-ndjson" } })).status,
      503,
    );
    first.abort();
    assert.equal((await http.send("GET", "/changes")).status, 200);
  });

  it("ends with the node", async () => {
    const { http, surface } = openFixture();
    const reply = await http.send("GET", "/changes");
    surface.endStreams();
    assert.equal(reply.stream?.isEnded, true);
  });
});
