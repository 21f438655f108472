import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { leaseKey } from "../../src/control-plane/control-store.ts";
import { parseTable } from "../../src/control-plane/control-table-codec.ts";
import { suspicionMs } from "../../src/control-plane/failure-detector.ts";
import { encodeLease, parseLease } from "../../src/control-plane/lease-record.ts";
import { drainMember, startRebalance } from "../../src/control-plane/rebalance-changes.ts";
import { clearLineage, joinMember, startMove } from "../../src/control-plane/table-changes.ts";
import { type ControlTable, memberOf, NOBODY } from "../../src/model/ownership.ts";
import { ControlRig, type RigNode, TEST_TTL_MS } from "../support/control-rig.ts";

/** Silence until the end, plus a few rounds. */
const DETECTED_MS = suspicionMs(TEST_TTL_MS) + 500;

describe("Coordinator", () => {
  let rig: ControlRig;
  let breaches: string[];

  beforeEach(() => {
    rig = new ControlRig();
    breaches = watchOrder(rig);
  });

  afterEach(async () => {
    await rig.stop();
    assert.deepEqual(breaches, []);
  });

  async function three(): Promise<[RigNode, RigNode, RigNode]> {
    const options = { expectNodes: 3 };
    const nodes = [
      await rig.start("n1", options),
      await rig.start("n2", options),
      await rig.start("n3", options),
    ];
    await rig.time.advance(500);
    assert.deepEqual(rig.loads(), [6, 5, 5]);
    return nodes as [RigNode, RigNode, RigNode];
  }

  function stateOf(incarnation: number): string | undefined {
    return memberOf(rig.newest().table, incarnation)?.state;
  }

  it("assigns once the expected nodes are there, and gives a later one nothing", async () => {
    await rig.start("n1", { expectNodes: 2 });
    await rig.time.advance(1000);
    assert.deepEqual(rig.loads(), [0]);
    await rig.start("n2", { expectNodes: 2 });
    await rig.time.advance(500);
    assert.deepEqual(rig.loads(), [8, 8]);
    await rig.start("n3");
    await rig.time.advance(5000);
    assert.deepEqual(rig.loads(), [8, 8, 0]);
  });

  it("assigns to those who came when the settling time has passed", async () => {
    await rig.start("n1", { expectNodes: 5, settleMs: 3000 });
    await rig.time.advance(2500);
    assert.deepEqual(rig.loads(), [0]);
    await rig.time.advance(1000);
    assert.deepEqual(rig.loads(), [16]);
  });

  it("ends a killed node by lease, seal and table, and spreads its partitions", async () => {
    const [, n2] = await three();
    await rig.kill(n2);
    await rig.time.advance(TEST_TTL_MS / 2);
    assert.equal(stateOf(2), "alive");
    await rig.time.advance(DETECTED_MS);
    assert.equal(stateOf(2), "dead");
    assert.deepEqual(rig.loads(), [8, 0, 8]);
    for (const { owner, epoch, lineage } of rig.newest().table.partitions) {
      assert.notEqual(owner, 2);
      if (epoch === 2) assert.deepEqual(lineage, [{ epoch: 1, incarnation: 2, endSequence: 200 }]);
    }
  });

  it("lets the next node do what the one whose turn it is can't", async () => {
    const [n1, n2] = await three();
    // It renews its lease, and never reaches the log.
    n1.coordinator.step = async () => undefined;
    await rig.kill(n2);
    await rig.time.advance(DETECTED_MS);
    assert.equal(stateOf(2), "alive");
    await rig.time.advance(15_000);
    assert.equal(stateOf(2), "dead");
    assert.deepEqual(rig.loads(), [8, 0, 8]);
  });

  it("ends the coordinator itself when it dies", async () => {
    const [n1] = await three();
    assert.ok(n1.coordinator.isActing());
    await rig.kill(n1);
    await rig.time.advance(DETECTED_MS);
    assert.equal(stateOf(1), "dead");
    assert.deepEqual(rig.loads(), [0, 8, 8]);
    assert.ok(rig.nodes[1]?.coordinator.isActing());
    assert.equal(rig.nodes[2]?.coordinator.isActing(), false);
  });

  it("never ends a node that renews, whatever outcomes and reads are like", async () => {
    const nodes = await three();
    for (let round = 0; round < 60; round++) {
      for (const [index, { store }] of nodes.entries()) {
        const fault = (["lost", "written", "silent"] as const)[(round + index) % 3] ?? "lost";
        if (round % 4 === index) store.faults.push({ key: /lease/, fault });
        store.stale = round % 5 === index ? new Map(rig.shared.records) : null;
        store.isWatchSilent = round % 3 === index;
      }
      await rig.time.advance(TEST_TTL_MS / 3);
      for (const { joined } of nodes) assert.ok(joined.lease.isValid(), `round ${round}`);
    }
    assert.deepEqual([1, 2, 3].map(stateOf), ["alive", "alive", "alive"]);
  });

  it("ends nobody on old copies of their leases, though nothing newer reaches it", async () => {
    const [n1] = await three();
    n1.store.stale = new Map(rig.shared.records);
    n1.store.isWatchSilent = true;
    await rig.time.advance(6 * TEST_TTL_MS);
    assert.equal(n1.coordinator.views()[1]?.state, "suspect");
    assert.ok(n1.coordinator.isActing());
    n1.store.stale = null;
    await rig.time.advance(TEST_TTL_MS);
    assert.deepEqual([1, 2, 3].map(stateOf), ["alive", "alive", "alive"]);
    assert.deepEqual(rig.logs.notes, []);
  });

  it("I18: ends nobody after an outage for all, and starts to watch afresh", async () => {
    const nodes = await three();
    for (const { store } of nodes) store.isAway = true;
    await rig.time.advance(20 * TEST_TTL_MS);
    for (const { joined } of nodes) assert.equal(joined.lease.isValid(), false);
    const [n1, n2, n3] = nodes;
    n1.store.isAway = false;
    await rig.time.advance(TEST_TTL_MS / 2);
    n2.store.isAway = false;
    n3.store.isAway = false;
    await rig.time.advance(2 * TEST_TTL_MS);
    for (const { joined } of nodes) assert.ok(joined.lease.isValid());
    assert.deepEqual([1, 2, 3].map(stateOf), ["alive", "alive", "alive"]);
    n3.store.isAway = true;
    await rig.time.advance(DETECTED_MS);
    assert.equal(stateOf(3), "dead", "the watch goes on");
  });

  it("ends nobody while its own renewals fail, though its reads work", async () => {
    const [n1, n2, n3] = await three();
    for (const node of [n1, n2, n3]) {
      for (let i = 0; i < 200; i++) node.store.faults.push({ key: /lease/, fault: "lost" });
    }
    await rig.time.advance(8 * TEST_TTL_MS);
    assert.deepEqual([1, 2, 3].map(stateOf), ["alive", "alive", "alive"]);
  });

  it("lets a node that was cut off find out that it is over", async () => {
    const [, , n3] = await three();
    n3.store.isAway = true;
    await rig.time.advance(DETECTED_MS);
    assert.equal(n3.joined.lease.isValid(), false);
    n3.store.isAway = false;
    await rig.time.advance(TEST_TTL_MS);
    assert.match(n3.joined.lease.lostReason() ?? "", /dead/);
  });

  it("seals again and goes on when the log was away, and gives nothing away before", async () => {
    const [, n2] = await three();
    rig.logs.isAway = true;
    await rig.kill(n2);
    await rig.time.advance(3 * TEST_TTL_MS);
    assert.equal(stateOf(2), "alive");
    const record = rig.shared.records.get(leaseKey(2));
    assert.equal(parseLease(record?.value ?? new Uint8Array(), 2).ok?.state, "dead");
    rig.logs.isAway = false;
    await rig.time.advance(1000);
    assert.equal(stateOf(2), "dead");
  });

  it("takes a final lease for final, whatever an older copy says afterwards", async () => {
    const [n1, n2] = await three();
    const old = new Map(rig.shared.records);
    rig.logs.isAway = true;
    await rig.kill(n2);
    await rig.time.advance(3 * TEST_TTL_MS);
    n1.store.stale = old;
    await rig.time.advance(500);
    rig.logs.isAway = false;
    await rig.time.advance(1000);
    assert.equal(stateOf(2), "dead");
  });

  it("goes on when the outcome of declaring a node dead, or of ending it, is not known", async () => {
    const [n1, n2, n3] = await three();
    await rig.kill(n2);
    n1.store.faults.push(
      { key: /^lease.2$/, fault: "written" },
      { key: /table/, fault: "written" },
    );
    n3.store.faults.push({ key: /^lease.2$/, fault: "lost" });
    await rig.time.advance(DETECTED_MS + 2000);
    assert.equal(stateOf(2), "dead");
    assert.deepEqual(rig.loads(), [8, 0, 8]);
    assert.ok(rig.newest().table.partitions.every(({ epoch }) => epoch <= 2));
  });

  it("seals nothing while it is not known whether the node was declared dead", async () => {
    const [n1, n2] = await three();
    await rig.kill(n2);
    const lost = { key: /^lease.2$/, fault: "lost" } as const;
    for (let i = 0; i < 100; i++) n1.store.faults.push(lost);
    await rig.time.advance(DETECTED_MS);
    assert.ok(n1.store.faults.length < 100, "nobody was suspected");
    assert.equal(stateOf(2), "alive");
    assert.deepEqual(rig.logs.notes, []);
    n1.store.faults.length = 0;
    await rig.time.advance(2000);
    assert.equal(stateOf(2), "dead");
  });

  it("does no harm when two act at once", async () => {
    const [n1, n2, n3] = await three();
    const lowest = (): boolean => true;
    for (const node of [n1, n3]) node.coordinator.isActing = lowest;
    await rig.kill(n2);
    await rig.time.advance(DETECTED_MS + 1000);
    assert.equal(stateOf(2), "dead");
    assert.deepEqual(rig.loads(), [8, 0, 8]);
    assert.ok(rig.newest().table.partitions.every(({ epoch }) => epoch <= 2));
    assert.deepEqual(rig.logs.notes, ["seal 2"]);
  });

  it("ends a member that joined and never made its lease", async () => {
    const [n1] = await three();
    await rig.finish(
      n1.keeper.change((table) => joinMember(table, { nodeId: "n4", joinNonce: "ghost" })),
    );
    await rig.time.advance(DETECTED_MS + 200);
    assert.equal(stateOf(4), "dead");
    const late = encodeLease({
      incarnation: 4,
      nodeId: "n4",
      state: "held",
      renewal: 1,
      ttlMs: 1000,
    });
    assert.deepEqual(rig.shared.put(leaseKey(4), late, 0), { kind: "conflict" });
    assert.ok(rig.logs.sealed.has(4));
  });

  it("ends the older life of a restarted node by its lease, not by its name", async () => {
    const [, n2] = await three();
    await rig.kill(n2);
    const again = await rig.start("n2");
    assert.equal(again.joined.incarnation, 4);
    await rig.time.advance(TEST_TTL_MS / 2);
    assert.equal(stateOf(2), "alive");
    await rig.time.advance(DETECTED_MS);
    assert.equal(stateOf(2), "dead");
    assert.equal(stateOf(4), "alive");
    assert.equal(rig.loads()[1], 0);
    assert.deepEqual(rig.loads(), [6, 0, 5, 5], "the new life has the old place on the ring");
  });

  it("restarts a lone node: the new life waits for the old one's silence and takes all", async () => {
    const n1 = await rig.start("n1");
    await rig.time.advance(500);
    await rig.kill(n1);
    await rig.start("n1");
    await rig.time.advance(DETECTED_MS);
    assert.deepEqual(rig.loads(), [0, 16]);
  });

  it("makes a lone node that left in good order come back without waiting", async () => {
    const n1 = await rig.start("n1");
    await rig.time.advance(500);
    assert.equal(await rig.finish(n1.membership.leave(n1.joined)), "lease ended");
    await rig.kill(n1);
    await rig.start("n1");
    await rig.time.advance(300);
    assert.deepEqual(rig.loads(), [0, 16]);
    assert.ok(rig.logs.sealed.has(1));
  });

  it("rebalances onto a fourth node, two moves at a time, on request", async () => {
    const [n1] = await three();
    await rig.start("n4");
    const start = { id: "r1", startedAtMs: 1 };
    await rig.finish(n1.keeper.change((table) => startRebalance(table, start)));
    await rig.time.advance(300);
    const moving = rig.newest().table.partitions.filter(({ moveTo }) => moveTo !== NOBODY);
    assert.equal(moving.length, 2);
    await rig.finishMoves();
    assert.deepEqual(rig.loads(), [4, 4, 4, 4]);
    assert.equal(rig.newest().table.rebalances[0]?.state, "done");
  });

  it("rebalances by itself when it is told to, once everybody has been well for a while", async () => {
    const n1 = await rig.start("n1", { autoRebalance: true });
    await rig.time.advance(500);
    await rig.start("n2", { autoRebalance: true });
    await rig.time.advance(2000);
    assert.deepEqual(rig.newest().table.rebalances, []);
    await rig.time.advance(4000);
    await rig.finishMoves();
    assert.deepEqual(rig.loads(), [8, 8]);
    assert.equal(rig.newest().table.rebalances.length, 1);
    assert.ok(n1.joined.lease.isValid());
  });

  it("drains a node, which then leaves: sealed, its row left, nothing of it owned", async () => {
    const [n1, n2] = await three();
    const drain = { id: "d", startedAtMs: 1, incarnation: 2 };
    await rig.finish(n1.keeper.change((table) => drainMember(table, drain)));
    await rig.finishMoves();
    assert.deepEqual(rig.loads(), [8, 0, 8]);
    assert.equal(await rig.finish(n2.membership.leave(n2.joined)), "left");
    assert.equal(stateOf(2), "left");
    assert.deepEqual(rig.logs.notes, ["seal 2"]);
  });

  it("finishes for a node that gave up its lease and stopped there", async () => {
    const [, n2] = await three();
    assert.equal(await rig.finish(n2.joined.lease.end(1000)), true);
    await rig.kill(n2);
    await rig.time.advance(300);
    assert.equal(stateOf(2), "dead", "it still owned something");
    assert.deepEqual(rig.loads(), [8, 0, 8]);
  });

  it("drops a target that does not take over in time", async () => {
    const n1 = await rig.start("n1", { moveLimitMs: 2000 });
    await rig.time.advance(500);
    await rig.start("n2");
    const move = { partition: 3, from: 1, epoch: 1, to: 2 };
    await rig.finish(n1.keeper.change((table) => startMove(table, move)));
    await rig.time.advance(1500);
    assert.equal(rig.newest().table.partitions[3]?.moveTo, 2);
    await rig.time.advance(1500);
    assert.equal(rig.newest().table.partitions[3]?.moveTo, NOBODY);
    assert.equal(rig.newest().table.partitions[3]?.epoch, 1);
  });

  it("deletes a dead log when no lineage names it, and the row an hour after the window", async () => {
    const [, n2] = await three();
    await rig.kill(n2);
    await rig.time.advance(15_000);
    assert.ok(rig.logs.ends.has(2), "its lineage is needed");
    for (const node of rig.nodes) {
      if (node === n2) continue;
      await rig.finish(
        node.keeper.change((table) =>
          clearLineage(
            table,
            table.partitions.map(({ owner: from, epoch }, partition) => ({
              partition,
              from,
              epoch,
            })),
          ),
        ),
      );
    }
    await rig.time.advance(15_000);
    assert.equal(rig.logs.ends.has(2), false);
    assert.equal(stateOf(2), "dead");
    assert.ok(rig.shared.records.has(leaseKey(2)));
    // The wall clock of the coordinator leaps: the row is kept until it was seen dead for two minutes.
    for (const node of rig.nodes) node.skew.ms = 5 * 3_600_000;
    await rig.time.advance(60_000);
    assert.equal(stateOf(2), "dead");
    await rig.time.advance(60_000);
    assert.equal(stateOf(2), undefined);
    await rig.time.advance(15_000);
    assert.equal(rig.shared.records.has(leaseKey(2)), false);
    assert.deepEqual([...rig.logs.ends.keys()], [1, 3]);
  });
});

/**
 * Checks each record as it is written: the table ends a member only after its lease was final and its log sealed (I11),
 * and nobody ends a lease before its holder's own clock has (I13).
 */
function watchOrder(rig: ControlRig): string[] {
  const breaches: string[] = [];
  let before: ControlTable | null = null;
  rig.shared.listeners.add((record) => {
    for (const { joined } of rig.nodes) {
      if (record.key !== leaseKey(joined.incarnation)) continue;
      const { ok: lease } = parseLease(record.value, joined.incarnation);
      if (lease?.state !== "dead") continue;
      if (joined.lease.isValid()) breaches.push(`I13: ${record.key} was ended while it was valid`);
    }
    if (record.key !== "table") return;
    const { ok: table } = parseTable(record.value);
    if (table === undefined) throw new Error("a table was written that can't be read");
    for (const { incarnation, state } of table.members) {
      if (state === "alive" || before === null) continue;
      if (memberOf(before, incarnation)?.state !== "alive") continue;
      const lease = rig.shared.records.get(leaseKey(incarnation));
      const held = lease === undefined ? "absent" : parseLease(lease.value, incarnation).ok?.state;
      if (held !== "dead" && held !== "left") breaches.push(`I11: the lease was ${held}`);
      if (!rig.logs.sealed.has(incarnation)) breaches.push("I11: the log was not sealed");
    }
    before = table;
  });
  return breaches;
}
