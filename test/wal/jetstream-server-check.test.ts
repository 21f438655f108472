import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { connectNats } from "../../src/transport/nats-connection.ts";
import { checkServers, checkStream } from "../../src/wal/jetstream-server-check.ts";
import { NO_LOGIN, TestNatsServer } from "../support/nats-server.ts";

let server: TestNatsServer;

before(async () => {
  server = await TestNatsServer.start({ maxPayload: "1MB" });
});
after(async () => {
  await server.dispose();
});

describe("checkServers", () => {
  it("reads from the monitoring endpoint whether acknowledged entries are synced", async () => {
    const requests = await server.connect();
    const report = await checkServers(requests, { monitorUrls: [server.monitorUrl] });
    assert.equal(report.logSync, "always");
    assert.match(report.version, /^2\.\d+\.\d+/);
    assert.deepEqual([report.hasJetStream, report.problems], [true, []]);
    await requests.close();
  });

  it("says interval for the server's default, and what to set", async () => {
    const lazy = await TestNatsServer.start({ sync: '"2m"', maxPayload: "512KB" });
    const requests = await lazy.connect();
    const report = await checkServers(requests, { monitorUrls: [lazy.monitorUrl] });
    assert.equal(report.logSync, "interval");
    assert.match(report.logSyncReason, /every 120 s.*set sync_interval to always/);
    assert.match(report.problems.join(), /max_payload of NATS is 524288/);
    await requests.close();
    await lazy.dispose();
  });

  it("says unknown when no endpoint answers, or another server's does", async () => {
    const other = await TestNatsServer.start();
    const requests = await server.connect();
    for (const url of ["http://127.0.0.1:1", other.monitorUrl, "nonsense"]) {
      const report = await checkServers(requests, { monitorUrls: [url] });
      assert.deepEqual([url, report.logSync], [url, "unknown"]);
    }
    await requests.close();
    await other.dispose();
  });

  it("says that JetStream is off", async () => {
    const bare = await TestNatsServer.start({ jetStream: false });
    const requests = await bare.connect();
    const report = await checkServers(requests, { monitorUrls: [bare.monitorUrl] });
    assert.match(report.problems.join(), /JetStream is not enabled .*: turn it on, as cluster\//);
    assert.equal(report.logSync, "unknown");
    await requests.close();
    await bare.dispose();
  });

  it("says of a login that may not receive replies what it lacks, not that JetStream is off", async () => {
    const permissions = '{ publish: ">", subscribe: "catchall.>" }';
    const strict = await TestNatsServer.start({
      extra: `authorization { users = [{ user: a, password: b, permissions: ${permissions} }] }`,
    });
    const login = { ...NO_LOGIN, natsUser: "a", natsPassword: "b" };
    const requests = await connectNats({ ...login, natsUrl: strict.url }, "strict");
    await assert.rejects(checkServers(requests, { monitorUrls: [strict.monitorUrl] }), {
      code: "log_unavailable",
      message: /NATS does not permit receiving replies: .*Subscription to "_INBOX_strict/,
    });
    await requests.close();
    await strict.dispose();
  });

  it("lists the promises that a stream breaks", async () => {
    const requests = await server.connect();
    assert.equal(await checkStream(requests, "NONE", 1), null);
    const config = { name: "WEAK", subjects: ["weak"], storage: "memory", max_age: 60_000_000_000 };
    const body = Buffer.from(JSON.stringify(config));
    await requests.request("$JS.API.STREAM.CREATE.WEAK", body, 2000);
    assert.deepEqual(await checkStream(requests, "WEAK", 3), [
      "Stream WEAK is not stored in files",
      "Stream WEAK has 1 replicas, --wal-replicas asks for 3",
      "Stream WEAK discards old entries when it is full",
      "Stream WEAK forgets entries by age",
    ]);
    await requests.close();
  });
});
