import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { NatsRequests } from "../../src/runtime/nats-requests.ts";
import { TestNatsServer } from "../support/nats-server.ts";

/** May ask on `ask.*` only, and hears everything. */
const PERMISSIONS = `authorization { users: [
  { user: "limited", password: "p", permissions: { publish: ["ask.>"], subscribe: [">"] } },
  { user: "deaf", password: "p", permissions: { publish: [">"], subscribe: ["ask.>"] } },
  { user: "free", password: "p" } ] }`;
const NOTHING = new Uint8Array();

describe("NatsReplies", () => {
  let server: TestNatsServer;
  let free: NatsRequests;
  const opened: NatsRequests[] = [];

  async function connect(natsUser: string): Promise<NatsRequests> {
    const requests = await server.connect(`replies-${natsUser}`, { natsUser, natsPassword: "p" });
    opened.push(requests);
    return requests;
  }

  before(async () => {
    server = await TestNatsServer.start({ extra: PERMISSIONS, jetStream: false });
    free = await connect("free");
    const echo = await connect("free");
    echo.subscribe("ask.echo", (message) => {
      echo.publish(message.reply as string, message.data);
    });
    echo.subscribe("ask.late", (message) => {
      setTimeout(() => echo.publish(message.reply as string, message.data), 120);
    });
    await echo.connection.flush();
  });

  after(async () => {
    for (const requests of opened) await requests.close();
    await server.dispose();
  });

  it("gives each of many requests under way its own reply", async () => {
    const asked = Array.from({ length: 200 }, (_, i) => Uint8Array.of(i));
    const outcomes = await Promise.all(asked.map((data) => free.request("ask.echo", data, 5000)));
    const answered = outcomes.map((one) => (one.kind === "reply" ? one.message.data[0] : one.kind));
    assert.deepEqual(
      answered,
      asked.map((data) => data[0]),
    );
  });

  it("says when nobody listens, and when no reply came in time; a late one is for nobody", async () => {
    const nobody = await free.request("ask.nobody", NOTHING, 5000);
    assert.deepEqual(nobody, { kind: "noResponder" });
    const late = await free.request("ask.late", Uint8Array.of(1), 40);
    assert.deepEqual(late, { kind: "unknown", reason: "no reply within 40 ms" });
    const other = await free.request("ask.late", Uint8Array.of(2), 5000);
    assert.equal(other.kind === "reply" && other.message.data[0], 2);
  });

  it("ends at once what NATS does not permit, either way", async () => {
    const limited = await connect("limited");
    const refused = await limited.request("other", NOTHING, 5000);
    assert.equal(refused.kind, "unknown");
    assert.match(refused.kind === "unknown" ? refused.reason : "", /permit publishing on "other"/);
    const allowed = await limited.request("ask.echo", Uint8Array.of(7), 5000);
    assert.equal(allowed.kind, "reply");
    const deaf = await connect("deaf");
    for (let i = 0; i < 2; i++) {
      const unheard = await deaf.request("ask.echo", NOTHING, 5000);
      assert.match(unheard.kind === "unknown" ? unheard.reason : "", /permit receiving replies/);
    }
  });

  it("ends everything when the connection is closed", async () => {
    const closing = await connect("free");
    const waiting = closing.request("ask.late", NOTHING, 5000);
    await closing.close();
    assert.equal((await waiting).kind, "unknown");
    const afterwards = await closing.request("ask.echo", NOTHING, 5000);
    assert.equal(afterwards.kind, "notSent");
  });
});
