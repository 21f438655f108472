import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  type CommittedEntry,
  ENTRY_BODY_BYTES_MAX,
  GroupCommit,
  type Section,
} from "../../src/commit/group-commit.ts";
import type { CatchallError } from "../../src/model/errors.ts";
import { ENTRY_HEADER_BYTES, readEntryHeader } from "../../src/wal/entry-codec.ts";
import { MemoryNodeLog } from "../support/memory-node-log.ts";
import { TEST_TIMERS, TestClock } from "../support/test-node.ts";

interface Told {
  readonly name: string;
  readonly entry?: CommittedEntry;
  readonly error?: CatchallError;
}

function section(name: string, told: Told[], encodedBytes = 16): Section {
  return {
    encodedBytes,
    eventCount: 1,
    encodeInto: (bytes, at) => bytes.fill(name.charCodeAt(0), at, at + encodedBytes),
    committed: (entry) => told.push({ name, entry }),
    failed: (error) => told.push({ name, error }),
  };
}

async function openCommit() {
  const log = new MemoryNodeLog();
  await log.create(1);
  const clock = new TestClock();
  const failures: string[] = [];
  const stalls: (string | null)[] = [];
  let fulls = 0;
  const commit = new GroupCommit({
    log,
    clock,
    timers: TEST_TIMERS,
    random: { uint32: () => 1 },
    incarnation: 1,
    chainSeed: 0,
    timeMsMin: 0,
    observer: {
      appended: () => undefined,
      logFailed: (reason) => failures.push(reason),
      logStalled: (reason) => stalls.push(reason),
      logFull: () => fulls++,
    },
  });
  return { log, clock, commit, failures, stalls, fulls: () => fulls, told: [] as Told[] };
}

function holdAppends(log: MemoryNodeLog): () => void {
  let release: () => void = () => undefined;
  log.hold = new Promise((resolve) => {
    release = resolve;
  });
  return release;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe("GroupCommit", () => {
  it("appends what was enqueued in one tick as one entry, in order", async () => {
    const { log, commit, told } = await openCommit();
    for (const name of ["a", "b", "c"]) commit.enqueue(section(name, told));
    await commit.drained();
    assert.equal(log.appends, 1);
    assert.deepEqual(
      told.map((one) => one.name),
      ["a", "b", "c"],
    );
    assert.deepEqual(
      told.map((one) => one.entry?.sequence),
      [1, 1, 1],
    );
  });

  it("tells nobody before the append is committed, and gathers the rest in the next entry", async () => {
    const { log, commit, told } = await openCommit();
    let release: () => void = () => undefined;
    log.hold = new Promise((resolve) => {
      release = resolve;
    });
    commit.enqueue(section("a", told));
    await new Promise((resolve) => setImmediate(resolve));
    commit.enqueue(section("b", told));
    commit.enqueue(section("c", told));
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(log.appends, 1);
    assert.equal(told.length, 0);
    log.hold = null;
    release();
    await commit.drained();
    assert.equal(log.appends, 2);
    assert.deepEqual(
      told.map((one) => one.entry?.sequence),
      [1, 2, 2],
    );
  });

  it("appends what came while an append was under way", async () => {
    const { log, commit, told } = await openCommit();
    const release = holdAppends(log);
    for (let i = 0; i < 8; i++) commit.enqueue(section("a", told));
    await nextTurn();
    commit.enqueue(section("s", told));
    release();
    await commit.drained();
    assert.equal(told.at(-1)?.entry?.sequence, 2);
  });

  it("closes an entry at its size limit", async () => {
    const { log, commit, told } = await openCommit();
    const large = Math.floor(ENTRY_BODY_BYTES_MAX / 2) - 1;
    for (const name of ["a", "b", "c"]) commit.enqueue(section(name, told, large));
    await commit.drained();
    assert.equal(log.appends, 2);
    assert.deepEqual(
      told.map((one) => one.entry?.sequence),
      [1, 1, 2],
    );
    const first = log.logs.get(1)?.[0] as Uint8Array;
    assert.equal(first.length, ENTRY_HEADER_BYTES + 2 * large);
  });

  it("never lets entry times go back", async () => {
    const { log, clock, commit, told } = await openCommit();
    commit.enqueue(section("a", told));
    await commit.drained();
    clock.nowMs -= 60_000;
    commit.enqueue(section("b", told));
    await commit.drained();
    const times = (log.logs.get(1) ?? []).map((entry) => readEntryHeader(entry).timeMs);
    assert.equal(times[0], times[1]);
  });

  it("answers a full log with effect none, tells of it once, and goes on", async () => {
    const { log, commit, told, failures, stalls, fulls } = await openCommit();
    log.outcomes.push({ kind: "notApplied", code: "log_full", reason: "full" });
    commit.enqueue(section("a", told));
    await commit.drained();
    commit.enqueue(section("b", told));
    await commit.drained();
    assert.equal(told[0]?.error?.code, "log_full");
    assert.equal(told[0]?.error?.effect, "none");
    assert.equal(told[1]?.entry?.sequence, 1);
    assert.deepEqual([failures, stalls, fulls()], [[], ["full", null], 1]);
  });

  it("takes nothing but marks while the log is full, out of its reserve", async () => {
    const { log, commit, told, fulls } = await openCommit();
    const mark = (name: string): Section => ({ ...section(name, told), isMark: true });
    log.outcomes.push({ kind: "notApplied", code: "log_full", reason: "full" });
    commit.enqueue(section("a", told));
    commit.enqueue(mark("first"));
    await commit.drained();
    commit.enqueue(section("b", told));
    commit.enqueue(mark("claim"));
    commit.enqueue(section("c", told));
    await commit.drained();
    const outcomes = told.map(({ name, entry, error }) => [name, entry?.sequence ?? error?.code]);
    assert.deepEqual(outcomes, [
      ...[
        ["a", "log_full"],
        ["first", "log_full"],
      ],
      ...[
        ["b", "log_full"],
        ["c", "log_full"],
      ],
      ["claim", 1],
    ]);
    assert.deepEqual([log.appends, log.reserved, fulls()], [2, 1, 1]);
    commit.enqueue(section("d", told));
    await commit.drained();
    assert.deepEqual([told.at(-1)?.entry?.sequence, log.reserved], [2, 1]);
  });

  it("after an unknown outcome answers the entry unknown, the rest none, and appends no more", async () => {
    const { log, commit, told, failures } = await openCommit();
    let release: () => void = () => undefined;
    log.hold = new Promise((resolve) => {
      release = resolve;
    });
    log.outcomes.push({ kind: "unknown", reason: "fsync failed" });
    commit.enqueue(section("a", told));
    await new Promise((resolve) => setImmediate(resolve));
    commit.enqueue(section("b", told));
    release();
    await commit.drained();
    commit.enqueue(section("c", told));
    assert.deepEqual(
      told.map((one) => [one.name, one.error?.code, one.error?.effect]),
      [
        ["a", "outcome_unknown", "unknown"],
        ["b", "log_failed", "none"],
        ["c", "log_failed", "none"],
      ],
    );
    assert.equal(log.appends, 1);
    assert.deepEqual(failures, ["fsync failed"]);
  });

  it("ends with an entry that can't be applied whole: the rest of it unknown, nothing after it", async () => {
    const { log, commit, told, failures } = await openCommit();
    const broken = {
      ...section("b", told),
      committed: () => {
        throw new Error("no room");
      },
    };
    for (const one of [section("a", told), broken, section("c", told)]) commit.enqueue(one);
    await commit.drained();
    commit.enqueue(section("d", told));
    assert.deepEqual(
      told.map((one) => [one.name, one.error?.code]),
      [
        ["a", undefined],
        ["b", "outcome_unknown"],
        ["c", "outcome_unknown"],
        ["d", "log_failed"],
      ],
    );
    assert.equal(log.appends, 1);
    assert.equal(failures.length, 1);
  });

  it("answers a fenced append with effect none", async () => {
    const { log, commit, told } = await openCommit();
    log.outcomes.push({ kind: "fenced", reason: "sealed" });
    commit.enqueue(section("a", told));
    await commit.drained();
    assert.equal(told[0]?.error?.effect, "none");
  });
});
