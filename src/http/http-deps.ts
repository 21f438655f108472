/**
 * What the handlers are given, and every limit of theirs by name. Nothing in this room reaches for anything else.
 */

import type { Ingress } from "../router/ingress.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Metrics } from "../runtime/metrics.ts";
import type { Timers } from "../runtime/timers.ts";
import type { AccessControl } from "./access-control.ts";

export interface HttpLimits {
  /** Largest body, bytes. */
  readonly bodyBytesMax: number;
  /** Bytes of bodies held at once, over all requests. */
  readonly bodyBytesHeldMax: number;
  /** Events of one bulk submitted before the event loop gets its turn. */
  readonly bulkChunkEvents: number;
  /** How long one request may hold the event loop while its domains are parsed and read, ms. */
  readonly turnMs: number;
  /** How long a bulk waits for room while other requests keep the node busy. */
  readonly bulkWaitMs: number;
  /** Bulks that take turns at once; the others wait. */
  readonly bulkActiveMax: number;
  /**
   * How long bulks wait without a pause before that is an overload, and how long one may wait from then on: so long that a few
   * dozen clients that send one bulk after the other are never refused.
   */
  readonly bulkStandingMs: number;
  readonly bulkDelayMs: number;
  /** Lines with bad input that one answer lists; the rest is a number. Lines that may be retried are all listed. */
  readonly bulkBadLinesListedMax: number;
  readonly lookupDomainsMax: number;
  readonly pageItemsDefault: number;
  readonly pageItemsMax: number;
  /** Exports and event streams open at once. */
  readonly streamsMax: number;
  /** Changes kept for a stream whose client reads slowly; over it the stream is ended. */
  readonly streamBacklogMax: number;
  /** Changes kept for streams that are resumed with `Last-Event-ID`. */
  readonly changesKeptMax: number;
  readonly heartbeatMs: number;
  /** Share of the pending limit over which reads are shed, so that the rest is left to writes. */
  readonly readShare: number;
  /** Failed authentications of one address before it gets 429, and the time for each one more. */
  readonly authFailuresBurst: number;
  readonly authFailureRefillMs: number;
  readonly authAddressesMax: number;
}

export const DEFAULT_HTTP_LIMITS: HttpLimits = {
  bodyBytesMax: 8 * 1024 * 1024,
  bodyBytesHeldMax: 256 * 1024 * 1024,
  bulkChunkEvents: 10_000,
  turnMs: 4,
  bulkWaitMs: 2_000,
  bulkActiveMax: 8,
  bulkStandingMs: 100,
  bulkDelayMs: 500,
  bulkBadLinesListedMax: 10_000,
  lookupDomainsMax: 10_000,
  pageItemsDefault: 100,
  pageItemsMax: 1_000,
  streamsMax: 1_000,
  streamBacklogMax: 1_000,
  changesKeptMax: 10_000,
  heartbeatMs: 15_000,
  readShare: 0.8,
  authFailuresBurst: 20,
  authFailureRefillMs: 1_000,
  authAddressesMax: 10_000,
};

export interface HttpDeps {
  readonly ingress: Ingress;
  readonly limits: HttpLimits;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly metrics: Metrics;
  readonly accessControl: AccessControl;
  readonly logger: Logger;
  readonly version: string;
  /** How clients reach the listener. */
  readonly scheme: "http" | "https";
}
