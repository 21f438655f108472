/**
 * The control records as a shared store under compare-and-set, and the ControlStore that one life sees of it. Models a
 * NATS KV bucket: unknown outcomes, puts that arrive late, reads that are a little stale, watches that repeat, reorder
 * and go silent.
 * Invariant: revisions rise over the whole store; a put is applied at most once, and only on the revision it expected.
 */

import {
  type ControlRecord,
  type ControlStore,
  incarnationOfKey,
  leaseKey,
  type PutOutcome,
  TABLE_KEY,
} from "../control-plane/control-store.ts";
import { CatchallError } from "../model/errors.ts";
import type { SimLife } from "./sim-life.ts";
import type { SimRandom } from "./sim-random.ts";
import { type ServiceFaults, SimService } from "./sim-service.ts";
import { IDLE, type SimWorld } from "./sim-world.ts";
import type { StoreHistory } from "./store-history.ts";
import type { SimVersions } from "./versions.ts";

const CALL_TIMEOUT_MS = 2000;
/** The servers' default `max_payload`, less the headers: longer values are not sent, unless they can be packed. */
const VALUE_BYTES_MAX = 1024 * 1024 - 1024;

/** Probabilities are per read or per event. */
export interface ControlFaults {
  readonly service: ServiceFaults;
  /** A read answers what was true up to `staleMaxMs` ago. */
  readonly staleRead: number;
  readonly staleMaxMs: number;
  readonly watchLost: number;
  readonly watchRepeated: number;
  /** An event comes up to a second later than the next ones. */
  readonly watchLate: number;
}

interface Version {
  readonly atMs: number;
  /** Null: it was deleted. */
  readonly record: ControlRecord | null;
}

interface Watcher {
  readonly life: SimLife;
  readonly listener: (record: ControlRecord) => void;
  isEnded: boolean;
  silentUntilMs: number;
}

export class SimControlStore {
  readonly world: SimWorld;
  readonly service: SimService;
  #faults: ControlFaults;
  readonly #history: Required<StoreHistory>;
  readonly #random: SimRandom;
  /** Versions by key, newest last; bounded to what a stale read may see. */
  readonly #versions: Map<string, Version[]> = new Map();
  readonly #watchers: Set<Watcher> = new Set();
  readonly #leaseKeys: string[] = [];
  #revision = 0;
  /** Of the machines, where some of them run the next version. */
  versions: SimVersions | null = null;

  constructor(world: SimWorld, faults: ControlFaults, history: Required<StoreHistory>) {
    this.world = world;
    this.#faults = faults;
    this.service = new SimService(world, "control", faults.service);
    this.#history = history;
    this.#random = world.random("control");
  }

  connect(life: SimLife): ControlStore {
    return new SimControlClient(this, life);
  }

  heal(): void {
    this.service.heal();
    const none = { staleRead: 0, staleMaxMs: 0, watchLost: 0, watchRepeated: 0, watchLate: 0 };
    this.#faults = { service: this.service.faults, ...none };
    for (const watcher of this.#watchers) watcher.silentUntilMs = 0;
  }

  /** The watches of one machine say nothing for a while. */
  silenceWatches(machine: number, durationMs: number): void {
    for (const watcher of this.#watchers) {
      if (watcher.life.machine.index !== machine) continue;
      watcher.silentUntilMs = this.world.nowMs + durationMs;
    }
    this.world.trace("watch silent", machine, Math.round(durationMs));
  }

  /** The newest record, of a store that is asked directly. */
  newest(key: string): ControlRecord | null {
    return this.#versions.get(key)?.at(-1)?.record ?? null;
  }

  /** As a client reads it, maybe stale. */
  readAsClient(key: string): ControlRecord | null {
    const versions = this.#versions.get(key);
    if (versions === undefined) return null;
    if (!this.#random.chance(this.#faults.staleRead)) return versions.at(-1)?.record ?? null;
    const sinceMs = this.world.nowMs - this.#random.unit() * this.#faults.staleMaxMs;
    return versions.findLast((version) => version.atMs <= sinceMs)?.record ?? null;
  }

  /** In the order of their creation. */
  get leaseKeys(): readonly string[] {
    return this.#leaseKeys;
  }

  put(key: string, value: Uint8Array, expectedRevision: number): PutOutcome {
    const previous = this.newest(key);
    if ((previous?.revision ?? 0) !== expectedRevision) {
      this.world.trace("control conflict", keyNumber(key), expectedRevision);
      return { kind: "conflict" };
    }
    if (previous === null && key !== TABLE_KEY) this.#leaseKeys.push(key);
    const record: ControlRecord = { key, revision: ++this.#revision, value };
    this.#keep(key, record);
    this.world.trace("control put", keyNumber(key), record.revision, value.length);
    this.#history.recordPut(record, previous);
    for (const watcher of this.#watchers) this.#tell(watcher, record);
    return { kind: "committed", revision: record.revision };
  }

  delete(key: string): void {
    if (this.newest(key) === null) return;
    this.#revision++;
    this.#keep(key, null);
    this.#leaseKeys.splice(this.#leaseKeys.indexOf(key), 1);
    this.world.trace("control delete", keyNumber(key));
  }

  /** Tells what there is, then what changes. */
  watch(life: SimLife, listener: (record: ControlRecord) => void): () => void {
    const watcher: Watcher = { life, listener, isEnded: false, silentUntilMs: 0 };
    this.#watchers.add(watcher);
    life.onDeath.push(() => this.#watchers.delete(watcher));
    for (const versions of this.#versions.values()) {
      const record = versions.at(-1)?.record ?? null;
      if (record !== null) this.#tell(watcher, record);
    }
    return () => {
      watcher.isEnded = true;
      this.#watchers.delete(watcher);
    };
  }

  #keep(key: string, record: ControlRecord | null): void {
    let versions = this.#versions.get(key);
    if (versions === undefined) {
      versions = [{ atMs: Number.NEGATIVE_INFINITY, record: null }];
      this.#versions.set(key, versions);
    }
    versions.push({ atMs: this.world.nowMs, record });
    // All but the newest version that is older than any stale read may be.
    const oldestMs = this.world.nowMs - this.#faults.staleMaxMs;
    while ((versions[1]?.atMs ?? Number.POSITIVE_INFINITY) < oldestMs) versions.shift();
  }

  #tell(watcher: Watcher, record: ControlRecord): void {
    const { watchLost, watchRepeated, watchLate } = this.#faults;
    const random = this.#random;
    if (random.chance(watchLost) || watcher.silentUntilMs > this.world.nowMs) return;
    if (!this.service.canReach(watcher.life.machine.index)) return;
    this.#sendTo(watcher, record, watchLate);
    if (random.chance(watchRepeated)) this.#sendTo(watcher, record, watchLate);
  }

  /** What the life reads of it. */
  seenBy(life: SimLife, record: ControlRecord): ControlRecord {
    const value = this.versions?.seenBy(life.machine.index, record.value) ?? record.value;
    return value === record.value ? record : { ...record, value };
  }

  #sendTo(watcher: Watcher, record: ControlRecord, late: number): void {
    const random = this.#random;
    const delayMs = this.service.delayMs() + (random.chance(late) ? 1000 * random.unit() : 0);
    watcher.life.later(delayMs, () => {
      if (watcher.isEnded) return IDLE;
      watcher.listener(this.seenBy(watcher.life, record));
      // Nodes follow the table alone. Should one listen to leases, what it starts runs with the next event.
      return record.key === TABLE_KEY ? undefined : IDLE;
    });
  }
}

class SimControlClient implements ControlStore {
  readonly #store: SimControlStore;
  readonly #life: SimLife;
  readonly #ends: (() => void)[] = [];

  constructor(store: SimControlStore, life: SimLife) {
    this.#store = store;
    this.#life = life;
  }

  read(key: string): Promise<ControlRecord | null> {
    return this.#ask("read", () => {
      const record = this.#store.readAsClient(key);
      return record === null ? null : this.#store.seenBy(this.#life, record);
    });
  }

  readLeases(): Promise<readonly ControlRecord[]> {
    return this.#ask("readLeases", () => {
      const records = this.#store.leaseKeys.map((key) => this.#store.readAsClient(key));
      return records
        .filter((record) => record !== null)
        .map((record) => this.#store.seenBy(this.#life, record));
    });
  }

  async put(key: string, value: Uint8Array, expectedRevision: number): Promise<PutOutcome> {
    if (value.length > VALUE_BYTES_MAX) return { kind: "unknown", reason: "the value is too long" };
    const bytes = value.slice();
    const { service, world, versions } = this.#store;
    versions?.stored(this.#life.machine.index, key === TABLE_KEY ? "table" : "lease", bytes);
    const answer = await service.call(this.#life, CALL_TIMEOUT_MS, () =>
      this.#store.put(key, bytes, expectedRevision),
    );
    if (answer === null) world.trace("control unknown", keyNumber(key), this.#life.machine.index);
    return answer?.value ?? { kind: "unknown", reason: "no answer" };
  }

  deleteLease(incarnation: number): Promise<void> {
    return this.#ask("deleteLease", () => this.#store.delete(leaseKey(incarnation)));
  }

  watch(listener: (record: ControlRecord) => void): () => void {
    const end = this.#store.watch(this.#life, listener);
    this.#ends.push(end);
    return end;
  }

  async close(): Promise<void> {
    for (const end of this.#ends.splice(0)) end();
  }

  #ask<T>(what: string, effect: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#store.service.send(this.#life, CALL_TIMEOUT_MS, effect, (answer) => {
        if (answer !== null) return resolve(answer.value);
        const text = `The control store did not answer to "${what}"`;
        reject(new CatchallError("control_unavailable", text));
      });
    });
  }
}

function keyNumber(key: string): number {
  return incarnationOfKey(key) ?? 0;
}
