import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { leaseKey } from "../../src/control-plane/control-store.ts";
import { parseLease } from "../../src/control-plane/lease-record.ts";
import { ControlRig, TEST_TTL_MS } from "../support/control-rig.ts";

describe("Membership", () => {
  let rig: ControlRig;

  beforeEach(() => {
    rig = new ControlRig();
  });

  afterEach(async () => {
    await rig.stop();
  });

  it("hands out each incarnation once, with its log made before its lease", async () => {
    const seen: boolean[] = [];
    rig.shared.listeners.add(({ key }) => {
      if (key.startsWith("lease.") && seen.length < 2)
        seen.push(rig.logs.ends.has(Number(key.slice(6))));
    });
    const n1 = await rig.start("n1");
    const n2 = await rig.start("n2");
    assert.deepEqual([n1.joined.incarnation, n2.joined.incarnation], [1, 2]);
    assert.deepEqual(seen, [true, true]);
    assert.ok(n1.joined.lease.isValid() && n2.joined.lease.isValid());
  });

  it("joins once although no outcome on the way was known", async () => {
    await rig.start("n1");
    const { store, membership } = rig.parts("n2");
    for (const key of [/table/, /lease/]) {
      store.faults.push({ key, fault: "written" }, { key, fault: "lost" });
    }
    const joined = await rig.finish(membership.join());
    assert.equal(joined.incarnation, 2);
    await rig.time.advance(100);
    assert.equal(rig.newest().table.lastIncarnation, 2);
    joined.lease.stop();
  });

  it("refuses another number of partitions and says which to use", async () => {
    await rig.start("n1");
    const { membership } = rig.parts("n2", 32);
    await assert.rejects(rig.finish(membership.join()), {
      code: "conflict",
      message: /has 16 partitions.*--partitions 16/,
    });
    assert.equal(rig.newest().table.lastIncarnation, 1);
  });

  it("does not come to life when it froze while joining and was ended meanwhile", async () => {
    await rig.start("n1");
    const { membership } = rig.parts("n2");
    const create = rig.logs.create.bind(rig.logs);
    rig.logs.create = async (incarnation) => {
      await new Promise<void>((resolve) => rig.time.after(4 * TEST_TTL_MS, resolve));
      await create(incarnation);
    };
    await assert.rejects(rig.finish(membership.join()));
    const record = rig.shared.records.get(leaseKey(2));
    assert.equal(parseLease(record?.value ?? new Uint8Array(), 2).ok?.state, "dead");
  });

  it("does not come to life when joining took longer than ended leases are remembered for", async () => {
    const { membership, skew } = rig.parts("n1");
    const create = rig.logs.create.bind(rig.logs);
    rig.logs.create = async (incarnation) => {
      skew.ms = 60_000;
      await create(incarnation);
    };
    await assert.rejects(rig.finish(membership.join()), { code: "lease_lost" });
  });

  it("rejects when the control store is away", async () => {
    const { membership, store } = rig.parts("n1");
    store.isAway = true;
    await assert.rejects(rig.finish(membership.join()), { code: "control_unavailable" });
  });

  it("finds another process under its own id, and takes a former life for none", async () => {
    const n1 = await rig.start("n1");
    const twin = await rig.start("n1");
    const found = await rig.finish(twin.membership.findTwin(twin.joined.incarnation));
    assert.equal(found?.incarnation, 1);
    await rig.kill(n1);
    assert.equal(await rig.finish(twin.membership.findTwin(2)), null);
    await rig.time.advance(3 * TEST_TTL_MS);
    assert.equal(await rig.finish(twin.membership.findTwin(2)), null);
  });

  it("loses its lease when the table says that it ended", async () => {
    const n1 = await rig.start("n1");
    const n2 = await rig.start("n2");
    await rig.time.advance(300);
    n2.store.isAway = true;
    await rig.time.advance(3 * TEST_TTL_MS);
    n2.store.isAway = false;
    n2.store.beforePut = () => assert.fail("nothing is written any more");
    await rig.finish(n2.keeper.refresh());
    assert.match(n2.joined.lease.lostReason() ?? "", /table/);
    assert.ok(n1.joined.lease.isValid());
  });

  it("falls silent when it can't say that it leaves", async () => {
    const n1 = await rig.start("n1");
    n1.store.isAway = true;
    assert.equal(await rig.finish(n1.membership.leave(n1.joined)), "gone silent");
    assert.equal(n1.joined.lease.isValid(), false);
  });
});
