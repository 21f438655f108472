/** What a run of overload means: its lines, and the sentences about what must never be. */
import type { OverloadReport, PhaseReport } from "./overload-run.ts";
import type { ProbeFigures } from "./probes.ts";

/** What may never be, whatever the machine; empty: nothing was. */
export function faultsOf(report: OverloadReport): readonly string[] {
  const { law, statsCounted } = report;
  const faults: string[] = [];
  if (law.lost > 0) faults.push(`${law.lost} acknowledged events are not counted`);
  if (law.surplus > 0) faults.push(`${law.surplus} events are counted that nobody acknowledged`);
  if (law.counted !== statsCounted) {
    faults.push(`The domains hold ${law.counted} events, the statistics say ${statsCounted}`);
  }
  for (const { name, counts, probes } of report.phases) {
    const { health } = probes;
    const missing = health.sent - health.answered;
    if (missing > 0) {
      faults.push(`${name}: ${missing} health probes failed (${health.failures.join("; ")})`);
    }
    if (counts.withoutRetryAfter > 0) {
      faults.push(`${name}: ${counts.withoutRetryAfter} refusals without Retry-After`);
    }
  }
  return faults;
}

/** One line a phase. */
export function lineOfPhase(phase: PhaseReport): string {
  const { name, plan, counts, probes } = phase;
  const rate = plan.requestsPerSecond;
  const arrivals =
    rate === 0
      ? `${counts.sent} requests`
      : `${rate.toFixed(0)} requests/s due, ${counts.sent} sent, ` +
        `${counts.withoutConnection} without a connection`;
  return [
    `${name}: ${plan.connections} connections, ${arrivals}`,
    `${kilo(counts.eventsPerSecond)} events/s accepted (${percent(phase.goodputShare)} of peak, ` +
      `${percent(phase.goodputShareOfCpu)} by processor time)`,
    `accepted P50 ${ms(counts.latency.p50)}, P99 ${ms(counts.latency.p99)} ` +
      `(${phase.p99Ratio.toFixed(1)}x peak)`,
    `refused ${tally(counts.refused)}`,
    `unknown ${counts.unknownEvents}, broken ${tally(counts.broken)}`,
    `health ${shareOf(probes.health)}, reads ${shareOf(probes.reads)}, ` +
      `${probes.reads.refused} refused`,
    `RSS max ${probes.rssMaxMib.toFixed(0)} MiB`,
    `recovered in ${ms(phase.recoveryMs)}`,
  ].join("; ");
}

/** The peaks and the law. */
export function linesOfRun(report: OverloadReport): readonly string[] {
  const { quietMs, bulkPeak, singlePeak, law, statsCounted } = report;
  const peaks = { bulk: bulkPeak, ...(singlePeak === null ? {} : { single: singlePeak }) };
  return [
    `a quiet event: ${ms(quietMs)}`,
    ...Object.entries(peaks).map(
      ([name, { eventsPerSecond, eventsPerCpuSecond, connections, p99Ms }]) =>
        `peak of ${name}: ${kilo(eventsPerSecond)} events/s, ` +
        `${kilo(eventsPerCpuSecond)} a second of processor time, ` +
        `reached with ${connections} connections, P99 there ${ms(p99Ms)}`,
    ),
    `law: ${law.acked} acknowledged, ${law.counted} counted (statistics ${statsCounted}), ` +
      `${law.unknown} unknown, ${law.lost} lost, ${law.surplus} too many`,
  ];
}

function shareOf({ sent, answered, p99Ms, maxMs }: ProbeFigures): string {
  return `${percent(answered / Math.max(1, sent))} of ${sent} (P99 ${ms(p99Ms)}, max ${ms(maxMs)})`;
}

function tally(counts: Readonly<Record<string, number>>): string {
  const parts = Object.entries(counts).map(([code, count]) => `${code} ${count}`);
  return parts.length === 0 ? "0" : parts.join(" ");
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function ms(value: number): string {
  return `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

function kilo(perSecond: number): string {
  return `${(perSecond / 1000).toFixed(1)}k`;
}
