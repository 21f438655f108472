/**
 * What a part of the benchmark is: a name for `--only`, and tables for docs/benchmarks.md. Parts share nothing but the
 * context; each starts its targets, lets them take turns over the rounds, and ends them.
 */
import type { MixName } from "../../src/cli/load/mixes.ts";
import type { TargetName } from "./targets.ts";

export interface BenchContext {
  readonly rounds: number;
  /** Of one measured load, and of the load before it that lets the target compile its code, ms. */
  readonly durationMs: number;
  readonly settleMs: number;
  /** How long a load runs before it is measured, ms. */
  readonly warmupMs: number;
  /** So many events a load instead of `durationMs`; null: as long as that says. */
  readonly events: number | null;
  /** Shrinks numbers of domains and of partitions, for a try: 1 in full. */
  readonly scale: number;
  /** A part leaves out those that cannot do its work. */
  readonly targets: readonly TargetName[];
  /** Of loads of single events: each of these numbers in turn. */
  readonly connections: readonly number[];
  readonly bulkConnections: number;
  readonly mix: MixName;
  /** Domains of one node that is filled, scaled already. */
  readonly domains: number;
  readonly say: (line: string) => void;
}

export interface Table {
  readonly title: string;
  /** Markdown: what was done, and how to read it. */
  readonly text: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly plot?: Plot;
}

/** Becomes docs/benchmarks-<name>.svg, below its table. */
export interface Plot {
  readonly name: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly {
    readonly title: string;
    readonly points: readonly (readonly [x: number, y: number])[];
  }[];
}

export interface Axis {
  readonly title: string;
  readonly isLogarithmic: boolean;
}

export interface BenchPart {
  readonly name: string;
  run(context: BenchContext): Promise<readonly Table[]>;
}
