/** Goal: a broken socket is gone, in whatever state it was. Method: real sockets on loopback; the process counts its handles. */
import assert from "node:assert/strict";
import { connect, createServer, type Server, type Socket } from "node:net";
import { after, before, describe, it } from "node:test";
import { breakSocket } from "../../scripts/break-socket.ts";

describe("breakSocket", () => {
  let server: Server;
  let port = 0;
  let accepted: Promise<Socket>;

  before(async () => {
    server = createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    port = (server.address() as { port: number }).port;
  });
  after(() => {
    server.close();
  });

  function dial(): Socket {
    accepted = new Promise((resolve) => {
      server.once("connection", (peer) => {
        peer.on("error", () => undefined);
        resolve(peer);
      });
    });
    const socket = connect({ host: "127.0.0.1", port, allowHalfOpen: true });
    socket.on("error", () => undefined);
    return socket;
  }

  async function open(): Promise<[Socket, Socket]> {
    const socket = dial();
    await new Promise((resolve) => socket.once("connect", resolve));
    return [socket, await accepted];
  }

  it("resets an open connection: its other side sees an error, not an end", async () => {
    const [socket, peer] = await open();
    const seen = new Promise((resolve) => {
      peer.once("error", ({ code }: NodeJS.ErrnoException) => resolve(code));
      peer.once("end", () => resolve("end"));
    });
    peer.resume();
    breakSocket(socket);
    assert.equal(await seen, "ECONNRESET");
    await assertNoHandle();
  });

  for (const [how, text] of [
    ["whose end is being sent", ""],
    ["whose end waits behind bytes that nobody reads", "x".repeat(16 * 1024 * 1024)],
  ] as const) {
    it(`closes a socket ${how}`, async () => {
      const [socket, peer] = await open();
      socket.end(text);
      breakSocket(socket);
      peer.destroy();
      await assertNoHandle();
    });
  }

  it("closes a socket that is not connected yet", async () => {
    const socket = dial();
    breakSocket(socket);
    // The server may have taken the connection all the same.
    void accepted.then((peer) => peer.destroy());
    await assertNoHandle();
  });
});

/** No socket of this process is open, not even one that Node.js has forgotten. */
async function assertNoHandle(): Promise<void> {
  const open = (): number =>
    process.getActiveResourcesInfo().filter((one) => /^TCP(Socket|Connect)Wrap$/.test(one)).length;
  const giveUpMs = performance.now() + 3000;
  while (open() > 0 && performance.now() < giveUpMs) {
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  assert.equal(open(), 0, "handles are left");
}
