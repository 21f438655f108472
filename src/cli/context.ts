/**
 * What every command is given: where to write, the environment, the end signal, and the options that all commands
 * that talk to a node share. Data goes to `stdout`, everything else to `stderr`.
 */

import { type Command, Option } from "commander";
import { CatchallClient, type ClientOptions } from "../client/index.ts";

export interface CliStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  once?(event: "drain", listener: () => void): unknown;
}

export interface CliContext {
  readonly stdin: AsyncIterable<Uint8Array | string>;
  readonly stdout: CliStream;
  readonly stderr: CliStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  /** 0 done, 1 failed, 2 wrong usage. Set it to 1 for a failure that has been shown already. */
  exitCode: number;
}

export interface ConnectionFlags {
  readonly url: string;
  readonly token?: string;
  readonly json?: boolean;
}

/** A command that did not succeed; shown as what, why and what next. */
export class CommandFailure extends Error {
  override readonly name: string = "CommandFailure";
  readonly next: string | null;

  constructor(message: string, options: { readonly next?: string; readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.next = options.next ?? null;
  }
}

/** Wrong usage that the option parser can't see; ends with 2. */
export class UsageError extends Error {
  override readonly name: string = "UsageError";
}

const DEFAULT_URL = "http://127.0.0.1:8080";

/** Adds `--url`, `--token` and `--json`. */
export function withConnection(command: Command, context: CliContext): Command {
  const { env } = context;
  const url = new Option("--url <address>", "address of any node or a balancer (env CATCHALL_URL)");
  url.default(env["CATCHALL_URL"] || DEFAULT_URL);
  const token = new Option("--token <token>", "bearer token (better: env CATCHALL_TOKEN)");
  // Commander shows the second argument instead of the secret.
  if (env["CATCHALL_TOKEN"]) token.default(env["CATCHALL_TOKEN"], "CATCHALL_TOKEN");
  return command.addOption(url).addOption(token).option("--json", "print JSON");
}

/** The client that the flags describe. Errors: UsageError for an address that is none. */
export function clientOf(
  flags: ConnectionFlags,
  options: Omit<ClientOptions, "url" | "token"> = {},
): CatchallClient {
  const { token } = flags;
  try {
    return new CatchallClient({
      ...options,
      url: flags.url.split(","),
      ...(token === undefined || token === "" ? {} : { token }),
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}
