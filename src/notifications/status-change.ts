/** The order of status changes, as their ids tell it. */

import { CatchallError } from "../model/errors.ts";
import type { StatusChange } from "../model/status-change.ts";

// Epoch, incarnation, sequence, partition, ordinal, and the domain when a rule changed it.
const ID = /^(\d{1,16})-\d{1,16}-(\d{1,16})-\d{1,16}-(\d{1,16})(?:-[a-z0-9_.-]{1,253})?$/;

/**
 * [epoch, sequence, ordinal]: changes of one domain order by these, element by element.
 * Errors: CatchallError `internal` for an id of another form.
 */
export function orderOf(change: Pick<StatusChange, "id">): readonly [number, number, number] {
  const match = ID.exec(change.id);
  if (match === null) throw new CatchallError("internal", `"${change.id}" is no id of a change`);
  return [Number(match[1]), Number(match[2]), Number(match[3])];
}
