/**
 * What a person should hear of the group commit, as log lines: once when it begins, once when it is over.
 */

import type { Logger } from "../runtime/logger.ts";

export function tellLeap(logger: Logger, aheadMs: number): void {
  if (aheadMs === 0) logger.info({}, "The wall clock is believed again");
  else {
    const text = "The wall clock leapt ahead: events are counted with the time that really passed";
    logger.error({ aheadMs }, `${text}; set the clock right, or restart the node if it is right`);
  }
}

/** `reason` null: the log takes entries again. */
export function tellStall(logger: Logger, reason: string | null): void {
  if (reason === null) logger.info({}, "The write-ahead log takes entries again");
  else logger.error({ reason }, "The write-ahead log takes no entries; events are refused or wait");
}
