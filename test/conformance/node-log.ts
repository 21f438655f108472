/** What every NodeLog promises: each adapter and each simulated one runs this. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import {
  chainSeed,
  ENTRY_BYTES_MAX,
  ENTRY_HEADER_BYTES,
  ENTRY_KIND_SEAL,
  readEntryHeader,
  readEnvelope,
  sealEnvelope,
} from "../../src/wal/entry-codec.ts";
import { type AppendOutcome, FIRST_KEPT, type NodeLog } from "../../src/wal/node-log.ts";

/** Builds the entries of one log, chained as a group commit chains them. */
export class EntryChain {
  readonly incarnation: number;
  sequence = 0;
  crc: number;

  constructor(incarnation: number, storeId: number) {
    this.incarnation = incarnation;
    this.crc = chainSeed(incarnation, storeId);
  }

  next(bodyBytes: number): Uint8Array {
    const bytes = new Uint8Array(ENTRY_HEADER_BYTES + bodyBytes);
    this.sequence += 1;
    for (let i = ENTRY_HEADER_BYTES; i < bytes.length; i += 1) bytes[i] = this.sequence + i;
    const { incarnation, sequence } = this;
    const header = { kind: 0, nonce: sequence * 7, incarnation, sequence, timeMs: 1000 + sequence };
    this.crc = sealEnvelope(bytes, header, this.crc);
    return bytes;
  }
}

export async function readAll(
  log: NodeLog,
  incarnation: number,
  from = 1,
  to: number = Number.MAX_SAFE_INTEGER,
): Promise<Uint8Array[]> {
  const entries: Uint8Array[] = [];
  for await (const bytes of log.read(incarnation, from, to)) entries.push(Uint8Array.from(bytes));
  return entries;
}

export interface NodeLogWorld {
  /** Opens the logs; the second time as a later life of the process, or as another process (describeSharedNodeLog). */
  open(): Promise<NodeLog>;
  /** True where sealing appends an entry of its own, which reads yield. */
  readonly sealsByEntry?: boolean;
  dispose(): Promise<void>;
}

function withoutSeal(entries: readonly Uint8Array[]): Uint8Array[] {
  return entries.filter((entry) => readEntryHeader(entry).kind !== ENTRY_KIND_SEAL);
}

/** Nothing was written; a log that can resend leaves it to the caller to see what is there. */
function isRefused(outcome: AppendOutcome): boolean {
  return outcome.kind === "fenced" || outcome.kind === "conflict";
}

/** `makeWorld` gives an empty place for logs each time. */
export function describeNodeLog(name: string, makeWorld: () => Promise<NodeLogWorld>): void {
  describe(`NodeLog: ${name}`, () => {
    let world: NodeLogWorld;
    let log: NodeLog;
    let chain: EntryChain;

    beforeEach(async () => {
      world = await makeWorld();
      log = await world.open();
      chain = new EntryChain(5, log.storeId);
    });
    afterEach(async () => {
      await log.close();
      await world.dispose();
    });

    async function fill(count: number, bodyBytes = 100): Promise<Uint8Array[]> {
      const entries: Uint8Array[] = [];
      for (let i = 0; i < count; i += 1) {
        const entry = chain.next(bodyBytes);
        const outcome = await log.append(entry, chain.sequence - 1);
        assert.deepEqual(outcome, { kind: "committed" });
        entries.push(entry);
      }
      return entries;
    }

    async function restart(): Promise<void> {
      await log.close();
      log = await world.open();
    }

    /** What a seal adds to the last sequence. */
    function sealCount(): number {
      return world.sealsByEntry === true ? 1 : 0;
    }

    it("reads back what was appended, in order, while it grows", async () => {
      await log.create(5);
      const entries = await fill(20);
      assert.deepEqual(await readAll(log, 5), entries);
      assert.deepEqual(await readAll(log, 5, 7, 9), entries.slice(6, 9));
      assert.deepEqual(await readAll(log, 5, 21, 30), []);
      entries.push(...(await fill(1)));
      assert.deepEqual(await readAll(log, 5, 20), entries.slice(19));
    });

    it("keeps entries of every size up to the limit", async () => {
      await log.create(5);
      const entries: Uint8Array[] = [];
      const most = ENTRY_BYTES_MAX - ENTRY_HEADER_BYTES;
      for (const size of [0, 1, 459, 460, 461, 960, 4096, 70_000, 524_288, most, 3]) {
        entries.push(...(await fill(1, size)));
      }
      assert.deepEqual(await readAll(log, 5), entries);
    });

    it("keeps entries over a restart and seals at the last one, repeatably", async () => {
      await log.create(5);
      const entries = await fill(30);
      await restart();
      assert.deepEqual(await log.list(), [5]);
      const end = 30 + sealCount();
      assert.equal(await log.seal(5), end);
      assert.equal(await log.seal(5), end);
      assert.deepEqual(withoutSeal(await readAll(log, 5)), entries);
      await restart();
      assert.equal(await log.seal(5), end);
      assert.equal(await log.lastSequence(5), end);
      assert.deepEqual(withoutSeal(await readAll(log, 5, 30, 99)), entries.slice(29));
    });

    it("seals an empty log where it begins", async () => {
      await log.create(5);
      await restart();
      assert.equal(await log.seal(5), sealCount());
      assert.deepEqual(withoutSeal(await readAll(log, 5)), []);
    });

    it("takes nothing after a seal", async () => {
      await log.create(5);
      const entries = await fill(2);
      assert.equal(await log.seal(5), 2 + sealCount());
      assert.ok(isRefused(await log.append(chain.next(1), 2)));
      assert.deepEqual(withoutSeal(await readAll(log, 5)), entries);
    });

    it("fences an append with another expectation and goes on after it", async () => {
      await log.create(5);
      const entries = await fill(3);
      const next = chain.next(8);
      assert.ok(isRefused(await log.append(next, 2)));
      assert.ok(isRefused(await log.append(next, 4)));
      assert.deepEqual(await log.append(next, 3), { kind: "committed" });
      assert.deepEqual(await readAll(log, 5), [...entries, next]);
    });

    it("keeps the logs of several incarnations apart", async () => {
      await log.create(5);
      const first = await fill(3);
      await restart();
      await log.seal(5);
      chain = new EntryChain(12, log.storeId);
      await log.create(12);
      const second = await fill(4);
      assert.deepEqual(await log.list(), [5, 12]);
      assert.deepEqual(withoutSeal(await readAll(log, 5)), first);
      assert.deepEqual(await readAll(log, 12), second);
      await log.delete(5);
      assert.deepEqual(await log.list(), [12]);
      await restart();
      assert.deepEqual(await log.list(), [12]);
      assert.deepEqual(await readAll(log, 12), second);
    });

    it("keeps at least everything after the trim point", async () => {
      await log.create(5);
      const entries = await fill(60, 200);
      const before = log.sizeBytes;
      await log.trim(5, 40);
      assert.ok(log.sizeBytes <= before);
      assert.deepEqual(await readAll(log, 5, 41), entries.slice(40));
      await restart();
      assert.equal(await log.seal(5), 60 + sealCount());
      assert.deepEqual(await readAll(log, 5, 41, 60), entries.slice(40));
      const kept = withoutSeal(await readAll(log, 5, FIRST_KEPT));
      assert.ok(kept.length >= 20);
      assert.deepEqual(kept, entries.slice(-kept.length));
    });

    it("still knows the end when everything is trimmed", async () => {
      await log.create(5);
      await fill(10);
      await log.trim(5, 10);
      await fill(1);
      await restart();
      assert.equal(await log.seal(5), 11 + sealCount());
    });

    it("yields entries that follow one another by their checksums", async () => {
      await log.create(5);
      await fill(5);
      let crc = chainSeed(5, log.storeId);
      for (const bytes of await readAll(log, 5)) {
        const { ok, damage } = readEnvelope(bytes, 0, bytes.length, crc);
        assert.equal(damage, undefined);
        crc = ok?.crc ?? 0;
      }
    });
  });
}

/** What a log promises that several processes share: `open` is called for each of them. `canResend` must hold. */
export function describeSharedNodeLog(name: string, makeWorld: () => Promise<NodeLogWorld>): void {
  describe(`shared NodeLog: ${name}`, () => {
    let world: NodeLogWorld;
    let owner: NodeLog;
    let others: NodeLog[];
    let chain: EntryChain;

    beforeEach(async () => {
      world = await makeWorld();
      owner = await world.open();
      others = [await world.open(), await world.open()];
      chain = new EntryChain(5, owner.storeId);
      await owner.create(5);
    });
    afterEach(async () => {
      for (const log of [owner, ...others]) await log.close();
      await world.dispose();
    });

    it("has one identity for all", () => {
      assert.equal(owner.canResend, true);
      for (const log of others) assert.equal(log.storeId, owner.storeId);
    });

    it("gives an incarnation one log only", async () => {
      await assert.rejects((others[0] as NodeLog).create(5), { code: "conflict" });
    });

    it("takes the same append once, however often it is sent", async () => {
      const first = chain.next(50);
      assert.equal((await owner.append(first, 0)).kind, "committed");
      for (let i = 0; i < 3; i += 1) assert.equal((await owner.append(first, 0)).kind, "conflict");
      const second = chain.next(50);
      assert.equal((await owner.append(second, 1)).kind, "committed");
      assert.equal((await owner.append(first, 0)).kind, "conflict");
      assert.deepEqual(await readAll(others[0] as NodeLog, 5), [first, second]);
    });

    it("seals under an owner that appends at full speed, at one place for all sealers", async () => {
      const committed: Uint8Array[] = [];
      let refused: AppendOutcome | null = null;
      const appending = (async () => {
        while (refused === null) {
          const entry = chain.next(2000);
          const outcome = await owner.append(entry, chain.sequence - 1);
          if (outcome.kind === "committed") committed.push(entry);
          else refused = outcome;
        }
      })();
      while (committed.length < 20) await new Promise((resolve) => setImmediate(resolve));
      const ends = await Promise.all(others.map((log) => log.seal(5)));
      await appending;
      assert.deepEqual(refused === null ? null : (refused as AppendOutcome).kind, "conflict");
      assert.deepEqual(ends, [committed.length + 1, committed.length + 1]);
      const entries = await readAll(others[0] as NodeLog, 5);
      assert.deepEqual(entries.slice(0, -1), committed);
      const last = readEntryHeader(entries.at(-1) as Uint8Array);
      assert.deepEqual([last.kind, last.sequence], [ENTRY_KIND_SEAL, committed.length + 1]);
    });

    it("refuses what arrives after the seal, whatever it expects of the past", async () => {
      const entries = [chain.next(9), chain.next(9), chain.next(9)];
      for (const [i, entry] of entries.slice(0, 2).entries()) await owner.append(entry, i);
      assert.equal(await (others[0] as NodeLog).seal(5), 3);
      for (let expected = 0; expected <= 2; expected += 1) {
        assert.ok(isRefused(await owner.append(entries[expected] as Uint8Array, expected)));
      }
      await owner.trim(5, 2);
      for (let expected = 0; expected <= 2; expected += 1) {
        assert.ok(isRefused(await owner.append(entries[expected] as Uint8Array, expected)));
      }
      assert.equal(await owner.lastSequence(5), 3);
    });

    it("lets nobody create a log that was sealed before it was created", async () => {
      const [sealer, late] = others as [NodeLog, NodeLog];
      const end = await sealer.seal(6);
      await assert.rejects(late.create(6), { code: "conflict" });
      assert.equal(await sealer.seal(6), end);
    });
  });
}
