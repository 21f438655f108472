/**
 * Adapter: reads the entries of a log stream in order. Long ranges come through a pull consumer (entries of 100 KB,
 * before any check, on one machine: 269 MB/s, against 77 by batched direct gets and 46 one by one). It may run on a
 * replica that lags: whatever it does not have is asked of the stream's leader before it is called missing.
 * Invariant: what is yielded is the exact chain, each checksum continuing from the entry before, or `log_damaged`.
 */

import type { Msg } from "nats";
import { CatchallError } from "../model/errors.ts";
import { chainSeed, ENTRY_KIND_SEAL, readEnvelope } from "./entry-codec.ts";
import type { JetStreamApi } from "./jetstream-api.ts";
import { FIRST_KEPT } from "./node-log.ts";

/** Bytes of one batch; at most two are held at a time. */
const BATCH_BYTES_MAX: number = 4 * 1024 * 1024;
const BATCH_ENTRIES_MAX = 2000;
/** What is done with entries in one turn; then other work runs: a node that takes over partitions serves others. */
const TURN_MS = 5;
/** Time without a message after which a batch is taken as it is. */
const BATCH_SILENCE_MS = 2000;
/** The server forgets a consumer that nobody pulls from for this long. */
const CONSUMER_IDLE_NS = 60_000_000_000;
/** Ranges of up to this many entries are asked for at once, each entry by itself: making a consumer takes longer. */
const SINGLES_MAX = 16;

export interface StreamRange {
  readonly stream: string;
  readonly incarnation: number;
  readonly storeId: number;
  readonly from: number;
  readonly to: number;
}

/** Errors: CatchallError `log_damaged`, `log_unavailable`. A log that does not exist is empty. */
export async function* readStream(
  api: JetStreamApi,
  range: StreamRange,
): AsyncIterable<Uint8Array> {
  const few = await readFew(api, range);
  if (few !== null) {
    yield* few;
    return;
  }
  const state = await api.streamState(range.stream);
  if (state === null || state.lastSequence === 0) return;
  const { firstSequence } = state;
  // The first kept entry of a trimmed log is there for its checksum, from which the next one continues.
  const firstReadable = firstSequence > 1 ? firstSequence + 1 : 1;
  const from = range.from === FIRST_KEPT ? firstReadable : Math.max(1, range.from);
  const to = Math.min(range.to, state.lastSequence);
  if (from > to) return;
  if (from < firstReadable) {
    throw damaged(range.stream, from, `the log was trimmed and begins at ${firstReadable}`);
  }
  const chain = new ChainCheck(range, from);
  if (from > 1) chain.seed(await mustRead(api, range.stream, from - 1));
  for await (const entry of readBatches(api, range.stream, from, to)) yield chain.next(entry);
}

/** A short range in one round trip to the leader; null when it is not short, or not all of it is there. */
async function readFew(api: JetStreamApi, range: StreamRange): Promise<Uint8Array[] | null> {
  const { stream, to } = range;
  const from = Math.max(1, range.from);
  if (range.from === FIRST_KEPT || to < from || to - from >= SINGLES_MAX) return null;
  const before = from > 1 ? 1 : 0;
  const asked = Array.from({ length: before + to - from + 1 }, (_, i) => from - before + i);
  const messages = await Promise.all(asked.map((seq) => api.message(stream, { seq })));
  const entries: Uint8Array[] = [];
  for (const message of messages) {
    if (message === null) return null;
    entries.push(message.data);
  }
  const chain = new ChainCheck(range, from);
  if (before > 0) chain.seed(entries[0] as Uint8Array);
  return entries.slice(before).map((entry) => chain.next(entry));
}

/** One entry from the leader, which knows: it lies between two entries that are there. */
async function mustRead(api: JetStreamApi, stream: string, sequence: number): Promise<Uint8Array> {
  const message = await api.message(stream, { seq: sequence });
  if (message !== null) return message.data;
  throw damaged(stream, sequence, "the entry is missing");
}

async function* readBatches(
  api: JetStreamApi,
  stream: string,
  from: number,
  to: number,
): AsyncIterable<Uint8Array> {
  let next = from;
  let turnEndMs = performance.now() + TURN_MS;
  while (next <= to) {
    const consumer = await StreamConsumer.create(api, stream, next);
    try {
      let pending = consumer.batch(to - next + 1);
      for (;;) {
        const batch = await pending;
        const usable = contiguousFrom(batch, next);
        const after = next + usable;
        const isWhole = usable === batch.length && usable > 0;
        if (isWhole && after <= to) pending = consumer.batch(to - after + 1);
        for (let i = 0; i < usable; i += 1) {
          yield (batch[i] as PulledEntry).data;
          if (performance.now() < turnEndMs) continue;
          await new Promise((resolve) => setImmediate(resolve));
          turnEndMs = performance.now() + TURN_MS;
        }
        next = after;
        if (!isWhole || next > to) break;
      }
    } finally {
      consumer.close();
    }
    if (next > to) return;
    // A lagging replica, a lost message, or a hole: the leader tells them apart.
    yield await mustRead(api, stream, next);
    next += 1;
  }
}

interface PulledEntry {
  readonly sequence: number;
  readonly data: Uint8Array;
}

function contiguousFrom(batch: readonly PulledEntry[], first: number): number {
  let count = 0;
  while (count < batch.length && batch[count]?.sequence === first + count) count += 1;
  return count;
}

/** An ephemeral pull consumer without acknowledgements. One batch at a time. */
class StreamConsumer {
  readonly #api: JetStreamApi;
  readonly #stream: string;
  readonly #name: string;

  private constructor(api: JetStreamApi, stream: string, name: string) {
    this.#api = api;
    this.#stream = stream;
    this.#name = name;
  }

  static async create(api: JetStreamApi, stream: string, from: number): Promise<StreamConsumer> {
    const config = {
      deliver_policy: "by_start_sequence",
      opt_start_seq: from,
      ack_policy: "none",
      mem_storage: true,
      num_replicas: 1,
      inactive_threshold: CONSUMER_IDLE_NS,
    };
    const reply = await api.mustCall(`CONSUMER.CREATE.${stream}`, { stream_name: stream, config });
    const name = reply["name"];
    if (typeof name !== "string") throw api.failure("NATS made a consumer without a name");
    return new StreamConsumer(api, stream, name);
  }

  /** What comes of the next `count` entries; fewer when the server stops early or falls silent. */
  batch(count: number): Promise<readonly PulledEntry[]> {
    const { requests } = this.#api;
    const wanted = Math.min(count, BATCH_ENTRIES_MAX);
    const entries: PulledEntry[] = [];
    const inbox = requests.newInbox();
    const batch = new Promise<readonly PulledEntry[]>((resolve, reject) => {
      let lastHeard = performance.now();
      const silence = setInterval(() => {
        if (performance.now() - lastHeard > BATCH_SILENCE_MS) end();
      }, BATCH_SILENCE_MS / 4);
      const subscription = requests.subscribe(inbox, (message) => {
        lastHeard = performance.now();
        const sequence = streamSequence(message);
        // Without a stream sequence it is a status: the batch is over.
        if (sequence === null) return end();
        entries.push({ sequence, data: message.data });
        if (entries.length === wanted) end();
      });
      const endOfWatch = requests.onConnectionChange(() => end());
      const end = (): void => {
        clearInterval(silence);
        endOfWatch();
        subscription.unsubscribe();
        resolve(entries);
      };
      const request = {
        batch: wanted,
        max_bytes: BATCH_BYTES_MAX,
        expires: BATCH_SILENCE_MS * 1_000_000,
      };
      const subject = `$JS.API.CONSUMER.MSG.NEXT.${this.#stream}.${this.#name}`;
      if (!requests.publish(subject, Buffer.from(JSON.stringify(request)), inbox)) {
        end();
        reject(this.#api.failure("There is no connection to NATS"));
      }
    });
    // The next batch is asked for before this one is used up: a failure must wait for its reader.
    batch.catch(() => undefined);
    return batch;
  }

  /** The server forgets it by itself as well. */
  close(): void {
    const subject = `$JS.API.CONSUMER.DELETE.${this.#stream}.${this.#name}`;
    this.#api.requests.publish(subject, new Uint8Array(), this.#api.requests.newInbox());
  }
}

/** From the reply subject `$JS.ACK.[domain.account.]stream.consumer.deliveries.sequence.…`; null for a status. */
function streamSequence(message: Msg): number | null {
  const tokens = message.reply?.split(".") ?? [];
  if (tokens[0] !== "$JS" || tokens[1] !== "ACK") return null;
  const sequence = Number(tokens.length > 9 ? tokens[7] : tokens[5]);
  return Number.isSafeInteger(sequence) && sequence > 0 ? sequence : null;
}

class ChainCheck {
  readonly #range: StreamRange;
  #sequence: number;
  #crc: number;
  #isSealed = false;

  constructor(range: StreamRange, from: number) {
    this.#range = range;
    this.#sequence = from;
    this.#crc = chainSeed(range.incarnation, range.storeId);
  }

  /** Continues from the entry before the first one, whose own checksum is believed. */
  seed(before: Uint8Array): void {
    const view = new DataView(before.buffer, before.byteOffset, before.byteLength);
    if (before.length < 8) throw this.#damaged("the entry before it is too short");
    this.#crc = view.getUint32(4, true);
  }

  next(bytes: Uint8Array): Uint8Array {
    const { ok, damage } = readEnvelope(bytes, 0, bytes.length, this.#crc);
    if (damage !== undefined) throw this.#damaged(damage);
    if (ok.end !== bytes.length) throw this.#damaged("bytes follow the entry");
    if (ok.sequence !== this.#sequence) throw this.#damaged(`it says it is ${ok.sequence}`);
    if (ok.incarnation !== this.#range.incarnation) {
      throw this.#damaged(`it belongs to incarnation ${ok.incarnation}`);
    }
    if (this.#isSealed) throw this.#damaged("it follows a SEAL");
    this.#isSealed = ok.kind === ENTRY_KIND_SEAL;
    this.#crc = ok.crc;
    this.#sequence += 1;
    return bytes;
  }

  #damaged(reason: string): CatchallError {
    return damaged(this.#range.stream, this.#sequence, reason);
  }
}

function damaged(stream: string, sequence: number, reason: string): CatchallError {
  return new CatchallError("log_damaged", `Stream ${stream}, entry ${sequence}: ${reason}`);
}
