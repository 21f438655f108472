/**
 * Virtual time: one heap of events ordered by (time, order). After each event that may resume promises the caller's
 * `Drain` lets every continuation run before the next one, so that a run is a function of its seed.
 * Invariant: nothing in here or above it reads real time, real randomness, or depends on more than the seed.
 */

import { SimRandom } from "./sim-random.ts";

/** Calls `next` after all promise continuations have run: `setImmediate` does. */
export type Drain = (next: () => void) => void;

interface SimEvent {
  readonly atMs: number;
  readonly order: number;
  readonly work: () => unknown;
  /** True when the work can't settle a promise: the next event may follow without a drain. */
  readonly isPure: boolean;
}

/** What work returns that did nothing after all (cancelled, of a dead life): no drain is needed. */
export const IDLE: unique symbol = Symbol("idle");

/** A broken promise of the product (or of the simulator). */
export interface SimFailure {
  /** "I1" … "I22", "assertion" or "liveness". */
  readonly rule: string;
  readonly text: string;
  readonly atMs: number;
}

const TRACE_KEPT = 256;
const NOTES_KEPT = 200;
const FAILURES_MAX = 20;

export class SimWorld {
  readonly seed: number;
  nowMs = 0;
  /** Counts executed events: an instant of logical time. */
  instant = 0;
  readonly failures: SimFailure[] = [];
  readonly notes: string[] = [];
  /** Asked after each event and its continuations. */
  afterEvent: (() => void) | null = null;
  readonly #drain: Drain;
  readonly #heap: SimEvent[] = [];
  #order = 0;
  #hashLow = 0x811c9dc5;
  #hashHigh = 0x9747b28c;
  readonly #labels: Map<string, number> = new Map();
  readonly #trace: (readonly [number, string, number, number, number])[] = [];
  #traceNext = 0;

  constructor(seed: number, drain: Drain) {
    this.seed = seed;
    this.#drain = drain;
  }

  random(name: string): SimRandom {
    return new SimRandom(this.seed, name);
  }

  /** Runs `work` at that instant, or now if it has passed. */
  at(atMs: number, work: () => unknown, isPure = false): void {
    const event = { atMs: Math.max(atMs, this.nowMs), order: this.#order++, work, isPure };
    push(this.#heap, event);
  }

  after(delayMs: number, work: () => unknown, isPure = false): void {
    this.at(this.nowMs + delayMs, work, isPure);
  }

  /** Runs events up to and including `untilMs`, or until `isDone` says so after an event. */
  run(untilMs: number, isDone: () => boolean = () => false): Promise<void> {
    return new Promise((resolve, reject) => {
      const step = (): void => {
        try {
          if (this.instant > 0) this.afterEvent?.();
          if (isDone() || !this.#runOne(untilMs)) {
            resolve();
            return;
          }
          this.#drain(step);
        } catch (error) {
          reject(error);
        }
      };
      this.#drain(step);
    });
  }

  /** Runs pure events, then one other; false when none is left before `untilMs`. */
  #runOne(untilMs: number): boolean {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined || first.atMs > untilMs) {
        this.nowMs = Math.max(this.nowMs, untilMs);
        return false;
      }
      pop(this.#heap);
      this.nowMs = first.atMs;
      this.instant++;
      if (first.work() !== IDLE && !first.isPure) return true;
    }
  }

  fail(rule: string, text: string): void {
    this.trace(`FAILED ${rule}`, 0);
    if (this.failures.length >= FAILURES_MAX) return;
    this.failures.push({ rule, text, atMs: Math.round(this.nowMs) });
  }

  /** Adds to the hash of the run; the last few are kept for reports. `label` comes from a bounded set. */
  trace(label: string, a: number, b = 0, c = 0): void {
    let id = this.#labels.get(label);
    if (id === undefined) {
      id = this.#labels.size + 1;
      this.#labels.set(label, id);
    }
    this.#mix(id);
    this.#mix(Math.round(this.nowMs * 1000));
    this.#mix(a);
    this.#mix(b);
    this.#mix(c);
    this.#trace[this.#traceNext] = [this.nowMs, label, a, b, c];
    this.#traceNext = (this.#traceNext + 1) % TRACE_KEPT;
  }

  /** A line for people; not part of the hash. */
  note(text: string): void {
    this.notes.push(`${this.nowMs.toFixed(3)} ${text}`);
    if (this.notes.length > NOTES_KEPT * 2) this.notes.splice(0, NOTES_KEPT);
  }

  /** Equal for equal runs. */
  get traceHash(): string {
    const text = (word: number): string => (word >>> 0).toString(16).padStart(8, "0");
    return text(this.#hashHigh) + text(this.#hashLow);
  }

  /** The last traced steps, oldest first. */
  recentTrace(): string[] {
    const ordered = [
      ...this.#trace.slice(this.#traceNext),
      ...this.#trace.slice(0, this.#traceNext),
    ];
    return ordered.map(([atMs, label, a, b, c]) => `${atMs.toFixed(3)} ${label} ${a} ${b} ${c}`);
  }

  #mix(value: number): void {
    this.#hashLow = Math.imul(this.#hashLow ^ (value | 0), 0x01000193);
    this.#hashLow ^= this.#hashLow >>> 15;
    const high = Math.floor(value / 0x1_0000_0000) ^ this.#hashLow;
    this.#hashHigh = Math.imul(this.#hashHigh ^ high, 0x85ebca6b);
    this.#hashHigh ^= this.#hashHigh >>> 13;
  }
}

function isBefore(a: SimEvent, b: SimEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

function push(heap: SimEvent[], event: SimEvent): void {
  let at = heap.length;
  heap.push(event);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = heap[parent] as SimEvent;
    if (!isBefore(event, above)) break;
    heap[at] = above;
    at = parent;
  }
  heap[at] = event;
}

function pop(heap: SimEvent[]): void {
  const last = heap.pop() as SimEvent;
  const length = heap.length;
  if (length === 0) return;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= length) break;
    if (child + 1 < length && isBefore(heap[child + 1] as SimEvent, heap[child] as SimEvent)) {
      child++;
    }
    const below = heap[child] as SimEvent;
    if (!isBefore(below, last)) break;
    heap[at] = below;
    at = child;
  }
  heap[at] = last;
}
