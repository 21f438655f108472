import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import type { NatsRequests } from "../../src/runtime/nats-requests.ts";
import { NatsTransport } from "../../src/transport/nats-transport.ts";
import { describeTransport } from "../conformance/transport.ts";
import { TestNatsServer } from "../support/nats-server.ts";

const CLUSTER = "test";
let server: TestNatsServer;

before(async () => {
  server = await TestNatsServer.start({ maxPayload: "1MB" });
});
after(async () => {
  await server.dispose();
});

async function until(condition: () => boolean, limitMs = 10_000): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!condition()) {
    assert.ok(performance.now() < deadline, "the wait took too long");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const echo = async (frame: Uint8Array): Promise<Uint8Array> => Uint8Array.from(frame).reverse();

describeTransport("NATS", { reachesOthers: true }, async () => {
  const connections: NatsRequests[] = [];
  return {
    connect: async (self) => {
      const requests = await server.connect(`node-${self}`);
      connections.push(requests);
      return new NatsTransport(requests, { clusterName: CLUSTER, self });
    },
    play: (work) => work(),
    // Twice: what the first round made the server route has arrived after the second.
    settle: async () => {
      for (const requests of [...connections, ...connections]) await requests.connection.flush();
    },
    dispose: async () => {
      for (const requests of connections) await requests.close();
    },
  };
});

describe("NatsTransport", () => {
  let connections: NatsRequests[];
  let one: NatsTransport;
  let two: NatsTransport;

  async function open(self: number): Promise<NatsTransport> {
    const requests = await server.connect(`node-${self}`);
    connections.push(requests);
    return new NatsTransport(requests, { clusterName: CLUSTER, self });
  }

  beforeEach(async () => {
    connections = [];
    one = await open(1);
    two = await open(2);
  });
  afterEach(async () => {
    await one.close();
    await two.close();
    for (const requests of connections) await requests.close();
  });

  it("asks itself without the network", async () => {
    await assert.rejects(one.request(1, new Uint8Array(3), 1000), { code: "no_responder" });
    one.serve(echo);
    assert.deepEqual(await one.request(1, Uint8Array.of(1, 2), 1000), Uint8Array.of(2, 1));
  });

  it("knows at once that nobody listens", async () => {
    const startedMs = performance.now();
    await assert.rejects(one.request(99, new Uint8Array(3), 5000), { code: "no_responder" });
    two.serve(echo);
    await two.ready();
    await one.request(2, new Uint8Array(3), 5000);
    await two.close();
    await two.ready();
    await assert.rejects(one.request(2, new Uint8Array(3), 5000), { code: "no_responder" });
    assert.ok(performance.now() - startedMs < 2000);
  });

  it("leaves the outcome unknown when the handler is slow or fails", async () => {
    let calls = 0;
    const failing = async (frame: Uint8Array): Promise<Uint8Array> => {
      calls += 1;
      if (frame.length === 1) throw new Error("refused");
      return new Promise(() => undefined);
    };
    two.serve(failing);
    one.serve(failing);
    await two.ready();
    for (const target of [1, 2]) {
      for (const size of [1, 2]) {
        const request = one.request(target, new Uint8Array(size), 100);
        await assert.rejects(request, { code: "outcome_unknown" });
      }
    }
    assert.equal(calls, 4);
  });

  it("keeps concurrent requests and their replies together", async () => {
    two.serve(async (frame) => {
      if ((frame[0] as number) % 2 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
      return frame;
    });
    await two.ready();
    const asked = Array.from({ length: 200 }, (_, i) => Uint8Array.of(i, i + 1));
    const replies = await Promise.all(asked.map((frame) => one.request(2, frame, 5000)));
    assert.deepEqual(
      replies.map((reply) => Uint8Array.from(reply)),
      asked,
    );
  });

  it("sends the bytes as they were when the request was made", async () => {
    const received: number[] = [];
    two.serve(async (frame) => {
      received.push(frame[0] as number);
      return frame;
    });
    await two.ready();
    const frame = Uint8Array.of(1);
    const reply = one.request(2, frame, 5000);
    frame[0] = 9;
    await reply;
    assert.deepEqual(received, [1]);
  });

  it("ends what is in flight when the connection breaks, and serves again after it", async () => {
    two.serve(async (frame) => (frame.length === 0 ? new Promise(() => undefined) : frame));
    await two.ready();
    const pending = one.request(2, new Uint8Array(), 60_000);
    const ended = assert.rejects(pending, { code: "outcome_unknown" });
    await two.ready();
    await server.kill();
    await ended;
    await assert.rejects(one.request(2, Uint8Array.of(1), 60_000), { code: "no_responder" });
    await server.restart();
    await until(() => connections.every((requests) => requests.isConnected));
    await two.ready();
    assert.deepEqual(
      Uint8Array.from(await one.request(2, Uint8Array.of(1), 5000)),
      Uint8Array.of(1),
    );
  });
});
