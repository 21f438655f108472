/**
 * Adapter: Metrics as Prometheus text by prom-client. Series live as plain numbers (see the port) and are turned into
 * samples only at a scrape. Own names get the prefix `catchall_`; process and event-loop metrics keep the standard ones.
 * A gauge whose reader throws is left out of that scrape; it must never make the scrape fail.
 */

import { collectDefaultMetrics, type Metric, Registry } from "prom-client";
import { Counter, Histogram, type Labels, type Metrics, type Sample } from "./metrics.ts";

const PREFIX = "catchall_";

interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  get(): Promise<{
    name: string;
    help: string;
    type: string;
    values: readonly PromSample[];
    aggregator: string;
  }>;
}

interface PromSample {
  readonly metricName?: string;
  readonly labels: Labels;
  readonly value: number;
}

interface Series<T> {
  readonly labels: Labels;
  readonly instrument: T;
}

export class PrometheusMetrics implements Metrics {
  readonly #registry: Registry = new Registry();
  readonly #counters: Map<string, Map<string, Series<Counter>>> = new Map();
  readonly #histograms: Map<string, Map<string, Series<Histogram>>> = new Map();
  readonly #gauges: Map<string, () => number | readonly Sample[]> = new Map();

  /** `withProcess` adds process_* and nodejs_* (event loop lag among them); it starts one lag monitor. */
  constructor(options: { readonly withProcess: boolean } = { withProcess: true }) {
    if (options.withProcess) collectDefaultMetrics({ register: this.#registry });
  }

  counter(name: string, help: string, labels: Labels = {}): Counter {
    const family = this.#counters.get(name) ?? this.#openCounters(name, help);
    return seriesOf(family, labels, () => new Counter());
  }

  histogram(name: string, help: string, bounds: readonly number[], labels: Labels = {}): Histogram {
    const family = this.#histograms.get(name) ?? this.#openHistograms(name, help);
    return seriesOf(family, labels, () => new Histogram(bounds));
  }

  gauge(name: string, help: string, read: () => number | readonly Sample[]): void {
    const isNew = !this.#gauges.has(name);
    this.#gauges.set(name, read);
    if (isNew) this.#register(name, help, "gauge", () => this.#readGauge(name));
  }

  async text(): Promise<{ readonly contentType: string; readonly body: string }> {
    return { contentType: this.#registry.contentType, body: await this.#registry.metrics() };
  }

  #openCounters(name: string, help: string): Map<string, Series<Counter>> {
    const family = new Map<string, Series<Counter>>();
    this.#counters.set(name, family);
    this.#register(name, help, "counter", () =>
      [...family.values()].map(({ labels, instrument }) => ({ labels, value: instrument.value })),
    );
    return family;
  }

  #openHistograms(name: string, help: string): Map<string, Series<Histogram>> {
    const family = new Map<string, Series<Histogram>>();
    this.#histograms.set(name, family);
    this.#register(name, help, "histogram", () =>
      [...family.values()].flatMap(({ labels, instrument }) =>
        histogramSamples(PREFIX + name, labels, instrument),
      ),
    );
    return family;
  }

  #readGauge(name: string): readonly PromSample[] {
    try {
      const read = this.#gauges.get(name)?.() ?? [];
      return typeof read === "number" ? [{ labels: {}, value: read }] : read;
    } catch {
      return [];
    }
  }

  #register(
    name: string,
    help: string,
    type: Family["type"],
    read: () => readonly PromSample[],
  ): void {
    const fullName = PREFIX + name;
    const family: Family = {
      name: fullName,
      help,
      type,
      get: async () => ({ name: fullName, help, type, values: read(), aggregator: "sum" }),
    };
    // The registry asks a metric for nothing but its name and `get`; its own classes would copy every number.
    this.#registry.registerMetric(family as unknown as Metric);
  }
}

function seriesOf<T>(family: Map<string, Series<T>>, labels: Labels, create: () => T): T {
  const key = Object.entries(labels)
    .map(([label, value]) => `${label}=${value}`)
    .sort()
    .join("\n");
  const known = family.get(key);
  if (known !== undefined) return known.instrument;
  const instrument = create();
  family.set(key, { labels, instrument });
  return instrument;
}

function histogramSamples(
  name: string,
  labels: Labels,
  histogram: Histogram,
): readonly PromSample[] {
  const samples: PromSample[] = [];
  let total = 0;
  for (let i = 0; i < histogram.counts.length; i++) {
    total += histogram.counts[i] as number;
    const bound = histogram.bounds[i];
    const le = bound === undefined ? "+Inf" : String(bound);
    samples.push({ metricName: `${name}_bucket`, labels: { ...labels, le }, value: total });
  }
  samples.push({ metricName: `${name}_sum`, labels, value: histogram.sum });
  samples.push({ metricName: `${name}_count`, labels, value: total });
  return samples;
}
