/**
 * `verify`: recounts every domain from checkpoints and logs and compares the result with what nodes answer. Reads only.
 * Of a data directory: with `--url`, and the node there must be idle meanwhile. Of a cluster: while it serves
 * (server/verify-cluster.ts says how).
 */

import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import type { Command } from "commander";
import { loadConfig } from "../../config/config.ts";
import type { Config } from "../../config/config-type.ts";
import type { Recount, VerifiedDirectory } from "../../server/verify.ts";
import type { Answered } from "../../server/verify-cluster.ts";
import {
  type CliContext,
  type ConnectionFlags,
  clientOf,
  UsageError,
  withConnection,
} from "../context.ts";
import { countOf, formatCount, note, printJson, printLine, printTable } from "../output.ts";

interface Difference {
  readonly domain: string;
  readonly expected: Recount | null;
  readonly answered: Recount | null;
}

const DIFFERENCES_SHOWN_MAX = 20;

/** Options of `serve` that say where a cluster's data is; the others are taken from the environment alone. */
interface VerifyFlags extends ConnectionFlags {
  readonly natsUrl?: string;
  readonly mongoUrl?: string;
  readonly clusterName?: string;
  readonly config?: string;
}

export function registerVerify(program: Command, context: CliContext): void {
  const verify = program
    .command("verify [data-dir]")
    .description(
      "recount every domain from checkpoint and log: of a data directory (with --url compared with that idle node), " +
        "or of a cluster, compared with what its nodes answer while they serve",
    )
    .option("--nats-url <urls>", "NATS servers of the cluster (env CATCHALL_NATS_URL)")
    .option("--mongo-url <url>", "MongoDB of the cluster (env CATCHALL_MONGO_URL)")
    .option("--cluster-name <name>", "as the nodes have it (env CATCHALL_CLUSTER_NAME)")
    .option("--config <file>", "the configuration file of a node, instead of these")
    .addHelpText(
      "after",
      "\nCredentials for the servers come from the environment or the file, as for serve." +
        "\n\nExamples:\n  catchall verify ./data\n  catchall verify ./data --url http://127.0.0.1:8080" +
        "\n  catchall verify --nats-url nats://127.0.0.1:4222 --mongo-url mongodb://127.0.0.1:27017",
    );
  withConnection(verify, context);
  verify.action((dataDir: string | undefined, flags: VerifyFlags) => {
    if (dataDir === undefined) return verifyStored(flags, context);
    const { natsUrl, mongoUrl, clusterName, config } = flags;
    if ([natsUrl, mongoUrl, clusterName, config].some((flag) => flag !== undefined)) {
      throw new UsageError("Give a data directory or the servers of a cluster, not both");
    }
    return verifyDirectory(dataDir, flags, verify.getOptionValueSource("url") === "cli", context);
  });
}

async function verifyStored(flags: VerifyFlags, context: CliContext): Promise<void> {
  const config = configOf(flags, context);
  const { verifyServers } = await import("../../server/verify-servers.ts");
  const client = clientOf(flags);
  const { epoch, entries, domains, rounds, differences } = await verifyServers(config, async () => {
    const answered = new Map<string, Answered>();
    for await (const one of client.export({ signal: context.signal })) {
      const { domain, delivered, bounced, status, statusSince } = one;
      answered.set(domain, { delivered, bounced, status, statusSince });
    }
    return answered;
  });
  if (differences.length > 0) context.exitCode = 1;
  if (flags.json === true) {
    return printJson(context, { epoch, entries, domains, rounds, compared: true, differences });
  }
  const counted = `${countOf(domains, "domain")} recounted, ${formatCount(entries)} log entries replayed`;
  printLine(context, `${counted}, control table ${formatCount(epoch)}`);
  if (differences.length === 0) {
    return printLine(context, "The nodes answer with what is stored, for every domain");
  }
  note(context, `error: ${countOf(differences.length, "domain")} not as recounted`);
  await printTable(
    context,
    ["DOMAIN", "BEFORE", "RECOUNTED", "AFTER"],
    differences
      .slice(0, DIFFERENCES_SHOWN_MAX)
      .map((one) => [one.domain, textOf(one.before), textOf(one.recounted), textOf(one.after)]),
  );
}

function configOf(flags: VerifyFlags, { env }: CliContext): Config {
  const given: readonly (readonly [string, string | undefined])[] = [
    ["--config", flags.config],
    ["--nats-url", flags.natsUrl],
    ["--mongo-url", flags.mongoUrl],
    ["--cluster-name", flags.clusterName],
  ];
  const argv = given.flatMap(([flag, value]) => (value === undefined ? [] : [flag, value]));
  const readFile = (path: string): string => readFileSync(path, "utf8");
  const loaded = loadConfig({ argv, env, readFile, hostName: hostname() });
  if ("mistakes" in loaded) throw new UsageError(loaded.mistakes.join("; "));
  if (loaded.config.natsUrl === null) {
    throw new UsageError("Give a data directory, or --nats-url and --mongo-url of a cluster");
  }
  return loaded.config;
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
