/**
 * Clusters without nodes: the product's own placement and table changes over made-up members, what placement.ts prints and
 * docs/scaling.md reasons about. No network, no clock, no chance: the same figures on every run.
 */
import { encodeTable } from "../../src/control-plane/control-table-codec.ts";
import { packValue } from "../../src/control-plane/nats-kv-value.ts";
import { startRebalance, stepRebalances } from "../../src/control-plane/rebalance-changes.ts";
import {
  assignPartitions,
  createTable,
  endMember,
  finishMove,
  joinMember,
  partitionsOf,
} from "../../src/control-plane/table-changes.ts";
import { changeBreach } from "../../src/control-plane/table-check.ts";
import { aliveMembers, type ControlTable, NOBODY } from "../../src/model/ownership.ts";
import { DEFAULT_RULE } from "../../src/model/status.ts";

const REBALANCE = "rebalance-1";
const START_MS = 1_790_000_000_000;
/** Entries in the log of a life: tables of real clusters have numbers of such a length. */
const ENTRIES_OF_A_LIFE = 5_000_000;
/** Deaths that are tried, each in the whole cluster: not all of 200. */
const DEATHS_TRIED = 5;
const PLAN_STEPS_MAX = 10_000;

export interface Shape {
  readonly nodes: number;
  readonly partitions: number;
}

function must<T>(value: T | null | undefined, what: string): T {
  if (value === null || value === undefined) throw new Error(`Not expected: ${what}`);
  return value;
}

/** Every change goes through the check that a node makes. */
function checked(before: ControlTable, after: ControlTable | null, what: string): ControlTable {
  const found = must(after, what);
  const breach = changeBreach(before, found);
  if (breach !== null) throw new Error(`${what}: ${breach}`);
  return found;
}

function join(table: ControlTable, nodeId: string): ControlTable {
  const joinNonce = `${table.lastIncarnation * 7919}-${nodeId}`;
  return checked(table, joinMember(table, { nodeId, joinNonce }), "a join");
}

function nameOf(node: number): string {
  return `node-${String(node).padStart(3, "0")}.example.internal`;
}

/** A cluster at its first assignment. */
export function newCluster({ nodes, partitions }: Shape): ControlTable {
  let table = createTable({ partitionCount: partitions, rule: DEFAULT_RULE });
  for (let node = 1; node <= nodes; node++) table = join(table, nameOf(node));
  const all = aliveMembers(table).map(({ incarnation }) => incarnation);
  return checked(table, assignPartitions(table, all), "the first assignment");
}

/** Partitions of each live member. */
export function loadsOf(table: ControlTable): readonly number[] {
  const loads = new Map(aliveMembers(table).map(({ incarnation }) => [incarnation, 0]));
  for (const { owner } of table.partitions) loads.set(owner, (loads.get(owner) ?? 0) + 1);
  return [...loads.values()];
}

export function busiestOverMean(table: ControlTable): number {
  const loads = loadsOf(table);
  return Math.max(...loads) / (table.partitionCount / loads.length);
}

export interface JoinOutcome {
  readonly moves: number;
  /** Moves that are not to the new node. */
  readonly otherMoves: number;
  /** Rounds of the coordinator in which moves are started, as if all of a round ended together. */
  readonly rounds: number;
  /** Writes of the control table, the plan included. */
  readonly tableChanges: number;
  readonly busiestOverMean: number;
}

/** One more node, and a rebalance from its plan to its last move. */
export function joinAndRebalance(before: ControlTable): JoinOutcome {
  const joined = join(before, nameOf(before.members.length + 1));
  const start = { id: REBALANCE, startedAtMs: START_MS };
  let table = checked(joined, startRebalance(joined, start), "a plan");
  const plan = must(table.rebalances[0], "a record").moves;
  let rounds = 0;
  let tableChanges = 2;
  for (;;) {
    const stepped = stepRebalances(table);
    if (stepped === null) break;
    tableChanges++;
    table = checked(table, stepped, "a step");
    const moving = [...table.partitions.entries()].filter(([, { moveTo }]) => moveTo !== NOBODY);
    if (moving.length > 0) rounds++;
    for (const [partition, { owner, epoch }] of moving) {
      const end = { endSequence: ENTRIES_OF_A_LIFE, bytes: 1 };
      const move = { partition, from: owner, epoch, ...end };
      table = checked(table, finishMove(table, move), "the end of a move");
      tableChanges++;
    }
    if (rounds > PLAN_STEPS_MAX) throw new Error("A plan without end");
  }
  return {
    moves: plan.length,
    otherMoves: plan.filter(({ to }) => to !== joined.lastIncarnation).length,
    rounds,
    tableChanges,
    busiestOverMean: busiestOverMean(table),
  };
}

export interface DeathOutcome {
  readonly orphans: number;
  readonly heirs: number;
  /** Most partitions that one heir gets. */
  readonly mostToOneHeir: number;
  /** What it would be if all others got as many as each other. */
  readonly atBest: number;
  readonly busiestOverMean: number;
}

/** The death with the worst spread of some that are tried. */
export function worstDeath(table: ControlTable): DeathOutcome {
  const alive = aliveMembers(table).map(({ incarnation }) => incarnation);
  const gap = Math.max(1, Math.floor(alive.length / DEATHS_TRIED));
  const outcomes = alive
    .filter((_, index) => index % gap === 0)
    .map((dead) => deathOf(table, dead));
  return outcomes.reduce((worst, one) =>
    one.mostToOneHeir / one.atBest > worst.mostToOneHeir / worst.atBest ? one : worst,
  );
}

function deathOf(table: ControlTable, incarnation: number): DeathOutcome {
  const orphans = partitionsOf(table, incarnation);
  const after = end(table, incarnation);
  const shares = new Map<number, number>();
  for (const partition of orphans) {
    const heir = must(after.partitions[partition], "a partition").owner;
    shares.set(heir, (shares.get(heir) ?? 0) + 1);
  }
  const mostToOneHeir = Math.max(0, ...shares.values());
  const others = aliveMembers(after).length;
  return {
    orphans: orphans.length,
    heirs: shares.size,
    mostToOneHeir,
    atBest: Math.ceil(orphans.length / others),
    busiestOverMean: busiestOverMean(after),
  };
}

function end(table: ControlTable, incarnation: number): ControlTable {
  const endSequence = ENTRIES_OF_A_LIFE + incarnation * 7919;
  const endedAtMs = START_MS + incarnation * 60_013;
  const ended = endMember(table, { incarnation, endSequence, endedAtMs, state: "dead" });
  return checked(table, ended, "a death");
}

/** So many deaths, each node in its turn, each back at once under its old name; no checkpoint covers anything. */
export function afterDeaths(before: ControlTable, deaths: number): ControlTable {
  let table = before;
  for (let death = 0; death < deaths; death++) {
    const dying = must(aliveMembers(table)[0], "a live member");
    table = end(join(table, dying.nodeId), dying.incarnation);
  }
  return table;
}

/** As many finished rebalances as a table remembers, each of so many moves. */
export function withRebalances(table: ControlTable, records: number, moves: number): ControlTable {
  const alive = aliveMembers(table).map(({ incarnation }) => incarnation);
  const memberAt = (index: number): number => must(alive[index % alive.length], "a member");
  const rebalances = Array.from({ length: records }, (_, record) => ({
    id: `rebalance-${record}`,
    state: "done" as const,
    drains: NOBODY,
    moves: Array.from({ length: moves }, (_, move) => ({
      partition: (move * 7919 + record) % table.partitionCount,
      from: memberAt(move * 31 + record),
      to: memberAt(move * 17 + record + 1),
    })),
    startedAtMs: START_MS + record,
    bytes: moves * 60_000_000,
  }));
  return { ...table, rebalances };
}

export interface TableSize {
  readonly jsonBytes: number;
  /** As the bucket has it: large tables are deflated. */
  readonly storedBytes: number;
}

export function sizeOf(table: ControlTable): TableSize {
  const json = encodeTable(table);
  return { jsonBytes: json.length, storedBytes: packValue(json, {}).data.length };
}
