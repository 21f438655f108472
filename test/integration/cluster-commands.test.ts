/**
 * The operators' commands against a real cluster, in the order of a working day: import what a single node counted,
 * look, verify under load, take a node out, change one's mind, bring it back.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { freePort } from "../../scripts/free-port.ts";
import { CatchallClient } from "../../src/client/index.ts";
import { type CliRun, cli } from "../support/cli-run.ts";
import { assertExact, ClusterRig } from "../support/cluster-rig.ts";
import { NodeProcess } from "../support/node-process.ts";
import { startStub } from "../support/stub-server.ts";

const IMPORTED = 2000;

describe("commands on a cluster of three nodes", { timeout: 280_000 }, () => {
  let rig: ClusterRig;
  let folder = "";
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "catchall-commands-"));
    rig = await ClusterRig.start();
  });
  after(async () => {
    await rig?.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  function run(node: string, ...argv: readonly string[]): Promise<CliRun> {
    return cli([...argv, "--url", rig.url(node)]);
  }

  function verify(url: string): Promise<CliRun> {
    const servers = ["--nats-url", rig.nats.url, "--mongo-url", rig.mongod.url];
    return cli(["verify", ...servers, "--url", url]);
  }

  it("imports a data directory exactly, through any node, while an owner is killed", async () => {
    const dataDir = join(folder, "data");
    const from = await NodeProcess.start({ port: await freePort(), dataDir });
    const events = Array.from({ length: IMPORTED }, (_, i) => {
      const domain = `imported${i}.example`;
      return { domain, type: i % 9 === 0 ? "bounced" : "delivered", count: 1 + i } as const;
    });
    await new CatchallClient({ url: from.url }).sendMany(events);
    await from.kill();
    const importing = run("n1", "import", dataDir);
    await rig.kill("n3");
    const { code, stdout, stderr } = await importing;
    assert.equal(code, 0, stderr);
    assert.match(stdout, /domains added\n/);
    await rig.startNode("n3");
    await rig.allOpen();
    const again = await run("n3", "import", dataDir);
    assert.equal(again.stdout, "0 domains added\n2,000 domains had been added before\n");
    const client = new CatchallClient({ url: rig.url("n2") });
    const { results } = await client.lookup(events.map(({ domain }) => domain));
    for (const [i, result] of results.entries()) {
      assert.ok("delivered" in result);
      const counted = i % 9 === 0 ? [0, 1 + i] : [1 + i, 0];
      assert.deepEqual([result.delivered, result.bounced], counted, result.domain);
    }
  });

  it("verifies a cluster under load, also when a node dies, and finds a wrong answer", async () => {
    const load = rig.load(["n1", "n2"], {
      ...{ seed: 5, mix: "zipf", events: 12_000, rate: 1_500, connections: 8 },
    });
    // Told below; a failure before that is not to end the process.
    load.catch(() => undefined);
    const first = await verify(rig.url("n1"));
    assert.equal(first.code, 0, `${first.stdout}${first.stderr}`);
    assert.match(first.stdout, /domains recounted, [\d,]+ log entries replayed/);
    assertExact(await load);
    await rig.kill("n3");
    await rig.allOpen();
    const second = await verify(`${rig.url("n2")},${rig.url("n1")}`);
    assert.equal(second.code, 0, `${second.stdout}${second.stderr}`);
    await rig.startNode("n3");

    const lie = async (at: string): Promise<string> => {
      const headers = { accept: "application/x-ndjson" };
      const text = await (await fetch(`${rig.url("n1")}${at}`, { headers })).text();
      return text.replace(/("domain":"imported7\.example".*"delivered":)8,/, "$19,");
    };
    const stub = await startStub(({ path: at }, response) => {
      lie(at).then(
        (text) => response.end(text),
        () => response.destroy(),
      );
    });
    const wrong = await verify(stub.url);
    await stub.close();
    assert.equal(wrong.code, 1, wrong.stdout);
    assert.match(wrong.stdout, /imported7\.example +9 delivered.* 8 delivered/);
    const none = [
      "--cluster-name",
      "nobody",
      "--nats-url",
      rig.nats.url,
      "--mongo-url",
      rig.mongod.url,
    ];
    assert.match((await cli(["verify", ...none])).stderr, /There is no cluster "nobody"/);
  });

  it("evens the ring out, drains, cancels, and shows all that", async () => {
    await rig.allOpen();
    const balanced = await run("n1", "rebalance", "--watch");
    assert.equal(balanced.code, 0, balanced.stderr);
    const ring = async () => JSON.parse((await run("n2", "ring", "--json")).stdout);
    assert.ok((await ring()).busiestToMean <= 1.05);
    const { id } = JSON.parse((await run("n1", "drain", "n2", "--json")).stdout);
    const cancelled = await run("n3", "rebalance", "--cancel", id);
    assert.equal(cancelled.code, 0, cancelled.stderr);
    assert.match(
      cancelled.stdout,
      new RegExp(`^${id} is cancelled: \\d+ of \\d+ partitions? moved\n$`),
    );
    const states = new Map(
      (await ring()).nodes.map((node: { id: string; state: string }) => [node.id, node.state]),
    );
    assert.equal(states.get("n2"), "alive");
    const unknown = await run("n3", "rebalance", "--cancel", "nope");
    assert.deepEqual([unknown.code, /rebalance_not_found/.test(unknown.stderr)], [1, true]);

    const drained = await run("n3", "drain", "n2", "--watch");
    assert.equal(drained.code, 0, drained.stderr);
    assert.match(drained.stderr, /\nmoving d\w+: (\d+) of \1 partitions/);
    const { nodes, unassigned } = await ring();
    const n2 = nodes.find((node: { id: string }) => node.id === "n2");
    assert.deepEqual([n2.state, n2.partitions, n2.ranges, unassigned], ["draining", 0, [], []]);
    const done = await run(
      "n1",
      "rebalance",
      "--cancel",
      /moving (d\w+):/.exec(drained.stderr)?.[1] ?? "",
    );
    assert.deepEqual([done.code, /conflict/.test(done.stderr)], [1, true]);
    const where = JSON.parse((await run("n1", "where", "imported7.example", "--json")).stdout);
    assert.ok(["n1", "n3"].includes(where.owner));
    const status = await run("n1", "status");
    assert.match(status.stdout, /^ready\nmode +cluster/);
  });
});
