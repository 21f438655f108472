/** A status change as it is told: to listeners, to other nodes, to the sinks that keep it. A value without behaviour. */

import type { StatusName } from "./status.ts";

export interface StatusChange {
  /**
   * Unique, and the same when it is found again on replay: "epoch-incarnation-sequence-partition-ordinal", with the
   * ordinal of an event or change in its entry; "-domain" follows for a change made by a new rule.
   */
  readonly id: string;
  readonly domain: string;
  readonly from: StatusName;
  readonly to: StatusName;
  /** Counts right after the change. */
  readonly delivered: number;
  readonly bounced: number;
  /** ISO 8601, the time of the entry that made it. */
  readonly at: string;
}
