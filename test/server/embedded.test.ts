/** A node in this process on a real directory: what a program that embeds it relies on. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { loadConfig } from "../../src/config/config.ts";
import type { Config } from "../../src/config/config-type.ts";
import { type DomainName, DomainParser } from "../../src/model/domain-name.ts";
import { BOUNCED, DELIVERED, type EventKind } from "../../src/model/event.ts";
import { DEFAULT_RULE } from "../../src/model/status.ts";
import { COMMITTED, type EventOutcome, REPLAYED } from "../../src/router/ingress.ts";
import { SILENT_LOGGER } from "../../src/runtime/logger.ts";
import { type EmbeddedNode, startEmbeddedNode } from "../../src/server/embedded.ts";
import { NO_METRICS } from "../support/test-node.ts";

const DOMAIN = "a.com" as DomainName;

function configOf(dataDir: string, flags: readonly string[]): Config {
  const loaded = loadConfig({
    argv: ["--data-dir", dataDir, ...flags],
    env: {},
    readFile: () => "",
    hostName: "host",
  });
  assert.ok("config" in loaded, JSON.stringify(loaded));
  return loaded.config;
}

function send(
  node: EmbeddedNode,
  kind: EventKind,
  id: string | null = null,
): Promise<EventOutcome> {
  const parser = new DomainParser();
  parser.parseText(DOMAIN, false);
  return new Promise((resolve) => {
    const settled = (_index: number, outcome: EventOutcome): void => resolve(outcome);
    node.router.submit(parser, kind, 1, id, { settled }, 0);
  });
}

describe("startEmbeddedNode", () => {
  let root = "";
  let made = 0;
  const running: EmbeddedNode[] = [];

  before(async () => {
    root = await mkdtemp(join(tmpdir(), "catchall-embedded-"));
  });

  after(async () => {
    for (const node of running) await node.stop();
    await rm(root, { recursive: true, force: true });
  });

  function newDirectory(): string {
    made++;
    return join(root, `data${made}`);
  }

  async function start(directory: string, ...flags: string[]): Promise<EmbeddedNode> {
    const node = await startEmbeddedNode({
      config: configOf(directory, flags),
      logger: SILENT_LOGGER,
      metrics: NO_METRICS,
      onLogFailed: (reason) => assert.fail(reason),
    });
    running.push(node);
    return node;
  }

  it("makes the directory, counts, and has everything after a restart, under a new incarnation", async () => {
    const directory = newDirectory();
    const first = await start(directory);
    assert.equal(await send(first, DELIVERED), COMMITTED);
    assert.equal(await send(first, BOUNCED, "k"), COMMITTED);
    await first.stop();
    const second = await start(directory);
    assert.equal(second.incarnation, first.incarnation + 1);
    assert.equal(second.recovery.entries, 0, "the checkpoint of the stop covers all");
    assert.equal(await send(second, BOUNCED, "k"), REPLAYED);
    const { delivered, bounced } = await second.router.status(DOMAIN);
    assert.deepEqual([delivered, bounced], [1, 1]);
    await second.stop();
  });

  it("commits what was submitted in the very tick of the stop", async () => {
    const directory = newDirectory();
    const first = await start(directory);
    const outcome = send(first, DELIVERED);
    await Promise.all([first.stop(), first.stop()]);
    assert.equal(await outcome, COMMITTED);
    assert.equal((await send(first, DELIVERED)) instanceof Error, true);
    const second = await start(directory);
    assert.equal((await second.router.status(DOMAIN)).delivered, 1);
    await second.stop();
  });

  it("refuses operators' changes once it drains, as it does events, and still reads", async () => {
    const node = await start(newDirectory());
    assert.equal(await send(node, DELIVERED), COMMITTED);
    node.gate.moveTo("draining");
    const refused = { code: "shutting_down", effect: "none" };
    const override = { status: "catch-all", reason: "r" } as const;
    const { router } = node;
    await assert.rejects(
      router.setRule({ ...DEFAULT_RULE, deliveredThreshold: 0 }, "ops"),
      refused,
    );
    await assert.rejects(router.setOverride(DOMAIN, override, "ops"), refused);
    await assert.rejects(router.removeOverride(DOMAIN, "ops"), refused);
    await assert.rejects(router.reset(DOMAIN, "ops"), refused);
    await assert.rejects(router.rebalance({ isDryRun: false }), refused);
    await assert.rejects(router.drain("x"), refused);
    assert.deepEqual(router.rule(), DEFAULT_RULE);
    const { delivered, overridden } = await router.status(DOMAIN);
    assert.deepEqual([delivered, overridden], [1, false]);
    await router.tryRule(DEFAULT_RULE);
    await node.stop();
  });

  it("refuses another number of partitions and leaves the directory as it was", async () => {
    const directory = newDirectory();
    await (await start(directory, "--partitions", "4")).stop();
    const before = await readFile(join(directory, "control.json"), "utf8");
    await assert.rejects(start(directory, "--partitions", "8"), { code: "conflict" });
    assert.equal(await readFile(join(directory, "control.json"), "utf8"), before);
    await (await start(directory, "--partitions", "4")).stop();
  });

  it("refuses a directory that another node holds, and takes it once that has stopped", async () => {
    const directory = newDirectory();
    const holder = await start(directory);
    await assert.rejects(start(directory), { code: "data_dir_locked" });
    assert.equal(await send(holder, DELIVERED), COMMITTED);
    await holder.stop();
    const next = await start(directory);
    assert.equal((await next.router.status(DOMAIN)).delivered, 1);
    await next.stop();
  });

  it("refuses a control table that cannot be read, and gives the directory free", async () => {
    const directory = newDirectory();
    await (await start(directory)).stop();
    const file = join(directory, "control.json");
    const whole = await readFile(file, "utf8");
    for (const text of ["", "null", "[]", whole.slice(0, -5), '{"incarnation":"1"}']) {
      await writeFile(file, text);
      await assert.rejects(start(directory), { code: "checkpoint_damaged" }, text);
    }
    await writeFile(file, whole);
    await (await start(directory)).stop();
  });

  it("keeps the rule of operators over a restart, whatever --delivered-threshold says then", async () => {
    const directory = newDirectory();
    const first = await start(directory, "--delivered-threshold", "5");
    assert.equal(first.router.rule().deliveredThreshold, 5);
    await send(first, DELIVERED);
    const report = await first.router.setRule({ ...DEFAULT_RULE, deliveredThreshold: 0 }, "ops");
    assert.equal(report.domainsChanged, 1);
    await first.stop();
    const second = await start(directory, "--delivered-threshold", "77");
    assert.equal(second.router.rule().deliveredThreshold, 0);
    assert.equal((await second.router.status(DOMAIN)).status, "catch-all");
    await second.stop();
  });
});
