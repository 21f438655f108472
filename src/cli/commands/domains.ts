/**
 * Commands about domains: `get`, `where`, `override`, `reset`, `export`, `watch`.
 */

import { createWriteStream } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import type { Command } from "commander";
import type { CatchallClient, DomainStatus, LookupError, StatusName } from "../../client/index.ts";
import {
  type CliContext,
  type ConnectionFlags,
  clientOf,
  UsageError,
  withConnection,
} from "../context.ts";
import {
  type Cell,
  note,
  printJson,
  printLine,
  printTable,
  startProgress,
  writeData,
} from "../output.ts";

const LOOKUP_DOMAINS_MAX = 10_000;

export function registerDomains(program: Command, context: CliContext): void {
  const get = program
    .command("get <domains...>")
    .description(
      'show the status of domains with its evidence ("-" reads them from stdin, one a line)',
    )
    .addHelpText(
      "after",
      "\nExamples:\n  catchall get example.com\n  catchall get - --json < domains.txt",
    )
    .action((domains: string[], flags: ConnectionFlags) => getDomains(domains, flags, context));
  const where = program
    .command("where <domain>")
    .description("show hash, partition and owner of a domain")
    .action((domain: string, flags: ConnectionFlags) => locate(domain, flags, context));
  const override = program
    .command("override <domain> [status]")
    .description("pin a status (catch-all, not-catch-all, unknown) or unpin it")
    .option("--reason <text>", "why; kept with who and when")
    .option("--remove", "unpin")
    .addHelpText(
      "after",
      '\nExamples:\n  catchall override example.com not-catch-all --reason "ticket 12"\n' +
        "  catchall override example.com --remove",
    )
    .action((domain: string, status: string | undefined, flags: OverrideFlags) =>
      setOverride({ domain, status }, flags, context),
    );
  const reset = program
    .command("reset <domain>")
    .description("forget the counts of a domain (audited)")
    .action((domain: string, flags: ConnectionFlags) => resetDomain(domain, flags, context));
  const exportCommand = program
    .command("export")
    .description("write all domains as NDJSON")
    .option("--status <status>", "only domains with this status")
    .option("--output <file>", "file instead of stdout; appears only when complete")
    .addHelpText(
      "after",
      "\nExample:\n  catchall export --status catch-all --output catch-all.ndjson",
    )
    .action((flags: ExportFlags) => exportDomains(flags, context));
  const watch = program
    .command("watch [domain]")
    .description("print status changes as they happen, of one domain or of all")
    .option("--status <status>", "only changes to this status")
    .action((domain: string | undefined, flags: ExportFlags) =>
      watchChanges(domain, flags, context),
    );
  for (const command of [get, where, override, reset, exportCommand, watch]) {
    withConnection(command, context);
  }
}

async function getDomains(
  names: readonly string[],
  flags: ConnectionFlags,
  context: CliContext,
): Promise<void> {
  const domains = await namesOf(names, context);
  const client = clientOf(flags);
  const [first] = domains;
  if (first !== undefined && domains.length === 1) {
    const status = await client.status(first, { signal: context.signal });
    if (flags.json === true) printJson(context, status);
    else await printDomain(context, status);
    return;
  }
  const results: (DomainStatus | LookupError)[] = [];
  const summary = { "catch-all": 0, "not catch-all": 0, unknown: 0, invalid: 0 };
  for (let at = 0; at < domains.length; at += LOOKUP_DOMAINS_MAX) {
    const part = domains.slice(at, at + LOOKUP_DOMAINS_MAX);
    const answer = await client.lookup(part, { signal: context.signal });
    results.push(...answer.results);
    for (const name of Object.keys(summary) as (keyof typeof summary)[]) {
      summary[name] += answer.summary[name] ?? 0;
    }
  }
  if (results.some((result) => "error" in result)) context.exitCode = 1;
  if (flags.json === true) {
    printJson(context, { results, summary });
  } else {
    await printTable(
      context,
      ["DOMAIN", "STATUS", "DELIVERED", "BOUNCED", "REASON"],
      results.map(lookupRow),
    );
  }
}

async function namesOf(names: readonly string[], context: CliContext): Promise<readonly string[]> {
  if (!names.includes("-")) return names;
  if (names.length > 1) throw new UsageError('"-" stands for all domains and must be the only one');
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of context.stdin) {
    text += typeof chunk === "string" ? chunk : decoder.decode(chunk, { stream: true });
  }
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const read = lines.filter((line) => line !== "");
  if (read.length === 0) throw new UsageError("No domain on stdin");
  return read;
}

function lookupRow(result: DomainStatus | LookupError): readonly Cell[] {
  if (!("error" in result)) {
    return [result.domain, result.status, result.delivered, result.bounced, result.reason];
  }
  const { error } = result;
  const text = typeof error === "string" ? error : JSON.stringify(error);
  return [result.domain, "invalid", null, null, text];
}

async function printDomain(context: CliContext, status: DomainStatus): Promise<void> {
  const rows: [string, Cell][] = [
    ["domain", status.domain],
    ["status", status.status],
    ["reason", status.reason],
    ["delivered", status.delivered],
    ["bounced", status.bounced],
    ["first seen", status.firstSeen],
    ["last seen", status.lastSeen],
    ["status since", status.statusSince],
    ["answered by", status.node],
  ];
  if (status.override !== undefined) {
    const { reason, by, at } = status.override;
    rows.push(["pinned", `${reason} (by ${by}, ${at})`]);
  }
  await printTable(context, ["FIELD", "VALUE"], rows);
}

async function locate(domain: string, flags: ConnectionFlags, context: CliContext): Promise<void> {
  const place = await clientOf(flags).locate(domain, { signal: context.signal });
  if (flags.json === true) return printJson(context, place);
  await printTable(
    context,
    ["DOMAIN", "HASH", "PARTITION", "OWNER", "EPOCH"],
    [[place.domain, hex(place.hash), place.partition, place.owner, place.epoch]],
  );
}

function hex(hash: number): string {
  return `0x${(hash >>> 0).toString(16).padStart(8, "0")}`;
}

interface OverrideFlags extends ConnectionFlags {
  readonly reason?: string;
  readonly remove?: boolean;
}

async function setOverride(
  target: { readonly domain: string; readonly status: string | undefined },
  flags: OverrideFlags,
  context: CliContext,
): Promise<void> {
  const { domain } = target;
  const client = clientOf(flags);
  const { signal } = context;
  if (flags.remove === true) {
    if (target.status !== undefined) throw new UsageError("Give a status or --remove, not both");
    await client.removeOverride(domain, { signal });
    return report(context, flags, { domain, overridden: false }, `${domain}: unpinned`);
  }
  if (target.status === undefined) throw new UsageError("Give a status, or --remove");
  if (flags.reason === undefined)
    throw new UsageError("--reason is needed: it is kept beside the pin");
  const status = statusOf(target.status);
  await client.setOverride(domain, { status, reason: flags.reason }, { signal });
  report(context, flags, { domain, overridden: true, status }, `${domain}: pinned to ${status}`);
}

async function resetDomain(
  domain: string,
  flags: ConnectionFlags,
  context: CliContext,
): Promise<void> {
  await clientOf(flags).reset(domain, { signal: context.signal });
  report(context, flags, { domain, reset: true }, `${domain}: counts forgotten`);
}

function report(context: CliContext, flags: ConnectionFlags, value: object, line: string): void {
  if (flags.json === true) printJson(context, value);
  else printLine(context, line);
}

/** `not-catch-all` is accepted as well: no quotes needed in a shell. */
function statusOf(text: string): StatusName {
  if (text === "not-catch-all") return "not catch-all";
  if (text === "catch-all" || text === "not catch-all" || text === "unknown") return text;
  throw new UsageError(`The status must be catch-all, not-catch-all or unknown, not "${text}"`);
}

interface ExportFlags extends ConnectionFlags {
  readonly status?: string;
  readonly output?: string;
}

async function exportDomains(flags: ExportFlags, context: CliContext): Promise<void> {
  const status = flags.status === undefined ? undefined : statusOf(flags.status);
  const client = clientOf(flags);
  const lines = exportLines(client, status, context);
  if (flags.output === undefined) {
    for await (const line of lines) await writeData(context, line);
    return;
  }
  const partial = `${flags.output}.partial`;
  try {
    await pipeline(lines, createWriteStream(partial));
    await rename(partial, flags.output);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

async function* exportLines(
  client: CatchallClient,
  status: StatusName | undefined,
  context: CliContext,
): AsyncGenerator<string> {
  const { signal } = context;
  const { domains } = await client.stats({ signal });
  const all = domains["catch-all"] + domains["not catch-all"] + domains.unknown;
  const total = status === undefined ? all : domains[status];
  const progress = await startProgress(context, "export");
  let done = 0;
  try {
    for await (const domain of client.export(
      status === undefined ? { signal } : { signal, status },
    )) {
      yield `${JSON.stringify(domain)}\n`;
      done++;
      if (done % 1000 === 0) progress.update(done, Math.max(total, done), "domains");
    }
    progress.update(done, done, "domains");
  } finally {
    progress.stop();
  }
}

async function watchChanges(
  domain: string | undefined,
  flags: ExportFlags,
  context: CliContext,
): Promise<void> {
  const status = flags.status === undefined ? undefined : statusOf(flags.status);
  if (domain !== undefined && status !== undefined)
    throw new UsageError("--status goes with all domains only");
  const { signal } = context;
  const options = status === undefined ? { signal } : { signal, status };
  note(context, "Waiting for status changes; Ctrl-C ends");
  for await (const { event, body } of clientOf(flags).watch(domain ?? null, options)) {
    if (flags.json === true) await writeData(context, `${JSON.stringify({ event, ...body })}\n`);
    else if (event === "status") printLine(context, `${body.asOf} ${body.domain}: ${body.status}`);
    else printLine(context, `${body.at} ${body.domain}: ${body.from} -> ${body.to}`);
  }
}
