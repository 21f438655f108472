/**
 * The lease of one incarnation as bytes in the control store.
 * Invariant: `held` is written by its holder only; `dead` and `left` are final, so that even an old copy of a final
 * record is true for ever. The holder's validity is never read from here (lease-keeper.ts counts from its own sending).
 */

import {
  countOf,
  Damage,
  objectOf,
  oneOf,
  type Parsed,
  parseJson,
  textOf,
  toJsonBytes,
} from "./checked-json.ts";

export const LEASE_FORMAT_VERSION = 1;
/** Outside of these a lease can't be kept or would never end. */
export const LEASE_TTL_MIN_MS = 100;
export const LEASE_TTL_MAX_MS = 3_600_000;

/** `held` until somebody ends it (`dead`) or its holder gives it up (`left`). */
export type LeaseState = "held" | "dead" | "left";

export interface LeaseRecord {
  readonly incarnation: number;
  readonly nodeId: string;
  readonly state: LeaseState;
  /** Which renewal of the holder this is, from 1; 0 in a record that only says that it died. */
  readonly renewal: number;
  /** The holder's time to live: what observers must wait for at least. */
  readonly ttlMs: number;
}

export function encodeLease(record: LeaseRecord): Uint8Array {
  const { incarnation, nodeId, state, renewal, ttlMs } = record;
  const formatVersion = LEASE_FORMAT_VERSION;
  return toJsonBytes({ formatVersion, incarnation, nodeId, state, renewal, ttlMs });
}

/** Checks every field; `incarnation` is the one that the key names. Never throws on bytes. */
export function parseLease(bytes: Uint8Array, incarnation: number): Parsed<LeaseRecord> {
  return parseJson(bytes, (value) => {
    const fields = objectOf(value, "lease");
    if (fields["formatVersion"] !== LEASE_FORMAT_VERSION) {
      throw new Damage(`it is not of format ${LEASE_FORMAT_VERSION}`);
    }
    const record: LeaseRecord = {
      incarnation: countOf(fields["incarnation"], "incarnation", 1),
      nodeId: textOf(fields["nodeId"], "nodeId"),
      state: oneOf(fields["state"], "state", ["held", "dead", "left"]),
      renewal: countOf(fields["renewal"], "renewal"),
      ttlMs: countOf(fields["ttlMs"], "ttlMs", LEASE_TTL_MIN_MS),
    };
    if (record.incarnation !== incarnation) throw new Damage("it is of another incarnation");
    if (record.ttlMs > LEASE_TTL_MAX_MS) throw new Damage(`"ttlMs" is over ${LEASE_TTL_MAX_MS}`);
    return record;
  });
}

export function isFinal(record: LeaseRecord): boolean {
  return record.state !== "held";
}
