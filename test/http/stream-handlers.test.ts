/** Server-sent events: order, filters, heartbeats, limits, slow clients and the end. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CatchallError } from "../../src/model/errors.ts";
import type { StatusName } from "../../src/model/status.ts";
import type { StatusChange } from "../../src/model/status-change.ts";
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
    ingress.emit(change("a.example.com"));
    time.advance(45_000);
    assert.equal(reply.stream?.chunks.length, before + 3, "nothing after the end");
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

describe("GET /changes with Last-Event-ID", () => {
  const id = (number: number): string => `1-1-${number}-0-0`;
  const idsOf = (text: string | undefined): string[] =>
    [...(text ?? "").matchAll(/^event: change\nid: (.*)$/gm)].map((found) => found[1] as string);
  /** The id that an EventSource would send when it comes back. */
  const placeOf = (text: string | undefined): string =>
    [...(text ?? "").matchAll(/^id: (.*)$/gm)].at(-1)?.[1] ?? "";
  const resume = (fixture: ReturnType<typeof openFixture>, lastEventId: string, query = "") =>
    fixture.http.send("GET", `/changes${query}`, { headers: { "last-event-id": lastEventId } });

  it("goes on after the event seen last, without a gap or a repetition", async () => {
    const fixture = openFixture();
    const first = await fixture.http.send("GET", "/changes");
    for (const n of [1, 2]) fixture.ingress.emit(change("a.example.com", "catch-all", id(n)));
    first.abort();
    for (const n of [3, 4, 5]) fixture.ingress.emit(change("a.example.com", "catch-all", id(n)));
    const second = await resume(fixture, id(2));
    fixture.ingress.emit(change("a.example.com", "catch-all", id(6)));
    assert.deepEqual(idsOf(second.stream?.text), [3, 4, 5, 6].map(id));
    assert.deepEqual(eventsOf(second.stream?.text ?? "").includes("missed"), false);
    const third = await resume(fixture, id(6));
    assert.deepEqual(idsOf(third.stream?.text), []);
    assert.equal(eventsOf(third.stream?.text ?? "").length, 0);
    const byQuery = await fixture.http.send("GET", `/changes?lastEventId=${id(4)}`);
    assert.deepEqual(idsOf(byQuery.stream?.text), [5, 6].map(id));
  });

  it("can be resumed before the first event", async () => {
    const fixture = openFixture();
    const first = await fixture.http.send("GET", "/changes");
    const place = placeOf(first.stream?.text);
    first.abort();
    fixture.ingress.emit(change("a.example.com", "catch-all", id(1)));
    const second = await resume(fixture, place);
    assert.deepEqual(eventsOf(second.stream?.text ?? ""), ["change"]);
  });

  it("says with an event of its own that the id is too old or unknown, and goes on from now", async () => {
    const fixture = openFixture({ limits: { changesKeptMax: 3 } });
    const first = await fixture.http.send("GET", "/changes");
    const origin = placeOf(first.stream?.text);
    for (let n = 1; n <= 5; n++) fixture.ingress.emit(change("a.example.com", "catch-all", id(n)));
    for (const lost of [id(1), origin, "of another node", "x".repeat(5000)]) {
      const reply = await resume(fixture, lost);
      assert.deepEqual(eventsOf(reply.stream?.text ?? ""), ["missed"], lost.slice(0, 20));
      const data = /^data: (.*)$/m.exec(reply.stream?.text ?? "")?.[1] ?? "";
      assert.equal((JSON.parse(data) as { lastEventId: string }).lastEventId, lost.slice(0, 100));
      assert.equal(placeOf(reply.stream?.text), id(5), "a second loss of the line loses nothing");
      reply.abort();
    }
    const kept = await resume(fixture, id(2));
    assert.deepEqual(idsOf(kept.stream?.text), [3, 4, 5].map(id));
  });

  it("keeps the place of a filtered stream on which nothing was sent", async () => {
    const fixture = openFixture({ limits: { changesKeptMax: 3 } });
    const first = await fixture.http.send("GET", "/changes?status=catch-all");
    for (let n = 1; n <= 9; n++) {
      fixture.ingress.emit(change("a.example.com", "not catch-all", id(n)));
    }
    fixture.time.advance(15_000);
    const place = placeOf(first.stream?.text);
    assert.equal(place, id(9));
    fixture.ingress.emit(change("b.example.com", "not catch-all", id(10)));
    fixture.ingress.emit(change("b.example.com", "catch-all", id(11)));
    const second = await resume(fixture, place, "?status=catch-all");
    assert.deepEqual(idsOf(second.stream?.text), [id(11)]);
    assert.deepEqual(eventsOf(second.stream?.text ?? ""), ["change"]);
  });

  it("writes what was missed in pieces, as fast as the client reads, and never tells a place ahead", async () => {
    const fixture = openFixture({ limits: { streamBacklogMax: 5 } });
    const first = await fixture.http.send("GET", "/changes");
    for (let n = 1; n <= 950; n++) {
      fixture.ingress.emit(change("a.example.com", "catch-all", id(n)));
    }
    first.abort();
    const reply = fixture.http.start(
      "GET",
      "/changes",
      { headers: { "last-event-id": id(0) } },
      (each) => {
        each.isStreamWritable = false;
      },
    );
    assert.deepEqual(eventsOf(reply.stream?.text ?? ""), ["missed"]);
    const slow = fixture.http.start(
      "GET",
      "/changes",
      { headers: { "last-event-id": id(50) } },
      (each) => {
        each.isStreamWritable = false;
      },
    );
    assert.equal(slow.stream?.isEnded, false);
    fixture.ingress.emit(change("a.example.com", "catch-all", id(951)));
    fixture.time.advance(15_000);
    assert.equal(placeOf(slow.stream?.text), "");
    for (let i = 0; i < 20; i++) {
      slow.stream?.drain();
      if (slow.stream !== null) slow.stream.isWritable = false;
    }
    const expected = Array.from({ length: 901 }, (_, i) => id(51 + i));
    assert.deepEqual(idsOf(slow.stream?.text), expected);
  });
});
