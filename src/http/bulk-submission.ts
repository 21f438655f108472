/**
 * The events of one body on their way to the ingress, in slices: a slice goes out while there is room under the
 * pending limit, and the event loop gets its turn after each; a slice of names that are costly to parse ends by time. When the node is full, the next slice waits for this
 * body's own events to settle, or a bounded time for those of others.
 * Invariant: every event read is accepted, replayed, rejected or unknown, once. If one is unknown the answer is 504:
 * nothing less may say so. Lines of bad input over a limit are counted, not listed; lines worth a retry always are.
 */

import type { EventReader } from "../api/event-object.ts";
import type { DomainParser } from "../model/domain-name.ts";
import { CatchallError, ERROR_CODES, type ErrorCode } from "../model/errors.ts";
import { COMMITTED, type EventOutcome, type EventReply, REPLAYED } from "../router/ingress.ts";
import type { TurnBudget } from "../runtime/turn-budget.ts";
import type { BulkWork } from "./bulk-turns.ts";
import type { Exchange, ExchangeContext } from "./exchange.ts";

interface RejectedLine {
  readonly index: number;
  readonly code: ErrorCode;
  readonly message: string;
}

const RETRY_MS = 5;
const UNKNOWN_LISTED_MAX = 10_000;

export class BulkSubmission implements EventReply, BulkWork {
  readonly #context: ExchangeContext;
  readonly #exchange: Exchange;
  readonly #events: EventReader;
  readonly #parser: DomainParser;
  readonly #rejected: RejectedLine[] = [];
  readonly #unknown: number[] = [];
  #accepted = 0;
  #replayed = 0;
  #badLines = 0;
  #outstanding = 0;
  #isRunning = false;
  #isBegun = false;
  #isRead = false;
  #isScheduled = false;
  #waitingSinceMs: number | null = null;

  readonly #resume: () => void = () => {
    this.#context.bulks.soon(this);
  };

  constructor(
    context: ExchangeContext,
    exchange: Exchange,
    events: EventReader,
    parser: DomainParser,
  ) {
    this.#context = context;
    this.#exchange = exchange;
    this.#events = events;
    this.#parser = parser;
  }

  refuse(error: CatchallError): void {
    this.#isRead = true;
    this.#context.countRejected(error.code);
    this.#exchange.problem(error);
  }

  /** Submits the next slice and arranges what follows. */
  takeTurn(budget: TurnBudget): void {
    this.#isScheduled = false;
    const { bulks, deps, admission } = this.#context;
    let room = Math.min(deps.limits.bulkChunkEvents, admission.room());
    if (room === 0) {
      // Own events settle soon and call back; others' must be waited for, and not for ever.
      if (this.#outstanding > 0) return;
      if (!this.#isWaitOver()) {
        this.#isScheduled = true;
        deps.timers.after(RETRY_MS, this.#resume);
        return;
      }
      if (!this.#isBegun) {
        this.refuse(new CatchallError("overloaded"));
        bulks.leave();
        return;
      }
      // The ingress refuses these one by one, with its own code.
      room = deps.limits.bulkChunkEvents;
    } else {
      this.#waitingSinceMs = null;
    }
    this.#isRunning = true;
    this.#isBegun = true;
    try {
      this.#submitSlice(room, budget);
    } catch (error) {
      this.#isRead = true;
      this.#exchange.problem(error);
    }
    this.#isRunning = false;
    if (!this.#isRead) return this.#runSoon();
    bulks.leave();
    if (this.#outstanding === 0) this.#answer();
  }

  settled(index: number, outcome: EventOutcome): void {
    this.#outstanding--;
    if (outcome === COMMITTED) this.#accepted++;
    else if (outcome === REPLAYED) this.#replayed++;
    else if (outcome.effect === "unknown") this.#unknown.push(index);
    else this.#rejected.push({ index, code: outcome.code, message: outcome.message });
    if (this.#outstanding > 0 || this.#isRunning) return;
    if (this.#isRead) this.#answer();
    else this.#runSoon();
  }

  #runSoon(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#context.bulks.soon(this);
  }

  #submitSlice(sliceEvents: number, budget: TurnBudget): void {
    const events = this.#events;
    const { ingress } = this.#context.deps;
    const parser = this.#parser;
    let slowCount = parser.slowCount;
    for (let i = 0; i < sliceEvents; i++) {
      // The clock is read after each costly name, else seldom: reading it costs a tenth of a plain event.
      if (parser.slowCount !== slowCount || (i & 63) === 63) {
        slowCount = parser.slowCount;
        if (budget.isSpent()) return;
      }
      // A client that has gone learns nothing, so the rest of its body is not counted for it.
      if (this.#exchange.reply.isClosed || !events.next()) {
        this.#isRead = true;
        return;
      }
      if (events.error !== null) {
        this.#rejectLine(events.index, events.error);
        continue;
      }
      this.#outstanding++;
      ingress.submit(this.#parser, events.kind, events.count, events.eventId, this, events.index);
    }
  }

  #rejectLine(index: number, code: ErrorCode): void {
    this.#context.countRejected(code);
    this.#badLines++;
    if (this.#badLines > this.#context.deps.limits.bulkBadLinesListedMax) return;
    this.#rejected.push({ index, code, message: ERROR_CODES[code].title });
  }

  #isWaitOver(): boolean {
    const { clock, limits } = this.#context.deps;
    const nowMs = clock.monotonicMs();
    this.#waitingSinceMs ??= nowMs;
    return nowMs - this.#waitingSinceMs >= limits.bulkWaitMs;
  }

  #answer(): void {
    const omitted = Math.max(0, this.#badLines - this.#context.deps.limits.bulkBadLinesListedMax);
    const body = {
      accepted: this.#accepted,
      replayed: this.#replayed,
      rejected: this.#rejected.sort((a, b) => a.index - b.index),
      ...(omitted > 0 ? { rejectedOmitted: omitted } : {}),
    };
    if (this.#unknown.length === 0) {
      this.#exchange.json(200, body);
      return;
    }
    const detail = `${this.#unknown.length} events may or may not be counted; send the body again if they have ids`;
    const unknown = this.#unknown.sort((a, b) => a - b).slice(0, UNKNOWN_LISTED_MAX);
    this.#exchange.problem(new CatchallError("outcome_unknown", detail), { ...body, unknown });
  }
}
