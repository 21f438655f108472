/**
 * `verify`: recounts every domain of a data directory from checkpoint and log, and with `--url` compares the result
 * with what the node there answers. Reads only; the node must be idle while it is compared.
 */

import type { Command } from "commander";
import type { Recount, VerifiedDirectory } from "../../server/verify.ts";
import { type CliContext, type ConnectionFlags, clientOf, withConnection } from "../context.ts";
import { countOf, formatCount, note, printJson, printLine, printTable } from "../output.ts";

interface Difference {
  readonly domain: string;
  readonly expected: Recount | null;
  readonly answered: Recount | null;
}

const DIFFERENCES_SHOWN_MAX = 20;

export function registerVerify(program: Command, context: CliContext): void {
  const verify = program
    .command("verify <data-dir>")
    .description(
      "recount every domain from checkpoint and log; with --url compare with that idle node",
    )
    .addHelpText(
      "after",
      "\nExamples:\n  catchall verify ./data\n  catchall verify ./data --url http://127.0.0.1:8080",
    );
  withConnection(verify, context);
  verify.action((dataDir: string, flags: ConnectionFlags) =>
    verifyDirectory(dataDir, flags, verify.getOptionValueSource("url") === "cli", context),
  );
}

async function verifyDirectory(
  dataDir: string,
  flags: ConnectionFlags,
  isCompared: boolean,
  context: CliContext,
): Promise<void> {
  const recount = await recountDirectory(dataDir);
  const differences = isCompared ? await compare(recount, flags, context) : [];
  if (differences.length > 0) context.exitCode = 1;
  const domains = recount.domains.size;
  if (flags.json === true) {
    return printJson(context, {
      entries: recount.entries,
      domains,
      compared: isCompared,
      differences,
    });
  }
  printLine(
    context,
    `${countOf(domains, "domain")} recounted, ${formatCount(recount.entries)} log entries replayed`,
  );
  if (!isCompared) return;
  if (differences.length === 0)
    return printLine(context, "The node answers the same for every domain");
  note(context, `error: ${countOf(differences.length, "domain")} not as recounted`);
  const shown = differences.slice(0, DIFFERENCES_SHOWN_MAX);
  await printTable(
    context,
    ["DOMAIN", "RECOUNTED", "ANSWERED"],
    shown.map(({ domain, expected, answered }) => [domain, textOf(expected), textOf(answered)]),
  );
}

async function recountDirectory(dataDir: string): Promise<VerifiedDirectory> {
  const { verifyDataDirectory } = await import("../../server/verify.ts");
  return verifyDataDirectory(dataDir);
}

async function compare(
  recount: VerifiedDirectory,
  flags: ConnectionFlags,
  context: CliContext,
): Promise<Difference[]> {
  const left = new Map(recount.domains);
  const differences: Difference[] = [];
  for await (const answered of clientOf(flags).export({ signal: context.signal })) {
    const { domain } = answered;
    const expected = left.get(domain) ?? null;
    left.delete(domain);
    // A pinned status is not the rule's; the counts must agree all the same.
    const isStatusRight = answered.overridden || expected?.status === answered.status;
    const areCountsRight =
      expected?.delivered === answered.delivered && expected.bounced === answered.bounced;
    if (areCountsRight && isStatusRight) continue;
    const { delivered, bounced, status } = answered;
    differences.push({ domain, expected, answered: { delivered, bounced, status } });
  }
  for (const [domain, expected] of left) differences.push({ domain, expected, answered: null });
  return differences;
}

function textOf(recount: Recount | null): string {
  if (recount === null) return "-";
  return `${recount.delivered} delivered, ${recount.bounced} bounced, ${recount.status}`;
}
