/**
 * Every failure that a caller can meet, in one table: code, HTTP status, whether a retry can help, and what the
 * caller may believe (`effect`). `none` = nothing was counted, safe to retry; `unknown` = it may have been counted.
 * Invariant: `unknown` appears with status 504 only, and never for a read. The documents list every code (test/docs.test.ts).
 */

export type Effect = "none" | "unknown";

export interface ErrorRow {
  readonly status: number;
  readonly retryable: boolean;
  readonly effect: Effect;
  readonly title: string;
}

// Stable codes. Domain codes are those of the canonicalisation vectors.
const ROWS = {
  // The domain name (400).
  empty: [400, "Domain is empty"],
  empty_label: [400, "Domain has an empty label"],
  single_label: [400, "Domain needs at least two labels"],
  tld_short: [400, "Last label needs two letters or more"],
  numeric_tld: [400, "Last label must be letters"],
  ip: [400, "An IP address is not a domain"],
  literal: [400, "An address literal is not a domain"],
  hyphen: [400, "A label starts or ends with a hyphen"],
  hyphen34: [400, "A label has hyphens in places three and four"],
  label_long: [400, "A label is longer than 63 bytes"],
  too_long: [400, "Domain is longer than 253 bytes"],
  bad_punycode: [400, "A label is not valid punycode"],
  bad_char: [400, "Domain has a character that is not allowed"],
  bad_encoding: [400, "Percent-encoding or UTF-8 is broken"],
  // The request (4xx).
  invalid_event_type: [400, "Event type must be delivered or bounced"],
  invalid_count: [400, "Count must be a whole number from 1 to 1000000"],
  invalid_event_id: [400, "Event id must be 1 to 255 visible ASCII characters"],
  invalid_event: [400, "Event must be an object with domain and type"],
  invalid_json: [400, "Body is not valid JSON"],
  invalid_utf8: [400, "Body is not valid UTF-8"],
  invalid_body: [400, "Body does not have the right shape"],
  invalid_parameter: [400, "A query parameter is wrong"],
  invalid_rule: [400, "Rule is wrong"],
  too_many_domains: [400, "At most 10000 domains in one lookup"],
  bad_request: [400, "Request is malformed"],
  unauthorized: [401, "A valid token is needed"],
  forbidden: [403, "This token may not do that"],
  not_found: [404, "No such route"],
  rebalance_not_found: [404, "No such rebalance"],
  node_not_found: [404, "No such node"],
  override_not_found: [404, "Domain has no override"],
  method_not_allowed: [405, "Method is not allowed here"],
  request_timeout: [408, "The body did not arrive in time"],
  conflict: [409, "Another operation is under way"],
  drain_impossible: [409, "No other node can take the partitions"],
  length_required: [411, "Content-Length is needed"],
  body_too_large: [413, "Body is over the limit"],
  uri_too_long: [414, "URL is over the limit"],
  unsupported_media_type: [415, "Content type is not supported"],
  import_gap: [422, "A part of the import before this one is missing"],
  import_changed: [422, "The data directory is not as it was when its import began"],
  idempotency_key_reused: [422, "Idempotency-Key was used for another event on this domain"],
  headers_too_large: [431, "Headers are over the limit"],
  rate_limited: [429, "Too many requests"],
  // The node (5xx).
  internal: [500, "Internal error"],
  not_implemented: [501, "Not implemented"],
  overloaded: [503, "Too many events are pending"],
  idempotency_window_full: [503, "The idempotency window is full"],
  table_full: [503, "The counter table is full"],
  not_owner: [503, "This node does not own the partition"],
  no_owner: [503, "The partition has no owner that answers now"],
  no_responder: [503, "The node that was asked is not there"],
  resync: [503, "A producer's sequence does not follow the last one"],
  control_unavailable: [503, "The control store does not answer"],
  log_unavailable: [503, "The write-ahead log does not answer"],
  checkpoint_unavailable: [503, "The checkpoint store does not answer"],
  lease_lost: [503, "The lease of this node is not valid"],
  partition_closed: [503, "The partition is not open"],
  shutting_down: [503, "The node is shutting down"],
  not_ready: [503, "The node is not ready"],
  log_failed: [503, "The write-ahead log failed; nothing more is acknowledged"],
  log_damaged: [503, "The write-ahead log is damaged"],
  checkpoint_damaged: [503, "The checkpoint is damaged"],
  data_dir_locked: [503, "Another process uses the data directory"],
  log_full: [503, "The write-ahead log is full"],
  frame_damaged: [503, "A message between nodes cannot be read"],
  deadline_exceeded: [504, "The answer did not come in time; nothing was changed"],
  outcome_unknown: [504, "The event may or may not be counted"],
} as const;

export type ErrorCode = keyof typeof ROWS;

const RETRYABLE_STATUSES: readonly number[] = [408, 409, 429, 503, 504];

export const ERROR_CODES: Readonly<Record<ErrorCode, ErrorRow>> = Object.fromEntries(
  Object.entries(ROWS).map(([code, [status, title]]) => [
    code,
    {
      status,
      title,
      retryable: RETRYABLE_STATUSES.includes(status),
      effect: code === "outcome_unknown" ? "unknown" : "none",
    },
  ]),
) as Record<ErrorCode, ErrorRow>;

/** An operating failure or bad input. `message`: sentence case, no full stop, values quoted. */
export class CatchallError extends Error {
  override readonly name: string = "CatchallError";
  readonly code: ErrorCode;
  readonly status: number;
  readonly retryable: boolean;
  readonly effect: Effect;

  constructor(code: ErrorCode, message?: string, options?: { readonly cause?: unknown }) {
    const row = ERROR_CODES[code];
    super(message ?? row.title, options);
    this.code = code;
    this.status = row.status;
    this.retryable = row.retryable;
    this.effect = row.effect;
  }
}
