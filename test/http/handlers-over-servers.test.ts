/**
 * The handlers behind both real servers on loopback: what the fakes can't show (framing, HEAD, Allow, streams).
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { BROKEN_BODIES } from "../conformance/http-skipped-bodies.ts";
import { type Fixture, openFixture } from "../support/http-fixture.ts";
import { RawConnection } from "../support/raw-http.ts";
import { type Listening, listenWith } from "../support/served-surface.ts";

for (const kind of ["node", "uws"] as const) {
  describe(`handlers over ${kind}`, () => {
    let listening: Listening;
    let fixture: Fixture;
    let base = "";
    const errors: unknown[] = [];

    before(async () => {
      fixture = openFixture({ limits: { bodyBytesMax: 1_000_000 } });
      fixture.ingress.pendingEventsMax = 100_000;
      listening = await listenWith(fixture.surface, {
        kind,
        onError: (error) => errors.push(error),
        requestDeadlineMs: 1_000,
        bodyDeadlineMs: 5_000,
      });
      base = `http://127.0.0.1:${listening.port}`;
    });

    after(async () => {
      await listening.close();
      assert.deepEqual(errors, []);
    });

    it("counts a single event and reads it back", async () => {
      const put = await fetch(`${base}/events/Ex%61mple.com/bounced`, { method: "PUT" });
      assert.equal(put.status, 204);
      const headers = { "idempotency-key": `key-${kind}` };
      await fetch(`${base}/events/example.com/bounced`, { method: "PUT", headers });
      const replay = await fetch(`${base}/events/example.com/bounced`, { method: "POST", headers });
      assert.equal(replay.headers.get("idempotency-replayed"), "true");
      const got = (await (await fetch(`${base}/domains/example.com`)).json()) as {
        bounced: number;
        status: string;
      };
      assert.deepEqual([got.bounced, got.status], [2, "not catch-all"]);
      const head = await fetch(`${base}/domains/example.com`, { method: "HEAD" });
      assert.equal(head.status, 200);
      assert.equal(await head.text(), "");
    });

    it("counts an event with a body once, whatever the body, and keeps its key", async () => {
      for (const body of ["x", "{}", "y".repeat(100_000)]) {
        const put = await fetch(`${base}/events/body.example/delivered`, {
          method: "PUT",
          body,
          headers: { "idempotency-key": `body-${kind}` },
        });
        assert.equal(put.status, 204);
      }
      assert.equal(fixture.ingress.counts.get("body.example")?.delivered, 1);
      const bad = { method: "POST", body: "x", headers: { "idempotency-key": "a b" } };
      assert.equal((await fetch(`${base}/events/body.example/delivered`, bad)).status, 400);
      const local = await fetch(`${base}/events/localhost/delivered`, { method: "PUT", body: "x" });
      assert.equal(local.status, 400);
      const rebalance = `${base}/cluster/rebalance?dryRun=true`;
      assert.equal((await fetch(rebalance, { method: "POST", body: "{}" })).status, 200);
    });

    for (const [name, [headers, body]] of Object.entries(BROKEN_BODIES)) {
      it(`counts no event with a body ${name}, and says nothing else`, async () => {
        const submitted = fixture.ingress.submitted.length;
        const connection = await RawConnection.open(Number(new URL(base).port));
        const head = `PUT /events/broken.example/delivered HTTP/1.1\r\nHost: a.example\r\n`;
        connection.send(`${head}${headers}\r\n${body}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
        connection.socket.end();
        assert.ok(await connection.until(() => connection.isClosed, 3_000));
        assert.equal(fixture.ingress.submitted.length, submitted);
        assert.match(connection.bytes.toString(), /^($|HTTP\/1\.1 400 )/);
      });
    }

    it("counts a bulk of many lines", async () => {
      const lines = Array.from(
        { length: 20_000 },
        (_, i) => `{"domain":"m${i % 100}.example","type":"delivered"}`,
      );
      const reply = await fetch(`${base}/events`, {
        method: "POST",
        headers: { "content-type": "application/x-ndjson" },
        body: lines.join("\n"),
      });
      assert.deepEqual(await reply.json(), { accepted: 20_000, replayed: 0, rejected: [] });
      assert.equal(fixture.ingress.counts.get("m7.example")?.delivered, 200);
    });

    it("answers 404, 405 with Allow, 413 and 415 as problems", async () => {
      assert.equal((await fetch(`${base}/nope`)).status, 404);
      const wrong = await fetch(`${base}/domains/example.com`, { method: "DELETE" });
      assert.equal(wrong.status, 405);
      assert.match(wrong.headers.get("allow") ?? "", /GET/);
      assert.equal(wrong.headers.get("content-type"), "application/problem+json");
      const media = await fetch(`${base}/events`, {
        method: "POST",
        body: "x",
        headers: { "content-type": "text/csv" },
      });
      assert.equal(media.status, 415);
      const headers = { "content-type": "application/x-ndjson" };
      const large = await fetch(`${base}/events`, {
        method: "POST",
        body: "x".repeat(1_000_001),
        headers,
      }).catch(() => null);
      // The server may close while the client still writes; when an answer comes through, it is the right one.
      if (large !== null)
        assert.equal(((await large.json()) as { code: string }).code, "body_too_large");
      assert.equal((await fetch(`${base}/healthz`)).status, 200);
    });

    it("says at the deadline that a read or a dry run changed nothing, and of the rest that it may have", async () => {
      const silent = fixture.ingress;
      const never = () => new Promise<never>(() => undefined);
      Object.assign(silent, { status: never, statuses: never, tryRule: never, setRule: never });
      const rule = JSON.stringify({ deliveredThreshold: 1, bouncedThreshold: 1 });
      const headers = { "content-type": "application/json" };
      const asked = await Promise.all([
        fetch(`${base}/domains/a.example`),
        fetch(`${base}/domains/lookup`, {
          method: "POST",
          headers,
          body: '{"domains":["a.example"]}',
        }),
        fetch(`${base}/cluster/rule?dryRun=true`, { method: "PUT", headers, body: rule }),
        fetch(`${base}/cluster/rule`, { method: "PUT", headers, body: rule }),
      ]);
      const effects = await Promise.all(
        asked.map(async (each) => {
          const { effect } = (await each.json()) as { effect: string };
          return [each.status, effect];
        }),
      );
      assert.deepEqual(effects, [
        [504, "none"],
        [504, "none"],
        [504, "none"],
        [504, "unknown"],
      ]);
      for (const name of ["status", "statuses", "tryRule", "setRule"]) {
        Reflect.deleteProperty(silent, name);
      }
    });

    it("holds no stream for HEAD, nor for one that waited behind another when the client went", async () => {
      const streams = async (): Promise<string | undefined> =>
        /^catchall_http_streams (\S+)$/m.exec((await fixture.metrics.text()).body)?.[1];
      const port = Number(new URL(base).port);
      for (const path of ["/changes", "/domains/m7.example/watch"]) {
        assert.equal((await fetch(`${base}${path}`, { method: "HEAD" })).status, 200);
        const connection = await RawConnection.open(port);
        connection.send(`GET ${path} HTTP/1.1\r\nHost: a.example\r\n\r\n`.repeat(3));
        await connection.until(() => connection.isClosed || connection.bytes.length > 0, 3_000);
        connection.destroy();
      }
      for (let i = 0; i < 200 && (await streams()) !== "0"; i++) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      assert.equal(await streams(), "0");
    });

    it("streams an export and server-sent events", async () => {
      const exported = await fetch(`${base}/domains`, {
        headers: { accept: "application/x-ndjson" },
      });
      assert.equal((await exported.text()).trim().split("\n").length, fixture.ingress.counts.size);
      const abort = new AbortController();
      const watched = await fetch(`${base}/domains/m7.example/watch`, { signal: abort.signal });
      const reader = watched.body?.getReader();
      let text = "";
      while (!text.includes("\ndata: "))
        text += new TextDecoder().decode((await reader?.read())?.value);
      assert.match(text, /^event: status$/m);
      fixture.ingress.emit({
        id: "1-1-1-0-0",
        domain: "m7.example",
        from: "unknown",
        to: "catch-all",
        delivered: 1,
        bounced: 0,
        at: "",
      });
      while (!text.includes("event: change"))
        text += new TextDecoder().decode((await reader?.read())?.value);
      abort.abort();
      assert.ok(fixture.ingress.listeners.size <= 1, "one subscription, kept for the history");
    });
  });
}
