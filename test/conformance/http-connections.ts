/** The promises of the port HttpServer about connections that live on, and about streams. Part of its suite. */

import assert from "node:assert/strict";
import { it } from "node:test";
import type { HttpServerOptions } from "../../src/http/http-server.ts";
import { ask, get, HOST, put, waitFor, withFixture } from "../support/http-requests.ts";
import { HttpServerFixture, type OpenHttpServer } from "../support/http-server-fixture.ts";
import { exchange, RawConnection } from "../support/raw-http.ts";

const CHUNKED = "Transfer-Encoding: chunked\r\n";

const WITHOUT_ROUTES: HttpServerOptions = {
  routes: [],
  fallback: () => undefined,
  onError: () => undefined,
  requestDeadlineMs: 1000,
  bodyDeadlineMs: 1000,
  urlBytesMax: 1000,
  tls: null,
};

/** What may follow a whole request, and the answers to all of it that node:http gives. */
const AFTER_A_REQUEST: Readonly<Record<string, readonly [bytes: string, statuses: number[]]>> = {
  "no request": ["\0\x01garbage\r\n\r\n", [204]],
  "a header with a space": ["PUT / HTTP/1.1\r\nbad header : x\r\n\r\n", [204]],
  "headers over the limit": [`PUT / HTTP/1.1\r\nX: ${"a".repeat(40_000)}\r\n\r\n`, [204]],
  "a CONNECT": [`CONNECT a:1 HTTP/1.1\r\n${HOST}\r\n`, [204]],
  "a request and then none": [`${put("b.example")}bad\r\n\r\n`, [204, 204]],
  "a request with a bad body": [`${put("b.example", CHUNKED)}zz\r\n`, [204, 400]],
};

export function describeConnections(open: OpenHttpServer): void {
  for (const [name, [bytes, expected]] of Object.entries(AFTER_A_REQUEST)) {
    it(`never refuses a request that came whole for ${name} behind it`, async () => {
      await withFixture(open, async (fixture) => {
        const { responses, isClosed } = await exchange(fixture.port, put("a.example") + bytes, {
          count: 9,
          timeoutMs: 300,
        });
        assert.equal(fixture.handled.get("a.example"), 1);
        const statuses = responses.map(({ status }) => status);
        if (fixture.server.kind === "node") {
          assert.deepEqual([statuses, isClosed], [expected, true]);
        }
        // What uWebSockets.js writes in place of the answer is no problem document: it claims nothing.
        const first = responses[0];
        assert.ok(first === undefined || first.status === 204 || !first.body.includes("effect"));
      });
    });
  }
  it("answers a request that asks to close, whatever is sent behind it", async () => {
    await withFixture(open, async (fixture) => {
      const both = put("a.example", "Connection: close\r\n") + put("b.example");
      const { responses, isClosed } = await exchange(fixture.port, both, { count: 2 });
      const statuses = responses.map(({ status }) => status);
      // uWebSockets.js cuts a connection on which a second request comes before the answer.
      assert.deepEqual(statuses, fixture.server.kind === "node" ? [204] : []);
      assert.deepEqual([isClosed, fixture.handledCount], [true, 1]);
    });
  });
  it("gives a deadline's answer though the bytes behind the request are no request", async () => {
    await withFixture(open, async (fixture) => {
      const { responses } = await exchange(fixture.port, `${get("/silent")}\0garbage\r\n\r\n`);
      if (fixture.server.kind !== "node") return assert.ok(!responses[0]?.body.includes("effect"));
      return assert.equal(JSON.parse(String(responses[0]?.body)).effect, "unknown");
    });
  });
  it("gives no second answer for a body that goes wrong after the first", async () => {
    await withFixture(open, async (fixture) => {
      const head = `DELETE /domains/a.example HTTP/1.1\r\n${HOST}${CHUNKED}\r\n`;
      const connection = await RawConnection.open(fixture.port);
      connection.send(head);
      await connection.responses(1);
      connection.send("zz\r\n");
      assert.ok(await connection.until(() => connection.isClosed, 3000));
      const statuses = (await connection.responses(1)).map(({ status }) => status);
      assert.deepEqual(statuses, [204]);
    });
  });
  it("serves many requests on one connection, and closes when asked", async () => {
    await withFixture(open, async (fixture) => {
      const connection = await RawConnection.open(fixture.port);
      for (let count = 1; count <= 50; count += 1) {
        connection.send(put("a.example"));
        assert.equal((await connection.responses(count)).length, count);
      }
      connection.send(put("a.example", "Connection: close\r\n"));
      assert.ok(await connection.until(() => connection.isClosed, 2000));
      assert.equal((await connection.responses(51)).length, 51);
      assert.equal(fixture.handledCount, 51);
    });
  });
  it("answers two pipelined requests in order, or closes: handled is at most answered + 1", async () => {
    await withFixture(open, async (fixture) => {
      const { responses, isClosed } = await exchange(
        fixture.port,
        put("a.example") + get("/domains/b.example"),
        { count: 2, timeoutMs: 1000 },
      );
      assert.ok(responses.length === 2 || isClosed);
      const expected = [204, 200].slice(0, responses.length);
      assert.deepEqual(
        responses.map(({ status }) => status),
        expected,
      );
      assert.ok(
        fixture.handledCount >= responses.length && fixture.handledCount <= responses.length + 1,
      );
    });
  });
  it("tells of an abort before the answer, and ignores the replies after it", async () => {
    await withFixture(
      open,
      async (fixture) => {
        const connection = await RawConnection.open(fixture.port);
        connection.send(get("/silent"));
        await waitFor(() => fixture.openCount === 1);
        connection.destroy();
        await waitFor(() => fixture.abortedCount === 1);
        assert.deepEqual([fixture.openCount, fixture.errors], [0, []]);
      },
      { requestDeadlineMs: 60_000 },
    );
  });
  it("keeps nothing of 1,000 aborted connections", async () => {
    await withFixture(
      open,
      async (fixture) => {
        for (let round = 0; round < 10; round += 1) {
          const opening = Array.from({ length: 100 }, () => RawConnection.open(fixture.port));
          const connections = await Promise.all(opening);
          for (const connection of connections) connection.send(get("/silent"));
          await waitFor(() => fixture.openCount === 100);
          for (const connection of connections) connection.destroy();
          await waitFor(() => fixture.openCount === 0);
        }
        assert.deepEqual([fixture.abortedCount, fixture.errors], [1000, []]);
      },
      { requestDeadlineMs: 60_000 },
    );
  });
  it("closes connections after their next answer once it stops accepting", async () => {
    await withFixture(open, async (fixture) => {
      const connections = await Promise.all([
        RawConnection.open(fixture.port),
        RawConnection.open(fixture.port),
      ]);
      for (const [index, connection] of connections.entries()) {
        connection.send(put("a.example"));
        await connection.responses(1);
        if (index === 1) fixture.server.stopAccepting();
      }
      await assert.rejects(RawConnection.open(fixture.port));
      for (const connection of connections) connection.send(put("a.example"));
      for (const connection of connections) {
        assert.ok(await connection.until(() => connection.isClosed, 2000));
        const answers = await connection.responses(2);
        // node:http may close an idle connection at once; then nothing was handled on it.
        if (answers.length === 2) assert.equal(answers[1]?.headers.get("connection"), "close");
      }
      const answered = connections.map(
        ({ bytes }) => bytes.toString().split("HTTP/1.1 204").length - 1,
      );
      assert.equal(
        fixture.handledCount,
        answered.reduce((sum, count) => sum + count, 0),
      );
    });
  });
  it("waits for open connections to end once it stops accepting, and no longer than the grace", async () => {
    await withFixture(open, async (fixture) => {
      const connection = await RawConnection.open(fixture.port);
      connection.send(get("/silent"));
      await waitFor(() => fixture.openCount === 1);
      fixture.server.stopAccepting();
      let isEnded = false;
      const ended = fixture.server.connectionsEnded(60_000).then(() => {
        isEnded = true;
      });
      await fixture.server.connectionsEnded(20);
      assert.equal(isEnded, false);
      connection.destroy();
      await ended;
      await fixture.server.connectionsEnded(60_000);
    });
  });
  it("never shares its port with another server", async () => {
    await withFixture(open, async (fixture) => {
      const second = await open(WITHOUT_ROUTES);
      const { port } = fixture;
      await assert.rejects(second.listen("127.0.0.1", port), {
        code: "conflict",
        message: `Can't listen on "127.0.0.1:${port}": another process does; take another --port`,
      });
      await second.close();
      assert.equal((await ask(fixture, put("a.example"))).status, 204);
    });
  });
  it("says that an address is not of this machine, instead of blaming another process", async () => {
    const server = await open(WITHOUT_ROUTES);
    // Kept for documentation by RFC 5737: no machine has it.
    await assert.rejects(server.listen("192.0.2.1", 8080), {
      code: "conflict",
      message: `Can't listen on "192.0.2.1:8080": this machine has no such address; take another --host`,
    });
    await server.close();
  });
  it("closes twice without harm, and cuts open connections", async () => {
    const fixture = await HttpServerFixture.start(open);
    const connection = await RawConnection.open(fixture.port);
    connection.send(get("/silent"));
    await waitFor(() => fixture.openCount === 1);
    await fixture.stop();
    await fixture.stop();
    assert.ok(await connection.until(() => connection.isClosed, 2000));
  });
}

export function describeStreams(open: OpenHttpServer): void {
  it("streams, and ignores what comes after the end", async () => {
    await withFixture(open, async (fixture) => {
      const connection = await RawConnection.open(fixture.port);
      connection.send(get("/stream"));
      const [response] = await connection.responses(1);
      assert.equal(response?.body.toString(), "one\ntwo\n");
      connection.send(get("/domains/stats"));
      assert.equal((await connection.responses(2))[1]?.body.toString(), "stats");
      connection.destroy();
    });
  });
  it("answers HEAD of a stream without one", async () => {
    await withFixture(open, async (fixture) => {
      const { status } = await ask(fixture, get("/stream", "HEAD"), true);
      assert.equal(status, 200);
    });
  });
  it("outlives the request deadline while it streams", async () => {
    await withFixture(
      open,
      async (fixture) => {
        const { body } = await ask(fixture, get("/export?2"));
        assert.equal(body.length, 131_072);
      },
      { requestDeadlineMs: 1 },
    );
  });
  it("pauses for a slow reader and then delivers every byte", async () => {
    await withFixture(open, async (fixture) => {
      const connection = await RawConnection.open(fixture.port);
      connection.socket.pause();
      connection.send(get("/export?320"));
      await waitFor(() => fixture.notes.includes("paused"));
      const hash: number[] = [];
      const total = { bytes: 0, tail: "" };
      connection.socket.removeAllListeners("data");
      connection.socket.on("data", (chunk: Buffer) => {
        total.bytes += chunk.length;
        total.tail = (total.tail + chunk.toString("latin1")).slice(-5);
        if (hash.length < 3) hash.push(chunk[0] as number);
      });
      connection.socket.resume();
      await waitFor(() => total.tail === "0\r\n\r\n", 6000);
      assert.ok(total.bytes >= 320 * 65_536);
      assert.ok(fixture.notes.includes("drained"));
      connection.destroy();
    });
  });
  it("cuts off a reader who never reads, instead of buffering for ever", async () => {
    await withFixture(open, async (fixture) => {
      const connection = await RawConnection.open(fixture.port);
      connection.socket.pause();
      connection.send(get("/flood"));
      await waitFor(() => fixture.notes.length > 0, 6000);
      assert.match(fixture.notes[0] as string, /^flooded true$/);
      connection.destroy();
    });
  });
  it("tells of an abort in mid-stream", async () => {
    await withFixture(open, async (fixture) => {
      const connection = await RawConnection.open(fixture.port);
      connection.socket.pause();
      connection.send(get("/export?320"));
      await waitFor(() => fixture.notes.includes("paused"));
      connection.destroy();
      await waitFor(() => fixture.abortedCount === 1);
      assert.equal(fixture.notes.at(-1), "aborted true");
    });
  });
}
