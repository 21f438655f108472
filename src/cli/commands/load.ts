/**
 * `catchall load`: a seeded, reproducible load with an exact account of every answer.
 * Exit code: 0 all well, 1 a wrong count or status (or nothing acknowledged), 2 wrong usage. Never changes a count
 * other than by the events it reports.
 */
import { randomInt } from "node:crypto";
import { SingleBar } from "cli-progress";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { LoadEngine } from "../load/load-engine.ts";
import { isSuccess, reportOf } from "../load/load-report.ts";
import { type LoadRunOptions, parseUrls, runLoad } from "../load/load-run.ts";
import { MIX_NAMES, type MixName } from "../load/mixes.ts";

/** What the command writes to; the process's own streams by default. */
export interface LoadContext {
  readonly stdout: { write(text: string): unknown };
  readonly stderr: NodeJS.WritableStream & { readonly isTTY?: boolean };
  setExitCode(code: number): void;
}

const PROCESS_CONTEXT: LoadContext = {
  stdout: process.stdout,
  stderr: process.stderr,
  setExitCode: (code) => {
    process.exitCode = code;
  },
};

interface LoadFlags {
  readonly url: string;
  readonly token?: string;
  readonly json?: boolean;
  readonly mix: MixName;
  readonly events?: number;
  readonly duration?: number;
  readonly warmup: number;
  readonly rate: number;
  readonly connections?: number;
  readonly domains: number;
  readonly seed?: number;
  readonly bulk: number;
  readonly reads: number;
  readonly keyed?: boolean;
  readonly verify?: boolean;
  readonly verifySample?: number;
  readonly timeout: number;
  readonly reconnectTimeout: number;
}

const EVENTS_DEFAULT = 100_000;
const CONNECTIONS_DEFAULT = 64;
const BULK_CONNECTIONS_DEFAULT = 4;
const BULK_LINES_MAX = 100_000;
const CONNECTIONS_MAX = 10_000;
const SEED_BOUND = 2 ** 32;

/** Adds `load` to a program; `--url`, `--token` and `--json` may also stand before the command. */
export function registerLoad(program: Command, context: LoadContext = PROCESS_CONTEXT): void {
  const command = program
    .command("load")
    .description("send a reproducible load and check every answer")
    .addOption(new Option("--mix <name>", "which events").choices(MIX_NAMES).default("challenge"))
    .option("--events <n>", `events to send (default ${EVENTS_DEFAULT})`, wholeNumber(1))
    .option("--duration <time>", "send for so long instead, for example 30s", duration)
    .option("--warmup <time>", "leave the first part out of rate and latency", duration, 0)
    .option("--rate <n>", "events a second, open loop; 0: as fast as answers come", positive, 0)
    .option(
      "--connections <n>",
      `keep-alive connections (default ${CONNECTIONS_DEFAULT}, bulk ${BULK_CONNECTIONS_DEFAULT})`,
      wholeNumber(1, CONNECTIONS_MAX),
    )
    .option("--domains <n>", "domains of uniform, zipf, duplicates", wholeNumber(1), 10_000)
    .option("--seed <n>", "the same seed sends the same events (default: random)", wholeNumber(0))
    .option("--bulk <lines>", "POST /events with so many lines", wholeNumber(0, BULK_LINES_MAX), 0)
    .option(
      "--reads <share>",
      "share of requests that are GETs of the mix's domains, 0 to 1",
      share,
      0,
    )
    .option("--keyed", "give every event an idempotency key: exact through crashes")
    .option("--verify", "recount every domain at the end; exit 1 on any difference")
    .option("--verify-sample <n>", "with --verify: so many domains at most", wholeNumber(1))
    .option("--timeout <time>", "give a request up after", duration, 30_000)
    .option("--reconnect-timeout <time>", "wait for a node to return", duration, 60_000);
  const inherited = new Set(program.options.map((option) => option.long));
  if (!inherited.has("--url")) {
    command.option("--url <url>", "the node, or several with commas", "http://127.0.0.1:8080");
  }
  if (!inherited.has("--token")) command.option("--token <token>", "bearer token");
  if (!inherited.has("--json")) command.option("--json", "print the result as JSON");
  command.action(async () => {
    await load(command.optsWithGlobals<LoadFlags>(), command, context);
  });
}

async function load(flags: LoadFlags, command: Command, context: LoadContext): Promise<void> {
  const options = runOptionsOf(flags);
  if (flags.reads > 0 && flags.bulk > 0) {
    command.error("error: --reads is of single requests: leave --bulk out", { exitCode: 2 });
  }
  try {
    parseUrls(options.url);
  } catch (error) {
    command.error(`error: ${messageOf(error)}`, { exitCode: 2 });
  }
  if (flags.seed === undefined) context.stderr.write(`seed ${options.seed}\n`);
  const progress = new LoadProgress(options, context, flags.json === true);
  try {
    const result = await runLoad(
      options,
      (engine) => progress.start(engine),
      () => {
        progress.stop();
        context.stderr.write("recounting every domain\n");
      },
    );
    progress.stop();
    const { stdout } = context;
    if (flags.json === true) stdout.write(`${JSON.stringify(jsonOf(result))}\n`);
    else stdout.write(`${reportOf(result)}\n`);
    context.setExitCode(isSuccess(result) ? 0 : 1);
  } catch (error) {
    progress.stop();
    context.stderr.write(`load failed: ${messageOf(error)}\n`);
    context.setExitCode(1);
  }
}

/** The token is left out: results are shared. */
function jsonOf(result: Awaited<ReturnType<typeof runLoad>>): unknown {
  const { token: _token, ...options } = result.options;
  return { isSuccess: isSuccess(result), ...result, options };
}

function runOptionsOf(flags: LoadFlags): LoadRunOptions {
  const isBulk = flags.bulk > 0;
  const isTimed = flags.duration !== undefined && flags.events === undefined;
  return {
    url: flags.url,
    token: flags.token ?? null,
    mix: flags.mix,
    seed: flags.seed ?? randomInt(SEED_BOUND),
    domains: flags.domains,
    isKeyed: flags.keyed === true,
    events: isTimed ? Number.POSITIVE_INFINITY : (flags.events ?? EVENTS_DEFAULT),
    durationMs: flags.duration ?? Number.POSITIVE_INFINITY,
    warmupMs: flags.warmup,
    connections: flags.connections ?? (isBulk ? BULK_CONNECTIONS_DEFAULT : CONNECTIONS_DEFAULT),
    bulk: flags.bulk,
    reads: flags.reads,
    rate: flags.rate,
    requestTimeoutMs: flags.timeout,
    reconnectTimeoutMs: flags.reconnectTimeout,
    isVerifying: flags.verify === true,
    ...(flags.verifySample === undefined ? {} : { samplesMax: flags.verifySample }),
  };
}

const PROGRESS_INTERVAL_MS = 1000;

/** A bar on a terminal, one line every few seconds elsewhere; always on stderr. The first Ctrl-C ends the run well. */
class LoadProgress {
  readonly #options: LoadRunOptions;
  readonly #context: LoadContext;
  readonly #bar: SingleBar | null;
  #timer: NodeJS.Timeout | null = null;
  #answeredBefore = 0;
  #ticks = 0;
  #onInterrupt: (() => void) | null = null;

  constructor(options: LoadRunOptions, context: LoadContext, isJson: boolean) {
    this.#options = options;
    this.#context = context;
    const isBar = context.stderr.isTTY === true && !isJson && Number.isFinite(options.events);
    this.#bar = isBar
      ? new SingleBar({
          format: "{bar} {percentage} % | {value}/{total} events | {rate}/s | ETA {eta_formatted}",
          stream: context.stderr,
          hideCursor: true,
        })
      : null;
  }

  start(engine: LoadEngine): void {
    this.#bar?.start(this.#options.events, 0, { rate: 0 });
    this.#timer = setInterval(() => this.#tick(engine.answeredSoFar), PROGRESS_INTERVAL_MS);
    this.#onInterrupt = () => engine.stop();
    process.once("SIGINT", this.#onInterrupt);
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    if (this.#onInterrupt !== null) process.removeListener("SIGINT", this.#onInterrupt);
    this.#bar?.stop();
  }

  #tick(answered: number): void {
    const rate = answered - this.#answeredBefore;
    this.#answeredBefore = answered;
    this.#ticks++;
    if (this.#bar !== null) this.#bar.update(answered, { rate });
    else if (this.#ticks % 5 === 0) {
      const what =
        this.#options.reads === 0 ? "events acknowledged," : "events and reads answered,";
      this.#context.stderr.write(`${answered} ${what} ${rate}/s\n`);
    }
  }
}

function wholeNumber(min: number, max: number = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text.replaceAll("_", ""));
    if (!Number.isSafeInteger(value) || value < min || value > max || text === "") {
      throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
    }
    return value;
  };
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0 || text === "") {
    throw new InvalidArgumentError("It must be a number from 0.");
  }
  return value;
}

function share(text: string): number {
  const value = positive(text);
  if (value > 1) throw new InvalidArgumentError("It must be a share from 0 to 1.");
  return value;
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

function duration(text: string): number {
  const parts = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text);
  if (parts === null) throw new InvalidArgumentError("It must be a time such as 500ms, 30s or 5m.");
  return Number(parts[1]) * (UNIT_MS[parts[2] as string] as number);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
