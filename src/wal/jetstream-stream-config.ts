/**
 * Adapter: what every stream of the product has in common: on disk, and nothing ever falls out by itself.
 * Must never switch on what weakens an acknowledgement (asynchronous persistence, reads from replicas).
 */

import type { JsonObject } from "./jetstream-api.ts";

/** The least that the server takes; deduplication is not used. */
const DUPLICATE_WINDOW_NS = 100_000_000;

/** What every stream of the product has in common: on disk, nothing ever falls out by itself. */
export function streamConfig(name: string, subject: string, replicas: number): StreamConfig {
  return {
    name,
    subjects: [subject],
    storage: "file",
    num_replicas: replicas,
    retention: "limits",
    discard: "new",
    max_msgs: -1,
    max_bytes: -1,
    max_age: 0,
    duplicate_window: DUPLICATE_WINDOW_NS,
    deny_delete: true,
    allow_direct: false,
  };
}

export interface StreamConfig extends JsonObject {
  readonly name: string;
}
