/**
 * A status change as the outside hears of it. The same change, found again on replay, has the same id, so that whoever
 * has seen an id may drop its repeat. Pure values.
 */

import { CatchallError } from "../model/errors.ts";
import type { StatusName } from "../model/status.ts";

export interface StatusChange {
  /** "epoch-incarnation-sequence-partition-index"; the last is "revision-domain" for a change made by a new rule. */
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

const ID = /^(\d{1,16})-(\d{1,16})-(\d{1,16})-\d{1,16}-(?:(\d{1,16})|[a-z0-9_.-]{1,253})$/;

/**
 * [epoch, sequence, index]: changes of one domain order by these, element by element.
 * Errors: CatchallError `internal` for an id of another form.
 */
export function orderOf(change: Pick<StatusChange, "id">): readonly [number, number, number] {
  const match = ID.exec(change.id);
  if (match === null) throw new CatchallError("internal", `"${change.id}" is no id of a change`);
  return [Number(match[1]), Number(match[3]), Number(match[4] ?? 0)];
}
