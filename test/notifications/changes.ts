/** Status changes for tests. */
import type { StatusChange } from "../../src/model/status-change.ts";

/** The change number `index` of entry `sequence`. */
export function changeOf(
  sequence: number,
  index = 0,
  fields: Partial<StatusChange> = {},
): StatusChange {
  return {
    id: `1-5-${sequence}-3-${index}`,
    domain: `d${sequence}-${index}.example`,
    from: "unknown",
    to: "not catch-all",
    delivered: sequence,
    bounced: 1,
    at: new Date(1_790_000_000_000 + sequence).toISOString(),
    ...fields,
  };
}
