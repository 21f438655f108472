/**
 * Latencies as an HDR histogram: three significant digits from a microsecond to a minute.
 * The caller decides from which instant a latency counts (the intended start, under a fixed rate).
 */
import { build, type Histogram } from "hdr-histogram-js";

/** Milliseconds. */
export interface LatencySummary {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  readonly mean: number;
}

const LATENCY_US_MAX = 600_000_000;

export class LatencyRecorder {
  readonly #histogram: Histogram = build({
    bitBucketSize: 32,
    autoResize: false,
    lowestDiscernibleValue: 1,
    highestTrackableValue: LATENCY_US_MAX,
    numberOfSignificantValueDigits: 3,
    useWebAssembly: false,
  });

  record(latencyMs: number): void {
    const microseconds = Math.round(latencyMs * 1000);
    this.#histogram.recordValue(Math.min(LATENCY_US_MAX, Math.max(1, microseconds)));
  }

  summary(): LatencySummary {
    const at = (percentile: number): number =>
      this.#histogram.getValueAtPercentile(percentile) / 1000;
    return {
      p50: at(50),
      p95: at(95),
      p99: at(99),
      p999: at(99.9),
      max: this.#histogram.totalCount === 0 ? 0 : this.#histogram.maxValue / 1000,
      mean: this.#histogram.totalCount === 0 ? 0 : this.#histogram.mean / 1000,
    };
  }
}
