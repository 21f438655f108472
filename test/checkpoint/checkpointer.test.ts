import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type {
  CheckpointPage,
  CheckpointStore,
  ManifestSet,
} from "../../src/checkpoint/checkpoint-store.ts";
import { Checkpointer, type CheckpointSource } from "../../src/checkpoint/checkpointer.ts";
import { LogTrimmer, type LogTrimmerOptions } from "../../src/checkpoint/log-trimmer.ts";
import { SILENT_LOGGER } from "../../src/runtime/logger.ts";
import type { Timers } from "../../src/runtime/timers.ts";
import { MemoryNodeLog } from "../support/memory-node-log.ts";
import { TEST_TIMERS, TestClock } from "../support/test-node.ts";
import { VirtualTimers } from "../support/virtual-timers.ts";

type Step = "begin" | "putPages" | "commit" | "trim";

class Bench {
  readonly calls: string[] = [];
  readonly pages: CheckpointPage[] = [];
  readonly manifests: ManifestSet[] = [];
  readonly errors: unknown[] = [];
  readonly clock: TestClock = new TestClock();
  readonly log: MemoryNodeLog = new MemoryNodeLog();
  /** Fails the next call of this step. */
  failAt: Step | null = null;
  wantsFull = false;
  sequence = 10;
  isMetaDirty = false;
  pageIds: readonly number[] = [5];
  readonly source: CheckpointSource;
  others: readonly CheckpointSource[] = [];
  readonly checkpointer: Checkpointer;

  constructor(trimming: Partial<LogTrimmerOptions> = {}, timers: Timers = TEST_TIMERS) {
    const bench = this;
    this.source = {
      partition: 0,
      epoch: 3,
      get position() {
        return { epoch: 3, incarnation: 3, sequence: bench.sequence };
      },
      pageIds: (isFull) => (isFull ? [5, 6, 7] : this.pageIds),
      encodePage: () => {
        // Traffic goes on while pages are written.
        this.sequence++;
        return new Uint8Array(200_000);
      },
      domainCount: () => 1,
      keyBuckets: () => [1000],
      keyBucketsToWrite: () => [1000],
      encodeKeys: () => new Uint8Array(20),
      isMetaDirty: () => this.isMetaDirty,
      encodeMeta: () => new Uint8Array(2),
    };
    const { trim } = this.log;
    this.log.trim = async (incarnation, upTo) => {
      this.#step("trim", `trim ${incarnation} ${upTo}`);
      await trim.call(this.log, incarnation, upTo);
    };
    const { log, clock } = this;
    const trimmer = new LogTrimmer({ log, clock, logRetentionMs: 0, restored: null, ...trimming });
    this.checkpointer = new Checkpointer({
      store: this.#store(),
      clock: this.clock,
      timers,
      logger: { ...SILENT_LOGGER, error: (fields: object) => this.errors.push(fields) },
      intervalMs: 60_000,
      incarnation: 3,
      sources: () => [this.source, ...this.others],
      appliedSequence: () => this.sequence,
      entryTimeMs: () => this.clock.nowMs,
      identity: { formatVersion: 1, partitions: 1, hashName: "h", canonicalisationVersion: "c" },
      observer: { checkpointed: () => this.calls.push("observed") },
      confirmed: ({ timeMs, sequence }) => trimmer.confirmed({ timeMs, incarnation: 3, sequence }),
    });
  }

  #step(step: Step, call: string): void {
    this.calls.push(call);
    if (this.failAt !== step) return;
    this.failAt = null;
    throw new Error(`${step} failed`);
  }

  #store(): CheckpointStore {
    const bench = this;
    return {
      get wantsFull() {
        return bench.wantsFull;
      },
      readManifests: async () => null,
      readPages: async function* () {
        // Nothing was kept.
      },
      begin: async (isFull) => {
        this.#step("begin", `begin ${isFull ? "full" : "delta"}`);
        return {
          putPages: async (pages) => {
            this.#step("putPages", `put ${pages.map((page) => page.kind).join(" ")}`);
            this.pages.push(...pages);
          },
          commit: async (set) => {
            this.#step("commit", "commit");
            this.manifests.push(set);
            return 1;
          },
          abandon: async () => {
            this.calls.push("abandon");
          },
        };
      },
      close: async () => undefined,
    };
  }
}

/** What was asked for first is under way. */
function begun(): Promise<void> {
  return new Promise((resolve) => queueMicrotask(resolve));
}

describe("Checkpointer", () => {
  it("writes the manifest after every page, then tells, then trims", async () => {
    const bench = new Bench();
    bench.isMetaDirty = true;
    await bench.checkpointer.run();
    const puts = ["put counters keys", "put meta"];
    assert.deepEqual(bench.calls, ["begin delta", ...puts, "commit", "observed"]);
  });

  it("encodes rule and overrides before the pages and stores them after, so that neither is ahead", async () => {
    const bench = new Bench();
    bench.isMetaDirty = true;
    bench.pageIds = [5, 6, 7];
    await bench.checkpointer.run();
    const meta = bench.pages.at(-1);
    assert.equal(meta?.kind, "meta");
    assert.equal(meta.position.sequence, 10);
    assert.equal(bench.calls.at(-3), "put meta");
    for (const { kind, position } of bench.pages) {
      if (kind === "counters") assert.ok(position.sequence >= 10, `${position.sequence}`);
    }
  });

  it("takes the watermark before the first page, so that no page is older", async () => {
    const bench = new Bench();
    bench.wantsFull = true;
    await bench.checkpointer.run();
    const watermark = bench.manifests[0]?.manifests[0]?.watermark;
    assert.deepEqual(watermark, { epoch: 3, incarnation: 3, sequence: 10 });
    assert.ok(bench.pages.length >= 4);
    for (const page of bench.pages) assert.ok(page.position.sequence >= 10);
    assert.ok(Math.max(...bench.pages.map(({ position }) => position.sequence)) > 10);
    assert.equal(bench.checkpointer.lagEntries, bench.sequence - 10);
  });

  it("hands the store slices, and lets other work run between them", async () => {
    let turns = 0;
    const soon = (work: () => void): void => {
      turns++;
      TEST_TIMERS.soon(work);
    };
    const bench = new Bench({}, { ...TEST_TIMERS, soon });
    bench.wantsFull = true;
    await bench.checkpointer.run();
    const puts = bench.calls.filter((call) => call.startsWith("put"));
    assert.deepEqual(puts, ["put counters counters", "put counters keys", "put meta"]);
    assert.equal(turns, 1);
  });

  it("writes one partition by itself, once however often it is asked meanwhile, and trims nothing", async () => {
    const bench = new Bench();
    bench.others = [{ ...bench.source, partition: 4 }];
    const { checkpointer } = bench;
    await Promise.all([checkpointer.runOne(0), checkpointer.runOne(0), checkpointer.runOne(9)]);
    const partitions = bench.manifests.map(({ manifests }) =>
      manifests.map((one) => one.partition),
    );
    assert.deepEqual(partitions, [[0]]);
    assert.ok(bench.pages.length > 0, "there are pages");
    assert.ok(bench.pages.every(({ partition }) => partition === 0));
    assert.equal(bench.calls.includes("observed"), false);
    assert.equal(checkpointer.lastCheckpointMs, null);
    assert.equal(checkpointer.lagEntries, bench.sequence, "the log is as long as before");
  });

  it("writes all partitions where one alone would leave the store without the others", async () => {
    const bench = new Bench();
    bench.others = [{ ...bench.source, partition: 4 }];
    bench.wantsFull = true;
    await bench.checkpointer.runOne(4);
    assert.deepEqual(
      bench.manifests[0]?.manifests.map(({ partition }) => partition),
      [0, 4],
    );
    bench.wantsFull = false;
    bench.failAt = "commit";
    await bench.checkpointer.runOne(4);
    await bench.checkpointer.runOne(4);
    assert.deepEqual(
      bench.manifests[1]?.manifests.map(({ partition }) => partition),
      [0, 4],
      "dirty marks were lost with the one that failed",
    );
  });

  it("writes one checkpoint at a time", async () => {
    const bench = new Bench();
    await Promise.all([bench.checkpointer.run(), bench.checkpointer.runOne(0)]);
    const steps = bench.calls.filter((call) => /begin|commit/.test(call));
    assert.deepEqual(steps, ["begin delta", "commit", "begin delta", "commit"]);
  });

  it("writes nothing that had to wait for its turn when it was stopped, and the last one after that", async () => {
    const bench = new Bench();
    const { checkpointer } = bench;
    const asked = [checkpointer.runOne(0), checkpointer.run(), checkpointer.runOne(4)];
    await begun();
    await checkpointer.stop();
    await Promise.all(asked);
    assert.equal(bench.manifests.length, 1);
    await checkpointer.run();
    assert.equal(bench.manifests.length, 2);
  });

  for (const step of ["begin", "putPages", "commit"] as const) {
    it(`never rejects when ${step} fails, keeps the log, and writes all the next time`, async () => {
      const bench = new Bench();
      await bench.checkpointer.run();
      bench.calls.length = 0;
      bench.failAt = step;
      await bench.checkpointer.run();
      assert.equal(bench.errors.length, 1);
      assert.ok(!bench.calls.some((call) => call.startsWith("trim")));
      assert.equal(bench.calls.includes("abandon"), step !== "begin");
      assert.equal(bench.manifests.length, 1);
      await bench.checkpointer.run();
      assert.ok(bench.calls.includes("begin full"));
      assert.equal(bench.manifests.length, 2);
      bench.calls.length = 0;
      await bench.checkpointer.run();
      assert.equal(bench.calls[0], "begin delta");
    });
  }

  it("does not take back a checkpoint that is durable because the trim after it failed", async () => {
    const bench = new Bench();
    await bench.checkpointer.run();
    bench.failAt = "trim";
    bench.calls.length = 0;
    await bench.checkpointer.run();
    assert.equal(bench.manifests.length, 2);
    assert.ok(!bench.calls.includes("abandon"));
    assert.equal(bench.errors.length, 1);
    bench.calls.length = 0;
    await bench.checkpointer.run();
    assert.equal(bench.calls[0], "begin delta");
    assert.ok(bench.calls.some((call) => call.startsWith("trim")));
  });

  it("trims to the manifest before the newest and deletes dead logs only then", async () => {
    const bench = new Bench();
    for (const incarnation of [1, 2, 3]) await bench.log.create(incarnation);
    await bench.checkpointer.run();
    assert.deepEqual(await bench.log.list(), [1, 2, 3]);
    assert.ok(!bench.calls.some((call) => call.startsWith("trim")));
    bench.sequence = 50;
    await bench.checkpointer.run();
    assert.deepEqual(await bench.log.list(), [3]);
    assert.equal(bench.calls.at(-1), "trim 3 10");
    await bench.checkpointer.run();
    assert.equal(bench.calls.at(-1), "trim 3 50");
  });

  it("keeps entries for the retention after the checkpoint that covers them", async () => {
    const bench = new Bench({ logRetentionMs: 5000 });
    await bench.checkpointer.run();
    bench.clock.nowMs += 4999;
    bench.sequence = 50;
    await bench.checkpointer.run();
    assert.ok(!bench.calls.some((call) => call.startsWith("trim")));
    bench.clock.nowMs += 1;
    await bench.checkpointer.run();
    assert.equal(bench.calls.at(-1), "trim 3 10");
    bench.clock.nowMs += 4999;
    await bench.checkpointer.run();
    assert.equal(bench.calls.at(-1), "trim 3 50");
  });

  it("trims to the checkpoint that the node was restored from, so that short lives pile up no logs", async () => {
    const bench = new Bench({ restored: { timeMs: 0, incarnation: 2, sequence: 4 } });
    for (const incarnation of [1, 2, 3]) await bench.log.create(incarnation);
    await bench.checkpointer.run();
    assert.deepEqual(await bench.log.list(), [2, 3]);
    assert.equal(bench.calls.at(-1), "trim 2 4");
  });

  it("comes within a second when the log is full, and by its interval when it is not", async () => {
    const timers = new VirtualTimers();
    const bench = new Bench({}, timers);
    bench.checkpointer.start();
    await timers.advance(30_000);
    assert.equal(bench.manifests.length, 0);
    for (let refused = 0; refused < 35; refused++) {
      bench.checkpointer.hurry();
      await timers.advance(100);
    }
    assert.equal(bench.manifests.length, 3);
    await timers.advance(59_000);
    // The one that was due by then.
    assert.equal(bench.manifests.length, 4);
  });

  it("joins the checkpoint that is running, and stop waits for it", async () => {
    const bench = new Bench();
    const both = [bench.checkpointer.run(), bench.checkpointer.run()];
    assert.equal(both[0], both[1]);
    await begun();
    await bench.checkpointer.stop();
    assert.equal(bench.manifests.length, 1);
  });
});
