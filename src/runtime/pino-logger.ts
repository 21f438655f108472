/**
 * The log of the process: JSON lines on standard output through pino, or readable lines on a terminal where pino-pretty
 * is installed. Every field and message passes redact.ts first; that is what keeps secrets out, not the callers' care.
 * Lines are written asynchronously: call `flush` before the process ends.
 */
import { createRequire } from "node:module";
import {
  type DestinationStream,
  destination,
  type Logger as PinoLogger,
  pino,
  stdTimeFunctions,
} from "pino";
import type { LogFields, Logger } from "./logger.ts";
import { redactFields, redactText } from "./redact.ts";

export interface FlushableLogger extends Logger {
  /** Writes what is buffered before it returns. Never throws. */
  flush(): void;
}

export interface PinoLoggerOptions {
  /** Receives the JSON lines instead of standard output. */
  readonly destination?: { write(line: string): void };
}

/** `level`: debug, info, warn, error or silent; anything else is an error of the caller. */
export function createPinoLogger(level: string, options: PinoLoggerOptions = {}): FlushableLogger {
  const stream = options.destination ?? openStandardOutput();
  return new FlushablePinoLogger(
    pino(
      {
        level,
        base: null,
        timestamp: stdTimeFunctions.isoTime,
        formatters: { level: (label) => ({ level: label }) },
        // redact.ts made it plain; pino's own would say the messages and stacks of all causes once more.
        serializers: { err: (err) => err },
      },
      stream,
    ),
    stream,
  );
}

class FlushablePinoLogger implements FlushableLogger {
  readonly #pino: PinoLogger;
  readonly #stream: DestinationStream;

  constructor(logger: PinoLogger, stream: DestinationStream) {
    this.#pino = logger;
    this.#stream = stream;
  }

  debug(fields: LogFields, message: string): void {
    this.#write("debug", fields, message);
  }

  info(fields: LogFields, message: string): void {
    this.#write("info", fields, message);
  }

  warn(fields: LogFields, message: string): void {
    this.#write("warn", fields, message);
  }

  error(fields: LogFields, message: string): void {
    this.#write("error", fields, message);
  }

  flush(): void {
    if (!("flushSync" in this.#stream) || typeof this.#stream.flushSync !== "function") return;
    try {
      this.#stream.flushSync();
    } catch {
      // Standard output is gone or not open yet; there is nobody left to tell.
    }
  }

  #write(level: "debug" | "info" | "warn" | "error", fields: LogFields, message: string): void {
    if (!this.#pino.isLevelEnabled(level)) return;
    this.#pino[level](redactFields(fields), redactText(message));
  }
}

function openStandardOutput(): DestinationStream {
  return openPretty() ?? destination({ dest: 1, sync: false });
}

function openPretty(): DestinationStream | null {
  if (!process.stdout.isTTY) return null;
  try {
    const pretty = createRequire(import.meta.url)("pino-pretty") as (
      options: Readonly<Record<string, unknown>>,
    ) => DestinationStream;
    return pretty({ colorize: true, sync: true });
  } catch {
    return null;
  }
}
