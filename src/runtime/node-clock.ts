/** The clocks of the process. Adapter: with node-timers.ts the only place where the core's time comes from. */
import type { Clock } from "./clock.ts";

export class NodeClock implements Clock {
  wallMs(): number {
    return Date.now();
  }

  monotonicMs(): number {
    return performance.now();
  }
}
