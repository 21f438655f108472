/**
 * A table of targets side by side: medians and ranges of the rounds. A ratio is one of each round, between targets that had
 * their turns in it, so that a slow minute does not count for one of them only.
 */
import type { LatencySummary } from "../../src/cli/load/latency-recorder.ts";
import { decimal, median, percent, ratios, whole, withRange } from "./figures.ts";
import type { Table } from "./part.ts";
import { TARGET_TITLES, type TargetName } from "./targets.ts";

export interface Measurement {
  readonly eventsPerSecond: number;
  /** Milliseconds a request. */
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly p999: number;
  /** Processor time of all processes of the target, and of the load tool, µs an event. */
  readonly serverUsPerEvent: number;
  readonly clientUsPerEvent: number;
  readonly rssMib: number;
  /** Of the reads among the requests; null: there were none. */
  readonly readLatency: LatencySummary | null;
}

/** Those of which the table gives medians and ratios. */
type Figure = Exclude<keyof Measurement, "readLatency">;

export const LATENCIES = ["p50", "p95", "p99", "p999"] as const;
export const LATENCY_COLUMNS: readonly string[] = ["P50 ms", "P95 ms", "P99 ms", "P99.9 ms"];

export const COMPARISON_COLUMNS: readonly string[] = [
  "target",
  "events/s",
  "of bare",
  ...LATENCY_COLUMNS,
  "CPU µs/event",
  "CPU of bare",
  "load tool µs/event",
  "RSS MiB",
];

export interface ComparedTarget {
  readonly target: TargetName;
  readonly rounds: readonly Measurement[];
}

function valuesOf(
  compared: readonly ComparedTarget[],
  target: TargetName,
  key: Figure,
): readonly number[] {
  const rounds = compared.find((one) => one.target === target)?.rounds ?? [];
  return rounds.map((round) => round[key]);
}

/** Medians and ranges of the rounds; ratios to the bare server are empty where it was not measured. */
export function comparisonRows(
  compared: readonly ComparedTarget[],
): readonly (readonly string[])[] {
  return compared.map(({ target }) => {
    const all = (key: Figure): readonly number[] => valuesOf(compared, target, key);
    const ofBare = (key: Figure) => ratios(all(key), valuesOf(compared, "bare", key));
    return [
      TARGET_TITLES[target],
      withRange(all("eventsPerSecond"), whole),
      withRange(ofBare("eventsPerSecond"), percent, " %"),
      ...LATENCIES.map((key) => withRange(all(key), decimal)),
      withRange(all("serverUsPerEvent"), decimal),
      withRange(ofBare("serverUsPerEvent"), decimal, " ×"),
      decimal(median(all("clientUsPerEvent"))),
      whole(median(all("rssMib"))),
    ];
  });
}

export const CPU_SECOND_COLUMNS: readonly string[] = [
  "events per CPU-second",
  "cluster against this",
];

/** What a second of processor time does, and how much more of it the cluster does: further cells of those rows. */
export function cpuSecondCells(
  compared: readonly ComparedTarget[],
): readonly (readonly string[])[] {
  const cluster = valuesOf(compared, "cluster", "serverUsPerEvent");
  return compared.map(({ target }) => {
    const costs = valuesOf(compared, target, "serverUsPerEvent");
    return [
      withRange(
        costs.map((us) => 1e6 / us),
        whole,
      ),
      withRange(ratios(costs, cluster), decimal, " ×"),
    ];
  });
}

/** A load among several on the same targets. */
export interface NamedLoad {
  readonly name: string;
  readonly compared: readonly ComparedTarget[];
}

/**
 * All loads in one table, a row for each load and target; without ratios where the bare server was not measured. `base`: a
 * load whose rate on the same target the others' are compared with.
 */
export function loadsInOneTable(
  what: string,
  loads: readonly NamedLoad[],
  base: NamedLoad | null = null,
): Pick<Table, "columns" | "rows"> {
  const hasBare = loads.some(({ compared }) => compared.some(({ target }) => target === "bare"));
  const kept = (cells: readonly string[]): readonly string[] =>
    cells.filter((_, index) => hasBare || !(COMPARISON_COLUMNS[index] ?? "").includes("of bare"));
  const ofBase = (compared: readonly ComparedTarget[]): readonly (readonly string[])[] =>
    compared.map(({ target }) => {
      if (base === null) return [];
      const [rates, bases] = [compared, base.compared].map((of) => {
        return valuesOf(of, target, "eventsPerSecond");
      });
      return [withRange(ratios(rates ?? [], bases ?? []), percent, " %")];
    });
  return {
    columns: [what, ...kept(COMPARISON_COLUMNS), ...(base === null ? [] : [`of ${base.name}`])],
    rows: loads.flatMap(({ name, compared }) => {
      const more = ofBase(compared);
      return comparisonRows(compared).map((row, i) => [name, ...kept(row), ...(more[i] ?? [])]);
    }),
  };
}
