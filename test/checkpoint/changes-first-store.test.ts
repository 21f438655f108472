import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ChangesFirstStore } from "../../src/checkpoint/changes-first-store.ts";
import { pageOf, save, setOf } from "../conformance/checkpoint-store.ts";
import { MemoryCheckpointStore } from "../support/memory-checkpoint-store.ts";

describe("ChangesFirstStore", () => {
  it("puts no page and no manifest before the changes are stored (I22)", async () => {
    const inner = new MemoryCheckpointStore();
    const waits: (() => void)[] = [];
    const flushed = () => new Promise<void>((resolve) => waits.push(resolve));
    const store = new ChangesFirstStore(inner, { flushed });
    const saved = save(store, true, [pageOf(0, 1, 1)], setOf(1));
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(inner.pages.size, 0);
    waits.shift()?.();
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(inner.pages.size, 1);
    assert.equal(inner.manifest, null);
    waits.shift()?.();
    await saved;
    assert.deepEqual(inner.manifest, setOf(1));
  });

  it("fails the checkpoint when the changes can't be stored", async () => {
    const inner = new MemoryCheckpointStore();
    const store = new ChangesFirstStore(inner, {
      flushed: () => Promise.reject(new Error("not stored")),
    });
    await assert.rejects(save(store, true, [pageOf(0, 1, 1)], setOf(1)), /not stored/);
    assert.equal(inner.pages.size, 0);
    assert.equal(inner.manifest, null);
    assert.equal(store.wantsFull, true);
  });
});
