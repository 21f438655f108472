/**
 * Which members have been silent for so long that their lease must have ended. Pure: told what was read and when.
 * Invariant: counts from this node's own receipt of the newest revision, never from a time that somebody wrote, and not
 * from before this node's own renewals last went through: a control store that was away for everybody must kill nobody.
 * Safety rests on the compare-and-set on the revision that was observed (`observed`), not on this.
 */

/** By how much two monotonic clocks may differ in rate. */
export const CLOCK_DRIFT_RATIO = 0.02;
/** For timers that fire late and for the way of the last renewal. */
export const SUSPICION_MARGIN_MS = 200;

/** How well this node's own renewals go; `LeaseKeeper.health()`. Monotonic milliseconds. */
export interface RenewalHealth {
  /** Since when renewals have been acknowledged without a gap; null when they are not. */
  readonly continuousSinceMs: number | null;
}

interface Observation {
  /** 0: no record was there. */
  revision: number;
  ttlMs: number;
  receivedAtMs: number;
}

/** How long a holder of such a lease must be silent: it has counted to its end by then, on a clock that runs slower. */
export function suspicionMs(ttlMs: number): number {
  return ttlMs * (1 + CLOCK_DRIFT_RATIO) + SUSPICION_MARGIN_MS;
}

export class FailureDetector {
  readonly #observed: Map<number, Observation> = new Map();

  /** A lease as it was received; older revisions than the newest say nothing. */
  observe(incarnation: number, seen: { revision: number; ttlMs: number }, nowMs: number): void {
    const known = this.#observed.get(incarnation);
    if (known !== undefined && seen.revision <= known.revision) return;
    const { revision, ttlMs } = seen;
    this.#observed.set(incarnation, { revision, ttlMs, receivedAtMs: nowMs });
  }

  /** True when the lease, as last observed, must have ended. False for what was never observed. */
  isSuspect(incarnation: number, nowMs: number, own: RenewalHealth): boolean {
    const silentMs = this.silentMs(incarnation, nowMs, own);
    const ttlMs = this.#observed.get(incarnation)?.ttlMs ?? 0;
    return silentMs !== null && silentMs >= suspicionMs(ttlMs);
  }

  /** For how long it has been silent as far as this node can tell; null when it can't. */
  silentMs(incarnation: number, nowMs: number, own: RenewalHealth): number | null {
    const known = this.#observed.get(incarnation);
    if (known === undefined || own.continuousSinceMs === null) return null;
    return nowMs - Math.max(known.receivedAtMs, own.continuousSinceMs);
  }

  /** The newest revision that was observed: the one to expect when the lease is ended. */
  observed(incarnation: number): { readonly revision: number; readonly ttlMs: number } | null {
    return this.#observed.get(incarnation) ?? null;
  }

  /** Forgets all but these. */
  keepOnly(incarnations: ReadonlySet<number>): void {
    for (const incarnation of [...this.#observed.keys()]) {
      if (!incarnations.has(incarnation)) this.#observed.delete(incarnation);
    }
  }
}
