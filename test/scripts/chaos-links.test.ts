/** Goal: links do to bytes what they say, and filters take out acknowledgements and nothing else. Method: a real server behind one. */
import assert from "node:assert/strict";
import { connect, createServer, type Server, type Socket } from "node:net";
import { after, afterEach, before, describe, it } from "node:test";
import { HttpAnswerFilter, PublishAckFilter } from "../../scripts/chaos/ack-filters.ts";
import { FaultyLink, type LinkFilter } from "../../scripts/chaos/faulty-link.ts";
import { answerOf, ChaosClient } from "../../scripts/chaos/http-client.ts";
import { outcomesOfLines } from "../../scripts/chaos/workload.ts";

describe("FaultyLink", () => {
  let server: Server;
  let received = "";
  let port = 0;
  const links: FaultyLink[] = [];
  const sockets: Client[] = [];

  before(async () => {
    server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.on("data", (chunk) => {
        received += chunk.toString();
        socket.write(chunk.toString().toUpperCase());
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    port = (server.address() as { port: number }).port;
  });
  afterEach(async () => {
    received = "";
    for (const socket of sockets.splice(0)) socket.close();
    for (const link of links.splice(0)) await link.close();
  });
  after(() => {
    server.close();
  });

  async function open(createFilter?: () => LinkFilter): Promise<[FaultyLink, Client]> {
    const link = await FaultyLink.listen({
      targetPort: port,
      ...(createFilter === undefined ? {} : { createFilter }),
    });
    links.push(link);
    return [link, await dial(link)];
  }

  async function dial(link: FaultyLink): Promise<Client> {
    const client = await Client.open(link.port);
    sockets.push(client);
    return client;
  }

  it("moves bytes both ways", async () => {
    const [, client] = await open();
    client.write("hello");
    await client.hears("HELLO");
  });

  it("delays what passes, in order", async () => {
    const [link, client] = await open();
    link.delay(80);
    const startMs = performance.now();
    client.write("a");
    client.write("b");
    await client.hears("AB");
    // Up and down.
    assert.ok(performance.now() - startMs >= 150, `${performance.now() - startMs} ms`);
  });

  it("slows what passes", async () => {
    const [link, client] = await open();
    link.slow(1000);
    const startMs = performance.now();
    client.write("x".repeat(100));
    await client.hears("X".repeat(100));
    client.write("y");
    await client.hears(`${"X".repeat(100)}Y`);
    assert.ok(performance.now() - startMs >= 95, `${performance.now() - startMs} ms`);
  });

  it("cuts connections, and new ones until it is healed", async () => {
    const [link, client] = await open();
    client.write("a");
    await client.hears("A");
    link.cut();
    await client.broken;
    const second = await dial(link);
    await second.broken;
    link.heal();
    const third = await dial(link);
    third.write("b");
    await third.hears("B");
    assert.equal(received, "ab");
  });

  it("holds one direction back and delivers it late", async () => {
    const [link, client] = await open();
    link.hold("up");
    client.write("late");
    await pass(60);
    assert.equal(received, "");
    link.heal();
    await client.hears("LATE");
    link.hold("down");
    client.write("more");
    await until(() => received === "latemore");
    await pass(40);
    assert.equal(client.heard, "LATE");
    link.heal();
    await client.hears("LATEMORE");
  });

  it("loses one direction, and never carries what follows a loss", async () => {
    const [link, client] = await open();
    link.lose("down");
    client.write("a");
    await until(() => received === "a");
    await pass(40);
    assert.equal(client.heard, "");
    link.heal();
    await client.broken;
    assert.equal(client.heard, "");
  });

  it("delivers what is held back even when the client has gone", async () => {
    const [link, client] = await open();
    client.write("a");
    await client.hears("A");
    link.hold("up");
    client.write("b");
    await pass(40);
    client.end();
    await pass(40);
    link.heal();
    await until(() => received === "ab");
  });

  it("breaks a connection whose end it has passed on already", async () => {
    const [link, client] = await open();
    client.write("a");
    await client.hears("A");
    link.hold("down");
    client.end();
    await pass(40);
    link.breakAll();
    await client.broken;
    await link.close();
    assert.equal(link.connections, 0);
    // Closed, not forgotten.
    const sockets = () => process.getActiveResourcesInfo().filter((one) => one === "TCPSocketWrap");
    await until(() => sockets().length === 0);
  });

  it("says for certain that nothing was sent only when nothing ever will be", async () => {
    const [link, client] = await open();
    link.hold("up");
    client.write("a");
    await pass(40);
    assert.equal(link.abandon(client.port), true);
    link.heal();
    await client.broken;
    const second = await dial(link);
    second.write("b");
    await second.hears("B");
    assert.equal(link.abandon(second.port), false);
    assert.equal(received, "b");
  });

  it("takes out what a filter takes out", async () => {
    let asked = 0;
    const [, client] = await open(() => new HttpAnswerFilter(() => ++asked === 2));
    client.write("a");
    await client.hears("A");
    client.write("b");
    await client.broken;
    assert.deepEqual([received, client.heard], ["ab", "A"]);
  });
});

describe("PublishAckFilter", () => {
  const ack = (stream: string, seq: number): string => {
    const payload = `{"stream":"${stream}", "seq":${seq}}`;
    return `MSG _INBOX.x.1 1 ${payload.length}\r\n${payload}\r\n`;
  };
  const other = 'MSG a.b 2 reply 14\r\n{"stream":"x"}\r\n';
  const headers = "HMSG a.b 3 12 17\r\nNATS/1.0\r\n\r\nhello\r\n";
  const bytes = `INFO {}\r\n${ack("C_LOG_1", 1)}${other}PING\r\n${ack("KV_x", 7)}${headers}${ack("C_LOG_1", 2)}PONG\r\n`;

  it("asks for each acknowledgement and takes out that one, however the bytes are cut", () => {
    for (let size = 1; size <= bytes.length; size++) {
      const asked: string[] = [];
      const filter = new PublishAckFilter((stream) => asked.push(stream) === 3);
      let passed = "";
      for (let at = 0; at < bytes.length; at += size) {
        passed += filter.down(Buffer.from(bytes.slice(at, at + size))).toString();
      }
      assert.deepEqual(asked, ["C_LOG_1", "KV_x", "C_LOG_1"]);
      assert.equal(passed, bytes.replace(ack("C_LOG_1", 2), ""));
    }
  });
});

describe("ChaosClient", () => {
  it("calls an outcome certain only when the answer or the link says so", async () => {
    let mode = "silent";
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.on("data", () => {
        if (mode === "reset") socket.resetAndDestroy();
        else if (mode === "half") socket.end("HTTP/1.1 204 No Con");
        else socket.end("HTTP/1.1 204 No Content\r\nidempotency-replayed: true\r\n\r\n");
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    const link = await FaultyLink.listen({ targetPort: port });
    const client = new ChaosClient({ port: link.port, abandon: (one) => link.abandon(one) }, 2);
    const send = () => client.send({ method: "PUT", path: "/events/a.example/delivered" });
    try {
      mode = "ok";
      const ok = await send();
      assert.deepEqual([ok.outcome, ok.status, ok.isReplayed], ["acked", 204, true]);
      mode = "reset";
      assert.equal((await send()).outcome, "unknown");
      mode = "half";
      assert.equal((await send()).outcome, "unknown");
      link.cut();
      assert.equal((await send()).outcome, "none");
    } finally {
      client.close();
      await link.close();
      server.close();
    }
  });

  it("believes a refusal only when it says that it had no effect", () => {
    const text = (effect: string): string => JSON.stringify({ code: "x", effect });
    assert.equal(answerOf(503, text("none"), false).outcome, "none");
    assert.equal(answerOf(504, text("unknown"), false).outcome, "unknown");
    assert.equal(answerOf(500, "oops", false).outcome, "unknown");
  });

  it("reads the fate of each line", () => {
    const of = (status: number, body: unknown) =>
      outcomesOfLines(3, answerOf(status, JSON.stringify(body), false));
    const rejected = [{ index: 1, code: "no_owner" }];
    assert.deepEqual(of(200, { accepted: 2, replayed: 0, rejected }), ["acked", "none", "acked"]);
    const partly = { accepted: 1, replayed: 0, rejected, unknown: [2], effect: "unknown" };
    assert.deepEqual(of(504, partly), ["acked", "none", "unknown"]);
    assert.deepEqual(of(503, { effect: "none" }), ["none", "none", "none"]);
    assert.deepEqual(of(502, {}), ["unknown", "unknown", "unknown"]);
  });
});

class Client {
  readonly #socket: Socket;
  readonly broken: Promise<void>;
  heard = "";

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk) => {
      this.heard += chunk.toString();
    });
    socket.on("error", () => undefined);
    this.broken = new Promise((resolve) => socket.once("close", () => resolve()));
  }

  static async open(port: number): Promise<Client> {
    const socket = connect({ host: "127.0.0.1", port });
    const client = new Client(socket);
    // A link that is cut may break it before it is open.
    await Promise.race([new Promise((resolve) => socket.once("connect", resolve)), client.broken]);
    return client;
  }

  get port(): number {
    return this.#socket.localPort ?? 0;
  }

  write(text: string): void {
    this.#socket.write(text);
  }

  end(): void {
    this.#socket.end();
  }

  close(): void {
    this.#socket.destroy();
  }

  async hears(text: string): Promise<void> {
    await until(() => this.heard === text);
  }
}

async function until(isSo: () => boolean): Promise<void> {
  const giveUpMs = performance.now() + 5000;
  while (!isSo()) {
    assert.ok(performance.now() < giveUpMs, "in time");
    await pass(2);
  }
}

async function pass(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
