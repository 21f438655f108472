/**
 * What the service must have counted: per domain the acknowledged events, and the "maybe" ones whose answer never came.
 * Invariant: acked <= counted <= acked + maybe, per domain and kind; a keyed event adds at most one whatever was sent.
 * Errors with effect "none" are never recorded here. Indexed by domain number: eight bytes a domain and kind.
 */
import { BOUNCED, type EventKind } from "../../model/event.ts";

const KEY_UNSEEN = 0;
const KEY_ACKED = 1;
const KEY_MAYBE = 2;

/** Numbers of one domain: what must, and what may besides, have been counted. */
export interface Expectation {
  readonly delivered: number;
  readonly bounced: number;
  readonly maybeDelivered: number;
  readonly maybeBounced: number;
}

export class LoadOracle {
  /** Two entries a domain: delivered, bounced. */
  #acked = new Uint32Array(2048);
  #maybe = new Uint32Array(2048);
  #touched = new Uint8Array(1024);
  #keyStates = new Uint8Array(1024);
  #keyEntries = new Float64Array(1024);
  #domainsEnd = 0;
  /** Events acknowledged, duplicates of a key not counted again. */
  ackedEvents = 0;

  /** One past the highest domain number seen. */
  get domainsEnd(): number {
    return this.#domainsEnd;
  }

  /** An event was sent or is about to be: its domain will be verified even when nothing was acknowledged. */
  touch(domain: number): void {
    if (domain >= this.#touched.length) this.#growDomains(domain);
    if (domain >= this.#domainsEnd) this.#domainsEnd = domain + 1;
    this.#touched[domain] = 1;
  }

  isTouched(domain: number): boolean {
    return this.#touched[domain] === 1;
  }

  /** The event is counted for certain. `key` below zero: it has none. */
  ack(domain: number, kind: EventKind, key: number): void {
    if (key >= 0 && !this.#ackKey(key)) return;
    this.touch(domain);
    const entry = domain * 2 + kind;
    this.#acked[entry] = (this.#acked[entry] as number) + 1;
    this.ackedEvents++;
  }

  /** The event may or may not have been counted, and nobody will ask again. */
  maybe(domain: number, kind: EventKind, key: number): void {
    this.touch(domain);
    const entry = domain * 2 + kind;
    if (key < 0) {
      this.#maybe[entry] = (this.#maybe[entry] as number) + 1;
      return;
    }
    if (key >= this.#keyStates.length) this.#growKeys(key);
    if (this.#keyStates[key] !== KEY_UNSEEN) return;
    this.#keyStates[key] = KEY_MAYBE;
    this.#keyEntries[key] = entry;
    this.#maybe[entry] = (this.#maybe[entry] as number) + 1;
  }

  expectationOf(domain: number): Expectation {
    const entry = domain * 2;
    return {
      delivered: this.#acked[entry] ?? 0,
      bounced: this.#acked[entry + BOUNCED] ?? 0,
      maybeDelivered: this.#maybe[entry] ?? 0,
      maybeBounced: this.#maybe[entry + BOUNCED] ?? 0,
    };
  }

  /** False when another send of the same key was acknowledged before. */
  #ackKey(key: number): boolean {
    if (key >= this.#keyStates.length) this.#growKeys(key);
    const state = this.#keyStates[key];
    if (state === KEY_ACKED) return false;
    if (state === KEY_MAYBE) {
      const entry = this.#keyEntries[key] as number;
      this.#maybe[entry] = (this.#maybe[entry] as number) - 1;
    }
    this.#keyStates[key] = KEY_ACKED;
    return true;
  }

  #growDomains(domain: number): void {
    const length = Math.max(domain + 1, this.#touched.length * 2);
    const acked = new Uint32Array(length * 2);
    acked.set(this.#acked);
    this.#acked = acked;
    const maybe = new Uint32Array(length * 2);
    maybe.set(this.#maybe);
    this.#maybe = maybe;
    const touched = new Uint8Array(length);
    touched.set(this.#touched);
    this.#touched = touched;
  }

  #growKeys(key: number): void {
    const length = Math.max(key + 1, this.#keyStates.length * 2);
    const states = new Uint8Array(length);
    states.set(this.#keyStates);
    this.#keyStates = states;
    const entries = new Float64Array(length);
    entries.set(this.#keyEntries);
    this.#keyEntries = entries;
  }
}
