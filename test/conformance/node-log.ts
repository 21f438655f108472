/** What every NodeLog promises: each adapter and each simulated one runs this. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import {
  chainSeed,
  ENTRY_BYTES_MAX,
  ENTRY_HEADER_BYTES,
  readEnvelope,
  sealEnvelope,
} from "../../src/wal/entry-codec.ts";
import type { NodeLog } from "../../src/wal/node-log.ts";

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
  /** Opens the logs; the second time as a later life of the process. */
  open(): Promise<NodeLog>;
  dispose(): Promise<void>;
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
      assert.equal(await log.seal(5), 30);
      assert.equal(await log.seal(5), 30);
      assert.deepEqual(await readAll(log, 5), entries);
      await restart();
      assert.equal(await log.seal(5), 30);
      assert.deepEqual(await readAll(log, 5, 30, 99), entries.slice(29));
    });

    it("seals an empty log at 0", async () => {
      await log.create(5);
      await restart();
      assert.equal(await log.seal(5), 0);
      assert.deepEqual(await readAll(log, 5), []);
    });

    it("takes nothing after a seal", async () => {
      await log.create(5);
      const entries = await fill(2);
      assert.equal(await log.seal(5), 2);
      assert.equal((await log.append(chain.next(1), 2)).kind, "fenced");
      assert.deepEqual(await readAll(log, 5), entries);
    });

    it("fences an append with another expectation and goes on after it", async () => {
      await log.create(5);
      const entries = await fill(3);
      const next = chain.next(8);
      assert.equal((await log.append(next, 2)).kind, "fenced");
      assert.equal((await log.append(next, 4)).kind, "fenced");
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
      assert.deepEqual(await readAll(log, 5), first);
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
      assert.equal(await log.seal(5), 60);
      assert.deepEqual(await readAll(log, 5, 41, 60), entries.slice(40));
    });

    it("still knows the end when everything is trimmed", async () => {
      await log.create(5);
      await fill(10);
      await log.trim(5, 10);
      await fill(1);
      await restart();
      assert.equal(await log.seal(5), 11);
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
