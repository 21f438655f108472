/** An embedded node whose log is full starts again, makes room, and ends a rule change that was cut short. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { loadConfig } from "../../src/config/config.ts";
import { LocalControlStore } from "../../src/control-plane/local-control-store.ts";
import { DomainParser } from "../../src/model/domain-name.ts";
import { CatchallError } from "../../src/model/errors.ts";
import { DELIVERED } from "../../src/model/event.ts";
import { DEFAULT_RULE } from "../../src/model/status.ts";
import { COMMITTED, type EventOutcome } from "../../src/router/ingress.ts";
import { SILENT_LOGGER } from "../../src/runtime/logger.ts";
import { type EmbeddedNode, startEmbeddedOn } from "../../src/server/embedded.ts";
import { SimDisk } from "../../src/simulation/sim-disk.ts";
import { TestWorld } from "../simulation/test-world.ts";
import { NO_METRICS } from "../support/test-node.ts";

const KIB = 1024;
/** So many that their rule does not fit the first segment. */
const PARTITIONS = 1024;
const RULE = { ...DEFAULT_RULE, deliveredThreshold: 5 };

function start(test: TestWorld, disk: SimDisk): Promise<EmbeddedNode> {
  const loaded = loadConfig({ argv: [], env: {}, readFile: () => "", hostName: "host" });
  assert.equal("config" in loaded, true, JSON.stringify(loaded));
  if (!("config" in loaded)) throw new Error("no configuration");
  const { machine, timers } = test.boot(0);
  const limits = { partitions: PARTITIONS, logBytesMax: 512 * KIB };
  const random = test.world.random("node");
  return startEmbeddedOn(
    { disk, clock: machine.clock, timers, random, segmentBytes: 64 * KIB, release: async () => {} },
    {
      config: { ...loaded.config, ...limits },
      logger: SILENT_LOGGER,
      metrics: NO_METRICS,
      onLogFailed: (reason) => assert.fail(reason),
    },
  );
}

function send(node: EmbeddedNode, domain: string, count: number): Promise<EventOutcome> {
  const parser = new DomainParser();
  parser.parseText(domain, false);
  return new Promise((resolve) => {
    const settled = (_index: number, outcome: EventOutcome): void => resolve(outcome);
    node.router.submit(parser, DELIVERED, count, null, { settled }, 0);
  });
}

describe("startEmbeddedOn, with a full log", () => {
  it("serves, makes room, and applies the rule that a crash kept from the partitions", async () => {
    const test = new TestWorld();
    const disk = new SimDisk();
    await test.play(async () => {
      const first = await start(test, disk);
      let outcome = await send(first, "a.com", 10);
      // In one tick an entry, so that the log is full before a checkpoint can be.
      for (let n = 0; outcome === COMMITTED; n++) outcome = await send(first, `d${n}.com`, 1);
      assert.equal(outcome instanceof CatchallError && outcome.code, "log_full");
      const store = new LocalControlStore(disk);
      const table = await store.read();
      assert.notEqual(table, null);
      if (table !== null) await store.write({ ...table, rule: RULE, ruleRevision: 1 });
    });
    await test.play(async () => {
      const second = await start(test, disk);
      const statusOf = async () => (await second.router.status("a.com" as never)).status;
      assert.deepEqual([await statusOf(), second.router.rule()], ["unknown", RULE]);
      const later = () => new Promise<void>((resolve) => second.timers.after(1000, resolve));
      for (let tries = 0; (await statusOf()) === "unknown" && tries < 20; tries++) await later();
      assert.equal(await statusOf(), "catch-all");
      assert.equal(await send(second, "a.com", 1), COMMITTED);
      await second.stop();
    });
  });
});
