/**
 * Whether NATS has stopped answering over a connection that looks whole: frozen, or cut off without a word. Only while
 * something waits for a reply it pings, at most once a tick, one ping at a time.
 * Counted in ticks, not by a clock: a process that stood still itself, or had no processor time, must not blame NATS.
 */

import type { TimerHandle, Timers } from "./timers.ts";

const TICK_MS = 100;
/** A ping without answer for so many ticks: with the tick until the ping is sent, within a second of the silence. */
const SILENT_TICKS = 8;

export interface NatsSilenceOptions {
  readonly timers: Timers;
  /** A round trip to the server; a rejection says that the connection is gone, which others notice. */
  readonly ping: () => Promise<void>;
  /** True while something waits for a reply. */
  readonly isWaiting: () => boolean;
}

export class NatsSilence {
  readonly #options: NatsSilenceOptions;
  #timer: TimerHandle | null = null;
  #isPinging = false;
  #ticks = 0;
  /** Answers to pings of a connection that has ended are for nobody. */
  #connections = 0;

  constructor(options: NatsSilenceOptions) {
    this.#options = options;
  }

  get isSilent(): boolean {
    return this.#ticks >= SILENT_TICKS;
  }

  /** Something waits for a reply from now on. */
  watch(): void {
    if (this.#timer !== null) return;
    this.#ping();
    this.#arm();
  }

  /** The connection is gone: nothing is known of the next one. */
  reset(): void {
    this.#connections++;
    this.#isPinging = false;
    this.#ticks = 0;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #arm(): void {
    this.#timer = this.#options.timers.after(TICK_MS, () => this.#tick());
  }

  #tick(): void {
    this.#timer = null;
    if (this.#isPinging) this.#ticks++;
    else if (this.#options.isWaiting()) this.#ping();
    else return;
    this.#arm();
  }

  #ping(): void {
    const connection = this.#connections;
    const ended = (): void => {
      if (connection !== this.#connections) return;
      this.#isPinging = false;
      this.#ticks = 0;
    };
    this.#isPinging = true;
    this.#options.ping().then(ended, ended);
  }
}
