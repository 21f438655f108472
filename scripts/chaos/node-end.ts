/**
 * Whether the end of a node was in order, by what it printed. Node.js ends with 1 after an exception that nobody caught
 * too, so the code alone says nothing: a node may give up only when its own log says that its start failed, and with
 * which error. Must never accept an end that the node does not explain.
 */

export interface NodeEnd {
  /** "SIGKILL", "code 1". */
  readonly how: string;
  /** All that this process printed, at log level debug. */
  readonly output: string;
}

const GAVE_UP = "code 1";
const LAST_LINES = 20;
const LINE_CHARS_MAX = 400;
/** What Node.js prints last after an exception that nobody caught. */
const UNCAUGHT = /^Node\.js v\d/m;
/** Servers that are away, and the like; not what is broken. */
const BROKEN = /_damaged$|^internal$/;

/** The sentence with which a node gave up, "control_unavailable: Can't connect …"; null: it had no right to end. */
export function reasonOfGivingUp({ how, output }: NodeEnd): string | null {
  if (how !== GAVE_UP || hasCrashed(output)) return null;
  for (const line of output.trimEnd().split("\n").slice(-LAST_LINES)) {
    const { level, msg, err } = parsed(line);
    // On level error it was not foreseen, and is told with its stack.
    if (msg !== "Start failed" || level !== "debug" || err?.code === undefined) continue;
    return BROKEN.test(err.code) ? null : `${err.code}: ${err.message}`;
  }
  return null;
}

/** Of a process that was told to end as well. */
export function hasCrashed(output: string): boolean {
  return UNCAUGHT.test(output) || /"level":"error".*"msg":"Start failed"/.test(output);
}

export function lastLinesOf(output: string): readonly string[] {
  const lines = output.trimEnd().split("\n").slice(-LAST_LINES);
  return lines.map((line) => line.slice(0, LINE_CHARS_MAX));
}

interface LogLine {
  readonly level?: string;
  readonly msg?: string;
  readonly err?: { readonly code?: string; readonly message?: string };
}

function parsed(line: string): LogLine {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}
