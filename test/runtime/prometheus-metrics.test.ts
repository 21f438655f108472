/** The adapter behind the Metrics port: names, types and numbers as Prometheus reads them. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { PrometheusMetrics } from "../../src/runtime/prometheus-metrics.ts";

describe("PrometheusMetrics", () => {
  it("publishes counters by label with the prefix, and keeps one series per label set", async () => {
    const metrics = new PrometheusMetrics({ withProcess: false });
    metrics.counter("events_total", "Events", { type: "delivered" }).add(2);
    metrics.counter("events_total", "Events", { type: "delivered" }).value += 1;
    metrics.counter("events_total", "Events", { type: "bounced" }).add();
    const { body, contentType } = await metrics.text();
    assert.match(contentType, /^text\/plain/);
    assert.match(body, /^# TYPE catchall_events_total counter$/m);
    assert.match(body, /^catchall_events_total\{type="delivered"\} 3$/m);
    assert.match(body, /^catchall_events_total\{type="bounced"\} 1$/m);
  });

  it("publishes histograms with cumulative buckets, sum and count", async () => {
    const metrics = new PrometheusMetrics({ withProcess: false });
    const histogram = metrics.histogram("wal_commit_duration_seconds", "Time", [0.01, 0.1], {
      kind: "file",
    });
    for (const value of [0.01, 0.05, 5]) histogram.observe(value);
    const { body } = await metrics.text();
    assert.match(body, /^# TYPE catchall_wal_commit_duration_seconds histogram$/m);
    assert.match(body, /_bucket\{kind="file",le="0.01"\} 1$/m);
    assert.match(body, /_bucket\{kind="file",le="0.1"\} 2$/m);
    assert.match(body, /_bucket\{kind="file",le="\+Inf"\} 3$/m);
    assert.match(body, /_sum\{kind="file"\} 5.06$/m);
    assert.match(body, /_count\{kind="file"\} 3$/m);
  });

  it("reads gauges at the scrape, the last registration winning, and survives one that throws", async () => {
    const metrics = new PrometheusMetrics({ withProcess: false });
    let value = 1;
    metrics.gauge("cluster_epoch", "Epoch", () => 99);
    metrics.gauge("cluster_epoch", "Epoch", () => value);
    metrics.gauge("domains", "Domains", () => [{ labels: { status: "unknown" }, value: 7 }]);
    metrics.gauge("table_bytes", "Bytes", () => {
      throw new Error("closed");
    });
    value = 2;
    const { body } = await metrics.text();
    assert.match(body, /^catchall_cluster_epoch 2$/m);
    assert.match(body, /^catchall_domains\{status="unknown"\} 7$/m);
    assert.doesNotMatch(body, /^catchall_table_bytes \d/m);
  });

  it("adds the process and the event loop lag under their usual names", async () => {
    const { body } = await new PrometheusMetrics().text();
    assert.match(body, /^process_resident_memory_bytes \d+/m);
    assert.match(body, /^nodejs_eventloop_lag_seconds /m);
  });

  it("escapes label values", async () => {
    const metrics = new PrometheusMetrics({ withProcess: false });
    metrics.counter("x_total", "X", { code: 'a"b\n' }).add();
    assert.match((await metrics.text()).body, /^catchall_x_total\{code="a\\"b\\n"\} 1$/m);
  });
});
