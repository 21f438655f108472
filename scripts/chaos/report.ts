/** What a chaos run says in the end, line by line. */

import type { ChaosReport } from "./chaos-run.ts";

const VIOLATIONS_SHOWN_MAX = 20;

export function linesOfReport(report: ChaosReport): readonly string[] {
  const { faults, figures, acked, refused, unknown, reads, domains, exactDomains } = report;
  const total = Object.values(faults).reduce((sum, times) => sum + times, 0);
  const share = domains === 0 ? 100 : (100 * exactDomains) / domains;
  const lines = [
    `seed ${report.seed}: ${report.rounds} rounds, ${total} faults: ${listOf(faults)}`,
    `${figures.ownerKills} owner kills, ${figures.pausesPastLease} owners paused past their lease, ` +
      `${figures.orderlyStops} orderly stops, ${figures.natsRestarts} NATS restarts, ` +
      `${figures.mongoRestarts} MongoDB restarts, ${report.lostPublishAcks} publish ` +
      `acknowledgements and ${report.lostHttpAnswers} HTTP answers lost`,
    `${acked} events acknowledged, ${refused} refused, ${unknown} unknown; ${reads} reads`,
    `${domains} domains, ${share.toFixed(2)} % of them without an unknown event and exact`,
    `healed within ${report.healMsMax} ms; answers: ${listOf(report.told)}`,
  ];
  if (Object.keys(report.exits).length > 0) lines.push(`exits: ${listOf(report.exits)}`);
  for (const { rule, domain, text, excerpt } of report.violations.slice(0, VIOLATIONS_SHOWN_MAX)) {
    lines.push(`VIOLATION ${rule} ${domain}: ${text}`, ...excerpt.map((line) => `    ${line}`));
  }
  lines.push(
    report.violations.length === 0
      ? "0 violations"
      : `${report.violations.length} violations; history and logs are in ${report.folder}`,
  );
  return lines;
}

function listOf(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, times]) => `${name} ${times}`)
    .join(", ");
}
