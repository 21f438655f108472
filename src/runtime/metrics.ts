/**
 * Port: what the node counts. Names come without the prefix; the adapter adds `catchall_` and publishes on demand.
 * Counters and histograms are plain numbers, so hot paths keep the object and add to it; gauges are read when somebody
 * asks. Invariant: labels are bounded sets (route templates, codes, states), never a domain. Never throws.
 */

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels: Labels;
  readonly value: number;
}

/** One series that only grows. The hot path may write `value` itself. */
export class Counter {
  value = 0;
  add(amount = 1): void {
    this.value += amount;
  }
}

/** One series of observations in buckets; `bounds` are the upper ends, rising; one more bucket holds the rest. */
export class Histogram {
  readonly bounds: readonly number[];
  /** Not cumulative; length is `bounds.length + 1`. */
  readonly counts: number[];
  sum = 0;
  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Array<number>(bounds.length + 1).fill(0);
  }
  observe(value: number): void {
    let index = 0;
    while (index < this.bounds.length && value > (this.bounds[index] as number)) index++;
    this.counts[index] = (this.counts[index] as number) + 1;
    this.sum += value;
  }
}

export interface Metrics {
  /** The series of these labels; the same object when asked again. */
  counter(name: string, help: string, labels?: Labels): Counter;
  histogram(name: string, help: string, bounds: readonly number[], labels?: Labels): Histogram;
  /** Calls `read` at each scrape. A number, or one sample per label set. The last registration of a name wins. */
  gauge(name: string, help: string, read: () => number | readonly Sample[]): void;
  /** All of it as Prometheus text. */
  text(): Promise<{ readonly contentType: string; readonly body: string }>;
}

export const DURATION_BOUNDS_S: readonly number[] = [
  0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];
export const SIZE_BOUNDS: readonly number[] = [1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536];
