/**
 * Adapter: values of the bucket as messages. A large value is deflated and says so in a header: the table of a cluster
 * of many partitions and many deaths outgrows the servers' max_payload (1 MiB) long before its own bounds.
 * Invariant: bytes from the store are never trusted: what can't be inflated is given as it is, and refused by its parser.
 */

import { constants, deflateRawSync, inflateRawSync } from "node:zlib";
import type { MsgHdrs } from "nats";
import { natsHeaders } from "../runtime/nats-requests.ts";

/** Every value of a small cluster stays readable for people with NATS tools. */
const DEFLATED_FROM_BYTES = 128 * 1024;
/** Of an inflated value; a table at all of its bounds has less. */
const INFLATED_BYTES_MAX = 64 * 1024 * 1024;
const ENCODING_HEADER = "Catchall-Encoding";
const DEFLATED = "deflate-raw";
const IS_DEFLATED = new RegExp(`^${ENCODING_HEADER}: *${DEFLATED} *\\r?$`, "im");

export interface PackedValue {
  readonly data: Uint8Array;
  readonly headers: MsgHdrs;
}

export function packValue(
  value: Uint8Array,
  headers: Readonly<Record<string, string>>,
): PackedValue {
  if (value.length < DEFLATED_FROM_BYTES) return { data: value, headers: natsHeaders(headers) };
  const data = deflateRawSync(value, { level: constants.Z_BEST_SPEED });
  return { data, headers: natsHeaders({ ...headers, [ENCODING_HEADER]: DEFLATED }) };
}

/** `headers` as text, as the server gives them, or as the client parsed them. */
export function unpackValue(data: Uint8Array, headers: string | MsgHdrs | undefined): Uint8Array {
  const isDeflated =
    typeof headers === "string"
      ? IS_DEFLATED.test(headers)
      : headers?.get(ENCODING_HEADER) === DEFLATED;
  if (!isDeflated) return data;
  try {
    return inflateRawSync(data, { maxOutputLength: INFLATED_BYTES_MAX });
  } catch {
    return data;
  }
}
