/**
 * `import`: an embedded data directory into a cluster or another node, exactly once. The directory is read offline; the
 * other side remembers how far each of its partitions has come, so that a run that was cut short is simply run again.
 */

import { setMaxListeners } from "node:events";
import type { Command } from "commander";
import { type CatchallClient, CatchallClientError, type ImportChunk } from "../../client/index.ts";
import type { ImportSource } from "../../server/import-source.ts";
import {
  type CliContext,
  CommandFailure,
  type ConnectionFlags,
  clientOf,
  withConnection,
} from "../context.ts";
import { countOf, type Progress, printJson, printLine, startProgress } from "../output.ts";

/** Chunks under way at once, each of another partition. */
const LANES = 16;
const PAGES = 65_536;
/** A minute or so of attempts: an owner that dies is replaced within that. */
const RETRIES_MAX = 16;

interface Sent {
  domains: number;
  added: number;
}

export function registerImport(program: Command, context: CliContext): void {
  const command = program
    .command("import <data-dir>")
    .description("add what an embedded data directory counted to the cluster, exactly once")
    .addHelpText(
      "after",
      "\nThe directory's node must be stopped. Run the command again to go on where it was cut short:" +
        "\nwhat is there already is not added again. The ids of recent events are not carried over." +
        "\n\nExample:\n  catchall import ./data --url http://127.0.0.1:8080",
    )
    .action((dataDir: string, flags: ConnectionFlags) => importDirectory(dataDir, flags, context));
  withConnection(command, context);
}

async function importDirectory(
  dataDir: string,
  flags: ConnectionFlags,
  context: CliContext,
): Promise<void> {
  const client = clientOf(flags, { retry: { retryCountMax: RETRIES_MAX } });
  // Asked first: reading a large directory for a node that is not there would be in vain.
  const { partitions } = await client.cluster({ signal: context.signal });
  const { openImportSource } = await import("../../server/import-source.ts");
  const source = await openImportSource(dataDir);
  const sent: Sent = { domains: 0, added: 0 };
  const title = `importing ${countOf(source.domainCount, "domain")}`;
  const progress = await startProgress(context, title);
  try {
    await sendAll({ source, client, partitions, context, progress, sent });
  } catch (error) {
    throw failureOf(error);
  } finally {
    progress.stop();
    await source.close();
  }
  const { domains, added } = sent;
  if (flags.json === true) return printJson(context, { ...source.source, domains, added });
  printLine(context, `${countOf(added, "domain")} added`);
  const before = domains - added;
  if (before > 0) printLine(context, `${countOf(before, "domain")} had been added before`);
}

interface Import {
  readonly source: ImportSource;
  readonly client: CatchallClient;
  readonly partitions: number;
  readonly context: CliContext;
  readonly progress: Progress;
  readonly sent: Sent;
}

/** Partitions side by side, the chunks of one partition one after the other. */
async function sendAll(work: Import): Promise<void> {
  const { source, partitions, context } = work;
  const failed = new AbortController();
  const signal = AbortSignal.any([context.signal, failed.signal]);
  // Each request under way listens to it.
  setMaxListeners(2 * LANES, signal);
  const pagesEach = PAGES / partitions;
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < partitions) {
      const partition = next++;
      const chunks = source.chunks(partition * pagesEach, (partition + 1) * pagesEach);
      for (const chunk of chunks) await sendOne(work, chunk, signal);
    }
  };
  const lanes = Array.from({ length: Math.min(LANES, partitions) }, () =>
    lane().catch((error: unknown) => {
      failed.abort();
      throw error;
    }),
  );
  const ends = await Promise.allSettled(lanes);
  const errors = ends.flatMap((end) => (end.status === "rejected" ? [end.reason as unknown] : []));
  // The others were only told to stop.
  const first = errors.find((error) => !isAborted(error)) ?? errors[0];
  if (first !== undefined) throw first;
}

async function sendOne(work: Import, chunk: ImportChunk, signal: AbortSignal): Promise<void> {
  const { client, sent, progress, source } = work;
  const { domains, added } = await client.importChunk(chunk, { signal });
  sent.domains += domains;
  sent.added += added;
  progress.update(sent.domains, source.domainCount, "domains");
}

function isAborted(error: unknown): boolean {
  return error instanceof CatchallClientError && error.code === "aborted";
}

function failureOf(error: unknown): unknown {
  if (!(error instanceof CatchallClientError)) return error;
  const next =
    error.code === "import_changed"
      ? "the directory was used after its import began: what was counted since must be sent as events"
      : "run the same command again: it goes on where it was, and adds nothing twice";
  return new CommandFailure(`The import is not complete: ${error.message}`, { next, cause: error });
}
