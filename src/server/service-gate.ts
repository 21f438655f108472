/**
 * Whether this node may serve right now; asked in the same tick as every admission and read.
 * Invariant: states only move forward: starting → serving → draining → failed.
 */

import { CatchallError } from "../model/errors.ts";

export type ServiceState = "starting" | "serving" | "draining" | "failed";

const ORDER: readonly ServiceState[] = ["starting", "serving", "draining", "failed"];

export class ServiceGate {
  state: ServiceState = "starting";
  #failure = "";

  moveTo(state: ServiceState, reason = ""): void {
    if (ORDER.indexOf(state) <= ORDER.indexOf(this.state)) return;
    this.state = state;
    this.#failure = reason;
  }

  /** Null while events are admitted. */
  refusalOfEvents(): CatchallError | null {
    if (this.state === "draining") return new CatchallError("shutting_down");
    return this.refusal();
  }

  /** Null while what was admitted may be committed, and reads answered. */
  refusal(): CatchallError | null {
    if (this.state === "starting") return new CatchallError("not_ready");
    return this.state === "failed" ? new CatchallError("log_failed", this.#failure) : null;
  }

  /** Sentences for `/readyz`; empty when ready. */
  reasons(): readonly string[] {
    if (this.state === "starting") return ["The node is recovering its counters"];
    if (this.state === "draining") return ["The node is shutting down"];
    return this.state === "failed" ? [`The write-ahead log failed: ${this.#failure}`] : [];
  }
}
