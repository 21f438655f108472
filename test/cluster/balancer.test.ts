/**
 * Goal: the balancer of `npm run cluster` moves bytes and nothing else, to nodes that are ready, whatever becomes of
 * them. Method: real sockets on loopback, nodes whose readiness the test holds in its hand.
 */

import assert from "node:assert/strict";
import { createServer as createHttpServer, type Server as HttpServer } from "node:http";
import { connect, createServer, type Server, type Socket } from "node:net";
import { describe, it } from "node:test";
import { type BalancerOptions, TcpBalancer } from "../../scripts/tcp-balancer.ts";

interface Node {
  readonly id: string;
  readonly port: number;
  status: number;
  isSilent: boolean;
  readonly sockets: Set<Socket>;
  stop(): Promise<void>;
}

/** Answers every request with its id. */
async function startNode(id: string): Promise<Node> {
  const sockets = new Set<Socket>();
  const server: HttpServer = createHttpServer((request, response) => {
    if (node.isSilent) return;
    if (request.url === "/readyz") response.statusCode = node.status;
    request.resume().on("end", () => response.end(id));
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  const port = await listen(server);
  const node: Node = {
    ...{ id, port, status: 200, isSilent: false, sockets },
    stop: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
  return node;
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port));
  });
}

async function withBalancer(
  targets: readonly { readonly id: string; readonly port: number }[],
  work: (balancer: TcpBalancer) => Promise<void>,
  options: Partial<BalancerOptions> = {},
): Promise<void> {
  const balancer = await TcpBalancer.listen({
    host: "127.0.0.1",
    port: 0,
    targets: targets.map(({ id, port }) => ({ id, host: "127.0.0.1", port })),
    checkIntervalMs: 20,
    // Longer than any pause of a busy machine.
    checkTimeoutMs: 3000,
    ...options,
  });
  try {
    await work(balancer);
  } finally {
    await balancer.close();
  }
}

async function withNodes(
  ids: readonly string[],
  work: (nodes: readonly Node[]) => Promise<void>,
): Promise<void> {
  const nodes = await Promise.all(ids.map(startNode));
  try {
    await work(nodes);
  } finally {
    await Promise.all(nodes.map((node) => node.stop()));
  }
}

/** One request on a connection of its own; null when it was cut. */
async function ask(balancer: TcpBalancer): Promise<string | null> {
  const bytes = await exchange(
    balancer.port,
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
  );
  return bytes === null ? null : (bytes.toString().split("\r\n\r\n")[1] ?? "");
}

/** Sends, ends its side, and reads to the end of the other one. Null: the connection was broken. */
function exchange(port: number, text: string | Buffer): Promise<Buffer | null> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.on("end", () => resolve(Buffer.concat(chunks)));
    socket.on("error", () => resolve(null));
    socket.end(text);
  });
}

async function until(isSo: () => boolean): Promise<void> {
  const giveUpMs = Date.now() + 5000;
  while (!isSo()) {
    assert.ok(Date.now() < giveUpMs, "it never became so");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function readyIds(balancer: TcpBalancer): readonly string[] {
  return balancer.states.filter(({ isReady }) => isReady).map(({ id }) => id);
}

describe("TcpBalancer", () => {
  it("gives connections to the ready nodes in turn", async () => {
    await withNodes(["a", "b", "c"], async (nodes) => {
      await withBalancer(nodes, async (balancer) => {
        const answers: (string | null)[] = [];
        for (let i = 0; i < 9; i++) answers.push(await ask(balancer));
        assert.deepEqual(answers.join(""), "abcabcabc");
      });
    });
  });

  it("gives nothing new to a node that says it is not ready, and leaves it what it has", async () => {
    await withNodes(["a", "b"], async ([a, b]) => {
      assert.ok(a !== undefined && b !== undefined);
      await withBalancer([a, b], async (balancer) => {
        const socket = connect({ port: balancer.port, host: "127.0.0.1" });
        await until(() => (balancer.states[0]?.connections ?? 0) === 1);
        a.status = 503;
        await until(() => readyIds(balancer).join("") === "b");
        assert.equal(balancer.states[0]?.reason, "/readyz says 503");
        for (let i = 0; i < 4; i++) assert.equal(await ask(balancer), "b");
        const answer = new Promise<string>((resolve) => {
          socket.once("data", (chunk: Buffer) => resolve(chunk.toString()));
        });
        socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert.match(await answer, /\r\n\r\na$/);
        socket.destroy();
        a.status = 200;
        await until(() => readyIds(balancer).join("") === "ab");
      });
    });
  });

  it("goes to the next node when one can't be reached, without a failed request", async () => {
    await withNodes(["a", "b"], async ([a, b]) => {
      assert.ok(a !== undefined && b !== undefined);
      await withBalancer(
        [a, b],
        async (balancer) => {
          await a.stop();
          assert.deepEqual(readyIds(balancer), ["a", "b"], "no check has run since");
          for (let i = 0; i < 4; i++) assert.equal(await ask(balancer), "b");
          assert.deepEqual(readyIds(balancer), ["b"]);
        },
        { checkIntervalMs: 60_000 },
      );
    });
  });

  it("passes over a node that accepts and does not answer", async () => {
    await withNodes(["a", "b"], async ([a, b]) => {
      assert.ok(a !== undefined && b !== undefined);
      const changes: string[] = [];
      const onChange = (id: string, isReady: boolean, reason: string) => {
        changes.push(`${id} ${isReady} ${reason}`);
      };
      const options = { checkTimeoutMs: 1000, onChange };
      await withBalancer(
        [a, b],
        async (balancer) => {
          a.isSilent = true;
          await until(() => readyIds(balancer).join("") === "b");
          assert.deepEqual(changes, ["a true ", "b true ", "a false no answer in time"]);
          assert.equal(await ask(balancer), "b");
        },
        options,
      );
    });
  });

  it("breaks a connection when no node is ready, and serves again when one is", async () => {
    await withNodes(["a"], async ([a]) => {
      assert.ok(a !== undefined);
      a.status = 503;
      await withBalancer([a], async (balancer) => {
        assert.equal(await ask(balancer), null);
        a.status = 200;
        await until(() => readyIds(balancer).length === 1);
        assert.equal(await ask(balancer), "a");
      });
    });
  });

  it("takes a new node in, and lets a removed one finish", async () => {
    await withNodes(["a", "b"], async ([a, b]) => {
      assert.ok(a !== undefined && b !== undefined);
      await withBalancer([a], async (balancer) => {
        const socket = connect({ port: balancer.port, host: "127.0.0.1" });
        await until(() => (balancer.states[0]?.connections ?? 0) === 1);
        balancer.setTargets([{ id: "b", host: "127.0.0.1", port: b.port }]);
        assert.deepEqual(readyIds(balancer), [], "not before it was asked");
        await until(() => readyIds(balancer).join("") === "b");
        assert.equal(await ask(balancer), "b");
        assert.equal(socket.destroyed, false);
        assert.equal(a.sockets.size >= 1, true);
        socket.destroy();
      });
    });
  });

  it("moves megabytes both ways unchanged, each side ending when it is done", async () => {
    // A node that answers only after the client has ended its side: a balancer that closes both at once loses all.
    const echo = createServer({ allowHalfOpen: true }, (socket) => {
      const chunks: Buffer[] = [];
      socket.on("data", (chunk: Buffer) => chunks.push(chunk));
      socket.on("end", () => socket.end(Buffer.concat(chunks)));
      socket.on("error", () => undefined);
    });
    const port = await listen(echo);
    const node = await startNode("a");
    try {
      await withBalancer([node], async (balancer) => {
        const sent = Buffer.alloc(8 * 1024 * 1024);
        for (let i = 0; i < sent.length; i += 4) sent.writeUInt32LE(i, i);
        const through = await relay(balancer, node.port, port, sent);
        assert.ok(through?.equals(sent));
      });
    } finally {
      await node.stop();
      await new Promise((resolve) => echo.close(resolve));
    }
  });

  it("bounds the connections that it holds", async () => {
    await withNodes(["a"], async ([a]) => {
      assert.ok(a !== undefined);
      await withBalancer(
        [a],
        async (balancer) => {
          const held = [1, 2].map(() => connect({ port: balancer.port, host: "127.0.0.1" }));
          await until(() => balancer.states[0]?.connections === 2);
          assert.equal((await ask(balancer)) === "a", false);
          for (const socket of held) socket.destroy();
          await until(() => balancer.states[0]?.connections === 0);
          assert.equal(await ask(balancer), "a");
        },
        { connectionsMax: 2 },
      );
    });
  });

  it("cuts what is left when it closes, and frees its port", async () => {
    await withNodes(["a"], async ([a]) => {
      assert.ok(a !== undefined);
      const target = { id: "a", host: "127.0.0.1", port: a.port };
      const balancer = await TcpBalancer.listen({ host: "127.0.0.1", port: 0, targets: [target] });
      const { port } = balancer;
      const socket = connect({ port, host: "127.0.0.1" });
      const ended = new Promise((resolve) => socket.once("close", resolve));
      socket.on("error", () => undefined);
      await until(() => balancer.states[0]?.connections === 1);
      await balancer.close(20);
      await ended;
      const again = await TcpBalancer.listen({ host: "127.0.0.1", port, targets: [target] });
      await assert.rejects(
        TcpBalancer.listen({ host: "127.0.0.1", port, targets: [target] }),
        /EADDRINUSE/,
      );
      await again.close();
    });
  });
});

/** Checks ask `checked`; connections go to `served`: one address that is two servers, by a relay of its own. */
async function relay(
  balancer: TcpBalancer,
  checked: number,
  served: number,
  sent: Buffer,
): Promise<Buffer | null> {
  const front = createServer({ allowHalfOpen: true }, (socket) => {
    socket.once("data", (chunk: Buffer) => {
      const isCheck = chunk.subarray(0, 11).toString() === "GET /readyz";
      const behind = connect({ port: isCheck ? checked : served, allowHalfOpen: true });
      behind.on("error", () => undefined);
      behind.write(chunk);
      socket.pipe(behind);
      behind.pipe(socket);
    });
    socket.on("error", () => undefined);
  });
  const port = await listen(front);
  try {
    balancer.setTargets([{ id: "front", host: "127.0.0.1", port }]);
    await until(() => readyIds(balancer).join("") === "front");
    return await exchange(balancer.port, sent);
  } finally {
    await new Promise((resolve) => front.close(resolve));
  }
}
