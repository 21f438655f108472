/**
 * The timers of the process. Node turns a delay over 2^31 - 1 ms into 1 ms; here such a delay is served in parts, so
 * that a long lease or retention never fires at once. Timers keep the process alive: whoever owns one cancels it.
 */
import type { TimerHandle, Timers } from "./timers.ts";

const NODE_DELAY_MAX_MS = 2 ** 31 - 1;

export class NodeTimers implements Timers {
  after(delayMs: number, work: () => void): TimerHandle {
    if (delayMs <= NODE_DELAY_MAX_MS) {
      const timer = setTimeout(work, delayMs);
      return { cancel: () => clearTimeout(timer) };
    }
    let rest = this.after(NODE_DELAY_MAX_MS, () => {
      rest = this.after(delayMs - NODE_DELAY_MAX_MS, work);
    });
    return { cancel: () => rest.cancel() };
  }

  soon(work: () => void): void {
    setImmediate(work);
  }
}
