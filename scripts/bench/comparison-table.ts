/** A table of targets side by side: medians of the rounds, and ratios to the bare server measured in the same rounds. */
import type { LatencySummary } from "../../src/cli/load/latency-recorder.ts";
import { decimal, median, whole, withRange } from "./figures.ts";
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

export const COMPARISON_COLUMNS: readonly string[] = [
  "target",
  "events/s",
  "of bare",
  ...["P50 ms", "P95 ms", "P99 ms", "P99.9 ms"],
  "CPU µs/event",
  "CPU of bare",
  "load tool µs/event",
  "RSS MiB",
];

export interface ComparedTarget {
  readonly target: TargetName;
  readonly rounds: readonly Measurement[];
}

/** Medians of the rounds; ratios to the medians of the bare server, empty where it was not measured. */
export function comparisonRows(
  compared: readonly ComparedTarget[],
): readonly (readonly string[])[] {
  const bare = compared.find(({ target }) => target === "bare")?.rounds ?? [];
  return compared.map(({ target, rounds }) => {
    const all = (key: Figure): readonly number[] => rounds.map((round) => round[key]);
    const ofBare = (key: Figure): number =>
      median(all(key)) / median(bare.map((round) => round[key]));
    return [
      TARGET_TITLES[target],
      withRange(all("eventsPerSecond"), whole),
      bare.length === 0 ? "" : `${(100 * ofBare("eventsPerSecond")).toFixed(1)} %`,
      ...(["p50", "p95", "p99", "p999"] as const).map((key) => decimal(median(all(key)))),
      withRange(all("serverUsPerEvent"), decimal),
      bare.length === 0 ? "" : `${decimal(ofBare("serverUsPerEvent"))} ×`,
      decimal(median(all("clientUsPerEvent"))),
      whole(median(all("rssMib"))),
    ];
  });
}

/** All loads in one table, a row for each load and target; without ratios where the bare server was not measured. */
export function loadsInOneTable(
  what: string,
  loads: readonly { readonly name: string; readonly compared: readonly ComparedTarget[] }[],
): Pick<Table, "columns" | "rows"> {
  const hasBare = loads.some(({ compared }) => compared.some(({ target }) => target === "bare"));
  const kept = (cells: readonly string[]): readonly string[] =>
    cells.filter((_, index) => hasBare || !(COMPARISON_COLUMNS[index] ?? "").includes("of bare"));
  return {
    columns: [what, ...kept(COMPARISON_COLUMNS)],
    rows: loads.flatMap(({ name, compared }) =>
      comparisonRows(compared).map((row) => [name, ...kept(row)]),
    ),
  };
}
