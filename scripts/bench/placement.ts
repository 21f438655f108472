/**
 * Where partitions go in clusters of up to 200 nodes, and what the control table costs them: Markdown on standard output,
 * docs/scaling.md has it. Counts are the same on every run; times are processor time of this process, medians.
 * Usage: `node --import tsx scripts/bench/placement.ts [--only placement,size,time]`.
 */
import { parseArgs } from "node:util";
import { encodeTable, parseTable } from "../../src/control-plane/control-table-codec.ts";
import { preferenceOrders } from "../../src/control-plane/hash-ring-placement.ts";
import { packValue, unpackValue } from "../../src/control-plane/nats-kv-value.ts";
import { planRebalance } from "../../src/control-plane/rebalance-plan.ts";
import { endMember, joinMember } from "../../src/control-plane/table-changes.ts";
import { changeBreach, successionBreach } from "../../src/control-plane/table-check.ts";
import type { ControlTable } from "../../src/model/ownership.ts";
import {
  afterDeaths,
  busiestOverMean,
  joinAndRebalance,
  newCluster,
  type Shape,
  sizeOf,
  withRebalances,
  worstDeath,
} from "./placement-model.ts";

const NODES = [3, 4, 8, 16, 50, 100, 200] as const;
const PARTITIONS = [64, 256, 1024, 4096] as const;
const DEATHS = [0, 1, 10, 100] as const;
const SIZED: readonly Shape[] = [1, 3, 16, 200].flatMap((nodes) =>
  PARTITIONS.filter((partitions) => partitions >= nodes).map((partitions) => ({
    nodes,
    partitions,
  })),
);
const TIMED: readonly Shape[] = [
  { nodes: 3, partitions: 64 },
  { nodes: 16, partitions: 256 },
  { nodes: 50, partitions: 1024 },
  { nodes: 3, partitions: 4096 },
  { nodes: 200, partitions: 4096 },
];
const REBALANCES_KEPT = 20;
const REPETITIONS = 9;
const MIB = 1024 * 1024;

type Cell = string | number;

function print(title: string, heads: readonly string[], rows: readonly (readonly Cell[])[]): void {
  const line = (cells: readonly Cell[]): string => `| ${cells.join(" | ")} |`;
  const lines = [line(heads), line(heads.map(() => "--:")), ...rows.map(line)];
  process.stdout.write(`### ${title}\n\n${lines.join("\n")}\n\n`);
}

function printPlacement(): void {
  const rows = PARTITIONS.flatMap((partitions) =>
    NODES.map((nodes) => placementRow({ nodes, partitions })),
  );
  const heads = ["partitions", "nodes", "busiest / mean", "moved by a join", "share", "not to it"];
  const ofJoin = ["rounds", "table changes", "busiest / mean then"];
  const ofDeath = ["orphans", "heirs", "most to one", "at best", "busiest / mean then"];
  print("Placement, one join, one death", [...heads, ...ofJoin, ...ofDeath], rows);
}

function placementRow(shape: Shape): readonly Cell[] {
  const table = newCluster(shape);
  const join = joinAndRebalance(table);
  const death = worstDeath(table);
  return [
    shape.partitions,
    shape.nodes,
    busiestOverMean(table).toFixed(2),
    join.moves,
    `${((100 * join.moves) / shape.partitions).toFixed(1)} %`,
    join.otherMoves,
    join.rounds,
    join.tableChanges,
    join.busiestOverMean.toFixed(2),
    death.orphans,
    death.heirs,
    death.mostToOneHeir,
    death.atBest,
    death.busiestOverMean.toFixed(2),
  ];
}

function kibOf(table: ControlTable): string {
  const { jsonBytes, storedBytes } = sizeOf(table);
  const share = (100 * storedBytes) / MIB;
  const kib = [jsonBytes, storedBytes].map((bytes) => (bytes / 1024).toFixed(0)).join(" → ");
  return `${kib} (${share.toFixed(0)} %)`;
}

function printSizes(): void {
  const rows = SIZED.map((shape) => {
    const table = newCluster(shape);
    const sizes = DEATHS.map((deaths) => kibOf(afterDeaths(table, deaths)));
    const worst = withRebalances(afterDeaths(table, 100), REBALANCES_KEPT, shape.partitions);
    return [shape.partitions, shape.nodes, ...sizes, kibOf(worst)];
  });
  const heads = DEATHS.map((deaths) => `${deaths} deaths`);
  print(
    "Control table, KiB: JSON → as stored (share of 1 MiB)",
    ["partitions", "nodes", ...heads, `100 deaths, ${REBALANCES_KEPT} rebalances of all`],
    rows,
  );
}

/** Median milliseconds of processor time of one call. */
function cpuMs(call: () => void): number {
  const times = Array.from({ length: REPETITIONS }, () => {
    const before = process.cpuUsage();
    call();
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  });
  return times.sort((a, b) => a - b)[REPETITIONS >> 1] as number;
}

function printTimes(): void {
  const rows = TIMED.flatMap((shape) => [0, 100].map((deaths) => timesRow(shape, deaths)));
  const writer = [
    "plan, ring known",
    "plan, one node new",
    "one death",
    "check",
    "encode",
    "deflate",
  ];
  const reader = ["inflate", "parse", "compare"];
  print(
    "Processor time of a change, ms",
    ["partitions", "nodes", "deaths", ...writer, ...reader, "writer", "each node"],
    rows,
  );
}

function timesRow(shape: Shape, deaths: number): readonly Cell[] {
  const table = afterDeaths(newCluster(shape), deaths);
  const victim = table.members.at(-1)?.incarnation ?? 0;
  const death = {
    incarnation: victim,
    endSequence: 9_000_000,
    state: "dead",
    endedAtMs: 1,
  } as const;
  const after = endMember(table, death) ?? table;
  const json = encodeTable(after);
  const { data, headers } = packValue(json, {});
  let fresh = 0;
  const ids = Array.from({ length: shape.nodes }, (_, node) => `n${node}`);
  preferenceOrders(ids, 1);
  planRebalance(table);
  const plan = cpuMs(() => planRebalance(table));
  const planNew = cpuMs(() => {
    const join = { nodeId: `new-${shape.nodes}-${deaths}-${fresh++}`, joinNonce: "new" };
    planRebalance(joinMember(table, join) ?? table);
  });
  const dying = cpuMs(() => endMember(table, death));
  const check = cpuMs(() => changeBreach(table, after));
  const encode = cpuMs(() => encodeTable(after));
  const deflate = cpuMs(() => packValue(json, {}));
  const inflate = cpuMs(() => unpackValue(data, headers));
  const parse = cpuMs(() => parseTable(json));
  const compare = cpuMs(() => successionBreach(table, after));
  const [writer, reader] = [check + encode + deflate, inflate + parse + compare];
  const parts = [plan, planNew, dying, check, encode, deflate, inflate, parse, compare];
  const times = [...parts, writer, reader].map((ms) => ms.toFixed(ms < 10 ? 1 : 0));
  return [shape.partitions, shape.nodes, deaths, ...times];
}

const PARTS: Readonly<Record<string, () => void>> = {
  placement: printPlacement,
  size: printSizes,
  time: printTimes,
};
const { values } = parseArgs({
  options: { only: { type: "string", default: "placement,size,time" } },
});
for (const name of values.only.split(",")) {
  const part = PARTS[name];
  if (part === undefined) throw new Error(`--only knows ${Object.keys(PARTS).join(", ")}`);
  part();
}
