/**
 * Adapter: status changes in the JetStream stream `<CLUSTER>_CHANGES`, subject `<cluster>.changes`: a message holds one
 * JSON object a line, in the order in which the changes were made. Several to a message, since each message costs a sync
 * of the disk: one by one they would be slower than events that make them.
 * At least once: `Nats-Msg-Id` lets the server drop the repeat of a message within its window; a change that is found
 * again on replay comes in another message, with the same `id`, by which whoever reads drops it.
 * The stream forgets the oldest when it is full or too old; what it forgot stays in the counters and in `statuses`.
 */

import { CatchallError } from "../model/errors.ts";
import type { StatusChange } from "../model/status-change.ts";
import { failureOf, type NatsRequests, natsHeaders } from "../runtime/nats-requests.ts";
import type { ChangeSink } from "./change-outbox.ts";

const DAY_NS: number = 24 * 3600 * 1e9;
/** Defaults of the stream; whoever made the stream with others before keeps those. */
export const CHANGES_AGE_DAYS_MAX = 7;
export const CHANGES_BYTES_MAX: number = 1024 * 1024 * 1024;
/** How far back the server itself knows a repeat; the default of JetStream. */
const DUPLICATE_WINDOW_NS = 120e9;
const REQUEST_TIMEOUT_MS = 5000;
const STREAM_NAME_IN_USE = 10_058;

export interface NatsChangesOptions {
  readonly requests: NatsRequests;
  readonly clusterName: string;
  readonly replicas: number;
  readonly ageDaysMax?: number;
  readonly bytesMax?: number;
}

export class NatsChangesSink implements ChangeSink {
  readonly name = "changes";
  /** Without NATS nothing is acknowledged, so that it stops nobody who was not stopped before. */
  readonly isRequired = true;
  readonly stream: string;
  readonly subject: string;
  readonly #options: NatsChangesOptions;
  #isStreamThere = false;

  constructor(options: NatsChangesOptions) {
    this.#options = options;
    this.stream = `${options.clusterName.toUpperCase()}_CHANGES`;
    this.subject = `${options.clusterName}.changes`;
  }

  /** Errors: CatchallError `log_unavailable`. */
  async store(changes: readonly StatusChange[]): Promise<void> {
    if (!this.#isStreamThere) await this.#createStream();
    const { requests } = this.#options;
    const headers = natsHeaders({
      "Nats-Msg-Id": idOf(changes),
      "Nats-Expected-Stream": this.stream,
    });
    const bytes = Buffer.from(changes.map((change) => JSON.stringify(change)).join("\n"));
    const outcome = await requests.request(this.subject, bytes, REQUEST_TIMEOUT_MS, headers);
    if (outcome.kind !== "reply") {
      // Nobody listens on the subject: somebody deleted the stream, or the server has started anew.
      if (outcome.kind === "noResponder") this.#isStreamThere = false;
      throw failureOf(outcome, "log_unavailable");
    }
    const reply = parseReply(outcome.message.data);
    // A repeat is acknowledged too, with the place of the first one.
    if (reply.error === null && reply.sequence > 0) return;
    throw new CatchallError("log_unavailable", `${this.stream} refuses changes: ${reply.error}`);
  }

  async #createStream(): Promise<void> {
    const { requests, replicas, ageDaysMax, bytesMax } = this.#options;
    const config = {
      name: this.stream,
      subjects: [this.subject],
      storage: "file",
      num_replicas: replicas,
      retention: "limits",
      discard: "old",
      max_age: Math.round((ageDaysMax ?? CHANGES_AGE_DAYS_MAX) * DAY_NS),
      max_bytes: bytesMax ?? CHANGES_BYTES_MAX,
      duplicate_window: DUPLICATE_WINDOW_NS,
    };
    const body = Buffer.from(JSON.stringify(config));
    const subject = `$JS.API.STREAM.CREATE.${this.stream}`;
    const outcome = await requests.request(subject, body, REQUEST_TIMEOUT_MS);
    if (outcome.kind !== "reply") throw failureOf(outcome, "log_unavailable");
    const { error, code } = parseReply(outcome.message.data);
    // In use: it is there, with limits of somebody's choice.
    if (error !== null && code !== STREAM_NAME_IN_USE) {
      throw new CatchallError("log_unavailable", `NATS does not create ${this.stream}: ${error}`);
    }
    this.#isStreamThere = true;
  }
}

/** Of a message: that of its change, or of its first and last. */
function idOf(changes: readonly StatusChange[]): string {
  const first = changes[0]?.id ?? "";
  return changes.length === 1 ? first : `${first}_${changes.at(-1)?.id}_${changes.length}`;
}

interface Reply {
  /** The server's words; null when it did not refuse. */
  readonly error: string | null;
  readonly code: number;
  readonly sequence: number;
}

/** Bytes from outside: whatever they are, they mean something or are an error. */
function parseReply(bytes: Uint8Array): Reply {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString("utf8"));
    const reply = typeof value === "object" && value !== null ? value : {};
    const error = "error" in reply ? reply.error : null;
    const sequence = "seq" in reply && typeof reply.seq === "number" ? reply.seq : 0;
    if (typeof error !== "object" || error === null) return { error: null, code: 0, sequence };
    const code = "err_code" in error && typeof error.err_code === "number" ? error.err_code : 0;
    const words = "description" in error ? String(error.description) : "no reason given";
    return { error: words, code, sequence };
  } catch {
    return { error: "the answer can't be read", code: 0, sequence: 0 };
  }
}
