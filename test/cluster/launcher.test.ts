/**
 * Goal: `npm run cluster` starts everything in order, does what it is told while it runs, and leaves no process behind,
 * however it ends. Method: real nats-server and mongod, stubs for the nodes.
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it } from "node:test";
import { sendCommand, untilEnded } from "../../scripts/cluster/control.ts";
import { LocalCluster } from "../../scripts/cluster/local-cluster.ts";
import { ROOT, runningOf, STUB_NODE, TSX, withLocalCluster } from "../support/local-cluster.ts";

const REAPED_LIMIT_MS = 20_000;

async function answers(port: number, count: number): Promise<ReadonlySet<string>> {
  const texts = new Set<string>();
  for (let i = 0; i < count; i++) {
    texts.add(await (await fetch(`http://127.0.0.1:${port}/`)).text());
  }
  return texts;
}

describe("LocalCluster", () => {
  it("starts, obeys another terminal, and stops nodes before their servers", async () => {
    let pids: readonly number[] = [];
    let folder = "";
    const logs = (name: string) => readFileSync(path.join(folder, "logs", `${name}.log`), "utf8");
    await withLocalCluster({ keepsData: true }, async ({ cluster, dataDir, lines }) => {
      folder = dataDir;
      const { port } = cluster;
      const send = (line: string) => sendCommand(dataDir, line.split(" "));
      assert.deepEqual(await answers(port, 4), new Set(["n1", "n2"]));

      const status = await send("status");
      for (const name of ["n1", "n2", "mongod", "nats-1"]) {
        assert.match(status, new RegExp(`^${name} +running, pid \\d+$`, "m"));
      }
      await send("kill n1");
      assert.deepEqual(await answers(port, 3), new Set(["n2"]));
      assert.match(await send("status"), /^n1 +not running$/m);
      await send("start n1");
      assert.match(await send("join"), /^n3 has joined: http:/);
      assert.deepEqual(
        cluster.nodes.map(({ id }) => id),
        ["n1", "n2", "n3"],
      );
      await assert.rejects(send("stop n9"), /no "n9"; there are n1, n2, n3, mongod, nats-1/);
      await assert.rejects(send("start n2"), /n2 runs already/);
      assert.equal(await send("restart nats-1").then((text) => /running/.test(text)), true);
      await send("pause n2");
      assert.match(await send("status"), /^n2 +paused/m);

      // A node that ends by itself is told of, and left alone.
      process.kill(cluster.nodes[2]?.pid ?? 0, "SIGKILL");
      while (!lines.some((line) => /^n3 ended \(SIGKILL\); again: /.test(line))) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      pids = cluster.pids;
      assert.equal(runningOf(pids).length, pids.length);
      await cluster.stop();
      assert.deepEqual(runningOf(pids), []);
      await assert.rejects(send("status"), /No cluster runs/);
      // A paused node was stopped in order too. NATS was restarted before: its last stop counts.
      const nodesMs = ["n1", "n2"].map((name) => Number(/stops at (\d+)/.exec(logs(name))?.[1]));
      const mongodText = /"\$date":"([^"]+)"[^\n]*"Received signal"/.exec(logs("mongod"))?.[1];
      const mongodMs = Date.parse(mongodText ?? "");
      const natsTexts = logs("nats-1").match(/\S+ \S+ \[INF\] Initiating Shutdown/g) ?? [];
      const natsMs = Date.parse((natsTexts.at(-1) ?? "").slice(0, 23));
      assert.ok(Math.max(...nodesMs) <= mongodMs, `${nodesMs} ${mongodMs}`);
      assert.ok(mongodMs <= natsMs, `${mongodMs} ${natsMs}`);
    });
  });

  it("stops everything when a node does not start, and says why", async () => {
    const dataDir = await mkdtemp(path.join(tmpdir(), "catchall-cluster-"));
    let made: LocalCluster | null = null;
    let pids: readonly number[] = [];
    process.env["STUB_FAILS"] = "n2";
    try {
      const starting = LocalCluster.start(
        {
          ...{ nodes: 2, replicas: 1, port: 0, proxy: "builtin", nodeFlags: [] },
          ...{ keepsData: false, dataDir, root: ROOT, nodeCommand: STUB_NODE },
          say: () => {
            // The moment before the stop.
            pids = made?.pids ?? [];
          },
          onDown: () => undefined,
        },
        (cluster) => {
          made = cluster;
        },
      );
      await assert.rejects(starting, /n2 ended; the end of its output:\nn2 can't go on/);
      assert.ok(pids.length >= 3, "n1, mongod, nats-server and the reaper");
      assert.deepEqual(runningOf(pids), []);
      assert.equal(existsSync(dataDir), false);
    } finally {
      delete process.env["STUB_FAILS"];
      await rm(dataDir, { recursive: true, force: true });
    }
  });

  it("is waited for by the terminal that stops it", async () => {
    const launcher = spawn(process.execPath, ["-e", "setTimeout(() => undefined, 300)"]);
    const pid = launcher.pid as number;
    assert.equal(await untilEnded(pid), "Stopped");
    assert.deepEqual(runningOf([pid]), []);
  });

  it("can be stopped while it starts", async () => {
    const dataDir = await mkdtemp(path.join(tmpdir(), "catchall-cluster-"));
    let made: LocalCluster | null = null;
    const seen = new Set<number>();
    try {
      const starting = LocalCluster.start(
        {
          ...{ nodes: 2, replicas: 1, port: 0, proxy: "builtin", nodeFlags: [] },
          ...{ keepsData: false, dataDir, root: ROOT, nodeCommand: STUB_NODE },
          ...{ say: () => undefined, onDown: () => undefined },
        },
        (cluster) => {
          made = cluster;
        },
      );
      const refused = assert.rejects(starting, /Stopped|ended/);
      const cluster = made as LocalCluster | null;
      assert.ok(cluster !== null);
      // The servers run, the nodes do not yet.
      while (cluster.pids.length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
      for (const pid of cluster.pids) seen.add(pid);
      await cluster.stop();
      for (const pid of cluster.pids) seen.add(pid);
      await refused;
      assert.deepEqual(runningOf([...seen]), []);
      assert.equal(existsSync(dataDir), false);
    } finally {
      await rm(dataDir, { recursive: true, force: true });
    }
  });

  it("leaves no process when the launcher is killed", async () => {
    const dataDir = await mkdtemp(path.join(tmpdir(), "catchall-cluster-"));
    const main = path.join(ROOT, "test/support/launch-main.ts");
    const [program = "", ...args] = [...TSX, main, dataDir];
    const launcher = spawn(program, args, { cwd: ROOT, stdio: ["ignore", "pipe", "inherit"] });
    try {
      const pids = await new Promise<number[]>((resolve) => {
        launcher.stdout.once("data", (line: Buffer) => resolve(JSON.parse(line.toString())));
      });
      assert.equal(runningOf(pids).length, 4, "a node, mongod, nats-server and the reaper");
      launcher.kill("SIGKILL");
      const giveUpMs = Date.now() + REAPED_LIMIT_MS;
      while (runningOf(pids).length > 0) {
        assert.ok(Date.now() < giveUpMs, `still running: ${runningOf(pids)}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      assert.match(readFileSync(path.join(dataDir, "logs/n1.log"), "utf8"), /n1 stops at/);
    } finally {
      launcher.kill("SIGKILL");
      await rm(dataDir, { recursive: true, force: true });
    }
  });
});
