/** What every ControlStore promises: each adapter and each simulated one runs this. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import {
  type ControlRecord,
  type ControlStore,
  leaseKey,
  TABLE_KEY,
} from "../../src/control-plane/control-store.ts";

export interface ControlStoreWorld {
  /** Another client of the same records. */
  connect(): Promise<ControlStore>;
  dispose(): Promise<void>;
  /** Lets time pass in a world of its own; real time passes by itself. */
  advance?(ms: number): Promise<void>;
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** `open` gives an empty store each time. */
export function describeControlStore(name: string, open: () => Promise<ControlStoreWorld>): void {
  describe(`ControlStore: ${name}`, () => {
    let world: ControlStoreWorld;
    let store: ControlStore;
    let other: ControlStore;

    beforeEach(async () => {
      world = await open();
      store = await world.connect();
      other = await world.connect();
    });

    afterEach(async () => {
      await store.close();
      await other.close();
      await world.dispose();
    });

    async function put(key: string, text: string, expected: number): Promise<number> {
      const outcome = await store.put(key, bytes(text), expected);
      if (outcome.kind !== "committed") throw new Error(`expected a commit, not ${outcome.kind}`);
      return outcome.revision;
    }

    function textOf(record: ControlRecord | null): string | null {
      return record === null ? null : new TextDecoder().decode(record.value);
    }

    it("has nothing at first", async () => {
      assert.equal(await store.read(TABLE_KEY), null);
      assert.deepEqual(await store.readLeases(), []);
    });

    it("creates a record once", async () => {
      const revision = await put(TABLE_KEY, "one", 0);
      assert.ok(revision > 0);
      assert.deepEqual(await other.put(TABLE_KEY, bytes("two"), 0), { kind: "conflict" });
      const record = await other.read(TABLE_KEY);
      assert.equal(textOf(record), "one");
      assert.equal(record?.revision, revision);
      assert.equal(record?.key, TABLE_KEY);
    });

    it("replaces the revision that is expected and no other", async () => {
      const first = await put(TABLE_KEY, "one", 0);
      const second = await put(TABLE_KEY, "two", first);
      assert.ok(second > first);
      assert.deepEqual(await store.put(TABLE_KEY, bytes("x"), first), { kind: "conflict" });
      assert.deepEqual(await store.put(TABLE_KEY, bytes("x"), second + 1), { kind: "conflict" });
      assert.equal(textOf(await other.read(TABLE_KEY)), "two");
    });

    it("lets one of two writers win", async () => {
      const first = await put(TABLE_KEY, "one", 0);
      const outcomes = await Promise.all([
        store.put(TABLE_KEY, bytes("a"), first),
        other.put(TABLE_KEY, bytes("b"), first),
      ]);
      assert.deepEqual(outcomes.map(({ kind }) => kind).sort(), ["committed", "conflict"]);
      const winner = outcomes[0]?.kind === "committed" ? "a" : "b";
      assert.equal(textOf(await store.read(TABLE_KEY)), winner);
    });

    it("expects revisions by key: changes of others do not disturb", async () => {
      const table = await put(TABLE_KEY, "table", 0);
      const lease = await put(leaseKey(1), "lease", 0);
      await put(leaseKey(1), "renewed", lease);
      await put(TABLE_KEY, "changed", table);
      assert.equal(textOf(await store.read(leaseKey(1))), "renewed");
    });

    it("reads all leases and nothing else", async () => {
      await put(TABLE_KEY, "table", 0);
      for (const incarnation of [1, 2, 30]) await put(leaseKey(incarnation), `l${incarnation}`, 0);
      const leases = await other.readLeases();
      const found = leases.map((record) => `${record.key}=${textOf(record)}`).sort();
      assert.deepEqual(found, ["lease.1=l1", "lease.2=l2", "lease.30=l30"]);
      assert.ok(leases.every(({ revision }) => revision > 0));
    });

    it("keeps large values as they are", async () => {
      const large = Uint8Array.from({ length: 300_000 }, (_, i) => i % 251);
      const outcome = await store.put(TABLE_KEY, large, 0);
      assert.equal(outcome.kind, "committed");
      assert.deepEqual(Buffer.from((await other.read(TABLE_KEY))?.value ?? []), Buffer.from(large));
    });

    it("does not keep the caller's bytes", async () => {
      const value = bytes("before");
      const writing = store.put(TABLE_KEY, value, 0);
      await writing;
      value.fill(0);
      assert.equal(textOf(await store.read(TABLE_KEY)), "before");
    });

    it("forgets a lease, repeatably, and never gives its revisions again", async () => {
      const first = await put(leaseKey(4), "final", 0);
      await store.deleteLease(4);
      await store.deleteLease(4);
      assert.equal(await other.read(leaseKey(4)), null);
      assert.deepEqual(await other.readLeases(), []);
      assert.deepEqual(await other.put(leaseKey(4), bytes("late"), first), { kind: "conflict" });
      assert.ok((await put(leaseKey(4), "new", 0)) > first);
      assert.equal(textOf(await other.read(leaseKey(4))), "new");
    });

    it("tells watchers of each newest record until they end it", async () => {
      const seen = new Map<string, string | null>();
      const end = other.watch((record) => seen.set(record.key, textOf(record)));
      const first = await put(TABLE_KEY, "one", 0);
      await put(leaseKey(2), "lease", 0);
      const second = await put(TABLE_KEY, "two", first);
      const isSeen = (): boolean =>
        seen.get(TABLE_KEY) === "two" && seen.get("lease.2") === "lease";
      for (let i = 0; i < 100 && !isSeen(); i++) {
        await world.advance?.(50);
        if (world.advance === undefined) await new Promise((resolve) => setTimeout(resolve, 50));
      }
      assert.ok(isSeen(), "the watch told of the newest records within 5 s");
      end();
      seen.clear();
      await put(TABLE_KEY, "three", second);
      await world.advance?.(200);
      assert.equal(seen.size, 0);
    });
  });
}
