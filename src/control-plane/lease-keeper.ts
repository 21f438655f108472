/**
 * The lease of this incarnation: made once, renewed every quarter of its time to live, ended once.
 * Invariant: valid until (when an acknowledged renewal was SENT) + TTL, on the monotonic clock and on the wall clock
 * (the monotonic one stands still while a virtual machine is suspended). Nobody else ends it earlier than that (I13).
 * Safety: a final record is the end for ever, whoever wrote it; `isValid` turns false before `left` is written.
 */

import { CatchallError } from "../model/errors.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { TimerHandle, Timers } from "../runtime/timers.ts";
import {
  type ControlRecord,
  type ControlStore,
  leaseKey,
  type PutOutcome,
} from "./control-store.ts";
import type { RenewalHealth } from "./failure-detector.ts";
import { encodeLease, isFinal, type LeaseState, parseLease } from "./lease-record.ts";
import { pause, withinLimit } from "./time-limit.ts";

/** Renewals in one time to live. */
const RENEWALS_PER_TTL = 4;
/** Tries in one time to live while the store refuses or does not answer. */
const RETRIES_PER_TTL = 20;
/** Without an acknowledgement for so long, what others did meanwhile is not known. */
const GAPS_PER_TTL = 2;
/** Renewals whose sending times are remembered. */
const SENT_KEPT = 64;

export interface LeaseKeeperOptions {
  readonly store: ControlStore;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly logger: Logger;
  readonly incarnation: number;
  readonly nodeId: string;
  readonly ttlMs: number;
}

interface Instant {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

type KeeperState = "new" | "held" | "ending" | "ended";

export class LeaseKeeper {
  readonly incarnation: number;
  readonly ttlMs: number;
  readonly #options: LeaseKeeperOptions;
  readonly #sent: Map<number, Instant> = new Map();
  readonly #listeners: ((reason: string) => void)[] = [];
  #state: KeeperState = "new";
  #revision = 0;
  #renewal = 0;
  #validFrom: Instant | null = null;
  #acknowledgedAtMs: number | null = null;
  #continuousSinceMs: number | null = null;
  #timer: TimerHandle | null = null;
  #lostReason: string | null = null;

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
    this.incarnation = options.incarnation;
    this.ttlMs = options.ttlMs;
  }

  /** Asked in the same tick as each admission and each read. */
  isValid(): boolean {
    return this.remainingMs() > 0;
  }

  /** Until it ends unless it is renewed; 0 when it has ended. */
  remainingMs(): number {
    if (this.#state !== "held" || this.#validFrom === null) return 0;
    const { monotonicMs, wallMs } = this.#now();
    const passedMs = Math.max(
      monotonicMs - this.#validFrom.monotonicMs,
      wallMs - this.#validFrom.wallMs,
    );
    return Math.max(0, this.ttlMs - passedMs);
  }

  /** Why it is lost for ever; null while it is not. */
  lostReason(): string | null {
    return this.#lostReason;
  }

  /** Called once, when it is lost for ever (not when this node ends it). */
  onLost(listener: (reason: string) => void): void {
    if (this.#lostReason !== null) listener(this.#lostReason);
    else this.#listeners.push(listener);
  }

  health(): RenewalHealth {
    const lastMs = this.#acknowledgedAtMs;
    const isRecent = lastMs !== null && this.#now().monotonicMs - lastMs <= this.#gapMs();
    return { continuousSinceMs: isRecent ? this.#continuousSinceMs : null };
  }

  /**
   * Makes the record and starts to renew it. Rejects with `lease_lost` when this incarnation was ended before it began,
   * `control_unavailable` when the store did not confirm it in time: then this incarnation is of no use.
   */
  async create(limitMs: number): Promise<void> {
    const { clock, timers } = this.#options;
    const deadlineMs = clock.monotonicMs() + limitMs;
    while (this.#state === "new") {
      await this.#put("held", 0);
      if (this.#validFrom !== null || this.#state !== "new") break;
      await this.#lookAgain();
      if (this.#validFrom !== null || this.#state !== "new") break;
      if (clock.monotonicMs() >= deadlineMs) {
        this.lose("the control store did not confirm the lease in time");
        throw new CatchallError("control_unavailable", "The lease could not be made in time");
      }
      await pause(timers, this.ttlMs / RETRIES_PER_TTL);
    }
    if (this.#state !== "new") throw this.#lostError();
    this.#state = "held";
    this.#schedule(this.ttlMs / RENEWALS_PER_TTL);
  }

  /** A record that was received elsewhere: a final one of this incarnation ends it at once. */
  notice(record: ControlRecord): void {
    if (record.key === leaseKey(this.incarnation)) this.#adopt(record);
  }

  /** It is known to be ended (the table says so, which comes after the record). */
  lose(reason: string): void {
    if (this.#state === "ended") return;
    const isOwnWish = this.#state === "ending";
    this.#state = "ended";
    this.#timer?.cancel();
    this.#lostReason = reason;
    if (isOwnWish) return;
    this.#options.logger.warn({ incarnation: this.incarnation }, `The lease is lost: ${reason}`);
    for (const listener of this.#listeners.splice(0)) listener(reason);
  }

  /**
   * Gives the lease up: invalid from now on, and `left` for others to see. True when that is certain; false when they
   * will have to find out by its silence.
   */
  async end(limitMs: number): Promise<boolean> {
    if (this.#state === "ended") return true;
    this.#state = "ending";
    this.#timer?.cancel();
    const { clock, timers } = this.#options;
    const deadlineMs = clock.monotonicMs() + limitMs;
    while (!this.#isEnded()) {
      const outcome = await this.#put("left", this.#revision);
      if (outcome.kind === "committed") this.lose("this node gave it up");
      else await this.#lookAgain();
      if (this.#isEnded()) break;
      if (clock.monotonicMs() >= deadlineMs) return false;
      await pause(timers, this.ttlMs / RETRIES_PER_TTL);
    }
    return true;
  }

  /** Stops renewing without a word to anybody: as if the process had died. */
  stop(): void {
    if (this.#state !== "ended") this.#state = "ending";
    this.#timer?.cancel();
  }

  #isEnded(): boolean {
    return this.#state === "ended";
  }

  #schedule(delayMs: number): void {
    this.#timer = this.#options.timers.after(delayMs, () => {
      this.#renew().catch((error: unknown) => this.lose(`renewing failed: ${String(error)}`));
    });
  }

  async #renew(): Promise<void> {
    if (this.#state !== "held") return;
    const sentMs = this.#now().monotonicMs;
    const outcome = await this.#put("held", this.#revision);
    if (outcome.kind !== "committed" && this.#state === "held") await this.#lookAgain();
    if (this.#state !== "held") return;
    const passedMs = this.#now().monotonicMs - sentMs;
    const isDone = outcome.kind === "committed";
    const delayMs = isDone
      ? this.ttlMs / RENEWALS_PER_TTL - passedMs
      : this.ttlMs / RETRIES_PER_TTL;
    this.#schedule(Math.max(0, delayMs));
  }

  async #put(state: LeaseState, expectedRevision: number): Promise<PutOutcome> {
    const { store, timers, incarnation, nodeId } = this.#options;
    const renewal = ++this.#renewal;
    if (state === "held") this.#remember(renewal);
    const bytes = encodeLease({ incarnation, nodeId, state, renewal, ttlMs: this.ttlMs });
    const outcome = await withinLimit<PutOutcome>(
      timers,
      store.put(leaseKey(incarnation), bytes, expectedRevision),
      this.ttlMs / RENEWALS_PER_TTL,
      () => ({ kind: "unknown", reason: "no answer in time" }),
    );
    if (outcome.kind === "committed" && state === "held") {
      this.#acknowledge(renewal, outcome.revision);
    }
    return outcome;
  }

  /** What the record says now; after an outcome that was not seen, or a refusal. Never throws. */
  async #lookAgain(): Promise<void> {
    const { store, timers } = this.#options;
    let isAnswered = true;
    try {
      const record = await withinLimit(
        timers,
        store.read(leaseKey(this.incarnation)),
        this.ttlMs / RENEWALS_PER_TTL,
        () => {
          isAnswered = false;
          return null;
        },
      );
      if (record !== null) this.#adopt(record);
      // An old copy may lack it; but once the lease has run out as well, it was removed, and no put can succeed again.
      else if (isAnswered && this.#revision > 0 && !this.isValid()) this.lose("its record is gone");
    } catch {
      // The store does not answer; the lease runs out by itself.
    }
  }

  #adopt(record: ControlRecord): void {
    // What is known already, or an older copy; a final record comes after everything that this node wrote.
    if (record.revision <= this.#revision) return;
    const { ok: lease, damage } = parseLease(record.value, this.incarnation);
    if (lease === undefined) {
      this.#options.logger.error({ key: record.key }, `A lease record can't be read: ${damage}`);
    } else if (isFinal(lease)) {
      this.lose(`its record says ${lease.state}`);
    } else {
      // Only this incarnation writes `held`: one of our own puts got in.
      this.#acknowledge(lease.renewal, record.revision);
    }
  }

  /** The renewal is in the store: it was valid from its sending on. */
  #acknowledge(renewal: number, revision: number): void {
    if (revision <= this.#revision) return;
    this.#revision = revision;
    const sent = this.#sent.get(renewal);
    if (sent === undefined || this.#state === "ending" || this.#state === "ended") return;
    this.#validFrom = sent;
    const nowMs = this.#now().monotonicMs;
    const lastMs = this.#acknowledgedAtMs;
    if (lastMs === null || nowMs - lastMs > this.#gapMs()) this.#continuousSinceMs = nowMs;
    this.#acknowledgedAtMs = nowMs;
  }

  #remember(renewal: number): void {
    this.#sent.set(renewal, this.#now());
    for (const oldest of this.#sent.keys()) {
      if (this.#sent.size <= SENT_KEPT) break;
      this.#sent.delete(oldest);
    }
  }

  #gapMs(): number {
    return this.ttlMs / GAPS_PER_TTL;
  }

  #now(): Instant {
    const { clock } = this.#options;
    return { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() };
  }

  #lostError(): CatchallError {
    return new CatchallError(
      "lease_lost",
      `Incarnation ${this.incarnation} ended: ${this.#lostReason}`,
    );
  }
}
