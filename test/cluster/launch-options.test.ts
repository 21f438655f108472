/** What may follow `npm run cluster --`, and when the command is built again. */

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it } from "node:test";
import { type LaunchOptions, parseLaunch } from "../../scripts/cluster/launch-options.ts";
import { isStale } from "../../scripts/cluster/stale-build.ts";

function started(...argv: readonly string[]): LaunchOptions {
  const launch = parseLaunch(argv, "/project");
  assert.ok(launch.kind === "start", JSON.stringify(launch));
  return launch.options;
}

function mistakes(...argv: readonly string[]): readonly string[] {
  const launch = parseLaunch(argv, "/project");
  return launch.kind === "mistakes" ? launch.mistakes : [];
}

describe("parseLaunch", () => {
  it("starts three nodes and one nats-server, and removes their data", () => {
    assert.deepEqual(started(), {
      nodes: 3,
      replicas: 1,
      port: 8080,
      dataDir: "/project/.cache/cluster",
      keepsData: false,
      proxy: "auto",
      nodeFlags: [],
    });
  });

  it("keeps data that was asked to be kept, or that lies where the user said", () => {
    assert.equal(started("--keep").keepsData, true);
    assert.equal(started("--data-dir", "/data").keepsData, true);
    assert.equal(started("--data-dir=here").dataDir, "/project/here");
  });

  it("gives options of nodes to the nodes", () => {
    const { nodes, nodeFlags } = started(
      ...["--partitions", "16", "--nodes", "2", "--auto-rebalance", "--lease-ttl=3s"],
    );
    assert.equal(nodes, 2);
    assert.deepEqual(nodeFlags, ["--partitions=16", "--auto-rebalance=true", "--lease-ttl=3s"]);
  });

  it("refuses what the cluster sets itself, and what nobody knows, all at once", () => {
    assert.deepEqual(mistakes("--nats-url", "x", "--nodez", "3", "--nodes", "0"), [
      "--nats-url is set by the cluster for each node",
      "--nodez is neither a flag of the cluster nor an option of a node",
      '--nodes must be a whole number from 1 to 16, not "0"',
    ]);
    assert.deepEqual(mistakes("--replicas", "2", "--proxy", "x"), [
      "--replicas must be 1 or 3",
      "--proxy must be one of auto, haproxy, builtin",
    ]);
    assert.deepEqual(mistakes("--nodes"), [
      "--nodes needs a value",
      '--nodes must be a whole number from 1 to 16, not "true"',
    ]);
  });

  it("knows commands to a cluster that runs", () => {
    const dataDir = "/project/.cache/cluster";
    const command = (words: readonly string[]) => ({ kind: "command", dataDir, words });
    assert.deepEqual(parseLaunch(["kill", "n1"], "/project"), command(["kill", "n1"]));
    assert.deepEqual(parseLaunch(["--join"], "/project"), command(["join"]));
    assert.deepEqual(mistakes("kill"), ["kill needs one name"]);
    assert.deepEqual(mistakes("join", "n4"), ["join takes no name"]);
    assert.equal(mistakes("explode").length, 1);
    assert.deepEqual(parseLaunch(["--help"], "/project"), { kind: "help" });
  });
});

describe("isStale", () => {
  it("is so when the output is missing, or older than any source", () => {
    const folder = mkdtempSync(path.join(tmpdir(), "catchall-stale-"));
    try {
      const output = path.join(folder, "main.js");
      const sources = path.join(folder, "src");
      const source = path.join(sources, "deep", "a.ts");
      mkdirSync(path.dirname(source), { recursive: true });
      writeFileSync(source, "");
      assert.equal(isStale(output, [sources]), true);
      writeFileSync(output, "");
      const old = new Date(Date.now() - 60_000);
      for (const name of [source, path.dirname(source), sources]) utimesSync(name, old, old);
      assert.equal(isStale(output, [sources]), false);
      utimesSync(source, new Date(Date.now() + 60_000), new Date(Date.now() + 60_000));
      assert.equal(isStale(output, [sources]), true);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
