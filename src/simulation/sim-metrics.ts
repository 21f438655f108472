/** Metrics that nobody reads: the series exist, so that hot paths may add to them. */

import { Counter, Histogram, type Labels, type Metrics } from "../runtime/metrics.ts";

export class SimMetrics implements Metrics {
  readonly #counters: Map<string, Counter> = new Map();

  counter(name: string, _help: string, labels: Labels = {}): Counter {
    const key = `${name} ${JSON.stringify(labels)}`;
    let counter = this.#counters.get(key);
    if (counter === undefined) {
      counter = new Counter();
      this.#counters.set(key, counter);
    }
    return counter;
  }

  histogram(_name: string, _help: string, bounds: readonly number[]): Histogram {
    return new Histogram(bounds);
  }

  gauge(): void {
    // Nobody scrapes.
  }

  async text(): Promise<{ readonly contentType: string; readonly body: string }> {
    return { contentType: "text/plain", body: "" };
  }
}
