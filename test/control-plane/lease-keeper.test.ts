import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { leaseKey } from "../../src/control-plane/control-store.ts";
import { LeaseKeeper } from "../../src/control-plane/lease-keeper.ts";
import { encodeLease, parseLease } from "../../src/control-plane/lease-record.ts";
import { SILENT_LOGGER } from "../../src/runtime/logger.ts";
import { MemoryControlRecords, MemoryControlStore } from "../support/memory-control-store.ts";
import { VirtualTimers } from "../support/virtual-timers.ts";

const TTL_MS = 1000;

describe("LeaseKeeper", () => {
  let time: VirtualTimers;
  let shared: MemoryControlRecords;
  let store: MemoryControlStore;
  let lease: LeaseKeeper;
  let skewMs = 0;

  beforeEach(() => {
    skewMs = 0;
    time = new VirtualTimers();
    shared = new MemoryControlRecords();
    store = new MemoryControlStore(shared);
    lease = new LeaseKeeper({
      store,
      clock: { wallMs: () => time.wallMs() + skewMs, monotonicMs: () => time.monotonicMs() },
      timers: time,
      logger: SILENT_LOGGER,
      incarnation: 1,
      nodeId: "n1",
      ttlMs: TTL_MS,
    });
  });

  async function create(): Promise<void> {
    const creating = lease.create(5000);
    creating.catch(() => undefined);
    await time.advance(3000);
    await creating;
  }

  function markDead(): void {
    const record = shared.records.get(leaseKey(1));
    const bytes = encodeLease({
      incarnation: 1,
      nodeId: "n1",
      state: "dead",
      renewal: 0,
      ttlMs: TTL_MS,
    });
    shared.put(leaseKey(1), bytes, record?.revision ?? 0);
  }

  function stored(): string | undefined {
    const record = shared.records.get(leaseKey(1));
    return record === undefined ? undefined : parseLease(record.value, 1).ok?.state;
  }

  it("is valid while it is renewed, four times in its time to live", async () => {
    assert.equal(lease.isValid(), false);
    await create();
    const before = shared.history.length;
    await time.advance(10 * TTL_MS);
    assert.ok(lease.isValid());
    assert.ok(shared.history.length - before >= 39 && shared.history.length - before <= 41);
  });

  it("ends one time to live after the sending of the last acknowledged renewal", async () => {
    await create();
    await time.advance(TTL_MS);
    store.isAway = true;
    const remainingMs = lease.remainingMs();
    assert.ok(remainingMs > (TTL_MS * 3) / 4 - 50 && remainingMs <= TTL_MS);
    await time.advance(remainingMs - 1);
    assert.ok(lease.isValid());
    await time.advance(2);
    assert.equal(lease.isValid(), false);
    assert.equal(lease.lostReason(), null);
    assert.equal(lease.health().continuousSinceMs, null);
  });

  it("counts from the sending of a renewal, not from its late acknowledgement", async () => {
    await create();
    const put = store.put.bind(store);
    store.put = async (key, value, expectedRevision) => {
      const outcome = await put(key, value, expectedRevision);
      await new Promise<void>((resolve) => time.after(TTL_MS / 5, resolve));
      return outcome;
    };
    for (let i = 0; i < 100; i++) {
      await time.advance(TTL_MS / 20);
      assert.ok(lease.isValid());
      // Sent at most one interval and one delay ago, and never believed to be younger than the delay.
      assert.ok(lease.remainingMs() >= TTL_MS * (1 - 1 / 4 - 1 / 5) - 1);
      const isYoung = lease.remainingMs() > TTL_MS * (1 - 1 / 5);
      if (i > 10) assert.equal(isYoung, false, "it counts from the acknowledgement");
    }
  });

  it("is valid again when the store comes back and nobody ended it", async () => {
    await create();
    store.isAway = true;
    await time.advance(10 * TTL_MS);
    assert.equal(lease.isValid(), false);
    store.isAway = false;
    await time.advance(TTL_MS);
    assert.ok(lease.isValid());
    const since = lease.health().continuousSinceMs ?? 0;
    assert.ok(since > time.nowMs - TTL_MS, "what was seen before the gap does not count");
  });

  it("ends by the wall clock when the monotonic clock stood still", async () => {
    await create();
    assert.ok(lease.isValid());
    skewMs = TTL_MS + 1;
    assert.equal(lease.isValid(), false);
  });

  it("counts a renewal of unknown outcome from its sending once it is found", async () => {
    await create();
    for (const fault of ["written", "silent", "lost"] as const) {
      store.faults.push({ key: /lease/, fault });
      for (let i = 0; i < 20; i++) {
        await time.advance(TTL_MS / 10);
        assert.ok(lease.isValid());
      }
    }
  });

  it("is not prolonged by an old copy of the record", async () => {
    await create();
    await time.advance(TTL_MS / 2);
    store.stale = new Map(shared.records);
    await time.advance(TTL_MS / 2);
    for (let i = 0; i < 100; i++) store.faults.push({ key: /lease/, fault: "lost" });
    await time.advance(TTL_MS + 1);
    assert.equal(lease.isValid(), false);
  });

  it("is made although the first outcomes were unknown", async () => {
    store.faults.push({ key: /lease/, fault: "lost" }, { key: /lease/, fault: "written" });
    await create();
    assert.ok(lease.isValid());
  });

  it("is lost for ever once its record is final", async () => {
    const reasons: string[] = [];
    lease.onLost((reason) => reasons.push(reason));
    await create();
    markDead();
    await time.advance(TTL_MS);
    assert.equal(lease.isValid(), false);
    assert.match(lease.lostReason() ?? "", /dead/);
    assert.equal(reasons.length, 1);
    const puts = store.puts;
    await time.advance(10 * TTL_MS);
    assert.equal(store.puts, puts);
    assert.equal(time.count, 0);
  });

  it("can't be made once it was ended before it began", async () => {
    markDead();
    await assert.rejects(create(), { code: "lease_lost" });
    assert.equal(stored(), "dead");
  });

  it("gives up making it within its limit", async () => {
    store.isAway = true;
    const creating = lease.create(2000);
    const refused = assert.rejects(creating, { code: "control_unavailable" });
    await time.advance(5000);
    await refused;
    store.isAway = false;
    await time.advance(5000);
    assert.equal(stored(), undefined, "it does not come to life later");
  });

  it("is invalid before others can see that it was given up", async () => {
    await create();
    store.beforePut = () => assert.equal(lease.isValid(), false);
    const ending = lease.end(2000);
    assert.equal(lease.isValid(), false);
    await time.advance(100);
    assert.equal(await ending, true);
    assert.equal(stored(), "left");
  });

  it("finds out that it was given up although the outcome was unknown", async () => {
    await create();
    store.faults.push({ key: /lease/, fault: "lost" }, { key: /lease/, fault: "written" });
    const ending = lease.end(2000);
    await time.advance(2000);
    assert.equal(await ending, true);
    store.isAway = true;
    assert.equal(stored(), "left");
  });

  it("says so when it could not give it up in time", async () => {
    await create();
    store.isAway = true;
    const ending = lease.end(2000);
    await time.advance(4000);
    assert.equal(await ending, false);
    assert.equal(lease.isValid(), false);
  });
});
