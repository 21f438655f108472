/**
 * What the clients may believe, domain by domain: how much was acknowledged, how much may have been counted, and what
 * every read must lie between. All checks are necessary conditions: they never raise a false alarm.
 * I2 and I3 (range), I5 (acknowledged before the read began), I6 (sent before it ended), I7 (reads never go back),
 * I8 (a key counts once).
 */

import { BOUNCED, DELIVERED, EVENT_KIND_NAMES, type EventKind } from "../model/event.ts";
import type { SimWorld } from "./sim-world.ts";

interface Tally {
  /** Σ counts that were acknowledged. */
  acked: number;
  /** Σ counts that were sent and not refused with effect none. */
  possible: number;
  /** The highest value that a completed read has seen. */
  seen: number;
  /** Events that may have been counted, whole, or not at all. */
  readonly maybes: Set<OracleEvent>;
}

/** One event of a client, with all its tries: it counts at most once. */
export interface OracleEvent {
  readonly domain: string;
  readonly kind: EventKind;
  readonly count: number;
  readonly eventId: string | null;
  tries: number;
  /** When its last try was. */
  sentMs: number;
  outstanding: number;
  isAcked: boolean;
  isMaybe: boolean;
  isPossible: boolean;
}

export interface ReadMark {
  readonly domain: string;
  /** By kind. */
  readonly low: readonly number[];
}

export class Oracle {
  readonly #world: SimWorld;
  readonly #tallies: Map<string, readonly [Tally, Tally]> = new Map();
  /** Called with each event that is acknowledged for the first time, and when its last try was sent. */
  onAcked: ((sentMs: number) => void) | null = null;
  acknowledged = 0;
  maybe = 0;
  refused = 0;
  reads = 0;
  outstanding = 0;

  constructor(world: SimWorld) {
    this.#world = world;
  }

  get domains(): string[] {
    return [...this.#tallies.keys()];
  }

  /** Domains whose count must be exact. */
  get exactDomains(): number {
    let exact = 0;
    for (const [delivered, bounced] of this.#tallies.values()) {
      if (delivered.acked === delivered.possible && bounced.acked === bounced.possible) exact++;
    }
    return exact;
  }

  event(domain: string, kind: EventKind, count: number, eventId: string | null): OracleEvent {
    return {
      domain,
      kind,
      count,
      eventId,
      tries: 0,
      sentMs: 0,
      outstanding: 0,
      isAcked: false,
      isMaybe: false,
      isPossible: false,
    };
  }

  /** A try is handed to a node now. */
  sent(event: OracleEvent): void {
    event.tries++;
    event.sentMs = this.#world.nowMs;
    event.outstanding++;
    this.outstanding++;
    if (event.isPossible) return;
    event.isPossible = true;
    this.#tally(event).possible += event.count;
  }

  acked(event: OracleEvent, isReplayed: boolean): void {
    this.#settled(event);
    if (isReplayed && event.tries < 2) {
      this.#world.fail("I8", `The first try of ${describe(event)} was answered as replayed`);
    }
    if (event.isAcked) return;
    event.isAcked = true;
    this.acknowledged++;
    this.onAcked?.(event.sentMs);
    const tally = this.#tally(event);
    tally.acked += event.count;
    tally.maybes.delete(event);
  }

  unknown(event: OracleEvent): void {
    this.#settled(event);
    this.maybe++;
    if (event.isAcked) return;
    event.isMaybe = true;
    this.#tally(event).maybes.add(event);
  }

  /** Refused with effect none: this try was not counted and never will be. */
  none(event: OracleEvent): void {
    this.#settled(event);
    this.refused++;
    if (event.isAcked || event.isMaybe || event.outstanding > 0 || !event.isPossible) return;
    event.isPossible = false;
    this.#tally(event).possible -= event.count;
  }

  readBegins(domain: string): ReadMark {
    const tallies = this.#talliesOf(domain);
    return { domain, low: tallies.map((tally) => Math.max(tally.acked, tally.seen)) };
  }

  readEnds(mark: ReadMark, delivered: number, bounced: number, where: string): void {
    this.reads++;
    for (const [kind, value] of [delivered, bounced].entries()) {
      const tally = this.#talliesOf(mark.domain)[kind] as Tally;
      const low = mark.low[kind] as number;
      if (value < low || value > tally.possible) {
        const rule = value > tally.possible ? "I6" : value < tally.acked ? "I5" : "I7";
        const name = `${mark.domain} ${EVENT_KIND_NAMES[kind as EventKind]}`;
        const range = `[${low}, ${tally.possible}]`;
        this.#world.fail(rule, `${name} was read as ${value} on ${where}, not in ${range}`);
      }
      tally.seen = Math.max(tally.seen, value);
    }
  }

  /** At the end, nothing outstanding: the count must be in [acknowledged, acknowledged + maybe]. */
  checkFinal(domain: string, kind: EventKind, value: number, where: string): void {
    const tally = this.#talliesOf(domain)[kind];
    const name = `${domain} ${EVENT_KIND_NAMES[kind]}`;
    if (value >= tally.acked && value <= tally.possible) {
      if (isSumOf(tally.maybes, value - tally.acked)) return;
      const text = `${name} is ${value} in the end on ${where}: part of an event is counted`;
      this.#world.fail("I3", text);
      return;
    }
    const rule = value < tally.acked ? "I1" : "I2";
    const range = `[${tally.acked}, ${tally.possible}]`;
    this.#world.fail(rule, `${name} is ${value} in the end on ${where}, not in ${range}`);
  }

  #settled(event: OracleEvent): void {
    event.outstanding--;
    this.outstanding--;
  }

  #tally(event: OracleEvent): Tally {
    return this.#talliesOf(event.domain)[event.kind];
  }

  #talliesOf(domain: string): readonly [Tally, Tally] {
    let tallies = this.#tallies.get(domain);
    if (tallies === undefined) {
      tallies = [
        { acked: 0, possible: 0, seen: 0, maybes: new Set() },
        { acked: 0, possible: 0, seen: 0, maybes: new Set() },
      ];
      this.#tallies.set(domain, tallies);
    }
    return tallies;
  }
}

/** Whether some of the events together count that much. */
function isSumOf(events: ReadonlySet<OracleEvent>, wanted: number): boolean {
  // Bit n: the events so far can make n.
  let sums = 1n;
  for (const { count } of events) sums |= sums << BigInt(count);
  return ((sums >> BigInt(wanted)) & 1n) === 1n;
}

export const EVENT_KINDS: readonly EventKind[] = [DELIVERED, BOUNCED];

function describe(event: OracleEvent): string {
  return `${event.count} ${EVENT_KIND_NAMES[event.kind]} of ${event.domain}`;
}
