import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import { describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { NatsRequests } from "../../src/runtime/nats-requests.ts";
import { TestNatsServer } from "../support/nats-server.ts";

/** Longer than it takes to notice (6 s) and than the first dial after that (3 s). */
const FREEZE_MS = 10_500;
/** Pings unanswered for 6 s, with room for a busy machine. */
const NOTICED_MS = 8500;
/** The server drops a silent connection after 1.5 s. */
const SERVER_PINGS = 'ping_interval: "500ms"\nping_max: 2';
const SETTLED_MS = 2000;
const QUIET_MS = 3500;
const WATCHED = ["a.one", "a.two", "a.*.three"];
const BACKLOG = { count: 40, bytes: 1_000_000 };

interface Connz {
  readonly connections: readonly {
    readonly name: string;
    readonly subscriptions_list?: readonly string[];
  }[];
}

interface Varz {
  readonly connections: number;
  readonly total_connections: number;
  readonly stale_connections: number;
}

describe("dialNats", { timeout: 60_000 }, () => {
  it("has one connection per client again after the server was frozen, and keeps it", async (t) => {
    const server = await TestNatsServer.start({ extra: SERVER_PINGS });
    const clients = new Map<string, NatsRequests>();
    t.after(async () => {
      for (const requests of clients.values()) await requests.close();
      await server.dispose();
    });
    for (const name of ["listening", "asking", "flooding"]) {
      clients.set(name, await server.connect(name));
    }
    const [listening, asking, flooding] = [...clients.values()] as [
      NatsRequests,
      NatsRequests,
      NatsRequests,
    ];
    const changes = [...clients].map(([, requests]) => {
      const seen: boolean[] = [];
      requests.onConnectionChange((isConnected) => seen.push(isConnected));
      return seen;
    });
    const heard: string[] = [];
    for (const subject of WATCHED) {
      listening.subscribe(subject, (message) => heard.push(message.subject));
    }
    assert.equal((await asking.request("$JS.API.INFO", new Uint8Array(), 2000)).kind, "reply");

    server.pause();
    const pausedMs = performance.now();
    // More than the sockets of both ends hold: a flush would wait until the server reads again.
    for (let i = 0; i < BACKLOG.count; i++) {
      assert.ok(flooding.publish("flood", new Uint8Array(BACKLOG.bytes)));
    }
    const inFlight = await asking.request("$JS.API.INFO", new Uint8Array(), 30_000);
    assert.equal(inFlight.kind, "unknown");
    assert.ok(performance.now() - pausedMs < NOTICED_MS, "a request in flight ends at the break");
    await delay(NOTICED_MS - (performance.now() - pausedMs));
    assert.deepEqual(changes, [[false], [false], [false]]);
    await delay(FREEZE_MS - (performance.now() - pausedMs));
    server.resume();

    await delay(SETTLED_MS);
    const before = await monitor<Varz>(server, "varz");
    await delay(QUIET_MS);
    const after = await monitor<Varz>(server, "varz");
    const [total, stale] = [after.total_connections, after.stale_connections];
    assert.deepEqual([total, stale], [before.total_connections, before.stale_connections]);
    assert.equal(after.connections, clients.size);
    const { connections } = await monitor<Connz>(server, "connz?subs=1");
    assert.deepEqual(connections.map(({ name }) => name).sort(), [...clients.keys()].sort());
    const subscribed = connections.find(({ name }) => name === "listening")?.subscriptions_list;
    assert.deepEqual([...(subscribed ?? [])].sort(), [...WATCHED].sort());
    assert.deepEqual(
      changes,
      Array.from({ length: 3 }, () => [false, true]),
    );

    assert.equal((await asking.request("$JS.API.INFO", new Uint8Array(), 2000)).kind, "reply");
    heard.length = 0;
    for (const subject of ["a.one", "a.x.three"]) asking.publish(subject, new Uint8Array());
    await asking.connection.flush();
    await delay(100);
    assert.deepEqual(heard.sort(), ["a.one", "a.x.three"]);
  });
});

async function monitor<T>(server: TestNatsServer, page: string): Promise<T> {
  return (await (await fetch(`${server.monitorUrl}/${page}`)).json()) as T;
}
