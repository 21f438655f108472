/**
 * Reads every entry as it is stored: the logs of the whole run, whatever is trimmed later.
 * I10 (nothing for p after RELEASE(p) of that epoch), I15 (trimmed only what a manifest covers, watermarks never fall),
 * I17 (producer sequences without gap or repeat), whole chains; and the exact counts that the logs hold (I1, I4).
 */

import type {
  CheckpointPage,
  PartitionManifest,
  Position,
} from "../../checkpoint/checkpoint-store.ts";
import type { EventKind } from "../../model/event.ts";
import {
  recordCount,
  recordEnd,
  recordKind,
  recordNameLength,
  recordNameStart,
} from "../../model/event-records.ts";
import {
  readEvents,
  readSections,
  SECTION_CLAIM,
  SECTION_EVENTS,
  SECTION_RELEASE,
  type SectionView,
} from "../../partition/section-codec.ts";
import {
  chainSeed,
  ENTRY_HEADER_BYTES,
  ENTRY_KIND_SEAL,
  readEnvelope,
} from "../../wal/entry-codec.ts";
import { SIM_STORE_ID } from "../sim-node-logs.ts";
import type { SimWorld } from "../sim-world.ts";
import type { StoreHistory } from "../store-history.ts";

interface CheckedLog {
  crc: number;
  sealedAt: number | null;
  /** Sequence of the last entry that is not a SEAL. */
  last: number;
  /** A late seal or create makes a new log of that name: it may hold nothing but a SEAL. */
  isDeleted: boolean;
  /** Partition, epoch and sequence of each section, in order. */
  readonly sections: { readonly partition: number; readonly epoch: number; sequence: number }[];
  /** How many of `sections` are trimmed. */
  trimmed: number;
  /** Sequence of RELEASE by "partition/epoch". */
  readonly released: Map<string, number>;
}

export class LogChecker implements StoreHistory {
  readonly #world: SimWorld;
  readonly #logs: Map<number, CheckedLog> = new Map();
  readonly #watermarks: Map<number, Position> = new Map();
  /** Last producer sequence by "partition/producer". */
  readonly #producers: Map<string, number> = new Map();
  readonly #epochs: Map<number, number> = new Map();
  readonly #times: Map<number, number> = new Map();
  readonly #counts: Map<string, [number, number]> = new Map();
  entries = 0;

  constructor(world: SimWorld) {
    this.#world = world;
  }

  /** Σ of all records of a domain in all logs. */
  countOf(domain: string, kind: EventKind): number {
    return this.#counts.get(domain)?.[kind] ?? 0;
  }

  sealedAt(incarnation: number): number | null {
    return this.#logs.get(incarnation)?.sealedAt ?? null;
  }

  /** Sequence of RELEASE(partition, epoch) in a log; null when there is none. */
  releasedAt(incarnation: number, partition: number, epoch: number): number | null {
    return this.#logs.get(incarnation)?.released.get(`${partition}/${epoch}`) ?? null;
  }

  watermark(partition: number): Position | null {
    return this.#watermarks.get(partition) ?? null;
  }

  entryStored(incarnation: number, sequence: number, bytes: Uint8Array): void {
    this.entries++;
    const log = this.#logOf(incarnation);
    const { ok, damage } = readEnvelope(bytes, 0, bytes.length, log.crc);
    if (ok === undefined) {
      this.#world.fail("I10", `Entry ${sequence} of log ${incarnation}: ${damage}`);
      return;
    }
    log.crc = ok.crc;
    if (ok.sequence !== sequence || ok.incarnation !== incarnation) {
      const text = `Entry ${sequence} of log ${incarnation} says ${ok.sequence} of ${ok.incarnation}`;
      this.#world.fail("I10", text);
    }
    if (ok.kind === ENTRY_KIND_SEAL) {
      if (!log.isDeleted) log.sealedAt = sequence;
      return;
    }
    if (log.isDeleted) {
      this.#world.fail("I10", `Log ${incarnation} was deleted and took entry ${sequence}`);
      return;
    }
    log.last = sequence;
    for (const section of readSections(bytes, ENTRY_HEADER_BYTES, bytes.length)) {
      this.#section(incarnation, log, sequence, bytes, section);
      this.#time(section.partition, ok.timeMs, `log ${incarnation}, entry ${sequence}`);
    }
  }

  logTrimmed(incarnation: number, upTo: number): void {
    const log = this.#logOf(incarnation);
    while (log.trimmed < log.sections.length) {
      const section = log.sections[log.trimmed];
      if (section === undefined || section.sequence > upTo) return;
      this.#checkTrim(incarnation, section);
      log.trimmed++;
    }
  }

  logDeleted(incarnation: number, last: number): void {
    this.logTrimmed(incarnation, last);
    const log = this.#logOf(incarnation);
    log.isDeleted = true;
    log.crc = chainSeed(incarnation, SIM_STORE_ID);
    if (log.sealedAt !== null) return;
    this.#world.fail("I15", `Log ${incarnation} was deleted before it was sealed`);
  }

  pagePut({ partition, kind, position }: CheckpointPage): void {
    this.#checkCovered(`A page of ${kind} of partition ${partition}`, position);
  }

  manifestPut(manifest: PartitionManifest): void {
    const { partition, watermark } = manifest;
    this.#checkCovered(`The manifest of partition ${partition}`, watermark);
    const old = this.#watermarks.get(partition);
    if (old !== undefined && isBefore(watermark, old)) {
      this.#world.fail("I15", `The watermark of partition ${partition} fell`);
    }
    this.#watermarks.set(partition, watermark);
  }

  /** I14: what is in a checkpoint is in a log. */
  #checkCovered(what: string, { incarnation, sequence }: Position): void {
    const last = this.#logs.get(incarnation)?.last ?? 0;
    if (sequence <= last) return;
    const text = `${what} is at ${sequence} of log ${incarnation}, which ends at ${last}`;
    this.#world.fail("I14", text);
  }

  #checkTrim(
    incarnation: number,
    section: { readonly partition: number; readonly epoch: number; readonly sequence: number },
  ): void {
    const { partition, epoch, sequence } = section;
    const watermark = this.#watermarks.get(partition);
    const position = { epoch, incarnation, sequence };
    if (watermark !== undefined && !isBefore(watermark, position)) return;
    const covered =
      watermark === undefined ? "nothing" : `${watermark.epoch}/${watermark.sequence}`;
    this.#world.fail(
      "I15",
      `Entry ${sequence} of log ${incarnation} (partition ${partition}, epoch ${epoch}) was ` +
        `trimmed; the manifest covers ${covered}`,
    );
  }

  #section(
    incarnation: number,
    log: CheckedLog,
    sequence: number,
    bytes: Uint8Array,
    section: SectionView,
  ): void {
    const { partition, epoch, kind } = section;
    const where = `partition ${partition}, epoch ${epoch}, log ${incarnation}, entry ${sequence}`;
    log.sections.push({ partition, epoch, sequence });
    if (log.released.has(`${partition}/${epoch}`)) {
      this.#world.fail("I10", `A section after its RELEASE: ${where}`);
    }
    if (epoch < (this.#epochs.get(partition) ?? 0)) {
      this.#world.fail("I9", `A section of an epoch that had ended: ${where}`);
    }
    this.#epochs.set(partition, epoch);
    if (kind === SECTION_RELEASE) log.released.set(`${partition}/${epoch}`, sequence);
    this.#world.trace("section", partition, epoch, kind);
    if (kind === SECTION_CLAIM || kind !== SECTION_EVENTS) return;
    const events = readEvents(bytes, section);
    this.#producer(partition, events.producer, events.producerSequence, where);
    let at = events.recordsStart;
    while (at < events.recordsEnd) {
      this.#record(bytes, at);
      at = recordEnd(bytes, at);
    }
  }

  /** Keys expire by entry time, which never goes back within a partition, whoever owns it (design 12.8). */
  #time(partition: number, timeMs: number, where: string): void {
    const last = this.#times.get(partition) ?? 0;
    this.#times.set(partition, Math.max(last, timeMs));
    if (timeMs >= last) return;
    this.#world.fail("I8", `Partition ${partition}: time went back ${last - timeMs} ms (${where})`);
  }

  #producer(partition: number, producer: number, sequence: number, where: string): void {
    const key = `${partition}/${producer}`;
    const last = this.#producers.get(key) ?? 0;
    this.#producers.set(key, sequence);
    if (sequence === last + 1) return;
    this.#world.fail("I17", `Producer ${producer}: ${sequence} after ${last} (${where})`);
  }

  #record(bytes: Uint8Array, at: number): void {
    const start = recordNameStart(bytes, at);
    const name = Buffer.from(
      bytes.buffer,
      bytes.byteOffset + start,
      recordNameLength(bytes, at),
    ).toString("latin1");
    let counts = this.#counts.get(name);
    if (counts === undefined) {
      counts = [0, 0];
      this.#counts.set(name, counts);
    }
    counts[recordKind(bytes, at)] += recordCount(bytes, at);
  }

  #logOf(incarnation: number): CheckedLog {
    let log = this.#logs.get(incarnation);
    if (log === undefined) {
      const crc = chainSeed(incarnation, SIM_STORE_ID);
      log = {
        crc,
        sealedAt: null,
        last: 0,
        isDeleted: false,
        sections: [],
        trimmed: 0,
        released: new Map(),
      };
      this.#logs.set(incarnation, log);
    }
    return log;
  }
}

/** Within one partition. */
export function isBefore(a: Position, b: Position): boolean {
  return a.epoch < b.epoch || (a.epoch === b.epoch && a.sequence < b.sequence);
}
