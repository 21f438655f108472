/**
 * Goal: faults go where they hurt: to owners, to those who take part in a move, to a coordinator at its act. Method: the
 * choices alone, over tables and nodes made up.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type ControlTable, NOBODY } from "../../src/model/ownership.ts";
import { CoordinatorWatch } from "../../src/simulation/coordinator-watch.ts";
import { MoveStrikes } from "../../src/simulation/move-strikes.ts";
import type { SimNode } from "../../src/simulation/sim-node.ts";
import { SimRandom } from "../../src/simulation/sim-random.ts";
import { Victims } from "../../src/simulation/victims.ts";
import type { NodeLog } from "../../src/wal/node-log.ts";
import { TestWorld } from "./test-world.ts";

/** Incarnations 1 to 3 are alive; partition i goes from `moves[i][0]` to `moves[i][1]`. */
function tableOf(moves: readonly (readonly [number, number])[]): ControlTable {
  const members = [1, 2, 3].map((incarnation) => ({ incarnation, state: "alive" }));
  const partitions = moves.map(([owner, moveTo]) => ({ owner, moveTo, epoch: 1, lineage: [] }));
  return { members, partitions } as unknown as ControlTable;
}

function nodeOf(incarnation: number): SimNode {
  return { started: [{ incarnation }] } as unknown as SimNode;
}

const OPEN: Readonly<Record<number, readonly number[]>> = { 1: [0, 1, 2], 2: [3], 3: [] };
const NODES = [1, 2, 3].map(nodeOf);

function victims(isBiased: boolean, table: ControlTable | null = null): Victims {
  const ownership = { openOf: (one: number) => OPEN[one] ?? [], table: () => table };
  return new Victims({ world: new TestWorld().world, ownership, partitions: 4, isBiased });
}

describe("Victims", () => {
  it("are mostly those that own much, where the plan says so, and else those drawn", () => {
    const [biased, any] = [victims(true), victims(false)];
    const last = NODES[2] as SimNode;
    const chosen = Array.from({ length: 1000 }, () => NODES.indexOf(biased.choose(last, NODES)));
    const times = NODES.map((_, i) => chosen.filter((index) => index === i).length);
    // Weights 2.5, 1 and 0.25.
    assert.equal((times[0] as number) > 600 && (times[0] as number) < 740, true, `${times}`);
    assert.equal((times[2] as number) > 30 && (times[2] as number) < 110, true, `${times}`);
    assert.equal(any.choose(last, NODES), last);
  });

  it("are counted by what they own and what moves", () => {
    const still = victims(true, tableOf([[1, NOBODY]]));
    for (const node of NODES) still.hit(node);
    assert.deepEqual(still.counts, {
      hits: 3,
      hitsOfOwners: 2,
      hitsDuringMoves: 0,
      hitsOfMovers: 0,
    });
    const moving = victims(true, tableOf([[2, 3]]));
    for (const node of [...NODES, nodeOf(4)]) moving.hit(node);
    assert.deepEqual(moving.counts, {
      hits: 4,
      hitsOfOwners: 2,
      hitsDuringMoves: 4,
      hitsOfMovers: 3,
    });
  });
});

describe("MoveStrikes", () => {
  it("befall source, target and coordinator of moves that begin or end, one at a time", () => {
    const struck = new Set<number>();
    let waiting: (() => void)[] = [];
    const strikes = new MoveStrikes({
      random: new SimRandom(1, "test"),
      isDue: () => true,
      after: (_delayMs, work) => waiting.push(work),
      strike: (incarnation) => struck.add(incarnation),
    });
    const fire = (): void => {
      const due = waiting;
      waiting = [];
      assert.equal(due.length <= 1, true, `${due.length} at once`);
      for (const work of due) work();
    };
    strikes.tableStored(tableOf([[2, NOBODY]]));
    assert.equal(waiting.length, 0, "nothing moves");
    for (let i = 0; i < 50; i++) {
      strikes.tableStored(tableOf([[2, 3]]));
      strikes.tableStored(tableOf([[2, 3]]));
      if (i % 2 === 0) fire();
      strikes.tableStored(tableOf([[3, NOBODY]]));
      fire();
    }
    assert.deepEqual([...struck].sort(), [1, 2, 3]);
  });
});

describe("CoordinatorWatch", () => {
  it("counts acts that begin while another machine is at one, and not those of the dead", async () => {
    const world = new TestWorld();
    const lives = [world.boot(0), world.boot(1), world.boot(2)] as const;
    const watch = new CoordinatorWatch(() => null);
    const ends: (() => void)[] = [];
    const logs = lives.map((life) => {
      const seal = (): Promise<number> => new Promise((resolve) => ends.push(() => resolve(0)));
      const log = { seal, create: async () => undefined } as unknown as NodeLog;
      return watch.log(life, log);
    });
    const seal = (i: number, incarnation: number): Promise<number> =>
      (logs[i] as NodeLog).seal(incarnation);
    await (logs[0] as NodeLog).create(7);
    void seal(0, 7);
    void seal(1, 8);
    assert.deepEqual([watch.acts, watch.overlaps], [1, 0], "one's own seal is no act");
    void seal(1, 9);
    assert.equal(watch.overlaps, 0, "one machine");
    const third = seal(2, 9);
    assert.deepEqual([watch.acts, watch.overlaps], [3, 1]);
    ends.at(-1)?.();
    await third;
    lives[1].kill();
    void seal(2, 9);
    assert.deepEqual([watch.acts, watch.overlaps], [4, 1]);
  });
});
