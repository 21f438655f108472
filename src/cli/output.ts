/**
 * How commands show things: JSON, tables, numbers, progress, failures.
 * Invariant: what came from outside is stripped of control characters before a terminal sees it.
 */

import { CatchallClientError } from "../client/index.ts";
import { type CliContext, CommandFailure, UsageError } from "./context.ts";

export type Cell = string | number | null;

export function printJson(context: CliContext, value: unknown): void {
  context.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

export function printLine(context: CliContext, line: string): void {
  context.stdout.write(`${printable(line)}\n`);
}

/** Writes data and waits while the reader is slower than we are: an export does not fit into memory. */
export async function writeData(context: CliContext, text: string): Promise<void> {
  const { stdout } = context;
  if (stdout.write(text) !== false || stdout.once === undefined) return;
  await new Promise<void>((resolve) => stdout.once?.("drain", resolve));
}

/** News for people: never data, so it goes to stderr. */
export function note(context: CliContext, line: string): void {
  context.stderr.write(`${printable(line)}\n`);
}

/** Plain columns, so that tables can be read by people and cut by tools. Numbers stand right. */
export async function printTable(
  context: CliContext,
  head: readonly string[],
  rows: readonly (readonly Cell[])[],
): Promise<void> {
  const { default: Table } = await import("cli-table3");
  const isNumeric = head.map((_, column) =>
    rows.every((row) => row[column] === null || typeof row[column] === "number"),
  );
  const table = new Table({
    head: [...head],
    colAligns: isNumeric.map((numeric) => (numeric && rows.length > 0 ? "right" : "left")),
    chars: BORDERLESS,
    style: { head: [], border: [], "padding-left": 0, "padding-right": 2 },
  });
  for (const row of rows) table.push(row.map(cellText));
  const text = table
    .toString()
    .split("\n")
    .map((line) => line.trimEnd());
  context.stdout.write(`${text.join("\n")}\n`);
}

const BORDERLESS = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: "",
};

/** 1234567 → "1,234,567". */
export function formatCount(value: number): string {
  return value.toLocaleString("en-US");
}

/** 1 → "1 domain", 2000 → "2,000 domains". */
export function countOf(value: number, noun: string): string {
  return `${formatCount(value)} ${noun}${value === 1 ? "" : "s"}`;
}

function cellText(cell: Cell): string {
  if (cell === null) return "-";
  return typeof cell === "number" ? formatCount(cell) : printable(cell);
}

/** Control characters become visible: an answer must not be able to move the cursor or set the title. */
function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, (character) => {
    if (character === "\n") return "\n";
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
}

export interface Progress {
  update(done: number, total: number, detail: string): void;
  stop(): void;
}

/** A bar where stderr is a terminal; else a plain line whenever another tenth is done. */
export async function startProgress(context: CliContext, title: string): Promise<Progress> {
  if (context.stderr.isTTY !== true) return plainProgress(context, title);
  const { SingleBar, Presets } = await import("cli-progress");
  const bar = new SingleBar(
    {
      format: `${title} {bar} {percentage}% {value}/{total} {detail}`,
      clearOnComplete: false,
      // The same stream that `context` names; the type of the package wants a full stream.
      stream: context.stderr as unknown as NodeJS.WritableStream,
    },
    Presets.shades_classic,
  );
  bar.start(1, 0, { detail: "" });
  return {
    update: (done, total, detail) => {
      bar.setTotal(Math.max(total, 1));
      bar.update(total === 0 ? 1 : done, { detail: printable(detail) });
    },
    stop: () => bar.stop(),
  };
}

function plainProgress(context: CliContext, title: string): Progress {
  let shownTenth = -1;
  return {
    update: (done, total, detail) => {
      const tenth = total === 0 ? 10 : Math.floor((done * 10) / total);
      if (tenth === shownTenth) return;
      shownTenth = tenth;
      note(context, `${title}: ${formatCount(done)} of ${formatCount(total)} ${detail}`.trimEnd());
    },
    stop: () => undefined,
  };
}

/** Shows what went wrong, why, and what to do next. Returns the exit code: 2 for wrong usage, else 1. */
export function showFailure(context: CliContext, error: unknown, isJson: boolean): number {
  if (isJson) {
    context.stderr.write(`${JSON.stringify(failureObject(error))}\n`);
  } else {
    note(context, `error: ${messageOf(error)}`);
    if (error instanceof CatchallClientError) note(context, `  ${explain(error)}`);
    const next = nextStep(error);
    if (next !== null) note(context, `  next: ${next}`);
  }
  return error instanceof UsageError ? 2 : 1;
}

function failureObject(error: unknown): object {
  const message = messageOf(error);
  if (!(error instanceof CatchallClientError)) return { error: message, next: nextStep(error) };
  const { code, status, effect, problem } = error;
  return { error: message, code, status, effect, next: nextStep(error), problem };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function explain(error: CatchallClientError): string {
  const belief =
    error.effect === "none"
      ? "effect none: nothing was counted or changed"
      : "effect unknown: it may or may not have been counted or changed";
  const status = error.status === null ? "" : `, status ${error.status}`;
  return `code ${error.code}${status}, ${belief}`;
}

const NEXT_STEPS: Readonly<Record<string, string>> = {
  unreachable: "check that a node runs there (catchall serve), or name another one with --url",
  connection_lost: "check the node's log, then try again",
  timeout: "check the node with: catchall status",
  aborted: "run the command again to go on",
  invalid_response: "check that --url is the address of a catchall node",
  unauthorized: "give a token with CATCHALL_TOKEN or --token",
  forbidden: "use a token with that role; tokens are set up with --tokens-file on the node",
  not_ready: "see what the node waits for with: catchall status",
  idempotency_key_reused: "use another --id: this one belongs to a different event",
  drain_impossible: "start another node first",
  node_not_found: "see the nodes with: catchall ring",
  conflict: "wait until the other operation is done",
  invalid_rule: "see the rule in force with: catchall rule show",
  outcome_unknown: "run it again with the same --id: it counts once",
};

function nextStep(error: unknown): string | null {
  if (error instanceof CommandFailure) return error.next;
  if (error instanceof UsageError) return "see --help";
  if (!(error instanceof CatchallClientError)) return null;
  const known = NEXT_STEPS[error.code];
  if (known !== undefined) return known;
  if (error.retryAfterMs !== null) return `try again in ${Math.ceil(error.retryAfterMs / 1000)} s`;
  return error.retryable ? "try again" : null;
}
