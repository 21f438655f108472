/**
 * Text of a load run for people; the same numbers as `--json` gives to programs.
 */
import Table from "cli-table3";
import type { LatencySummary } from "./latency-recorder.ts";
import type { LoadRunResult } from "./load-run.ts";
import type { VerificationReport } from "./verification.ts";

/** False on any wrong count or status, on events given up and when nothing was counted. */
export function isSuccess(result: LoadRunResult): boolean {
  const { outcome, verification } = result;
  if (outcome.ackedTotal + (outcome.reads?.answeredTotal ?? 0) === 0) return false;
  if ((outcome.errors["given_up"] ?? 0) > 0 || (outcome.errors["bad_answer"] ?? 0) > 0)
    return false;
  return verification === null || verification.wrongDomains === 0;
}

export function reportOf(result: LoadRunResult): string {
  const { options, outcome } = result;
  const unit = options.bulk > 0 ? `a request of ${options.bulk} events` : "an event";
  const loop = options.rate > 0 ? `open loop, ${options.rate}/s intended` : "closed loop";
  const table = new Table({ style: { head: [], border: [] } });
  table.push(
    ["mix", `${options.mix}, seed ${options.seed}`],
    ["load", `${options.connections} connections, ${loop}`],
    ["acknowledged", `${count(outcome.acked)} events in ${outcome.seconds.toFixed(2)} s`],
    ["rate", `${count(outcome.eventsPerSecond)} events/s`],
    [`latency (ms ${unit})`, latencyText(outcome.latency)],
    ...readRows(result),
    ["errors", errorsText(outcome.errors)],
    ["unknown outcome", `${count(outcome.maybe)} events`],
    [
      "retries, reconnects, replays",
      `${outcome.retries}, ${outcome.reconnects}, ${outcome.replayed}`,
    ],
    ["CPU", cpuText(result)],
  );
  const lines = [table.toString()];
  if (result.verification !== null) lines.push(verificationText(result.verification));
  return lines.join("\n");
}

function readRows({ outcome: { reads } }: LoadRunResult): [string, string][] {
  if (reads === null) return [];
  const rate = `${count(reads.answered)} GETs, ${count(reads.readsPerSecond)}/s`;
  return [["reads (ms a GET)", `${rate}  ${latencyText(reads.latency)}`]];
}

function latencyText(latency: LatencySummary): string {
  const { p50, p95, p99, p999, max } = latency;
  const ms = (value: number): string => value.toFixed(2);
  return `P50 ${ms(p50)}  P95 ${ms(p95)}  P99 ${ms(p99)}  P99.9 ${ms(p999)}  max ${ms(max)}`;
}

function errorsText(errors: Readonly<Record<string, number>>): string {
  const parts = Object.entries(errors).map(([code, times]) => `${code} ${times}`);
  return parts.length === 0 ? "none" : parts.join(", ");
}

function cpuText({ outcome, serverCpuSeconds }: LoadRunResult): string {
  const requests = outcome.acked + (outcome.reads?.answered ?? 0);
  const unit = outcome.reads === null ? "event" : "event and read";
  const perEvent = (ms: number): string =>
    `${((ms * 1000) / Math.max(1, requests)).toFixed(2)} µs/${unit}`;
  const client = `load tool ${perEvent(outcome.clientCpuMs)}`;
  return serverCpuSeconds === null
    ? client
    : `${client}, node ${perEvent(serverCpuSeconds * 1000)}`;
}

function verificationText(report: VerificationReport): string {
  const share = report.domains === 0 ? 100 : (100 * report.exactDomains) / report.domains;
  const lines = [
    `verified ${count(report.domains)} domains: ${report.wrongDomains} wrong, lost ${report.lost}, ` +
      `doubled ${report.doubled}, wrong statuses ${report.wrongStatuses}; ` +
      `${share.toFixed(1)} % had no unknown outcome and had to match exactly`,
    Object.entries(report.statuses)
      .map(([status, domains]) => `  ${status}: ${domains}`)
      .join("\n"),
  ];
  for (const wrong of report.firstWrong) {
    lines.push(`  WRONG ${wrong.domain}: expected ${wrong.expected}; got ${wrong.actual}`);
  }
  return lines.join("\n");
}

function count(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}
