/**
 * How many events of some bytes may have been counted without an answer that their client could see: with uWebSockets.js
 * those of the one request that was pending when its connection was cut because of bytes behind it, with `--http node`
 * those behind an event stream on its connection, whose answers wait for its end (docs/http-limits.md).
 */
import type { LaneOutcome } from "./http-fuzz-lane.ts";
import type { AnswerJudge } from "./http-judge.ts";
import { readSequence } from "./http-reading.ts";

export function unseenEventsMax(
  text: string,
  outcome: LaneOutcome,
  options: { readonly kind: "uws" | "node"; readonly judge: AnswerJudge },
): number {
  const { answers, isCut, isStreaming } = outcome;
  const own = answers.filter((answer) => !options.judge.isOfLibrary(answer));
  // What says that it is the last is the last: nothing behind it was handled.
  if (own.some(({ head }) => /\r\nconnection: close/i.test(head))) return 0;
  const { whole, rest } = readSequence(text);
  const behind = requestsIn(rest);
  const unanswered = [...whole.slice(own.length).map(eventsIn), ...behind.map(eventsAtMost)];
  if (options.kind === "node") return isStreaming ? sumOf(unanswered) : 0;
  // Behind the answer of a HEAD no stream has begun.
  const isBehindStream = isStreaming && !text.includes("HEAD /");
  if (!isCut || isBehindStream) return 0;
  const isRefused = own.length < answers.length;
  if (isRefused && whole.length === 0 && behind.length === 1 && endsWithItself(rest)) return 0;
  // One request at a time: a second one is not handled while the first is pending, and never behind a stream. Answers
  // that were given in front of it may be lost with it, so that nobody knows which one it was.
  return Math.max(0, ...unanswered);
}

/** Bytes that a lenient reader could take for a request each. */
function requestsIn(text: string): string[] {
  return text.split(/(?<![A-Z])(?=[A-Z]{3,7} \/)/);
}

/** Nothing is behind the one request: what was refused is its head, so that no handler has seen it. */
function endsWithItself(text: string): boolean {
  const headEnd = text.indexOf("\r\n\r\n");
  const bodyBytes = headEnd === -1 ? 0 : text.length - headEnd - 4;
  if (bodyBytes === 0) return true;
  const length = /\r\ncontent-length: *(\d+)/i.exec(text)?.[1];
  return !/chunked/i.test(text) && length !== undefined && Number(length) >= bodyBytes;
}

/** The events of one request; of changed bytes no reading has more. */
export function eventsIn(text: string): number {
  if (/\/events\/[^/]*\/(delivered|bounced)/.test(text)) return 1;
  return text.match(/"domain"\s*:/g)?.length ?? 0;
}

/** Of bytes whose requests are not told apart: what counts may be what stands before or behind another request line. */
function eventsAtMost(text: string): number {
  return Math.max(eventsIn(text), text.match(/"domain"\s*:/g)?.length ?? 0);
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0);
}
