/**
 * How often one address may fail to authenticate before it is answered 429: a token bucket for each address.
 * Invariants: at most `addressesMax` are remembered, whoever asks (the one that failed longest ago is forgotten first);
 * only failures count, so that a program with a wrong token does not lock out its neighbours behind one address.
 */

import type { Clock } from "../runtime/clock.ts";

export interface FailureLimits {
  /** Failures in a row before the limit holds. */
  readonly burst: number;
  /** After that, one failure each. */
  readonly refillMs: number;
  readonly addressesMax: number;
}

interface Bucket {
  tokens: number;
  atMs: number;
}

export class FailureLimiter {
  readonly #clock: Clock;
  readonly #limits: FailureLimits;
  /** In order of the last failure. */
  readonly #buckets: Map<string, Bucket> = new Map();

  constructor(clock: Clock, limits: FailureLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  get addresses(): number {
    return this.#buckets.size;
  }

  /** Counts a failure; 0 while it is within the limit, else the seconds after which another may be tried. */
  fail(address: string): number {
    const { burst, refillMs, addressesMax } = this.#limits;
    const key = networkOf(address);
    const nowMs = this.#clock.monotonicMs();
    const bucket = this.#buckets.get(key) ?? { tokens: burst, atMs: nowMs };
    bucket.tokens = Math.min(burst, bucket.tokens + (nowMs - bucket.atMs) / refillMs);
    bucket.atMs = nowMs;
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > addressesMax) this.#forgetOldest();
    if (bucket.tokens < 1) return Math.max(1, Math.ceil(((1 - bucket.tokens) * refillMs) / 1000));
    bucket.tokens -= 1;
    return 0;
  }

  #forgetOldest(): void {
    for (const oldest of this.#buckets.keys()) {
      this.#buckets.delete(oldest);
      return;
    }
  }
}

/** An IPv4 address itself, and of an IPv6 address its /64: one machine has all of that. */
export function networkOf(address: string): string {
  const mapped = /^(?:::ffff:|0000:0000:0000:0000:0000:ffff:)(.+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped.includes(".") ? mapped : mapped.toLowerCase();
  if (!address.includes(":")) return address;
  const [head = "", tail] = address.toLowerCase().split("::", 2);
  const before = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - before.length - after.length);
  const groups = [...before, ...Array.from({ length: zeros }, () => "0"), ...after];
  const network = groups.slice(0, 4).map((group) => group.replace(/^0+(?=.)/, ""));
  return `${network.join(":")}::/64`;
}
