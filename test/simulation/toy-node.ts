/**
 * A small cluster node over the real ports, to prove the simulator before the product runs in it: leases, DEAD, SEAL,
 * table, replay by lineage, forwarding with producer sequences. No checkpoints, no planned moves; JSON frames.
 * `ToyDefect` breaks it on purpose, one promise at a time: a simulator that does not notice proves nothing.
 */
import { appendUntilKnown } from "../../src/commit/append-until-known.ts";
import { type ControlRecord, leaseKey, TABLE_KEY } from "../../src/control-plane/control-store.ts";
import { encodeTable, parseTable } from "../../src/control-plane/control-table-codec.ts";
import { encodeLease, type LeaseState, parseLease } from "../../src/control-plane/lease-record.ts";
import { type DomainName, DomainParser } from "../../src/model/domain-name.ts";
import { CatchallError, type ErrorCode } from "../../src/model/errors.ts";
import type { EventKind } from "../../src/model/event.ts";
import {
  RecordWriter,
  recordCount,
  recordEnd,
  recordKind,
  recordNameLength,
  recordNameStart,
} from "../../src/model/event-records.ts";
import { hashKey128 } from "../../src/model/key-hash.ts";
import {
  aliveMembers,
  type ControlTable,
  memberOf,
  NOBODY,
  type PartitionAssignment,
} from "../../src/model/ownership.ts";
import { partitionOf } from "../../src/model/partition-id.ts";
import {
  EVENTS_HEADER_BYTES,
  readEvents,
  readSections,
  SECTION_EVENTS,
  SECTION_HEADER_BYTES,
  writeEventsHeader,
  writeSectionHeader,
} from "../../src/partition/section-codec.ts";
import { COMMITTED, type DomainStatus, REPLAYED } from "../../src/router/ingress.ts";
import type {
  ClusterHooks,
  ClusterPorts,
  ClusterSettings,
} from "../../src/server/assemble-cluster-node.ts";
import type { ClusterNode, SimIngress, StartNode } from "../../src/simulation/sim-node.ts";
import type { Transport } from "../../src/transport/transport.ts";
import { chainSeed, ENTRY_HEADER_BYTES, sealEnvelope } from "../../src/wal/entry-codec.ts";

export type ToyDefect =
  | "ackBeforeAppend"
  | "readWithoutLease"
  | "tableWithoutSeal"
  | "impatientDetector"
  | "newSequenceOnRetry"
  | "unknownIsNone"
  | "keysForgotten"
  | "replayOneLess"
  | "replayTwice"
  | "fencedIsCommitted"
  | "leaseFromAnswer"
  | "dedupeInMemoryOnly"
  | "epochKept";

interface Write {
  readonly domain: string;
  readonly kind: EventKind;
  readonly count: number;
  readonly eventId: string | null;
  readonly partition: number;
  readonly producer: number;
  sequence: number;
}

type Verdict = "committed" | "replayed" | "refused";

interface Partition {
  readonly counts: Map<string, [number, number]>;
  readonly producers: Map<number, number>;
  readonly pending: Map<string, Promise<Verdict>>;
  readonly keys: Set<string>;
  epoch: number;
}

const CALL_DEADLINE_MS = 700;
const REQUEST_DEADLINE_MS = 5000;
const RETRY_MS = 60;

export function toyNode(defect: ToyDefect | null = null): StartNode {
  return async (ports, settings, hooks) => {
    const toy = new ToyNode(ports, settings, hooks, defect);
    await toy.join();
    return toy;
  };
}

class ToyNode implements ClusterNode {
  incarnation = 0;
  readonly router: SimIngress;
  readonly #ports: ClusterPorts;
  readonly #settings: ClusterSettings;
  readonly #hooks: ClusterHooks;
  readonly #defect: ToyDefect | null;
  readonly #parser = new DomainParser();
  readonly #open: Map<number, Partition> = new Map();
  readonly #opening: Set<number> = new Set();
  readonly #lanes: Map<number, { busy: boolean; queue: (() => Promise<void>)[]; next: number }> =
    new Map();
  readonly #seen: Map<number, { revision: number; atMs: number }> = new Map();
  #transport: Transport | null = null;
  #table: ControlTable | null = null;
  #tableRevision = 0;
  #lease = { revision: 0, renewal: 0, monotonicMs: -1e12, wallMs: -1e15 };
  #observingSinceMs = 0;
  #isEnded = false;
  #crc = 0;
  #sequence = 0;
  #appendQueue: Promise<void> = Promise.resolve();

  constructor(
    ports: ClusterPorts,
    settings: ClusterSettings,
    hooks: ClusterHooks,
    defect: ToyDefect | null,
  ) {
    this.#ports = ports;
    this.#settings = settings;
    this.#hooks = hooks;
    this.#defect = defect;
    const no = async (): Promise<never> => {
      throw new CatchallError("not_implemented");
    };
    this.router = {
      submit: (parser, kind, count, eventId, reply, index) => {
        const partition = partitionOf(parser.hash, settings.partitions);
        const domain = parser.name();
        void this.#submit({ domain, kind, count, eventId, partition }).then((outcome) =>
          reply.settled(index, outcome),
        );
      },
      status: async (domain) => (await this.#read([domain]))[0] as DomainStatus,
      statuses: (domains) => this.#read(domains),
      rebalance: no,
      drain: no,
    };
  }

  async join(): Promise<void> {
    const { control, log, random } = this.#ports;
    const joinNonce = `j${random.uint32()}${random.uint32()}`;
    for (;;) {
      const record = await control.read(TABLE_KEY);
      const table = record === null ? this.#firstTable() : tableOf(record);
      const mine = table.members.find((member) => member.joinNonce === joinNonce);
      if (mine !== undefined) {
        this.incarnation = mine.incarnation;
        break;
      }
      const incarnation = table.lastIncarnation + 1;
      const { nodeId } = this.#settings;
      const member = { incarnation, nodeId, joinNonce, state: "alive" as const, isDraining: false };
      const members = [...table.members, { ...member, endSequence: null, endedAtMs: null }];
      await this.#put({ ...table, members, lastIncarnation: incarnation }, record?.revision ?? 0);
    }
    this.#crc = chainSeed(this.incarnation, log.storeId);
    await log.create(this.incarnation);
    this.#transport = this.#ports.connect(this.incarnation);
    this.#transport.serve((frame) => this.#handle(frame));
    await this.#renew();
    if (this.#lease.revision === 0) throw new CatchallError("control_unavailable");
    this.#every(this.#settings.leaseTtlMs / 4, () => this.#renew());
    this.#every(this.#settings.leaseTtlMs / 5, () => this.#tend());
  }

  async stop(): Promise<void> {
    this.#isEnded = true;
    await this.#ports.control.put(
      leaseKey(this.incarnation),
      this.#leaseBytes("left"),
      this.#lease.revision,
    );
  }

  isOpen(partition: number): boolean {
    return this.#open.has(partition) && this.#isLeaseValid();
  }

  #isLeaseValid(): boolean {
    if (this.#isEnded) return false;
    if (this.#defect === "readWithoutLease") return true;
    const { clock } = this.#ports;
    const { leaseTtlMs } = this.#settings;
    return (
      clock.monotonicMs() < this.#lease.monotonicMs + leaseTtlMs &&
      clock.wallMs() < this.#lease.wallMs + leaseTtlMs
    );
  }

  #end(reason: string): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#hooks.onEnded(reason);
  }

  #every(periodMs: number, work: () => Promise<void>): void {
    this.#ports.timers.after(periodMs, () => {
      if (this.#isEnded) return;
      void work()
        .catch((error: unknown) => {
          if (!(error instanceof CatchallError)) throw error;
        })
        .finally(() => this.#every(periodMs, work));
    });
  }

  async #renew(): Promise<void> {
    const { clock, control } = this.#ports;
    const sent = { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() };
    const key = leaseKey(this.incarnation);
    const outcome = await control.put(key, this.#leaseBytes("held"), this.#lease.revision);
    if (outcome.kind === "committed") {
      const from =
        this.#defect === "leaseFromAnswer"
          ? { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() }
          : sent;
      if (from.monotonicMs - this.#lease.monotonicMs > this.#settings.leaseTtlMs / 2) {
        this.#observingSinceMs = clock.monotonicMs();
      }
      this.#lease = { revision: outcome.revision, renewal: this.#lease.renewal + 1, ...from };
      return;
    }
    const record = await control.read(key);
    if (record === null) return;
    if (leaseState(record) === "held") {
      if (record.revision > this.#lease.revision) this.#lease.revision = record.revision;
    } else this.#end("lease is final");
  }

  #leaseBytes(state: LeaseState): Uint8Array {
    const { nodeId, leaseTtlMs } = this.#settings;
    const renewal = this.#lease.renewal + 1;
    return encodeLease({
      incarnation: this.incarnation,
      nodeId,
      state,
      renewal,
      ttlMs: leaseTtlMs,
    });
  }

  /** Reads table and leases, ends the dead, opens what is ours. */
  async #tend(): Promise<void> {
    await this.#refresh();
    const table = this.#table;
    if (table === null) return;
    const leases = await this.#ports.control.readLeases();
    for (const member of aliveMembers(table)) {
      const { incarnation } = member;
      const record = leases.find((lease) => lease.key === leaseKey(incarnation)) ?? null;
      if (record !== null && leaseState(record) !== "held") await this.#bury(incarnation);
      else await this.#suspect(incarnation, record);
    }
    await this.#assign();
    for (const [partition, assignment] of (this.#table ?? table).partitions.entries()) {
      if (assignment.owner === this.incarnation) void this.#openPartition(partition, assignment);
      else this.#open.delete(partition);
    }
  }

  async #refresh(): Promise<void> {
    const record = await this.#ports.control.read(TABLE_KEY);
    if (record === null || record.revision < this.#tableRevision) return;
    this.#table = tableOf(record);
    this.#tableRevision = record.revision;
    const self = memberOf(this.#table, this.incarnation);
    if (self?.state !== "alive") this.#end("not alive in the table");
  }

  async #suspect(incarnation: number, record: ControlRecord | null): Promise<void> {
    const { clock, control } = this.#ports;
    const nowMs = clock.monotonicMs();
    const revision = record?.revision ?? 0;
    const seen = this.#seen.get(incarnation);
    if (incarnation === this.incarnation) return;
    if (seen === undefined || seen.revision !== revision) {
      this.#seen.set(incarnation, { revision, atMs: nowMs });
      return;
    }
    const { leaseTtlMs } = this.#settings;
    const isImpatient = this.#defect === "impatientDetector";
    const patienceMs = isImpatient ? leaseTtlMs * 0.6 : leaseTtlMs * 1.03 + 200;
    const sinceMs = Math.max(seen.atMs, this.#observingSinceMs);
    if (nowMs - sinceMs < patienceMs || !this.#isLeaseValid()) return;
    const dead = encodeLease({
      incarnation,
      nodeId: "somebody",
      state: "dead",
      renewal: 0,
      ttlMs: leaseTtlMs,
    });
    const outcome = await control.put(leaseKey(incarnation), dead, revision);
    if (outcome.kind === "committed") await this.#bury(incarnation);
  }

  async #bury(incarnation: number): Promise<void> {
    const { log, clock } = this.#ports;
    const table = this.#table;
    if (table === null || memberOf(table, incarnation)?.state !== "alive") return;
    const end =
      this.#defect === "tableWithoutSeal"
        ? await log.lastSequence(incarnation)
        : await log.seal(incarnation);
    const heir = aliveMembers(table).find((member) => member.incarnation !== incarnation);
    if (heir === undefined) return;
    const members = table.members.map((member) =>
      member.incarnation === incarnation
        ? { ...member, state: "dead" as const, endSequence: end, endedAtMs: clock.wallMs() }
        : member,
    );
    const partitions = table.partitions.map((old): PartitionAssignment => {
      if (old.owner !== incarnation) return old;
      const stretch = { epoch: old.epoch, incarnation, endSequence: end };
      const epoch = this.#defect === "epochKept" ? old.epoch : old.epoch + 1;
      const lineage = this.#defect === "epochKept" ? old.lineage : [...old.lineage, stretch];
      return { owner: heir.incarnation, epoch, lineage, moveTo: NOBODY };
    });
    await this.#put({ ...table, members, partitions }, this.#tableRevision);
    await this.#refresh();
  }

  /** At first, the lowest incarnation takes everything. */
  async #assign(): Promise<void> {
    const table = this.#table;
    if (table === null || table.partitions.every(({ owner }) => owner !== NOBODY)) return;
    if (aliveMembers(table)[0]?.incarnation !== this.incarnation) return;
    const partitions = table.partitions.map((old) =>
      old.owner === NOBODY ? { ...old, owner: this.incarnation, epoch: 1 } : old,
    );
    await this.#put({ ...table, partitions }, this.#tableRevision);
    await this.#refresh();
  }

  async #put(table: ControlTable, revision: number): Promise<void> {
    const changeNonce = `c${this.#ports.random.uint32()}`;
    const bytes = encodeTable({ ...table, changeNonce });
    await this.#ports.control.put(TABLE_KEY, bytes, revision);
  }

  #firstTable(): ControlTable {
    const { partitions, initialRule } = this.#settings;
    const assignment = { owner: NOBODY, epoch: 0, lineage: [], moveTo: NOBODY };
    return {
      formatVersion: 1,
      partitionCount: partitions,
      lastIncarnation: 0,
      members: [],
      partitions: Array.from({ length: partitions }, () => assignment),
      initialRule,
      rule: initialRule,
      ruleRevision: 0,
      rebalances: [],
      changeNonce: "first",
    };
  }

  async #openPartition(partition: number, assignment: PartitionAssignment): Promise<void> {
    if (this.#open.has(partition) || this.#opening.has(partition)) return;
    this.#opening.add(partition);
    try {
      const state = emptyPartition(assignment.epoch);
      for (const [i, stretch] of assignment.lineage.entries()) {
        const isLast = i === assignment.lineage.length - 1;
        const less = this.#defect === "replayOneLess" && isLast ? 2 : 0;
        const end = stretch.endSequence - less;
        const times = this.#defect === "replayTwice" && isLast ? 2 : 1;
        for (let t = 0; t < times; t++) {
          for await (const entry of this.#ports.log.read(stretch.incarnation, 1, end)) {
            replay(state, entry, partition, stretch.epoch);
          }
        }
      }
      if (this.#defect === "keysForgotten") state.keys.clear();
      const now = this.#table?.partitions[partition];
      if (now?.epoch === assignment.epoch && now.owner === this.incarnation) {
        this.#open.set(partition, state);
      }
    } catch (error) {
      if (!(error instanceof CatchallError)) throw error;
    } finally {
      this.#opening.delete(partition);
    }
  }

  async #submit(
    event: Omit<Write, "producer" | "sequence">,
  ): Promise<typeof COMMITTED | typeof REPLAYED | CatchallError> {
    const deadlineMs = this.#ports.clock.monotonicMs() + REQUEST_DEADLINE_MS;
    const { partition } = event;
    let lane = this.#lanes.get(partition);
    if (lane === undefined) {
      lane = { busy: false, queue: [], next: 1 };
      this.#lanes.set(partition, lane);
    }
    const own = lane;
    return new Promise((resolve) => {
      let isAnswered = false;
      let isSent = false;
      const answer = (outcome: typeof COMMITTED | typeof REPLAYED | CatchallError): void => {
        if (!isAnswered) resolve(outcome);
        isAnswered = true;
      };
      this.#ports.timers.after(REQUEST_DEADLINE_MS, () => {
        const code: ErrorCode =
          isSent && this.#defect !== "unknownIsNone" ? "outcome_unknown" : "no_owner";
        answer(new CatchallError(code));
      });
      own.queue.push(async () => {
        if (isAnswered || this.#ports.clock.monotonicMs() >= deadlineMs) return;
        const write: Write = { ...event, producer: this.incarnation, sequence: own.next };
        while (!this.#isEnded) {
          isSent = true;
          const verdict = await this.#deliver(write);
          if (verdict === "committed" || verdict === "replayed") {
            own.next = write.sequence + 1;
            answer(verdict === "replayed" ? REPLAYED : COMMITTED);
            return;
          }
          if (this.#defect === "newSequenceOnRetry") write.sequence = ++own.next;
          await this.#sleep(RETRY_MS);
        }
      });
      void this.#runLane(own);
    });
  }

  async #runLane(lane: { busy: boolean; queue: (() => Promise<void>)[] }): Promise<void> {
    if (lane.busy) return;
    lane.busy = true;
    for (let work = lane.queue.shift(); work !== undefined; work = lane.queue.shift()) await work();
    lane.busy = false;
  }

  async #deliver(write: Write): Promise<Verdict> {
    const owner = this.#table?.partitions[write.partition]?.owner ?? NOBODY;
    if (owner === this.incarnation) return this.#admit(write);
    try {
      return (await this.#call(owner, { write })) as Verdict;
    } catch {
      return "refused";
    }
  }

  #admit(write: Write): Promise<Verdict> {
    const state = this.#open.get(write.partition);
    if (state === undefined || !this.#isLeaseValid()) return Promise.resolve("refused");
    const last = state.producers.get(write.producer) ?? 0;
    if (write.sequence <= last) return Promise.resolve("committed");
    const key = `${write.producer}/${write.sequence}`;
    const pending = state.pending.get(key);
    if (pending !== undefined) return pending;
    if (write.sequence !== last + 1 && this.#defect !== "newSequenceOnRetry") {
      return Promise.resolve("refused");
    }
    const verdict = this.#appendQueue.then(() => this.#append(state, write));
    this.#appendQueue = verdict.then(() => undefined);
    state.pending.set(key, verdict);
    void verdict.then(() => state.pending.delete(key));
    if (this.#defect === "ackBeforeAppend") return Promise.resolve("committed");
    return verdict;
  }

  async #append(state: Partition, write: Write): Promise<Verdict> {
    if (this.#isEnded) return "refused";
    const records = this.#records(write);
    const key = keyOf(records);
    const isReplayed = key !== null && state.keys.has(key);
    const forgets = this.#defect === "dedupeInMemoryOnly" && this.#ports.random.uint32() % 3 === 0;
    if (isReplayed && !forgets) records.clear();
    const { log, timers, random } = this.#ports;
    const payloadBytes = EVENTS_HEADER_BYTES + records.length;
    const bytes = new Uint8Array(ENTRY_HEADER_BYTES + SECTION_HEADER_BYTES + payloadBytes);
    const { partition, producer, sequence: producerSequence } = write;
    const { epoch } = state;
    writeSectionHeader(bytes, ENTRY_HEADER_BYTES, {
      partition,
      kind: SECTION_EVENTS,
      epoch,
      payloadBytes,
    });
    const at = ENTRY_HEADER_BYTES + SECTION_HEADER_BYTES;
    writeEventsHeader(bytes, at, { producer, producerSequence, recordCount: records.count });
    bytes.set(records.bytes.subarray(0, records.length), at + EVENTS_HEADER_BYTES);
    const { incarnation } = this;
    const sequence = this.#sequence + 1;
    const header = { kind: 0, nonce: random.uint32(), incarnation, sequence, timeMs: 1 };
    const crc = sealEnvelope(bytes, header, this.#crc);
    const outcome = await appendUntilKnown({
      log,
      timers,
      incarnation,
      bytes,
      expectedLast: this.#sequence,
      isStopped: () => this.#isEnded,
    });
    if (outcome.kind !== "committed") {
      this.#end(`append ${outcome.kind}`);
      return this.#defect === "fencedIsCommitted" ? "committed" : "refused";
    }
    this.#sequence = sequence;
    this.#crc = crc;
    replay(state, bytes, partition, epoch);
    return isReplayed ? "replayed" : "committed";
  }

  #records(write: Write): RecordWriter {
    const records = new RecordWriter();
    const parser = this.#parser;
    parser.parseText(write.domain, false);
    const { bytes, length, hash } = parser;
    if (write.eventId === null) records.add(bytes, length, hash, write.kind, write.count);
    else {
      const key = new Uint32Array(4);
      hashKey128(bytes, length, write.eventId, key);
      records.addKeyed(bytes, length, hash, write.kind, write.count, key);
    }
    return records;
  }

  async #read(domains: readonly DomainName[]): Promise<DomainStatus[]> {
    const answers: DomainStatus[] = [];
    for (const domain of domains) {
      this.#parser.parseText(domain, false);
      const partition = partitionOf(this.#parser.hash, this.#settings.partitions);
      const owner = this.#table?.partitions[partition]?.owner ?? NOBODY;
      const read = { domain, partition };
      const counts =
        owner === this.incarnation ? this.#readHere(read) : await this.#call(owner, { read });
      if (counts === null) throw new CatchallError("no_owner");
      const [delivered, bounced] = counts as [number, number];
      answers.push({ domain, delivered, bounced } as unknown as DomainStatus);
    }
    return answers;
  }

  #readHere(read: { domain: string; partition: number }): [number, number] | null {
    if (!this.isOpen(read.partition)) return null;
    return this.#open.get(read.partition)?.counts.get(read.domain) ?? [0, 0];
  }

  async #call(owner: number, message: unknown): Promise<unknown> {
    const transport = this.#transport;
    if (owner === NOBODY || transport === null || this.#isEnded)
      throw new CatchallError("no_owner");
    const frame = new TextEncoder().encode(JSON.stringify(message));
    const reply = await transport.request(owner, frame, CALL_DEADLINE_MS);
    return JSON.parse(new TextDecoder().decode(reply)) as unknown;
  }

  async #handle(frame: Uint8Array): Promise<Uint8Array> {
    const message = JSON.parse(new TextDecoder().decode(frame)) as {
      write?: Write;
      read?: { domain: string; partition: number };
    };
    const { write, read } = message;
    let reply: unknown = null;
    if (write !== undefined) reply = await this.#admit(write);
    if (read !== undefined) reply = this.#readHere(read);
    return new TextEncoder().encode(JSON.stringify(reply));
  }

  #sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#ports.timers.after(delayMs, resolve);
    });
  }
}

function emptyPartition(epoch: number): Partition {
  return { counts: new Map(), producers: new Map(), pending: new Map(), keys: new Set(), epoch };
}

function tableOf(record: ControlRecord): ControlTable {
  const { ok, damage } = parseTable(record.value);
  if (ok === undefined) throw new Error(damage);
  return ok;
}

function leaseState(record: ControlRecord): LeaseState {
  const incarnation = Number(record.key.slice("lease.".length));
  const { ok, damage } = parseLease(record.value, incarnation);
  if (ok === undefined) throw new Error(damage);
  return ok.state;
}

/** Name and key of the first record when it is keyed. */
function keyOf(records: RecordWriter): string | null {
  if (records.keyedCount === 0) return null;
  return Buffer.from(records.bytes.subarray(12, 28)).toString("hex");
}

function replay(state: Partition, entry: Uint8Array, partition: number, epoch: number): void {
  for (const section of readSections(entry, ENTRY_HEADER_BYTES, entry.length)) {
    if (section.partition !== partition || section.epoch !== epoch) continue;
    const events = readEvents(entry, section);
    state.producers.set(events.producer, events.producerSequence);
    let at = events.recordsStart;
    while (at < events.recordsEnd) {
      const start = recordNameStart(entry, at);
      const end = start + recordNameLength(entry, at);
      const name = Buffer.from(entry.subarray(start, end)).toString("latin1");
      const counts = state.counts.get(name) ?? [0, 0];
      counts[recordKind(entry, at)] += recordCount(entry, at);
      state.counts.set(name, counts);
      if (start - at > 12)
        state.keys.add(Buffer.from(entry.subarray(at + 12, at + 28)).toString("hex"));
      at = recordEnd(entry, at);
    }
  }
}
