/** Numbers of a benchmark and how they are written: medians with their range, rates, work done by this process. */
import { performance } from "node:perf_hooks";

/** Something that this process did `count` times. */
export interface Work {
  readonly count: number;
  readonly seconds: number;
  /** User and system time of all threads of this process, ms. */
  readonly cpuMs: number;
}

/** Starts a watch; call what it returns to read it. */
export function startWatch(): () => Omit<Work, "count"> {
  const startMs = performance.now();
  const cpuStart = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(cpuStart);
    return { seconds: (performance.now() - startMs) / 1000, cpuMs: (user + system) / 1000 };
  };
}

/** Of an even number of values: the mean of the two in the middle. Zero of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

/** The value below which a share of them lies; of sorted values. */
export function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.floor((sorted.length - 1) * share)] ?? 0;
}

/** Such as "1,234". */
export function whole(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

/** Such as "1.50". */
export function decimal(value: number): string {
  return value.toFixed(2);
}

/** Such as "12.3", of 0.123. */
export function percent(share: number): string {
  return (100 * share).toFixed(1);
}

/** Round by round; none without rounds of the base. */
export function ratios(values: readonly number[], bases: readonly number[]): readonly number[] {
  return values.flatMap((value, round) => {
    const base = bases[round];
    return base === undefined ? [] : [value / base];
  });
}

/** Such as "1,234 (1,200-1,300)", with a unit "1.50 × (1.40-1.60)"; of one value no range, of none nothing. */
export function withRange(
  values: readonly number[],
  write: (value: number) => string,
  unit: string = "",
): string {
  if (values.length === 0) return "";
  const middle = `${write(median(values))}${unit}`;
  if (values.length < 2) return middle;
  return `${middle} (${write(Math.min(...values))}-${write(Math.max(...values))})`;
}
