/** The promises of the port HttpServer about connections that live on, and about streams. Part of its suite. */

import assert from "node:assert/strict";
import { it } from "node:test";
import { ask, get, put, waitFor, withFixture } from "../support/http-requests.ts";
import { HttpServerFixture, type OpenHttpServer } from "../support/http-server-fixture.ts";
import { exchange, RawConnection } from "../support/raw-http.ts";

export function describeConnections(open: OpenHttpServer): void {
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
      const second = await open({
        routes: [],
        fallback: () => undefined,
        onError: () => undefined,
        requestDeadlineMs: 1000,
        bodyDeadlineMs: 1000,
        urlBytesMax: 1000,
        tls: null,
      });
      await assert.rejects(second.listen("127.0.0.1", fixture.port), { code: "conflict" });
      await second.close();
      assert.equal((await ask(fixture, put("a.example"))).status, 204);
    });
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
