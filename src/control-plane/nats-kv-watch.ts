/**
 * Adapter: changes of a key-value bucket as they happen, through an ephemeral push consumer that begins with the newest
 * record of each key. It is made anew when it falls silent, when it skips a message and when the connection is back; so
 * records may repeat (older ones are dropped here) and be late, but none is missed for ever.
 * Must never throw into the client: a failure is tried again after RETRY_MS.
 */

import type { Msg, Subscription } from "nats";
import { CatchallError } from "../model/errors.ts";
import type { JetStreamApi } from "../wal/jetstream-api.ts";
import type { ControlRecord } from "./control-store.ts";
import { unpackValue } from "./nats-kv-value.ts";

/** The server says that it is there. */
const HEARTBEAT_MS = 1000;
/** Without a word from it for so long, the watch is made anew. */
const SILENCE_MAX_MS = 3000;
const RETRY_MS = 500;
/** The server forgets a consumer that nobody listens to for this long. */
const CONSUMER_IDLE_NS = 30_000_000_000;
const STATUS_FLOW_CONTROL_OR_HEARTBEAT = 100;

export class NatsKvWatch {
  readonly #api: JetStreamApi;
  readonly #stream: string;
  readonly #prefix: string;
  readonly #listener: (record: ControlRecord) => void;
  readonly #revisions = new Map<string, number>();
  readonly #endOfConnectionWatch: () => void;
  #subscription: Subscription | null = null;
  #timer: NodeJS.Timeout | null = null;
  /** Counts the lives of the consumer: what an earlier one still delivers is ignored. */
  #life = 0;
  #heardMs = 0;
  #delivered = 0;
  #isClosed = false;

  /** `prefix`: subject of a key without the key. */
  constructor(
    api: JetStreamApi,
    stream: string,
    prefix: string,
    listener: (record: ControlRecord) => void,
  ) {
    this.#api = api;
    this.#stream = stream;
    this.#prefix = prefix;
    this.#listener = listener;
    this.#endOfConnectionWatch = api.requests.onConnectionChange((isConnected) => {
      if (isConnected) this.#begin();
    });
    this.#begin();
  }

  close(): void {
    this.#isClosed = true;
    this.#endOfConnectionWatch();
    this.#end();
  }

  #begin(): void {
    if (this.#isClosed) return;
    this.#end();
    const life = ++this.#life;
    const { requests } = this.#api;
    if (!requests.isConnected) return;
    const inbox = requests.newInbox();
    this.#heardMs = performance.now();
    this.#delivered = 0;
    this.#subscription = requests.subscribe(inbox, (message) => {
      if (life === this.#life) this.#hear(message);
    });
    this.#timer = setInterval(() => {
      if (performance.now() - this.#heardMs > SILENCE_MAX_MS) this.#begin();
    }, HEARTBEAT_MS);
    const config = {
      deliver_subject: inbox,
      deliver_policy: "last_per_subject",
      filter_subject: `${this.#prefix}>`,
      ack_policy: "none",
      idle_heartbeat: HEARTBEAT_MS * 1_000_000,
      mem_storage: true,
      num_replicas: 1,
      inactive_threshold: CONSUMER_IDLE_NS,
    };
    const body = { stream_name: this.#stream, config };
    this.#api.mustCall(`CONSUMER.CREATE.${this.#stream}`, body).catch(() => {
      if (life === this.#life) this.#beginLater();
    });
  }

  #beginLater(): void {
    this.#end();
    if (!this.#isClosed) this.#timer = setTimeout(() => this.#begin(), RETRY_MS);
  }

  #end(): void {
    this.#life += 1;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#subscription?.unsubscribe();
    this.#subscription = null;
  }

  #hear(message: Msg): void {
    const place = placeOf(message);
    if (place === null) {
      // A heartbeat, or the end of the consumer.
      if (message.headers?.code === STATUS_FLOW_CONTROL_OR_HEARTBEAT) {
        this.#heardMs = performance.now();
      } else {
        this.#beginLater();
      }
      return;
    }
    this.#heardMs = performance.now();
    this.#delivered += 1;
    if (place.delivered !== this.#delivered) return this.#beginLater();
    const key = message.subject.slice(this.#prefix.length);
    if ((this.#revisions.get(key) ?? 0) >= place.sequence) return;
    this.#revisions.set(key, place.sequence);
    const operation = message.headers?.get("KV-Operation") ?? "";
    const marker = message.headers?.get("Nats-Marker-Reason") ?? "";
    if (operation !== "" || marker !== "") return;
    const value = unpackValue(message.data, message.headers);
    this.#tell({ key, revision: place.sequence, value });
  }

  #tell(record: ControlRecord): void {
    try {
      this.#listener(record);
    } catch (error) {
      // Operating failures are the listener's own; anything else is a bug that must be seen.
      if (!(error instanceof CatchallError)) throw error;
    }
  }
}

interface Place {
  /** Sequence in the stream: the revision. */
  readonly sequence: number;
  /** Messages that this consumer has delivered, this one included. */
  readonly delivered: number;
}

/** From `$JS.ACK.[domain.account.]stream.consumer.deliveries.sequence.delivered.…`; null for a status. */
function placeOf(message: Msg): Place | null {
  const tokens = message.reply?.split(".") ?? [];
  if (tokens[0] !== "$JS" || tokens[1] !== "ACK") return null;
  const at = tokens.length > 9 ? 7 : 5;
  const sequence = Number(tokens[at]);
  const delivered = Number(tokens[at + 1]);
  if (!Number.isSafeInteger(sequence) || !Number.isSafeInteger(delivered)) return null;
  return { sequence, delivered };
}
