/**
 * The single writer of one hash range: admit → (group commit) → apply → reply. Start reading here.
 *
 * Workflow of a sub-batch: serving? → producer sequence next? → keys seen or pending? → section → committed → counters,
 * producers, keys → the sub-batch is settled.
 * Safety: the sub-batch is settled only after its section was applied; a read sees exactly what was applied.
 * A duplicate of a key in flight joins the queue behind it, so that it is answered no earlier than the first.
 */

import type { CommittedEntry, GroupCommit, Section } from "../commit/group-commit.ts";
import { CatchallError } from "../model/errors.ts";
import {
  isKeyed,
  RecordWriter as Records,
  type RecordWriter,
  readUint32,
  recordEnd,
  recordFingerprint,
  recordKeyStart,
} from "../model/event-records.ts";
import type { ImportChunk } from "../model/import-chunk.ts";
import type { KeyBudget } from "./idempotency-window.ts";
import { ImportAdmission } from "./import-admission.ts";
import type { PartitionState } from "./partition-state.ts";
import {
  type Change,
  EVENTS_HEADER_BYTES,
  encodeChange,
  SECTION_EVENTS,
  SECTION_HEADER_BYTES,
  SECTION_RULE,
  writeEventsHeader,
  writeSectionHeader,
} from "./section-codec.ts";

/** What became of a keyed record, in the order of the keyed records. */
export const KEY_COUNTED = 0;
export const KEY_REPLAYED = 1;
export const KEY_REUSED = 2;
export const KEY_WINDOW_FULL = 3;

/** Events of one ingress for one partition; one is in flight at a time. */
export interface SubBatch {
  readonly producer: number;
  readonly producerSequence: number;
  readonly records: RecordWriter;
  readonly eventCount: number;
  /** Durable and applied. `keys`: one KEY_… a keyed record; null without keyed records. */
  committed(keys: Uint8Array | null): void;
  failed(error: CatchallError): void;
}

interface PendingSubBatch {
  readonly sequence: number;
  /** The same sub-batch once more, from an ingress that did not hear of the first; null: none so far. */
  repeats: SubBatch[] | null;
}

export interface PartitionActorOptions {
  readonly state: PartitionState;
  readonly epoch: number;
  readonly commit: GroupCommit;
  readonly keyBudget: KeyBudget;
  /** Null while this node may serve; checked in the same tick as every admission and read. */
  readonly refusal: () => CatchallError | null;
}

export class PartitionActor {
  readonly state: PartitionState;
  readonly epoch: number;
  readonly #commit: GroupCommit;
  readonly #keyBudget: KeyBudget;
  readonly #refusal: () => CatchallError | null;
  /** Fingerprints of keys that are in flight, by key. */
  readonly #pendingKeys: Map<string, number> = new Map();
  /** The one sub-batch of each producer that is in flight, with its repeats. */
  readonly #pending: Map<number, PendingSubBatch> = new Map();
  /** Verdicts on the keys of each producer's last committed sub-batch, for a repeat whose answer was lost. */
  readonly #lastKeys: Map<number, { readonly sequence: number; readonly keys: Uint8Array }> =
    new Map();
  readonly #imports: ImportAdmission = new ImportAdmission(this);
  #isClosed = false;

  constructor(options: PartitionActorOptions) {
    this.state = options.state;
    this.epoch = options.epoch;
    this.#commit = options.commit;
    this.#keyBudget = options.keyBudget;
    this.#refusal = options.refusal;
  }

  /**
   * Settles the sub-batch once, perhaps before returning. A repeat of what is committed is told so, a repeat of what is
   * in flight shares its outcome; a gap in the producer's sequence is refused, since it would mean lost state.
   */
  admit(batch: SubBatch): void {
    const refusal = this.refusal();
    if (refusal !== null) return batch.failed(refusal);
    const { producer, producerSequence } = batch;
    const committed = this.state.producers.get(producer) ?? 0;
    if (producerSequence <= committed) return batch.committed(this.#keysOfRepeat(batch));
    const pending = this.#pending.get(producer);
    if (pending?.sequence === producerSequence) {
      pending.repeats ??= [];
      pending.repeats.push(batch);
      return;
    }
    if (pending !== undefined || producerSequence !== committed + 1) {
      return batch.failed(new CatchallError("resync"));
    }
    this.#pending.set(producer, { sequence: producerSequence, repeats: null });
    if (batch.records.keyedCount === 0) {
      this.#commit.enqueue(new EventsSection(this, batch, batch.records, null, false));
      return;
    }
    const { records, keys, isAttached } = this.#admitKeys(batch.records);
    this.#commit.enqueue(new EventsSection(this, batch, records, keys, isAttached));
  }

  /** Appends an operator's change; resolves once it is durable and applied. */
  change(change: Change): Promise<void> {
    const refusal = this.refusal();
    if (refusal !== null) return Promise.reject(refusal);
    return new Promise((resolve, reject) => {
      this.#commit.enqueue(new ChangeSection(this, change, resolve, reject));
    });
  }

  /** Adds a chunk of another store; resolves to how many domains were new. See {@link ImportAdmission.admit}. */
  importChunk(chunk: ImportChunk, by: string): Promise<number> {
    return this.#imports.admit(chunk, by);
  }

  /** From this tick on nothing is admitted or read; what was admitted is still committed and answered. */
  close(): void {
    this.#isClosed = true;
  }

  /** Takes a `close` back, as long as no RELEASE was appended. */
  reopen(): void {
    this.#isClosed = false;
  }

  /** Null while this partition is admitted to and read here. */
  refusal(): CatchallError | null {
    return this.#isClosed ? new CatchallError("partition_closed") : this.#refusal();
  }

  /** Throws unless a read may be answered in this very tick. */
  assertReadable(): void {
    const refusal = this.refusal();
    if (refusal !== null) throw refusal;
  }

  /**
   * Called by a section when its entry is durable and applied. An owner that may no longer serve acknowledges nothing:
   * whoever owns the partition next says what was committed.
   */
  settleCommitted(batch: SubBatch, keys: Uint8Array | null): void {
    const repeats = this.#endPending(batch.producer);
    if (keys !== null)
      this.#lastKeys.set(batch.producer, { sequence: batch.producerSequence, keys });
    else if (this.#lastKeys.size > 0) this.#lastKeys.delete(batch.producer);
    const lost = this.#refusal();
    const tell = (one: SubBatch): void => {
      if (lost === null) one.committed(keys);
      else one.failed(new CatchallError("outcome_unknown", lost.message));
    };
    tell(batch);
    if (repeats !== null) for (const one of repeats) tell(one);
  }

  /** Called by a section that is not in the log, or of which nobody knows. */
  settleFailed(batch: SubBatch, error: CatchallError): void {
    // A refused append leaves the producer's sequence free for the next try.
    const repeats = this.#endPending(batch.producer);
    batch.failed(error);
    for (const one of repeats ?? []) one.failed(error);
  }

  #endPending(producer: number): readonly SubBatch[] | null {
    const repeats = this.#pending.get(producer)?.repeats ?? null;
    this.#pending.delete(producer);
    return repeats;
  }

  /** Called by an operator's change when it is durable and applied. */
  changeError(): CatchallError | null {
    const lost = this.#refusal();
    return lost === null ? null : new CatchallError("outcome_unknown", lost.message);
  }

  /** Called by a section when its entry is durable. */
  applyEvents(batch: SubBatch, records: RecordWriter, entry: CommittedEntry): void {
    this.state.advance(this.epoch, entry);
    this.state.applyEvents(records.bytes, 0, records.count, entry.timeMs);
    this.state.applyProducer(batch.producer, batch.producerSequence, entry.timeMs);
  }

  applyChange(change: Change, entry: CommittedEntry): void {
    this.state.advance(this.epoch, entry);
    this.state.applyChange(change, entry.timeMs);
  }

  /** Called by a section that ended, either way. */
  forgetPendingKeys(records: RecordWriter): void {
    if (records.keyedCount === 0) return;
    for (let at = 0; at < records.length; at = recordEnd(records.bytes, at)) {
      if (!isKeyed(records.bytes, at)) continue;
      if (this.#pendingKeys.delete(keyText(records.bytes, at))) this.#keyBudget.pending--;
    }
  }

  /** What became of the keys of a sub-batch that was committed before. */
  #keysOfRepeat(batch: SubBatch): Uint8Array | null {
    const { bytes, length, keyedCount } = batch.records;
    if (keyedCount === 0) return null;
    const last = this.#lastKeys.get(batch.producer);
    if (last?.sequence === batch.producerSequence) return last.keys;
    // Committed by an earlier owner: a key that is remembered was counted, as far as anybody can tell.
    const keys = new Uint8Array(keyedCount);
    let keyed = 0;
    for (let at = 0; at < length; at = recordEnd(bytes, at)) {
      if (!isKeyed(bytes, at)) continue;
      const known = this.#findKey(bytes, at);
      const isOwn = known === recordFingerprint(bytes, at);
      keys[keyed++] = isOwn ? KEY_COUNTED : known === 0 ? KEY_WINDOW_FULL : KEY_REUSED;
    }
    return keys;
  }

  /** `isAttached`: some key is in flight in an earlier sub-batch, whose outcome this one shares. */
  #admitKeys(all: RecordWriter): {
    records: RecordWriter;
    keys: Uint8Array;
    isAttached: boolean;
  } {
    this.state.window.expire(this.#commit.nowMs());
    const pendingBefore = this.#pendingKeys.size;
    let isAttached = false;
    const records = new Records();
    const keys = new Uint8Array(all.keyedCount);
    let keyed = 0;
    for (let at = 0; at < all.length; ) {
      const end = recordEnd(all.bytes, at);
      if (!isKeyed(all.bytes, at)) {
        records.copy(all.bytes, at, end);
      } else {
        if (pendingBefore > 0) isAttached ||= this.#pendingKeys.has(keyText(all.bytes, at));
        const verdict = this.#admitKey(all.bytes, at);
        keys[keyed++] = verdict;
        if (verdict === KEY_COUNTED) records.copy(all.bytes, at, end);
      }
      at = end;
    }
    return { records, keys, isAttached };
  }

  #admitKey(bytes: Uint8Array, at: number): number {
    const fingerprint = recordFingerprint(bytes, at);
    const text = keyText(bytes, at);
    const known = this.#pendingKeys.get(text) ?? this.#findKey(bytes, at);
    if (known !== 0) return known === fingerprint ? KEY_REPLAYED : KEY_REUSED;
    if (this.#keyBudget.isFull(this.#commit.nowMs())) return KEY_WINDOW_FULL;
    this.#pendingKeys.set(text, fingerprint);
    this.#keyBudget.pending++;
    return KEY_COUNTED;
  }

  /** Fingerprint under which a key was counted, 0 for none. */
  #findKey(bytes: Uint8Array, at: number): number {
    const key = recordKeyStart(at);
    return this.state.window.find(
      readUint32(bytes, key),
      readUint32(bytes, key + 4),
      readUint32(bytes, key + 8),
      readUint32(bytes, key + 12),
    );
  }
}

/** The 16 bytes of a key as a string: a map key without collisions. */
function keyText(bytes: Uint8Array, at: number): string {
  const key = recordKeyStart(at);
  return Buffer.from(bytes.buffer, bytes.byteOffset + key, 16).toString("latin1");
}

class EventsSection implements Section {
  readonly encodedBytes: number;
  readonly eventCount: number;
  readonly #actor: PartitionActor;
  readonly #batch: SubBatch;
  readonly #records: RecordWriter;
  readonly #keys: Uint8Array | null;
  readonly #isAttached: boolean;

  constructor(
    actor: PartitionActor,
    batch: SubBatch,
    records: RecordWriter,
    keys: Uint8Array | null,
    isAttached: boolean,
  ) {
    this.#actor = actor;
    this.#batch = batch;
    this.#records = records;
    this.#keys = keys;
    this.#isAttached = isAttached;
    this.eventCount = batch.eventCount;
    this.encodedBytes = SECTION_HEADER_BYTES + EVENTS_HEADER_BYTES + records.length;
  }

  encodeInto(bytes: Uint8Array, at: number): void {
    const records = this.#records;
    writeSectionHeader(bytes, at, {
      partition: this.#actor.state.partition,
      kind: SECTION_EVENTS,
      epoch: this.#actor.epoch,
      payloadBytes: EVENTS_HEADER_BYTES + records.length,
    });
    writeEventsHeader(bytes, at + SECTION_HEADER_BYTES, {
      producer: this.#batch.producer,
      producerSequence: this.#batch.producerSequence,
      recordCount: records.count,
    });
    records.copyInto(bytes, at + SECTION_HEADER_BYTES + EVENTS_HEADER_BYTES);
  }

  committed(entry: CommittedEntry): void {
    this.#actor.applyEvents(this.#batch, this.#records, entry);
    this.#actor.forgetPendingKeys(this.#records);
    this.#actor.settleCommitted(this.#batch, this.#keys);
  }

  failed(error: CatchallError): void {
    this.#actor.forgetPendingKeys(this.#records);
    // The first event of a key in flight may be in the log: its duplicate must not be told that nothing was counted.
    const isUnknown = this.#isAttached && error.code === "log_failed";
    const told = isUnknown ? new CatchallError("outcome_unknown", error.message) : error;
    this.#actor.settleFailed(this.#batch, told);
  }
}

class ChangeSection implements Section {
  readonly encodedBytes: number;
  readonly eventCount = 0;
  readonly isMark: boolean;
  readonly #actor: PartitionActor;
  readonly #change: Change;
  readonly #payload: Uint8Array;
  readonly #resolve: () => void;
  readonly #reject: (error: CatchallError) => void;

  constructor(
    actor: PartitionActor,
    change: Change,
    resolve: () => void,
    reject: (error: CatchallError) => void,
  ) {
    this.#actor = actor;
    this.#change = change;
    this.isMark = change.kind === SECTION_RULE;
    this.#payload = encodeChange(change);
    this.#resolve = resolve;
    this.#reject = reject;
    this.encodedBytes = SECTION_HEADER_BYTES + this.#payload.length;
  }

  encodeInto(bytes: Uint8Array, at: number): void {
    writeSectionHeader(bytes, at, {
      partition: this.#actor.state.partition,
      kind: this.#change.kind,
      epoch: this.#actor.epoch,
      payloadBytes: this.#payload.length,
    });
    bytes.set(this.#payload, at + SECTION_HEADER_BYTES);
  }

  committed(entry: CommittedEntry): void {
    this.#actor.applyChange(this.#change, entry);
    const error = this.#actor.changeError();
    if (error === null) this.#resolve();
    else this.#reject(error);
  }

  failed(error: CatchallError): void {
    this.#reject(error);
  }
}
