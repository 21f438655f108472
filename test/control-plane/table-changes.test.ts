import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { encodeTable, parseTable } from "../../src/control-plane/control-table-codec.ts";
import {
  cancelRebalance,
  drainMember,
  MOVES_PER_NODE_MAX,
  moveState,
  startRebalance,
  stepRebalances,
} from "../../src/control-plane/rebalance-changes.ts";
import { planRebalance } from "../../src/control-plane/rebalance-plan.ts";
import {
  assignPartitions,
  clearLineage,
  dropMove,
  endMember,
  finishMove,
  forgetMembers,
  joinMember,
  partitionsOf,
  setDraining,
  setRule,
  startMove,
} from "../../src/control-plane/table-changes.ts";
import { changeBreach, referencesOf } from "../../src/control-plane/table-check.ts";
import {
  type ControlTable,
  memberOf,
  NOBODY,
  type PartitionAssignment,
} from "../../src/model/ownership.ts";
import { DEFAULT_RULE } from "../../src/model/status.ts";
import { assignedTable, joinedTable, must, withNode } from "../support/table-builder.ts";

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

function loadsOf(table: ControlTable): number[] {
  return table.members
    .filter(({ state }) => state === "alive")
    .map(({ incarnation }) => partitionsOf(table, incarnation).length);
}

function moving(
  table: ControlTable,
): { partition: number; from: number; epoch: number; to: number }[] {
  return table.partitions.flatMap(({ owner, epoch, moveTo }, partition) =>
    moveTo === NOBODY ? [] : [{ partition, from: owner, epoch, to: moveTo }],
  );
}

/** Steps and finishes moves until nothing is left; checks the limit on the way. */
function runMoves(start: ControlTable): ControlTable {
  let table = start;
  for (let round = 0; round < 1000; round++) {
    const stepped = stepRebalances(table);
    table = stepped ?? table;
    const active = new Map<number, number>();
    for (const { from, to } of moving(table)) {
      for (const node of [from, to]) active.set(node, (active.get(node) ?? 0) + 1);
    }
    for (const count of active.values()) {
      assert.ok(count <= MOVES_PER_NODE_MAX, `${count} moves of one node at a time`);
    }
    const [next] = moving(table);
    if (next === undefined) {
      if (stepped === null) return table;
      continue;
    }
    table = must(finishMove(table, { ...next, endSequence: round + 1, bytes: 100 }));
  }
  throw new Error("moves do not end");
}

describe("joinMember", () => {
  it("hands out an incarnation once per nonce and never the same one twice", () => {
    const once = must(joinMember(joinedTable(2), { nodeId: "n1", joinNonce: "x" }));
    assert.equal(once.lastIncarnation, 3);
    assert.equal(joinMember(once, { nodeId: "n1", joinNonce: "x" }), null);
    assert.equal(memberOf(once, 1)?.state, "alive", "the older life ends by its lease alone");
  });
});

describe("assignPartitions", () => {
  it("gives what has no owner, evenly, and only to those named", () => {
    const table = must(assignPartitions(joinedTable(4), [1, 2, 4]));
    assert.deepEqual(loadsOf(table).sort(), [0, 21, 21, 22]);
    assert.equal(partitionsOf(table, 3).length, 0);
    assert.ok(table.partitions.every(({ epoch }) => epoch === 1));
  });

  it("never takes from an owner", () => {
    const table = withNode(assignedTable(2), "n3");
    assert.equal(assignPartitions(table, [3]), null);
  });
});

describe("endMember", () => {
  const end = { incarnation: 2, endSequence: 40, state: "dead", endedAtMs: 9 } as const;

  it("spreads the partitions over the others, one epoch on, with the sealed end in the lineage", () => {
    const before = assignedTable(4);
    const after = must(endMember(before, end));
    assert.ok(Math.max(...loadsOf(after)) <= 22 && Math.min(...loadsOf(after)) > 16);
    for (const [partition, old] of before.partitions.entries()) {
      const now = after.partitions[partition];
      if (old.owner !== 2) assert.deepEqual(now, old);
      else assert.deepEqual(now?.lineage, [{ epoch: 1, incarnation: 2, endSequence: 40 }]);
    }
    assert.equal(endMember(after, { ...end, endSequence: 41 }), null);
  });

  it("lets one stretch stand for all lives in a row that ended without having written anything", () => {
    let table = must(endMember(withNode(assignedTable(1), "n1"), { ...end, incarnation: 1 }));
    for (let incarnation = 2; incarnation <= 900; incarnation++) {
      const endSequence = incarnation === 500 ? 2 : 1;
      const next = must(endMember(withNode(table, "n1"), { ...end, incarnation, endSequence }));
      assert.equal(changeBreach(withNode(table, "n1"), next), null);
      table = next;
    }
    for (const { epoch, lineage } of table.partitions) {
      assert.equal(epoch, 901);
      assert.deepEqual(lineage, [
        { epoch: 1, incarnation: 1, endSequence: 40 },
        { epoch: 499, incarnation: 499, endSequence: 1, emptySince: 2 },
        { epoch: 500, incarnation: 500, endSequence: 2 },
        { epoch: 900, incarnation: 900, endSequence: 1, emptySince: 501 },
      ]);
    }
    assert.deepEqual(parseTable(encodeTable(table)).ok, table);
    const kept = forgetMembers(table, { endedBeforeMs: 10, forgettable: new Set(range(1, 900)) });
    assert.deepEqual(
      kept?.members.map(({ incarnation }) => incarnation),
      [1, 499, 500, 900, 901],
    );
  });

  it("prefers the target that was warming a partition and forgets the dead as a target", () => {
    let table = assignedTable(3);
    const [own] = partitionsOf(table, 2);
    const [other] = partitionsOf(table, 1);
    assert.ok(own !== undefined && other !== undefined);
    table = must(startMove(table, { partition: own, from: 2, epoch: 1, to: 3 }));
    table = must(startMove(table, { partition: other, from: 1, epoch: 1, to: 2 }));
    const after = must(endMember(table, end));
    assert.equal(after.partitions[own]?.owner, 3);
    assert.deepEqual(after.partitions[other], { owner: 1, epoch: 1, lineage: [], moveTo: NOBODY });
  });

  it("gives nothing to those in doubt or draining while there is anybody else", () => {
    const table = must(setDraining(assignedTable(4), 3, true));
    const after = must(endMember(table, { ...end, avoid: new Set([4]) }));
    assert.equal(partitionsOf(after, 1).length, 32);
    const lone = must(endMember(must(setDraining(assignedTable(2), 1, true)), end));
    assert.equal(partitionsOf(lone, 1).length, 64);
  });

  it("leaves everything as it is when nobody could take over", () => {
    assert.equal(endMember(assignedTable(1), { ...end, incarnation: 1 }), null);
  });

  it("gives the partitions of a former life to the new one", () => {
    const after = must(endMember(withNode(assignedTable(1), "n1"), { ...end, incarnation: 1 }));
    assert.equal(partitionsOf(after, 2).length, 64);
  });

  it("records as dead whoever left while it still owned something", () => {
    const left = { ...end, state: "left" } as const;
    assert.equal(memberOf(must(endMember(assignedTable(2), left)), 2)?.state, "dead");
    assert.equal(
      memberOf(must(endMember(withNode(assignedTable(1), "n2"), left)), 2)?.state,
      "left",
    );
  });
});

describe("moves", () => {
  const table = assignedTable(2);
  const [partition] = partitionsOf(table, 1) as [number];
  const move = { partition, from: 1, epoch: 1, to: 2 };

  it("change hands by the owner's release alone, once", () => {
    const started = must(startMove(table, move));
    assert.equal(started.partitions[partition]?.owner, 1);
    assert.equal(startMove(started, move), null);
    const finished = must(finishMove(started, { ...move, endSequence: 12, bytes: 7 }));
    assert.deepEqual(finished.partitions[partition], {
      owner: 2,
      epoch: 2,
      lineage: [{ epoch: 1, incarnation: 1, endSequence: 12 }],
      moveTo: NOBODY,
    });
    assert.equal(finishMove(finished, { ...move, endSequence: 12, bytes: 7 }), null);
  });

  it("come back to the owner in a new epoch when the target was dropped after the release", () => {
    const dropped = must(dropMove(must(startMove(table, move)), move));
    const back = must(finishMove(dropped, { ...move, endSequence: 12, bytes: 7 }));
    assert.equal(back.partitions[partition]?.owner, 1);
    assert.equal(back.partitions[partition]?.epoch, 2);
  });

  it("do not start from a stale epoch, to the dead, the draining or oneself", () => {
    assert.equal(startMove(table, { ...move, epoch: 2 }), null);
    assert.equal(startMove(table, { ...move, to: 1 }), null);
    assert.equal(startMove(table, { ...move, to: 9 }), null);
    assert.equal(startMove(must(setDraining(table, 2, true)), move), null);
    assert.equal(startMove(table, { ...move, from: 2 }), null);
  });
});

describe("clearLineage", () => {
  it("forgets stretches at the current epoch only", () => {
    const table = must(
      endMember(assignedTable(2), { incarnation: 2, endSequence: 3, state: "dead", endedAtMs: 1 }),
    );
    const gained = table.partitions.flatMap(({ epoch, owner: from }, partition) =>
      epoch === 2 ? [{ partition, from, epoch }] : [],
    );
    assert.equal(
      clearLineage(
        table,
        gained.map((owned) => ({ ...owned, epoch: 1 })),
      ),
      null,
    );
    const cleared = must(clearLineage(table, gained));
    assert.ok(cleared.partitions.every(({ lineage }) => lineage.length === 0));
    assert.equal(clearLineage(cleared, gained), null);
    const forgettable = new Set([1, 2]);
    assert.equal(forgetMembers(table, { endedBeforeMs: 5, forgettable }), null);
    assert.deepEqual(
      must(forgetMembers(cleared, { endedBeforeMs: 5, forgettable })).members.map(
        (m) => m.incarnation,
      ),
      [1],
    );
    assert.equal(forgetMembers(cleared, { endedBeforeMs: 0, forgettable }), null);
  });
});

describe("setRule", () => {
  it("takes a revision once and refuses to guess", () => {
    const rule = { ...DEFAULT_RULE, deliveredThreshold: 5 };
    const changed = must(setRule(joinedTable(1), { rule, revision: 1 }));
    assert.deepEqual(changed.initialRule, DEFAULT_RULE);
    assert.equal(setRule(changed, { rule, revision: 1 }), null);
    assert.throws(() => setRule(changed, { rule: DEFAULT_RULE, revision: 1 }), {
      code: "conflict",
    });
    assert.throws(() => setRule(changed, { rule, revision: 0 }), { code: "outcome_unknown" });
  });
});

describe("rebalances", () => {
  it("move a quarter to a fourth node, two at a time, and nothing else", () => {
    const before = withNode(assignedTable(3), "n4");
    const after = runMoves(must(startRebalance(before, { id: "r", startedAtMs: 1 })));
    assert.deepEqual(loadsOf(after), [16, 16, 16, 16]);
    const moved = after.partitions.filter(({ owner }, p) => owner !== before.partitions[p]?.owner);
    assert.equal(moved.length, 16);
    assert.ok(moved.every(({ owner, epoch }) => owner === 4 && epoch === 2));
    assert.equal(after.rebalances[0]?.state, "done");
    assert.equal(after.rebalances[0]?.bytes, 1600);
    assert.deepEqual(planRebalance(after), []);
  });

  it("empty a draining node and give it nothing more", () => {
    const start = { id: "d", startedAtMs: 1, incarnation: 2 };
    const after = runMoves(must(drainMember(assignedTable(3), start)));
    assert.deepEqual(loadsOf(after), [32, 0, 32]);
    assert.equal(after.rebalances[0]?.state, "done");
    assert.equal(memberOf(after, 2)?.isDraining, true);
    assert.equal(drainMember(after, start), null);
  });

  it("drain what a node got after its plan was made", () => {
    const plan = must(drainMember(assignedTable(2), { id: "d", startedAtMs: 1, incarnation: 2 }));
    const end = { incarnation: 1, endSequence: 5, state: "dead", endedAtMs: 1 } as const;
    const late = withNode(must(endMember(plan, end)), "n3");
    assert.equal(partitionsOf(late, 2).length, 64);
    assert.deepEqual(loadsOf(runMoves(late)), [0, 64]);
  });

  it("refuse a drain with nobody to take over, and a second rebalance", () => {
    const alone = { id: "d", startedAtMs: 1, incarnation: 1 };
    assert.throws(() => drainMember(assignedTable(1), alone), { code: "drain_impossible" });
    assert.throws(() => drainMember(assignedTable(1), { ...alone, incarnation: 7 }), {
      code: "node_not_found",
    });
    const running = must(startRebalance(withNode(assignedTable(1), "n2"), alone));
    assert.equal(startRebalance(running, alone), null);
    assert.throws(() => startRebalance(running, { ...alone, id: "e" }), { code: "conflict" });
  });

  it("stop when they are cancelled, and a drained node takes part again", () => {
    const drain = must(drainMember(assignedTable(2), { id: "d", startedAtMs: 1, incarnation: 2 }));
    const cancelled = must(cancelRebalance(must(stepRebalances(drain)), "d"));
    assert.deepEqual(moving(cancelled), []);
    assert.equal(memberOf(cancelled, 2)?.isDraining, false);
    assert.equal(stepRebalances(cancelled), null);
    assert.equal(cancelRebalance(cancelled, "d"), null);
    assert.throws(() => cancelRebalance(cancelled, "x"), { code: "rebalance_not_found" });
  });

  it("fail when a target died before or after it took something", () => {
    const started = must(
      startRebalance(withNode(assignedTable(3), "n4"), { id: "r", startedAtMs: 1 }),
    );
    const stepped = must(stepRebalances(started));
    const end = { incarnation: 4, endSequence: 0, state: "dead", endedAtMs: 1 } as const;
    const [first] = moving(stepped);
    const { partition, from, to } = first ?? { partition: 0, from: 0, to: 0 };
    const move = { partition, from, to, epoch: 1, endSequence: 0, bytes: 0 };
    for (const table of [stepped, must(finishMove(stepped, move))]) {
      const after = runMoves(must(endMember(table, end)));
      assert.deepEqual(loadsOf(after).sort(), [21, 21, 22]);
      assert.equal(after.rebalances[0]?.state, "failed");
      for (const planned of after.rebalances[0]?.moves ?? [])
        assert.equal(moveState(after, planned), "dropped");
      assert.deepEqual(parseTable(encodeTable(after)), { ok: after });
      assert.equal(cancelRebalance(after, "r"), null);
    }
  });

  it("are done for a drain whose target died once others have taken what was left", () => {
    const plan = must(drainMember(assignedTable(4), { id: "d", startedAtMs: 1, incarnation: 2 }));
    const stepped = must(stepRebalances(plan));
    const end = { incarnation: 4, endSequence: 0, state: "dead", endedAtMs: 1 } as const;
    const after = runMoves(must(endMember(stepped, end)));
    assert.equal(partitionsOf(after, 2).length, 0);
    assert.ok(after.rebalances[0]?.moves.some((move) => moveState(after, move) === "dropped"));
    assert.equal(after.rebalances[0]?.state, "done");
  });

  it("fail for a drain whose node died before it was empty", () => {
    const plan = must(drainMember(assignedTable(3), { id: "d", startedAtMs: 1, incarnation: 2 }));
    const end = { incarnation: 2, endSequence: 0, state: "dead", endedAtMs: 1 } as const;
    const died = must(endMember(must(stepRebalances(plan)), { ...end, avoid: new Set([1]) }));
    const after = runMoves(died);
    assert.equal(after.rebalances[0]?.state, "failed");
  });
});

describe("all changes together", () => {
  const action = fc.record({
    kind: fc.constantFrom(
      "join",
      "assign",
      "end",
      "leave",
      "startMove",
      "finish",
      "finish",
      "drop",
      "clear",
      "drain",
      "undrain",
      "rebalance",
      "cancel",
      "step",
      "step",
      "forget",
    ),
    a: fc.nat({ max: 1000 }),
    b: fc.nat({ max: 1000 }),
  });

  function apply(
    table: ControlTable,
    { kind, a, b }: { kind: string; a: number; b: number },
  ): ControlTable | null {
    const inc = (n: number): number =>
      table.members[n % Math.max(1, table.members.length)]?.incarnation ?? 1;
    const partition = a % table.partitionCount;
    const { owner, epoch, moveTo } = table.partitions[
      partition
    ] as ControlTable["partitions"][number];
    const move = { partition, from: owner, epoch, to: inc(b) };
    const end = { incarnation: inc(a), endSequence: b, endedAtMs: b } as const;
    switch (kind) {
      case "join":
        return joinMember(table, { nodeId: `n${a % 5}`, joinNonce: `${a}-${b}` });
      case "assign":
        return assignPartitions(
          table,
          table.members.map((m) => m.incarnation).filter((i) => (i + a) % 3 > 0),
        );
      case "end":
        return endMember(table, { ...end, state: "dead", avoid: new Set([inc(b)]) });
      case "leave":
        return endMember(table, { ...end, state: "left" });
      case "startMove":
        return startMove(table, move);
      case "finish":
        return moveTo === NOBODY ? null : finishMove(table, { ...move, endSequence: b, bytes: 1 });
      case "drop":
        return dropMove(table, { ...move, to: moveTo });
      case "clear":
        return clearLineage(table, [move]);
      case "drain":
        return drainMember(table, { id: `d${a}`, startedAtMs: b, incarnation: inc(a) });
      case "undrain":
        return setDraining(table, inc(a), false);
      case "rebalance":
        return startRebalance(table, { id: `r${a}`, startedAtMs: b });
      case "cancel":
        return cancelRebalance(
          table,
          table.rebalances[a % Math.max(1, table.rebalances.length)]?.id ?? "none",
        );
      case "step":
        return stepRebalances(table);
      default:
        return forgetMembers(table, { endedBeforeMs: b, forgettable: new Set([inc(a), inc(b)]) });
    }
  }

  it("I9, I11: epochs only rise, owners change by a release or an end alone, needed rows stay", () => {
    fc.assert(
      fc.property(fc.array(action, { minLength: 20, maxLength: 120 }), (actions) => {
        let table = joinedTable(2, 8);
        for (const next of actions) {
          let after: ControlTable | null;
          try {
            after = apply(table, next);
          } catch (error) {
            assert.equal((error as Error).name, "CatchallError", String(error));
            continue;
          }
          if (after === null) continue;
          assert.equal(changeBreach(table, after), null, next.kind);
          for (const [p, old] of table.partitions.entries()) {
            const now: PartitionAssignment | undefined = after.partitions[p];
            if (now?.owner === old.owner && now.epoch === old.epoch) continue;
            assert.ok(["assign", "end", "leave", "finish"].includes(next.kind), next.kind);
            if (next.kind === "finish") assert.equal(p, next.a % 8);
            if (next.kind === "assign") assert.equal(old.owner, NOBODY);
            if (next.kind === "end" || next.kind === "leave") {
              assert.notEqual(memberOf(after, old.owner)?.state, "alive");
            }
          }
          for (const needed of referencesOf(after))
            assert.ok(memberOf(after, needed) !== undefined);
          if (next.kind !== "undrain" && next.kind !== "finish" && next.kind !== "drop") {
            // Once more, as after an outcome that could not be seen: nothing changes hands again.
            let again: ControlTable | null = null;
            try {
              again = apply(after, next);
            } catch {
              again = null;
            }
            assert.deepEqual(
              (again ?? after).partitions.map((x) => x.owner),
              after.partitions.map((x) => x.owner),
            );
          }
          table = after;
        }
      }),
      { numRuns: 300 },
    );
  });
});
