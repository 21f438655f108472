/**
 * One append whose outcome is made certain, where the log allows it: the same bytes with the same expectation until they
 * are acknowledged or refused; when refused, what lies at that sequence decides.
 * Safety: while the outcome is unknown nothing else is appended. Bytes that arrive late can only be refused, since the
 * expectation no longer holds.
 */

import type { Timers } from "../runtime/timers.ts";
import { readEntryHeader } from "../wal/entry-codec.ts";
import type { AppendOutcome, NodeLog } from "../wal/node-log.ts";

/** Between two tries of one append. */
export const APPEND_RETRY_MS = 50;

export interface CertainAppend {
  readonly log: NodeLog;
  readonly timers: Timers;
  readonly incarnation: number;
  readonly bytes: Uint8Array;
  readonly expectedLast: number;
  readonly usesReserve?: boolean;
  /** True once this incarnation gave up: the outcome stays `unknown`. */
  readonly isStopped: () => boolean;
  /** A try of unknown outcome, before the next one. */
  readonly stalled?: (reason: string) => void;
}

/** Never `conflict`. `unknown` only from a log that can't resend, or after `isStopped`. */
export async function appendUntilKnown(append: CertainAppend): Promise<AppendOutcome> {
  for (;;) {
    const { log, bytes, expectedLast, usesReserve } = append;
    const outcome = await log.append(bytes, expectedLast, usesReserve);
    if (outcome.kind === "unknown") {
      if (!append.log.canResend || append.isStopped()) return outcome;
      append.stalled?.(outcome.reason);
    } else if (outcome.kind === "conflict") {
      const found = await whatIsThere(append);
      if (found !== null) return found;
      if (append.isStopped()) return { kind: "unknown", reason: "the log could not be read back" };
    } else {
      return outcome;
    }
    await new Promise<void>((resolve) => {
      append.timers.after(APPEND_RETRY_MS, resolve);
    });
  }
}

/** Null when the log can't say now. */
async function whatIsThere(append: CertainAppend): Promise<AppendOutcome | null> {
  const { log, incarnation, expectedLast } = append;
  const sequence = expectedLast + 1;
  const own = readEntryHeader(append.bytes);
  try {
    for await (const entry of log.read(incarnation, sequence, sequence)) {
      const found = readEntryHeader(entry);
      if (found.sequence !== sequence) continue;
      return found.nonce === own.nonce && found.kind === own.kind
        ? { kind: "committed" }
        : { kind: "fenced", reason: `another entry lies at sequence ${sequence}` };
    }
    const last = await log.lastSequence(incarnation);
    // Refused although nothing is there: the log lost what was acknowledged, or is another one.
    if (last < expectedLast) {
      return {
        kind: "fenced",
        reason: `the log ends at ${last}, ${expectedLast} was acknowledged`,
      };
    }
    return null;
  } catch {
    return null;
  }
}
