/**
 * Says no before any work is done: to events over the pending limit, to reads earlier, to bodies over the bytes held.
 * Invariant: what is refused here had no effect; whatever is reserved is released exactly once by the exchange.
 */

import type { Shedding } from "../api/routes.ts";
import { CatchallError } from "../model/errors.ts";
import type { Ingress } from "../router/ingress.ts";
import type { HttpLimits } from "./http-deps.ts";

/** One for all: to take the stack costs more than the rest of a refusal. */
const OVERLOADED = new CatchallError("overloaded");

export class Admission {
  readonly #ingress: Ingress;
  readonly #limits: HttpLimits;
  #bodyBytesHeld = 0;
  #streams = 0;

  constructor(ingress: Ingress, limits: HttpLimits) {
    this.#ingress = ingress;
    this.#limits = limits;
  }

  get bodyBytesHeld(): number {
    return this.#bodyBytesHeld;
  }

  get streams(): number {
    return this.#streams;
  }

  /** Null when there is room. Reads are shed before writes. */
  check(shedding: Shedding): CatchallError | null {
    if (shedding === "never") return null;
    const limit =
      this.#ingress.pendingEventsMax * (shedding === "read" ? this.#limits.readShare : 1);
    return this.#ingress.pendingEvents < limit ? null : OVERLOADED;
  }

  /** Events that may be submitted now without going over the pending limit. */
  room(): number {
    return Math.max(0, this.#ingress.pendingEventsMax - this.#ingress.pendingEvents);
  }

  reserveBody(bytes: number): CatchallError | null {
    if (this.#bodyBytesHeld + bytes > this.#limits.bodyBytesHeldMax) {
      return new CatchallError("overloaded", "Too many bodies are being read");
    }
    this.#bodyBytesHeld += bytes;
    return null;
  }

  releaseBody(bytes: number): void {
    this.#bodyBytesHeld -= bytes;
  }

  openStream(): CatchallError | null {
    if (this.#streams >= this.#limits.streamsMax) {
      return new CatchallError(
        "overloaded",
        `At most ${this.#limits.streamsMax} streams are open at once`,
      );
    }
    this.#streams++;
    return null;
  }

  closeStream(): void {
    this.#streams--;
  }
}
