/** What a chaos run says in the end, line by line. */

import type { ChaosReport, FoundViolation } from "./chaos-run.ts";
import { shareOf } from "./checkers.ts";
import type { DroppedAcksReport } from "./dropped-acks.ts";

const VIOLATIONS_SHOWN_MAX = 20;

export function linesOfReport(report: ChaosReport): readonly string[] {
  const { faults, figures, acked, refused, unknown, reads, domains } = report;
  const total = Object.values(faults).reduce((sum, times) => sum + times, 0);
  const share = shareOf(report);
  const lines = [
    `seed ${report.seed}: ${report.rounds} rounds, ${total} faults: ${listOf(faults)}`,
    `${figures.ownerKills} owner kills, ${figures.pausesPastLease} owners paused past their lease, ` +
      `${figures.orderlyStops} orderly stops, ${figures.natsRestarts} NATS restarts, ` +
      `${figures.stepDowns} leaders that stepped down, ${figures.mongoRestarts} MongoDB restarts, ${report.lostPublishAcks} publish ` +
      `acknowledgements and ${report.lostHttpAnswers} HTTP answers lost`,
    `${acked} events acknowledged, ${refused} refused, ${unknown} unknown; ${reads} reads`,
    `${domains} domains, ${share.toFixed(2)} % of them without an unknown event and exact; ` +
      `${report.auditedDomains} recounted from the logs`,
    `healed within ${report.healMsMax} ms; answers: ${listOf(report.told)}`,
    ...linesOfSeries(report.seriesHealMs),
  ];
  for (const [how, times] of Object.entries(report.exits)) {
    lines.push(`nodes that ended by themselves, ${times}: ${how}`);
  }
  for (const [kind, why] of Object.entries(report.leftOut)) {
    lines.push(`left out, ${kind}: ${why}`);
  }
  lines.push(...linesOfViolations(report.violations));
  if (report.folder !== null) lines.push(`history and logs are in ${report.folder}`);
  lines.push(
    `${total} faults, ${figures.ownerKills} owner kills, ${figures.pausesPastLease} owners paused past ` +
      `their lease, ${figures.natsRestarts} NATS restarts; ${acked} acknowledged, ` +
      `${share.toFixed(2)} % of ${domains} domains exact, ${report.violations.length} violations`,
  );
  return lines;
}

export function linesOfDroppedAcks(report: DroppedAcksReport): readonly string[] {
  const kinds = ["http", "publish"] as const;
  return [
    ...kinds.map((kind) => {
      const unknown = `${report.unknown[kind]} senders did not know the outcome`;
      return `${kind}: ${report.cases[kind]} cases, ${report.lost[kind]} acknowledgements lost, ${unknown}`;
    }),
    ...linesOfViolations(report.violations),
    `${report.operations} operations, ${report.cases.http + report.cases.publish} cases, ` +
      `${report.lost.http + report.lost.publish} acknowledgements lost, ` +
      `${shareOf(report).toFixed(2)} % of ${report.domains} domains without an unknown event, ` +
      `${report.violations.length} violations`,
  ];
}

function linesOfSeries(healMs: readonly number[]): readonly string[] {
  if (healMs.length === 0) return [];
  const at = (share: number): string =>
    (healMs[Math.min(healMs.length - 1, Math.floor(healMs.length * share))] ?? 0).toFixed(0);
  return [`from a fault to a whole cluster: median ${at(0.5)} ms, P99 ${at(0.99)}, max ${at(1)}`];
}

function linesOfViolations(violations: readonly FoundViolation[]): readonly string[] {
  return violations.slice(0, VIOLATIONS_SHOWN_MAX).flatMap(({ rule, domain, text, excerpt }) => {
    return [`VIOLATION ${rule} ${domain}: ${text}`, ...excerpt.map((line) => `    ${line}`)];
  });
}

function listOf(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, times]) => `${name} ${times}`)
    .join(", ");
}
