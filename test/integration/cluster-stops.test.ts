/**
 * Starting and stopping when something is wrong: each ends in bounded time and says what the matter is.
 * Order matters: each test leaves the servers and two nodes running.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { performance } from "node:perf_hooks";
import { after, before, describe, it } from "node:test";
import { freePort } from "../../scripts/free-port.ts";
import { TABLE_KEY } from "../../src/control-plane/control-store.ts";
import { NatsKvControlStore } from "../../src/control-plane/nats-kv-control-store.ts";
import { assertExact, ClusterRig, LEASE_TTL_MS, pass, until } from "../support/cluster-rig.ts";
import { TestNatsServer } from "../support/nats-server.ts";
import { catchallArguments } from "../support/node-process.ts";
import { StatusStream } from "../support/status-stream.ts";

const SHUTDOWN_TIMEOUT_MS = 10_000;
const LIMIT_MS = 30_000;

describe("starting and stopping nodes of a cluster", { timeout: 200_000 }, () => {
  let rig: ClusterRig;
  before(async () => {
    rig = await ClusterRig.start({
      nodes: ["n1", "n2"],
      flags: ["--shutdown-timeout", `${SHUTDOWN_TIMEOUT_MS}ms`],
    });
  });
  after(async () => {
    await rig?.dispose();
  });

  it("refuses a second process under the id of a living node, which serves on", async () => {
    const { nodes } = await rig.cluster("n2");
    await assert.rejects(
      rig.startNode("twin", { nodeId: "n1", readyTimeoutMs: LIMIT_MS }),
      /Another process runs as node "n1": give each its own --node-id/,
    );
    const alive = (await rig.allOpen()).nodes.filter(({ state }) => state === "alive");
    assert.deepEqual(
      alive.map(({ incarnation }) => incarnation).sort(),
      nodes.map(({ incarnation }) => incarnation).sort(),
    );
    assert.equal((await rig.ask("n1", "PUT", "/events/twin.example/delivered")).status, 204);
  });

  it("refuses another number of partitions with one sentence", async () => {
    await assert.rejects(
      rig.startNode("odd", { nodeId: "odd", flags: ["--partitions", "32"] }),
      /64 partitions/,
    );
    assert.equal((await rig.ask("n2", "GET", "/readyz")).status, 200);
  });

  it("refuses a MongoDB that refuses it, or that has another cluster's data, with one sentence", async () => {
    await until("there is a checkpoint", LIMIT_MS, async () =>
      (await rig.cluster("n1")).nodes.some(({ checkpointAgeMs }) => checkpointAgeMs !== null)
        ? true
        : null,
    );
    const { nats, mongod } = rig;
    const refused = mongod.url.replace("//", "//nobody:wrong@");
    const wrong = await serveToTheEnd(nats.url, nats.monitorUrl, refused);
    assert.equal(wrong.code, 78, wrong.output);
    assert.match(wrong.output, /^MongoDB refuses what --mongo-url says: user and password/m);
    assert.ok(!wrong.output.includes("nobody"), "no credentials are told");
    const other = await TestNatsServer.start();
    try {
      const foreign = await serveToTheEnd(other.url, other.monitorUrl, mongod.url);
      assert.equal(foreign.code, 78, foreign.output);
      assert.match(
        foreign.output,
        /^The MongoDB database "\w+" belongs to the logs of another cluster/m,
      );
    } finally {
      await other.dispose();
    }
    assert.equal((await rig.ask("n1", "GET", "/readyz")).status, 200);
  });

  it("refuses a control table of another format with one sentence, and leaves it as it is", async () => {
    const other = await TestNatsServer.start();
    const requests = await other.connect();
    const store = await NatsKvControlStore.open(requests, { clusterName: "newer", replicas: 1 });
    const value = new TextEncoder().encode('{"formatVersion":7}');
    try {
      const { kind } = await store.put(TABLE_KEY, value, 0);
      assert.equal(kind, "committed");
      const { url, monitorUrl } = other;
      const newer = await serveToTheEnd(url, monitorUrl, rig.mongod.url, "newer");
      assert.equal(newer.code, 78, newer.output);
      assert.match(newer.output, /^The control table .* it is of format 7, this node knows 1$/m);
      assert.equal((await store.read(TABLE_KEY))?.revision, 1);
    } finally {
      await requests.close();
      await other.dispose();
    }
  });

  it("stops in bounded time while MongoDB is away, and nothing is lost", async (t) => {
    const { result } = await rig.loadDuring(["n1"], { seed: 61 }, async () => {
      await rig.mongod.kill();
      const startMs = performance.now();
      const code = await rig.stop("n2");
      const tookMs = performance.now() - startMs;
      t.diagnostic(`stopped with ${code} in ${Math.round(tookMs)} ms`);
      assert.ok(tookMs < SHUTDOWN_TIMEOUT_MS + 5000);
      await rig.mongod.restart();
      await rig.allOpen(LIMIT_MS);
    });
    assertExact(result);
    await rig.startNode("n2");
    await rig.sameEverywhere(61, 300);
  });

  it("joins while MongoDB is away and takes ranges once it is back", async () => {
    await rig.mongod.kill();
    const starting = rig.startNode("n3");
    await pass(2000);
    await rig.mongod.restart();
    await starting;
    const { body } = await rig.ask("n3", "POST", "/cluster/rebalance");
    assert.ok(body.moves.length >= 21, JSON.stringify(body));
    await until("n3 has its share", LIMIT_MS, async () => {
      const row = (await rig.allOpen()).nodes.findLast(({ id }) => id === "n3");
      return (row?.partitionsOwned ?? 0) >= 21 ? row : null;
    });
  });

  it("keeps a stream of changes over the lives of its node", async () => {
    const stream = await StatusStream.open(rig.url("n3"), "/changes");
    try {
      rig.freeze("n3");
      await pass(2 * LEASE_TTL_MS);
      rig.thaw("n3");
      await until("it is ready again", LIMIT_MS, async () =>
        (await rig.ask("n3", "GET", "/readyz")).status === 200 ? true : null,
      );
      await rig.allOpen(LIMIT_MS);
      await rig.ask("n1", "PUT", "/events/after-the-freeze.example/bounced");
      await until("the change arrives", LIMIT_MS, async () =>
        stream.text.includes("after-the-freeze.example") ? true : null,
      );
    } finally {
      stream.close();
    }
  });

  it("stops in bounded time while NATS is frozen, and while it is gone", async (t) => {
    const domains = rig.domainsByPartition("stop");
    for (const domain of domains) await rig.ask("n3", "PUT", `/events/${domain}/delivered`);
    for (const [id, isFrozen] of [
      ["n3", true],
      ["n2", false],
    ] as const) {
      if (isFrozen) rig.nats.pause();
      else await rig.nats.kill();
      const startMs = performance.now();
      const code = await rig.stop(id);
      const tookMs = performance.now() - startMs;
      t.diagnostic(`stopped with ${code} in ${Math.round(tookMs)} ms`);
      assert.ok(tookMs < SHUTDOWN_TIMEOUT_MS + 5000);
      if (isFrozen) rig.nats.resume();
      else await rig.nats.restart();
      await rig.allOpen(LIMIT_MS);
      await until("n1 is ready", LIMIT_MS, async () =>
        (await rig.ask("n1", "GET", "/readyz")).status === 200 ? true : null,
      );
    }
    for (const { delivered } of await rig.counted("n1", domains)) assert.equal(delivered, 1);
  });

  it("waits at its start for NATS", async () => {
    await rig.nats.kill();
    const starting = rig.startNode("n2");
    await pass(1500);
    await rig.nats.restart();
    await starting;
    await rig.allOpen(LIMIT_MS);
    await rig.sameEverywhere(61, 300);
  });
});

/** A node that is expected to end by itself. */
async function serveToTheEnd(
  natsUrl: string,
  monitorUrl: string,
  mongoUrl: string,
  clusterName = "catchall",
): Promise<{ readonly code: unknown; readonly output: string }> {
  const servers = [
    "--nats-url",
    natsUrl,
    "--nats-monitor-url",
    monitorUrl,
    "--mongo-url",
    mongoUrl,
  ];
  const flags = ["--port", String(await freePort()), "--node-id", "wrong", "--expect-nodes", "1"];
  flags.push("--cluster-name", clusterName);
  const argv = [...catchallArguments(), ...flags, ...servers];
  return await new Promise((resolve) => {
    execFile(process.execPath, argv, { timeout: LIMIT_MS }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : error.code, output: `${stdout}${stderr}` });
    });
  });
}
