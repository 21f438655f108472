/**
 * The event mixes of `catchall load`: endless, seeded streams of (domain index, kind, key number).
 * Invariant: the same mix, seed and options give the same stream, whatever the clock and the answers do.
 * A stream writes its fields in place of returning objects: it must stay far cheaper than sending an event.
 */
import { BOUNCED, DELIVERED, type EventKind } from "../../model/event.ts";
import { SeededRandom } from "./seeded-random.ts";
import { ZipfSampler } from "./zipf-sampler.ts";

export const MIX_NAMES = [
  "challenge",
  "uniform",
  "zipf",
  "boundary",
  "flip",
  "duplicates",
] as const;
export type MixName = (typeof MIX_NAMES)[number];

/** Key number of an event that carries no idempotency key. */
export const UNKEYED = -1;

/** After `next()` the fields hold the next event. */
export interface EventStream {
  /** Index into the names of the run. */
  domain: number;
  kind: EventKind;
  /** Number of the idempotency key, or UNKEYED. Equal keys always have equal domain and kind. */
  key: number;
  next(): void;
}

export interface MixOptions {
  readonly seed: number;
  /** Number of domains of `uniform`, `zipf` and `duplicates`; the others make new ones as they go. */
  readonly domains: number;
  /** Gives every event a key of its own (the `duplicates` mix has keys anyway). */
  readonly isKeyed: boolean;
}

export function createMix(name: MixName, options: MixOptions): EventStream {
  const stream = createPlainMix(name, options);
  return options.isKeyed && name !== "duplicates" ? new KeyedStream(stream) : stream;
}

function createPlainMix(name: MixName, { seed, domains }: MixOptions): EventStream {
  switch (name) {
    case "challenge":
      return new LifetimeStream((domain) => challengeLifetime(domain, challengeMax(seed, domain)));
    case "boundary":
      return new LifetimeStream(boundaryLifetime);
    case "uniform":
      return new SpreadStream(seed, (random) => random.below(domains));
    case "zipf": {
      const sampler = new ZipfSampler(domains, ZIPF_EXPONENT);
      return new SpreadStream(seed, (random) => sampler.sample(random));
    }
    case "flip":
      return new FlipStream();
    case "duplicates":
      return new DuplicatesStream(seed, domains);
  }
}

const ZIPF_EXPONENT = 0.99;
/** Domains that are being sent at one time, served in turn, as the challenge's twenty producers are. */
export const LIVE_DOMAINS = 20;
const LIFETIME_STREAM_BASE = 0x1000_0000_0000;

/** All events of one domain, in order: event i is a bounce when `isBounce(i)`. */
export interface Lifetime {
  readonly events: number;
  /** Every `stride`-th event is a bounce, from event 0; 0: none. */
  readonly bounceStride: number;
  /** Index of one bounce, instead of a stride; -1: none. */
  readonly bounceAt: number;
}

/** The challenge draws 0 to 2499 events for each domain. */
export const CHALLENGE_EVENTS_BOUND = 2500;

/**
 * One domain of the challenge's generator. The original takes "35 %" as a stride, so nearly every bouncing domain has
 * exactly three bounces and its very first event is one; every 25th domain is clean.
 */
export function challengeLifetime(iteration: number, max: number): Lifetime {
  const stride = iteration % 25 === 0 ? 0 : Math.floor(0.35 * max);
  return { events: max, bounceStride: stride, bounceAt: -1 };
}

const challengeRandom = new SeededRandom(0, 0);

function challengeMax(seed: number, iteration: number): number {
  challengeRandom.reseed(seed, LIFETIME_STREAM_BASE + iteration);
  return challengeRandom.below(CHALLENGE_EVENTS_BOUND);
}

const clean = (events: number): Lifetime => ({ events, bounceStride: 0, bounceAt: -1 });
const bounced = (events: number, bounceAt: number): Lifetime => ({
  events,
  bounceStride: 0,
  bounceAt,
});

/** Around the default threshold of 1000: clean, bounced first, in the middle, at the threshold and last. */
export const BOUNDARY_LIFETIMES: readonly Lifetime[] = [
  clean(999),
  clean(1000),
  clean(1001),
  clean(1002),
  clean(1),
  bounced(1, 0),
  bounced(1000, 999),
  bounced(1001, 1000),
  bounced(1002, 1001),
  bounced(1002, 1000),
  bounced(1002, 0),
  bounced(1003, 500),
];

function boundaryLifetime(domain: number): Lifetime {
  return BOUNDARY_LIFETIMES[domain % BOUNDARY_LIFETIMES.length] as Lifetime;
}

/** LIVE_DOMAINS domains take turns; one that has sent all of its events is replaced by the next new one. */
class LifetimeStream implements EventStream {
  domain = 0;
  kind: EventKind = DELIVERED;
  readonly key: number = UNKEYED;
  readonly #lifetimeOf: (domain: number) => Lifetime;
  readonly #domains = new Array<number>(LIVE_DOMAINS).fill(0);
  readonly #lifetimes: Lifetime[] = new Array<Lifetime>(LIVE_DOMAINS).fill(clean(0));
  readonly #sent = new Array<number>(LIVE_DOMAINS).fill(0);
  #slot = LIVE_DOMAINS - 1;
  #nextDomain = 0;

  constructor(lifetimeOf: (domain: number) => Lifetime) {
    this.#lifetimeOf = lifetimeOf;
  }

  next(): void {
    const slot = this.#slot === LIVE_DOMAINS - 1 ? 0 : this.#slot + 1;
    this.#slot = slot;
    // A lifetime of zero events never appears, as in the original.
    while ((this.#sent[slot] as number) >= (this.#lifetimes[slot] as Lifetime).events) {
      this.#domains[slot] = this.#nextDomain;
      this.#lifetimes[slot] = this.#lifetimeOf(this.#nextDomain);
      this.#sent[slot] = 0;
      this.#nextDomain++;
    }
    const index = this.#sent[slot] as number;
    this.#sent[slot] = index + 1;
    this.domain = this.#domains[slot] as number;
    this.kind = isBounce(this.#lifetimes[slot] as Lifetime, index) ? BOUNCED : DELIVERED;
  }
}

export function isBounce(lifetime: Lifetime, index: number): boolean {
  if (lifetime.bounceStride > 0) return index % lifetime.bounceStride === 0;
  return index === lifetime.bounceAt;
}

/** Events over a fixed set of domains; every second domain bounces now and then. */
class SpreadStream implements EventStream {
  domain = 0;
  kind: EventKind = DELIVERED;
  readonly key: number = UNKEYED;
  readonly #random: SeededRandom;
  readonly #pick: (random: SeededRandom) => number;

  constructor(seed: number, pick: (random: SeededRandom) => number) {
    this.#random = new SeededRandom(seed, 1);
    this.#pick = pick;
  }

  next(): void {
    this.domain = this.#pick(this.#random);
    this.kind = spreadKind(this.domain, this.#random);
  }
}

function spreadKind(domain: number, random: SeededRandom): EventKind {
  return (domain & 1) === 1 && random.below(SPREAD_BOUNCE_ONE_IN) === 0 ? BOUNCED : DELIVERED;
}
const SPREAD_BOUNCE_ONE_IN = 64;

export const FLIP_DELIVERIES = 1001;
/** A bounce follows the last delivery of its domain by so many events, so that it is sent after their answers. */
const FLIP_BOUNCE_DELAY_EVENTS = 10_000;

/** Every domain becomes catch-all with delivery 1001; every second one then loses that with one late bounce. */
class FlipStream implements EventStream {
  domain = 0;
  kind: EventKind = DELIVERED;
  readonly key: number = UNKEYED;
  readonly #deliveries: EventStream = new LifetimeStream(() => clean(FLIP_DELIVERIES));
  readonly #sentByDomain = new Map<number, number>();
  readonly #bounces: { readonly domain: number; readonly dueAt: number }[] = [];
  #sent = 0;

  next(): void {
    this.#sent++;
    const due = this.#bounces[0];
    if (due !== undefined && due.dueAt <= this.#sent) {
      this.#bounces.shift();
      this.domain = due.domain;
      this.kind = BOUNCED;
      return;
    }
    this.#deliveries.next();
    this.domain = this.#deliveries.domain;
    this.kind = DELIVERED;
    this.#scheduleBounce(this.domain);
  }

  #scheduleBounce(domain: number): void {
    const sent = (this.#sentByDomain.get(domain) ?? 0) + 1;
    if (sent < FLIP_DELIVERIES) {
      this.#sentByDomain.set(domain, sent);
      return;
    }
    this.#sentByDomain.delete(domain);
    if ((domain & 1) === 1) {
      this.#bounces.push({ domain, dueAt: this.#sent + FLIP_BOUNCE_DELAY_EVENTS });
    }
  }
}

const DUPLICATE_SENDS_MAX = 4;
const DUPLICATE_POOL = 512;

/** Keyed events, each sent one to four times, at once or up to thousands of events later. */
class DuplicatesStream implements EventStream {
  domain = 0;
  kind: EventKind = DELIVERED;
  key: number = UNKEYED;
  readonly #random: SeededRandom;
  readonly #domains: number;
  readonly #pool: { domain: number; kind: EventKind; key: number; sendsLeft: number }[] = [];
  #nextKey = 0;

  constructor(seed: number, domains: number) {
    this.#random = new SeededRandom(seed, 2);
    this.#domains = domains;
  }

  next(): void {
    const slot = this.#random.below(DUPLICATE_POOL);
    let event = this.#pool[slot];
    if (event === undefined || event.sendsLeft === 0) {
      event = this.#create();
      const isFree = slot < this.#pool.length;
      if (isFree) this.#pool[slot] = event;
      else this.#pool.push(event);
    }
    event.sendsLeft--;
    this.domain = event.domain;
    this.kind = event.kind;
    this.key = event.key;
  }

  #create(): { domain: number; kind: EventKind; key: number; sendsLeft: number } {
    const domain = this.#random.below(this.#domains);
    const kind = spreadKind(domain, this.#random);
    const sendsLeft = 1 + this.#random.below(DUPLICATE_SENDS_MAX);
    return { domain, kind, key: this.#nextKey++, sendsLeft };
  }
}

/** Numbers the events of another stream. */
class KeyedStream implements EventStream {
  domain = 0;
  kind: EventKind = DELIVERED;
  key: number = UNKEYED;
  readonly #inner: EventStream;

  constructor(inner: EventStream) {
    this.#inner = inner;
  }

  next(): void {
    this.#inner.next();
    this.domain = this.#inner.domain;
    this.kind = this.#inner.kind;
    this.key++;
  }
}
