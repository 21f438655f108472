/**
 * `send`: counts events from the command line. Every request carries ids, so that a lost answer can be repeated.
 */

import { randomUUID } from "node:crypto";
import { type Command, InvalidArgumentError } from "commander";
import type { CatchallClient, EventInput, EventKindName } from "../../client/index.ts";
import { EVENT_COUNT_MAX, EVENT_KIND_NAMES, isEventId } from "../../model/event.ts";
import {
  type CliContext,
  CommandFailure,
  type ConnectionFlags,
  clientOf,
  UsageError,
  withConnection,
} from "../context.ts";
import { formatCount, printJson, printLine } from "../output.ts";

interface SendFlags extends ConnectionFlags {
  readonly count: number;
  readonly id?: string;
}

const COUNT_MAX = 1_000_000_000_000;
/** Events (lines) of one request; each may stand for EVENT_COUNT_MAX. */
const REQUEST_LINES_MAX = 1000;

export function registerEvents(program: Command, context: CliContext): void {
  const send = program
    .command("send <domain> <type>")
    .description("count events: type is delivered or bounced")
    .option("--count <n>", "how many", parseCount, 1)
    .option("--id <key>", "event id: the same id on the same domain counts once")
    .addHelpText(
      "after",
      "\nExamples:\n  catchall send example.com delivered --count 1001\n" +
        "  catchall send example.com bounced --id message-4711",
    )
    .action((domain: string, type: string, flags: SendFlags) =>
      sendEvents(domain, type, flags, context),
    );
  withConnection(send, context);
}

async function sendEvents(
  domain: string,
  type: string,
  flags: SendFlags,
  context: CliContext,
): Promise<void> {
  const kind = EVENT_KIND_NAMES.find((name) => name === type);
  if (kind === undefined)
    throw new UsageError(`The type must be delivered or bounced, not "${type}"`);
  checkId(flags);
  const client = clientOf(flags);
  const { signal } = context;
  let replayed = false;
  if (flags.count === 1) {
    const options = flags.id === undefined ? { signal } : { signal, id: flags.id };
    ({ replayed } = await client.send(domain, kind, options));
  } else {
    replayed = await sendInBulk(client, { domain, kind, flags }, context);
  }
  if (flags.json === true) {
    printJson(context, { domain, type: kind, count: flags.count, replayed });
  } else if (replayed) {
    printLine(context, `${domain}: this id was counted before, nothing was added`);
  } else {
    printLine(context, `${domain}: counted ${formatCount(flags.count)} ${kind}`);
  }
}

function checkId(flags: SendFlags): void {
  if (flags.id === undefined) return;
  if (!isEventId(flags.id)) throw new UsageError("--id must be 1 to 255 visible ASCII characters");
  if (flags.count > EVENT_COUNT_MAX) {
    throw new UsageError(
      `--count with --id is at most ${EVENT_COUNT_MAX}: one id stands for one event`,
    );
  }
}

async function sendInBulk(
  client: CatchallClient,
  event: { readonly domain: string; readonly kind: EventKindName; readonly flags: SendFlags },
  context: CliContext,
): Promise<boolean> {
  const { domain, kind, flags } = event;
  let left = flags.count;
  let replayed = 0;
  while (left > 0) {
    const lines: EventInput[] = [];
    const before = left;
    while (left > 0 && lines.length < REQUEST_LINES_MAX) {
      const count = Math.min(left, EVENT_COUNT_MAX);
      lines.push({ domain, type: kind, count, id: flags.id ?? randomUUID() });
      left -= count;
    }
    const result = await client.sendMany(lines, { signal: context.signal });
    replayed += result.replayed;
    const [rejected] = result.rejected;
    if (rejected !== undefined) {
      const lost = result.rejected.reduce((sum, { index }) => sum + (lines[index]?.count ?? 0), 0);
      const counted = flags.count - before + (before - left - lost);
      throw new CommandFailure(
        `${rejected.message} (code ${rejected.code}); ${formatCount(counted)} of ${formatCount(flags.count)} were counted`,
        { next: `send the other ${formatCount(flags.count - counted)}` },
      );
    }
  }
  // An id of one's own is one line: replayed or not. Random ids are replayed only when an answer got lost.
  return flags.id !== undefined && replayed > 0;
}

function parseCount(text: string): number {
  const count = /^\d{1,13}$/.test(text) ? Number(text) : 0;
  if (count < 1 || count > COUNT_MAX) {
    throw new InvalidArgumentError(`It must be a whole number from 1 to ${COUNT_MAX}.`);
  }
  return count;
}
