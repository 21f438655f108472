import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import {
  connectionOptions,
  connectNats,
  isLoginRefused,
} from "../../src/transport/nats-connection.ts";
import { NO_LOGIN, TestNatsServer } from "../support/nats-server.ts";

describe("connectNats", () => {
  it("says who refuses, without the password", async () => {
    const locked = await TestNatsServer.start({
      extra: 'authorization { user: "node", password: "s3cret-a" }',
    });
    const wrong = { natsUser: "node", natsPassword: "s3cret-b" };
    await assert.rejects(locked.connect("x", wrong), (error: Error) => {
      assert.match(error.message, /refuses these credentials/);
      assert.doesNotMatch(error.message, /s3cret/);
      assert.equal(isLoginRefused(error), true);
      return true;
    });
    const right = await locked.connect("x", { natsUser: "node", natsPassword: "s3cret-a" });
    assert.equal(right.isConnected, true);
    await right.close();
    const inUrl = locked.url.replace("//", "//node:s3cret-a@");
    await (await locked.connect("x", { natsUrl: inUrl })).close();
    await locked.dispose();
    const gone = { code: "control_unavailable", message: /nobody listens/ };
    await assert.rejects(locked.connect("x"), gone);
    const error: unknown = await locked.connect("x").catch((reason: unknown) => reason);
    assert.equal(isLoginRefused(error), false);
  });

  it("leaves no socket behind when nobody answers", async () => {
    const sockets: Promise<unknown>[] = [];
    const silent = createServer((socket) => {
      socket.resume();
      sockets.push(once(socket, "close"));
    });
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const { port } = silent.address() as AddressInfo;
    const connecting = connectNats({ ...NO_LOGIN, natsUrl: `127.0.0.1:${port}` }, "x");
    await assert.rejects(connecting, { code: "control_unavailable", message: /no answer within/ });
    assert.equal(sockets.length, 1);
    await Promise.all(sockets);
    await new Promise((resolve) => silent.close(resolve));
  });

  it("speaks TLS with a server whose authority it knows, and with no other", async () => {
    const data = (name: string): string =>
      fileURLToPath(new URL(`../http/data/${name}`, import.meta.url));
    const [cert, key] = [data("test-only-cert.pem"), data("test-only-key.pem")];
    const secure = await TestNatsServer.start({
      extra: `tls { cert_file: "${cert}", key_file: "${key}" }\nauthorization { token: "tok" }`,
    });
    const requests = await secure.connect("x", { natsTlsCa: cert, natsToken: "tok" });
    assert.equal(requests.connection.info?.tls_required, true);
    const outcome = await requests.request("$JS.API.INFO", new Uint8Array(), 2000);
    assert.equal(outcome.kind, "reply");
    await requests.close();
    const stranger = secure.connect("x", { natsToken: "tok" });
    await assert.rejects(stranger, { code: "control_unavailable", message: /certificate/ });
    await secure.dispose();
    const plain = await TestNatsServer.start();
    const downgraded = plain.connect("x", { natsTlsCa: cert });
    await assert.rejects(downgraded, { code: "control_unavailable" });
    await plain.dispose();
  });

  it("reconnects for ever, pings often, and asks for TLS when a server is tls://", async () => {
    const settings = { ...NO_LOGIN, natsUrl: "tls://a:4222, nats://u%40x:p@b:5222/" };
    const options = await connectionOptions(settings, "n1.example");
    assert.deepEqual(options.servers, ["a:4222", "b:5222"]);
    assert.deepEqual([options.user, options.pass, options.tls], ["u@x", "p", {}]);
    assert.equal(options.maxReconnectAttempts, -1);
    assert.equal(options.inboxPrefix, "_INBOX_n1_example");
    assert.ok((options.pingInterval ?? Infinity) <= 2000);
    const plain = await connectionOptions({ ...NO_LOGIN, natsUrl: "a", natsTlsCa: "/ca" }, "n");
    assert.deepEqual(plain.tls, { caFile: "/ca" });
    const socket = connectionOptions({ ...NO_LOGIN, natsUrl: "wss://a" }, "n");
    await assert.rejects(socket, { code: "control_unavailable" });
  });
});
