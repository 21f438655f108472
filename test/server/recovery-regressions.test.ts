/**
 * Defects that a review found, each with the case that shows it (docs/findings.md).
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it } from "node:test";
import { loadConfig } from "../../src/config/config.ts";
import type { DomainName } from "../../src/model/domain-name.ts";
import { CatchallError } from "../../src/model/errors.ts";
import { BOUNCED, DELIVERED } from "../../src/model/event.ts";
import { SECTION_RULE } from "../../src/partition/section-codec.ts";
import { COMMITTED } from "../../src/router/ingress.ts";
import { SILENT_LOGGER } from "../../src/runtime/logger.ts";
import { type EmbeddedNode, startEmbeddedNode } from "../../src/server/embedded.ts";
import { NO_METRICS, TestWorld } from "../support/test-node.ts";

const A = "a.com" as DomainName;
const DAY_MS = 24 * 3_600_000;

describe("Recovery", () => {
  it("replays overrides and rules over the pages they were read with", async () => {
    const world = new TestWorld();
    const node = await world.start();
    const { router, host, checkpointer } = node.assembled;
    await node.send(A, DELIVERED);
    const rule = { deliveredThreshold: 500, bouncedThreshold: 1, maxBounceRatio: null };
    const put = world.checkpoints.begin.bind(world.checkpoints);
    world.checkpoints.begin = async () => {
      const writer = await put();
      let isFirst = true;
      const putPages = async (pages: Parameters<typeof writer.putPages>[0]) => {
        if (isFirst) {
          isFirst = false;
          await router.setOverride(A, { status: "catch-all", reason: "x" }, "ops");
          for (const actor of host.actors) {
            await actor.change({ kind: SECTION_RULE, rule, revision: 1, by: "ops" });
          }
          await router.removeOverride(A, "ops");
        }
        await writer.putPages(pages);
      };
      return { ...writer, putPages };
    };
    await checkpointer.run();
    const before = await router.status(A);
    const after = await (await world.start()).assembled.router.status(A);
    assert.deepEqual(
      [after.status, after.overridden, after.statusSince, after.reason],
      [before.status, before.overridden, before.statusSince, before.reason],
    );
  });

  it("does not bring back keys that were forgotten before the checkpoint", async () => {
    const world = new TestWorld();
    const node = await world.start();
    await node.send(A, DELIVERED, { id: "k" });
    await node.assembled.checkpointer.run();
    world.clock.nowMs += DAY_MS;
    await node.send(A, DELIVERED);
    await node.assembled.checkpointer.run();
    const again = await world.start();
    assert.equal(await again.send(A, DELIVERED, { id: "k" }), COMMITTED);
  });

  it("keeps a key for the window when the window is made shorter", async () => {
    const world = new TestWorld();
    world.clock.nowMs = Math.floor(world.clock.nowMs / 60_000) * 60_000 + 59_000;
    const node = await world.start({ idempotencyWindowMs: 600_000 });
    await node.send(A, DELIVERED, { id: "k" });
    await node.assembled.checkpointer.run();
    const shorter = await world.start({ idempotencyWindowMs: 60_000 });
    world.clock.nowMs += 8_000;
    await shorter.send(A, DELIVERED);
    assert.notEqual(await shorter.send(A, DELIVERED, { id: "k" }), COMMITTED);
    assert.deepEqual(await shorter.counts(A), [2, 0, "unknown"]);
  });
});

describe("Serving", () => {
  it("forgets keys by time alone, without other traffic", async () => {
    const world = new TestWorld();
    const node = await world.start();
    await node.send(A, DELIVERED, { id: "k" });
    world.clock.nowMs += DAY_MS;
    assert.equal(await node.send(A, BOUNCED, { id: "k" }), COMMITTED);
  });

  it("ends every request and stops when a committed entry cannot be applied", async () => {
    const node = await new TestWorld().start();
    for (const { state } of node.assembled.host.actors) {
      state.table.findOrInsert = () => -1;
    }
    const outcomes = await Promise.all(["a.com", "b.com"].map((d) => node.send(d, DELIVERED)));
    for (const outcome of outcomes) {
      assert.ok(outcome instanceof CatchallError);
      assert.equal(outcome.effect, "unknown");
    }
    assert.equal(node.failures.length, 1);
    await assert.rejects(node.counts("a.com"), { code: "log_failed" });
    await assert.rejects(node.assembled.router.stats(), { code: "log_failed" });
  });

  it("goes on when a listener of status changes throws", async () => {
    const node = await new TestWorld().start();
    node.assembled.router.onStatusChange(() => {
      throw new Error("listener");
    });
    assert.equal(await node.send(A, BOUNCED), COMMITTED);
    assert.deepEqual(await node.counts(A), [0, 1, "not catch-all"]);
  });
});

describe("startEmbeddedNode", () => {
  it("refuses a directory whose control table is missing or older than its log", async () => {
    const dataDir = await mkdtemp(path.join(tmpdir(), "catchall-control-"));
    try {
      await (await start(dataDir)).stop();
      await (await start(dataDir)).stop();
      await rm(path.join(dataDir, "control.json"));
      await assert.rejects(start(dataDir), { code: "checkpoint_damaged" });
      await assert.rejects(start(dataDir), { code: "checkpoint_damaged" });
    } finally {
      await rm(dataDir, { recursive: true });
    }
  });
});

function start(dataDir: string): Promise<EmbeddedNode> {
  const readFile = () => "";
  const argv = ["--data-dir", dataDir, "--partitions", "1"];
  const loaded = loadConfig({ argv, env: {}, readFile, hostName: "test" });
  assert.ok("config" in loaded);
  return startEmbeddedNode({
    config: loaded.config,
    logger: SILENT_LOGGER,
    metrics: NO_METRICS,
    onLogFailed: () => undefined,
  });
}
