/**
 * The logs of all incarnations as a shared store, and the NodeLog that one incarnation sees of it. Models JetStream:
 * one stream per incarnation, stream-level expectation of the last sequence, acknowledgements lost, appends that arrive
 * after the caller's timeout, streams without a leader for seconds, sealing that races with the owner.
 * Invariant: an append is stored at most once per arrival and only if its expectation holds at that instant.
 */

import { CatchallError } from "../model/errors.ts";
import { assert } from "../runtime/assert.ts";
import {
  chainSeed,
  ENTRY_HEADER_BYTES,
  ENTRY_KIND_SEAL,
  readEntryHeader,
  sealEnvelope,
} from "../wal/entry-codec.ts";
import { type AppendOutcome, FIRST_KEPT, type NodeLog, RESERVE_BYTES } from "../wal/node-log.ts";
import type { SimLife } from "./sim-life.ts";
import type { SimRandom } from "./sim-random.ts";
import { type Answer, type ServiceFaults, SimService } from "./sim-service.ts";
import type { SimWorld } from "./sim-world.ts";
import type { StoreHistory } from "./store-history.ts";

export const SIM_STORE_ID = 0x51b0_0007;
const CALL_TIMEOUT_MS = 2000;
const READ_CHUNK = 128;
const SEAL_TRIES = 50;
const CREATE_TRIES = 6;

/** What the server adds to an entry. */
const MESSAGE_BYTES = 150;

type Stored = "stored" | "conflict";

/** Who made a log; its repeated call finds its own. */
type Creator = symbol;

interface StoredLog {
  readonly creator: Creator;
  /** By sequence - 1; null where trimmed. The last one is never null: what follows it continues its checksum. */
  readonly entries: (Uint8Array | null)[];
  /** The first entry that reads yield. The one before it is kept for its checksum alone. */
  firstReadable: number;
  isSealed: boolean;
  /** Until then nothing is taken, and answers are not sent. */
  leaderlessUntilMs: number;
}

interface LogSlice {
  /** Sequence of the first entry asked for. */
  readonly first: number;
  /** Of the log; 0 when there is none, or nothing in it. */
  readonly last: number;
  /** Null when the first one was trimmed. */
  readonly entries: readonly Uint8Array[] | null;
}

export class SimNodeLogs {
  readonly service: SimService;
  readonly world: SimWorld;
  /** Bytes that a node lets its own log occupy. */
  logBytesMax: number = Number.POSITIVE_INFINITY;
  readonly #logs: Map<number, StoredLog> = new Map();
  readonly #history: Required<StoreHistory>;
  readonly #random: SimRandom;
  /** By machine: what befalls it when it sends its next append. */
  readonly #ambushes: Map<number, () => void> = new Map();

  constructor(world: SimWorld, faults: ServiceFaults, history: Required<StoreHistory>) {
    this.world = world;
    this.service = new SimService(world, "log", faults);
    this.#history = history;
    this.#random = world.random("log");
  }

  /** The port as one life sees it; a new one for each incarnation. */
  connect(life: SimLife): NodeLog {
    return new SimNodeLog(this, life);
  }

  heal(): void {
    this.service.heal();
    for (const log of this.#logs.values()) log.leaderlessUntilMs = 0;
    this.#ambushes.clear();
  }

  /** `strike` is called once, just after the machine has sent its next append. */
  ambush(machine: number, strike: () => void): void {
    this.#ambushes.set(machine, strike);
  }

  /** An append was sent. */
  sent(machine: number): void {
    const strike = this.#ambushes.get(machine);
    if (strike === undefined) return;
    this.#ambushes.delete(machine);
    strike();
  }

  /** Incarnations that have a log, ascending. */
  list(): number[] {
    return [...this.#logs.keys()].sort((a, b) => a - b);
  }

  lastSequence(incarnation: number): number {
    return this.#logs.get(incarnation)?.entries.length ?? 0;
  }

  isSealed(incarnation: number): boolean {
    return this.#logs.get(incarnation)?.isSealed ?? false;
  }

  /** The stream of one incarnation has no leader for a while. */
  loseLeader(incarnation: number, durationMs: number): void {
    const log = this.#logs.get(incarnation);
    if (log === undefined) return;
    log.leaderlessUntilMs = this.world.nowMs + durationMs;
    this.world.trace("log leader lost", incarnation, Math.round(durationMs));
  }

  isLeaderless(incarnation: number): boolean {
    return (this.#logs.get(incarnation)?.leaderlessUntilMs ?? 0) > this.world.nowMs;
  }

  /** False when somebody else has made it. */
  create(incarnation: number, creator: Creator): boolean {
    const log = this.#logs.get(incarnation);
    if (log !== undefined) return log.creator === creator;
    this.#logs.set(incarnation, {
      creator,
      entries: [],
      firstReadable: 1,
      isSealed: false,
      leaderlessUntilMs: 0,
    });
    this.world.trace("log create", incarnation);
    return true;
  }

  /** `conflict` unless the expectation holds; null when there is no such log, which looks like a lost leader. */
  store(incarnation: number, bytes: Uint8Array, expectedLast: number): Stored | null {
    const log = this.#logs.get(incarnation);
    if (log === undefined) return null;
    if (log.entries.length !== expectedLast) {
      this.world.trace("log conflict", incarnation, expectedLast, log.entries.length);
      return "conflict";
    }
    const { kind, sequence } = readEntryHeader(bytes);
    if (log.isSealed) this.world.fail("I10", `Log ${incarnation} took ${sequence} after its SEAL`);
    log.entries.push(bytes);
    if (kind === ENTRY_KIND_SEAL) log.isSealed = true;
    this.world.trace("log store", incarnation, sequence, readCrc(bytes));
    this.#history.entryStored(incarnation, log.entries.length, bytes);
    return "stored";
  }

  /** Bytes of one log, as the store tells them; null when there is none. */
  bytesOf(incarnation: number): number | null {
    const log = this.#logs.get(incarnation);
    return log === undefined ? null : sizeOf(log);
  }

  /** The SEAL entry that would follow the last one, for a log that is not sealed; `wallMs` is the sealer's time. */
  sealEntry(incarnation: number, wallMs: number): Uint8Array {
    const log = this.#logs.get(incarnation);
    const last = log?.entries.at(-1);
    const previous = last === undefined || last === null ? null : last;
    const bytes = new Uint8Array(ENTRY_HEADER_BYTES);
    const header = {
      kind: ENTRY_KIND_SEAL,
      nonce: this.#random.uint32(),
      incarnation,
      sequence: (log?.entries.length ?? 0) + 1,
      timeMs: previous === null ? wallMs : readEntryHeader(previous).timeMs,
    };
    const seed = chainSeed(incarnation, SIM_STORE_ID);
    sealEnvelope(bytes, header, previous === null ? seed : readCrc(previous));
    return bytes;
  }

  /** Up to `most` entries from `from` on, as a stream and its reader have them: a log that is not there is empty. */
  slice(incarnation: number, from: number, to: number, most: number): LogSlice {
    const log = this.#logs.get(incarnation);
    if (log === undefined) return { first: Math.max(1, from), last: 0, entries: [] };
    const last = log.entries.length;
    const first = from === FIRST_KEPT ? log.firstReadable : from;
    const end = Math.min(last, to, first - 1 + most);
    if (first < log.firstReadable && first <= end) return { first, last, entries: null };
    const entries: Uint8Array[] = [];
    for (let i = first - 1; i < end; i++) entries.push(log.entries[i] as Uint8Array);
    return { first, last, entries };
  }

  /** A stream never goes empty by trimming: one entry is left, which no read yields. */
  trim(incarnation: number, upTo: number): void {
    const log = this.#logs.get(incarnation);
    if (log === undefined) return;
    const end = Math.min(upTo, log.entries.length);
    if (end <= 1 || end < log.firstReadable) return;
    this.world.trace("log trim", incarnation, end);
    this.#history.logTrimmed(incarnation, end);
    for (let i = 0; i < end - 1; i++) log.entries[i] = null;
    log.firstReadable = end + 1;
  }

  delete(incarnation: number): void {
    const log = this.#logs.get(incarnation);
    if (log === undefined) return;
    this.world.trace("log delete", incarnation, log.entries.length);
    this.#history.logDeleted(incarnation, log.entries.length);
    this.#logs.delete(incarnation);
  }

  get sizeBytes(): number {
    let sum = 0;
    for (const log of this.#logs.values()) sum += log.entries.length - log.firstReadable + 1;
    return sum * 100;
  }
}

class SimNodeLog implements NodeLog {
  readonly storeId = SIM_STORE_ID;
  readonly canResend = true;
  readonly #logs: SimNodeLogs;
  readonly #life: SimLife;
  #own: number | null = null;
  #isAppending = false;
  /** Expectation of the last append whose outcome is unknown: its bytes may still arrive. */
  #doubtful: number | null = null;
  /** Of the own log: as last heard, and what was appended since. */
  #ownBytes = 0;

  constructor(logs: SimNodeLogs, life: SimLife) {
    this.#logs = logs;
    this.#life = life;
  }

  /** Asked again as often as the real one asks. */
  async create(incarnation: number): Promise<void> {
    assert(this.#own === null, "a process creates one log");
    const { service } = this.#logs;
    const creator = Symbol("creator");
    for (let tries = 1; ; tries++) {
      const made = (): boolean => this.#logs.create(incarnation, creator);
      const answer = await service.call(this.#life, CALL_TIMEOUT_MS, made);
      if (answer?.value === true) break;
      if (answer !== null) {
        throw new CatchallError("conflict", `Incarnation ${incarnation} already has a log`);
      }
      if (tries === CREATE_TRIES || !service.canReach(this.#life.machine.index)) {
        throw new CatchallError("log_unavailable", 'The log store did not answer to "create"');
      }
    }
    this.#own = incarnation;
  }

  async append(
    bytes: Uint8Array,
    expectedLast: number,
    usesReserve: boolean = false,
  ): Promise<AppendOutcome> {
    const own = this.#own;
    if (own === null) return { kind: "fenced", reason: "this process has no log" };
    if (this.#isAppending) return { kind: "fenced", reason: "another append is in flight" };
    const bytesMax = this.#logs.logBytesMax + (usesReserve ? RESERVE_BYTES : 0);
    const isFull = this.#ownBytes + bytes.length > bytesMax;
    if (isFull && this.#doubtful !== expectedLast) {
      return { kind: "notApplied", code: "log_full", reason: "the log is full" };
    }
    this.#isAppending = true;
    const asked = this.#store(own, bytes.slice(), expectedLast);
    this.#logs.sent(this.#life.machine.index);
    const answer = await asked;
    this.#isAppending = false;
    this.#logs.world.trace("log append", own, expectedLast + 1, answer === null ? 0 : 1);
    if (answer === null) {
      this.#doubtful = expectedLast;
      return { kind: "unknown", reason: "no acknowledgement" };
    }
    if (answer === "stored") {
      this.#doubtful = null;
      this.#ownBytes += bytes.length;
      return { kind: "committed" };
    }
    return { kind: "conflict", reason: "the last sequence is another one" };
  }

  /** Ends where the log ended when the read began. */
  async *read(incarnation: number, from: number, to: number): AsyncIterable<Uint8Array> {
    let next = from;
    let end: number | null = null;
    while (end === null || next <= end) {
      const asked = next;
      const limit = end ?? to;
      const chunk: LogSlice = await this.#ask("read", () =>
        this.#logs.slice(incarnation, asked, limit, READ_CHUNK),
      );
      end ??= Math.min(to, chunk.last);
      next = chunk.first;
      if (next > end) return;
      if (chunk.entries === null || chunk.entries.length === 0) {
        const range = `${next} to ${end} of log ${incarnation}`;
        throw new CatchallError("log_damaged", `Entries ${range} are not there`);
      }
      for (const entry of chunk.entries) {
        yield entry;
        next = readEntryHeader(entry).sequence + 1;
      }
    }
  }

  /** Appends a SEAL, again and again over the owner's own appends, until one is in. */
  async seal(incarnation: number): Promise<number> {
    for (let i = 0; i < SEAL_TRIES; i++) {
      const wallMs = this.#life.machine.clock.wallMs();
      const seen = await this.#ask("seal", () => {
        this.#logs.create(incarnation, Symbol("sealer"));
        const last = this.#logs.lastSequence(incarnation);
        return this.#logs.isSealed(incarnation)
          ? { last, entry: null }
          : { last, entry: this.#logs.sealEntry(incarnation, wallMs) };
      });
      if (seen.entry === null) return seen.last;
      const stored = await this.#store(incarnation, seen.entry, seen.last);
      if (stored === "stored") return seen.last + 1;
      if (stored !== "conflict") break;
    }
    throw new CatchallError("log_unavailable", `Log ${incarnation} could not be sealed now`);
  }

  lastSequence(incarnation: number): Promise<number> {
    return this.#ask("lastSequence", () => {
      this.#hear(incarnation);
      return this.#logs.lastSequence(incarnation);
    });
  }

  list(): Promise<readonly number[]> {
    return this.#ask("list", () => {
      if (this.#own !== null) this.#ownBytes = this.#logs.bytesOf(this.#own) ?? 0;
      return this.#logs.list();
    });
  }

  trim(incarnation: number, upTo: number): Promise<void> {
    return this.#ask("trim", () => {
      this.#logs.trim(incarnation, upTo);
      this.#hear(incarnation);
    });
  }

  delete(incarnation: number): Promise<void> {
    return this.#ask("delete", () => {
      this.#logs.delete(incarnation);
      if (incarnation === this.#own) this.#ownBytes = 0;
    });
  }

  get sizeBytes(): number {
    return this.#logs.sizeBytes;
  }

  async close(): Promise<void> {
    this.#own = null;
  }

  #hear(incarnation: number): void {
    if (incarnation !== this.#own) return;
    this.#ownBytes = this.#logs.bytesOf(incarnation) ?? this.#ownBytes;
  }

  /** Null: unknown. */
  async #store(
    incarnation: number,
    bytes: Uint8Array,
    expectedLast: number,
  ): Promise<Stored | null> {
    const { service } = this.#logs;
    const answer: Answer<Stored | "lost" | null> = await service.call(
      this.#life,
      CALL_TIMEOUT_MS,
      () => {
        if (!this.#logs.isLeaderless(incarnation)) {
          return this.#logs.store(incarnation, bytes, expectedLast);
        }
        // Without a leader it is dropped, or taken by the next leader without an answer.
        if (service.random.chance(0.5)) this.#logs.store(incarnation, bytes, expectedLast);
        return "lost" as const;
      },
    );
    if (answer === null || answer.value === "lost") return null;
    return answer.value;
  }

  async #ask<T>(what: string, effect: () => T): Promise<T> {
    const answer = await this.#logs.service.call(this.#life, CALL_TIMEOUT_MS, effect);
    if (answer !== null) return answer.value;
    throw new CatchallError("log_unavailable", `The log store did not answer to "${what}"`);
  }
}

function sizeOf({ entries }: StoredLog): number {
  let bytes = 0;
  for (const entry of entries) if (entry !== null) bytes += entry.length + MESSAGE_BYTES;
  return bytes;
}

function readCrc(entry: Uint8Array): number {
  return new DataView(entry.buffer, entry.byteOffset, ENTRY_HEADER_BYTES).getUint32(4, true);
}
