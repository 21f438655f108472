import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import type { StatusChange } from "../../src/model/status-change.ts";
import {
  CHANGES_PER_STORE_MAX,
  ChangeOutbox,
  type ChangeSink,
  FLUSH_TIMEOUT_MS,
} from "../../src/notifications/change-outbox.ts";
import { SILENT_LOGGER } from "../../src/runtime/logger.ts";
import { VirtualTimers } from "../support/virtual-timers.ts";
import { changeOf } from "./changes.ts";

class TestSink implements ChangeSink {
  readonly name: string;
  readonly isRequired: boolean;
  readonly stored: string[] = [];
  readonly lost: string[] = [];
  readonly batchSizes: number[] = [];
  calls = 0;
  isAway = false;
  /** Holds the calls until it is called. */
  release: (() => void) | null = null;
  isHeld = false;

  constructor(name: string, isRequired = true) {
    this.name = name;
    this.isRequired = isRequired;
  }

  async store(changes: readonly StatusChange[]): Promise<void> {
    this.calls++;
    if (this.isHeld) {
      await new Promise<void>((resolve) => {
        this.release = resolve;
      });
    }
    if (this.isAway) throw new Error("away");
    this.batchSizes.push(changes.length);
    this.stored.push(...changes.map(({ id }) => id));
  }

  skipped(change: StatusChange): void {
    this.lost.push(change.id);
  }
}

function range(start: number, end: number): number[] {
  return Array.from({ length: end - start }, (_, i) => start + i);
}

describe("ChangeOutbox", () => {
  let timers: VirtualTimers;
  let sink: TestSink;
  let optional: TestSink;
  let told: Map<string, number>;
  const observer = (name: string, result: string, changes: number): void => {
    const key = `${name} ${result}`;
    told.set(key, (told.get(key) ?? 0) + changes);
  };

  beforeEach(() => {
    told = new Map();
    timers = new VirtualTimers();
    sink = new TestSink("changes");
    optional = new TestSink("statuses", false);
  });

  function outboxOf(sinks: readonly ChangeSink[], waitingMax = 80): ChangeOutbox {
    return new ChangeOutbox({ sinks, timers, logger: SILENT_LOGGER, waitingMax, observer });
  }

  const idsOf = (numbers: readonly number[]) => numbers.map((n) => changeOf(n).id);

  it("stores every change in every sink, in order, those of one turn together", async () => {
    const outbox = outboxOf([sink, optional], 100_000);
    for (const n of range(1, 1200)) outbox.take(changeOf(n));
    await timers.advance(10);
    for (const each of [sink, optional]) {
      assert.deepEqual(each.stored, idsOf(range(1, 1200)));
      assert.deepEqual(each.batchSizes, [CHANGES_PER_STORE_MAX, CHANGES_PER_STORE_MAX, 199]);
    }
    assert.deepEqual(outbox.states()[0], {
      name: "changes",
      isRequired: true,
      waiting: 0,
      stored: 1199,
      skipped: 0,
      failures: 0,
    });
  });

  it("gathers for a sink with a pause, but not longer than a checkpoint or a full call waits", async () => {
    const slow = Object.assign(new TestSink("slow"), { pauseMs: 100 });
    const outbox = outboxOf([slow], 100_000);
    outbox.take(changeOf(1));
    await timers.advance(1);
    for (const n of range(2, 5)) {
      outbox.take(changeOf(n));
      await timers.advance(10);
    }
    assert.deepEqual(slow.batchSizes, [1]);
    await timers.advance(100);
    assert.deepEqual(slow.batchSizes, [1, 3]);
    outbox.take(changeOf(5));
    await timers.advance(10);
    const flushed = outbox.flushed();
    await timers.advance(1);
    await flushed;
    assert.deepEqual(slow.batchSizes, [1, 3, 1]);
    for (const n of range(6, 1106)) outbox.take(changeOf(n));
    await timers.advance(200);
    assert.deepEqual(slow.batchSizes.slice(3), [CHANGES_PER_STORE_MAX, CHANGES_PER_STORE_MAX, 100]);
    assert.deepEqual(slow.stored, idsOf(range(1, 1106)));
  });

  it("is flushed when all taken before is stored everywhere, whatever comes later", async () => {
    const outbox = outboxOf([sink, optional]);
    await outbox.flushed();
    optional.isHeld = true;
    outbox.take(changeOf(1));
    let isFlushed = false;
    const flushed = outbox.flushed().then(() => {
      isFlushed = true;
    });
    await timers.advance(10);
    outbox.take(changeOf(2));
    await timers.advance(10);
    assert.deepEqual(sink.stored, idsOf([1, 2]));
    assert.equal(isFlushed, false);
    optional.release?.();
    await flushed;
    assert.deepEqual(optional.stored, idsOf([1]));
  });

  it("asks a failing sink again, ever more slowly, and never out of order", async () => {
    const outbox = outboxOf([sink, optional]);
    sink.isAway = true;
    for (const n of range(1, 8)) outbox.take(changeOf(n));
    await timers.advance(60_000);
    assert.deepEqual(optional.stored, idsOf(range(1, 8)), "the other one is not held up");
    assert.ok(sink.calls >= 8 && sink.calls <= 14, `${sink.calls} calls in a minute`);
    assert.equal(outbox.states()[0]?.failures, sink.calls);
    outbox.take(changeOf(8));
    sink.isAway = false;
    const flushed = outbox.flushed();
    await timers.advance(10_000);
    await flushed;
    assert.deepEqual(sink.stored, idsOf(range(1, 9)));
    assert.equal(outbox.states()[0]?.failures, 0);
  });

  it("never drops for a required sink: it says that it is full, and takes what comes", async () => {
    const outbox = outboxOf([sink], 80);
    sink.isAway = true;
    for (const n of range(1, 80)) outbox.take(changeOf(n));
    assert.equal(outbox.isFull, false);
    for (const n of range(80, 120)) outbox.take(changeOf(n));
    assert.equal(outbox.isFull, true);
    sink.isAway = false;
    await timers.advance(20_000);
    assert.equal(outbox.isFull, false);
    assert.deepEqual(sink.stored, idsOf(range(1, 120)));
    assert.deepEqual(sink.lost, []);
  });

  it("a sink that is not required loses its oldest and is told, and stops nobody", async () => {
    const outbox = outboxOf([sink, optional], 80);
    optional.isAway = true;
    for (const n of range(1, 201)) {
      outbox.take(changeOf(n));
      await timers.advance(1);
    }
    assert.equal(outbox.isFull, false);
    assert.deepEqual(sink.stored, idsOf(range(1, 201)));
    const state = outbox.states()[1];
    assert.ok((state?.waiting ?? 0) <= 80 && (state?.waiting ?? 0) >= 70, `${state?.waiting}`);
    optional.isAway = false;
    const flushed = outbox.flushed();
    await timers.advance(20_000);
    await flushed;
    const all = [...optional.lost, ...optional.stored];
    assert.deepEqual(all, idsOf(range(1, 201)), "each is either lost and told, or stored");
    assert.equal(outbox.states()[1]?.skipped, optional.lost.length);
    assert.equal(told.get("changes stored"), 200);
    assert.equal(told.get("statuses skipped"), optional.lost.length);
    assert.equal(told.get("statuses stored"), optional.stored.length);
    assert.ok((told.get("statuses failed") ?? 0) > 0);
  });

  it("loses nothing that is just being stored, and flushes no earlier", async () => {
    const outbox = outboxOf([optional], 80);
    optional.isHeld = true;
    outbox.take(changeOf(1));
    await timers.advance(1);
    const first = outbox.flushed();
    let isFlushed = false;
    void first.then(() => {
      isFlushed = true;
    });
    for (const n of range(2, 300)) outbox.take(changeOf(n));
    await timers.advance(1);
    assert.equal(isFlushed, false);
    assert.ok(!optional.lost.includes(changeOf(1).id));
    optional.isHeld = false;
    optional.release?.();
    await first;
    await timers.advance(100);
    const all = new Set([...optional.lost, ...optional.stored]);
    assert.equal(all.size, 299);
    assert.equal(optional.lost.length + optional.stored.length, 299);
    assert.equal(outbox.states()[0]?.waiting, 0);
  });

  it("a flush waits for no sink that is not required and fails or lags", async () => {
    const outbox = outboxOf([sink, optional], 100_000);
    optional.isAway = true;
    outbox.take(changeOf(1));
    const flushed = outbox.flushed();
    await timers.advance(1);
    await flushed;
    outbox.take(changeOf(2));
    await timers.advance(1);
    await outbox.flushed();
    assert.deepEqual(sink.stored, idsOf([1, 2]));
    assert.deepEqual(optional.stored, []);
    optional.isAway = false;
    await timers.advance(1000);
    assert.deepEqual(optional.stored, idsOf([1, 2]));
    optional.isHeld = true;
    for (const n of range(3, 4000)) outbox.take(changeOf(n));
    const lagging = outbox.flushed();
    await timers.advance(10);
    await lagging;
    assert.deepEqual(optional.stored, idsOf([1, 2]));
  });

  it("a flush gives up after its time limit, saying who is late", async () => {
    const outbox = outboxOf([sink, optional]);
    sink.isAway = true;
    outbox.take(changeOf(1));
    const flushed = outbox.flushed();
    const rejected = assert.rejects(flushed, /not within 30 s by changes/);
    await timers.advance(FLUSH_TIMEOUT_MS + 1);
    await rejected;
  });

  it("closing ends every wait and takes no more", async () => {
    const outbox = outboxOf([sink]);
    sink.isHeld = true;
    outbox.take(changeOf(1));
    const rejected = assert.rejects(outbox.flushed(), /the node is stopping/);
    await timers.advance(1);
    outbox.close();
    await rejected;
    outbox.take(changeOf(2));
    sink.release?.();
    await timers.advance(60_000);
    assert.deepEqual(sink.calls, 1);
    await assert.rejects(outbox.flushed(), /the node is stopping/);
    assert.equal(timers.count, 0, "no timer is left");
  });

  it("keeps order and count through ten thousand changes and a sink that fails at random", async () => {
    const outbox = outboxOf([sink], 1000);
    let seed = 7;
    for (const n of range(0, 10_000)) {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      sink.isAway = seed % 3 === 0;
      outbox.take(changeOf(n));
      if (seed % 100 === 0) await timers.advance(seed % 400);
    }
    sink.isAway = false;
    const flushed = outbox.flushed();
    await timers.advance(20_000);
    await flushed;
    assert.deepEqual(sink.stored, idsOf(range(0, 10_000)));
  });
});
