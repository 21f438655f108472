/** What every CheckpointStore promises: each adapter and each simulated one runs this. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type {
  CheckpointPage,
  CheckpointStore,
  ManifestSet,
} from "../../src/checkpoint/checkpoint-store.ts";

export interface CheckpointWorld {
  /** Opens the store; again as a later life of the process. */
  open(): Promise<CheckpointStore>;
  dispose(): Promise<void>;
}

export function pageOf(partition: number, id: number, sequence: number, size = 50): CheckpointPage {
  const position = { epoch: 1, incarnation: 5, sequence };
  const bytes = new Uint8Array(size).fill(sequence & 255);
  return { partition, kind: "counters", id, position, bytes };
}

export function setOf(sequence: number, partitions = 2): ManifestSet {
  const watermark = { epoch: 1, incarnation: 5, sequence };
  return {
    formatVersion: 1,
    partitions,
    hashName: "murmur3-x86-32",
    canonicalisationVersion: "1",
    timeMs: 1_700_000_000_000 + sequence,
    manifests: Array.from({ length: partitions }, (_, partition) => ({
      partition,
      watermark,
      keyBuckets: [60, 120],
      domainCount: 3,
    })),
  };
}

export async function save(
  store: CheckpointStore,
  isFull: boolean,
  pages: readonly CheckpointPage[],
  set: ManifestSet,
): Promise<number> {
  const writer = await store.begin(isFull);
  await writer.putPages(pages);
  return writer.commit(set);
}

/** Page key → position and bytes of the newest version that the store yields. */
export async function contentOf(
  store: CheckpointStore,
  partitions: readonly number[] = [0, 1],
): Promise<ReadonlyMap<string, string>> {
  const content = new Map<string, string>();
  const newest = new Map<string, number>();
  for await (const page of store.readPages(new Set(partitions))) {
    const key = `${page.partition}/${page.kind}/${page.id}`;
    if ((newest.get(key) ?? -1) > page.position.sequence) continue;
    newest.set(key, page.position.sequence);
    content.set(key, `${page.position.sequence}:${Buffer.from(page.bytes).toString("hex")}`);
  }
  return content;
}

export function contentOfPages(pages: readonly CheckpointPage[]): ReadonlyMap<string, string> {
  return new Map(
    pages.map((page) => [
      `${page.partition}/${page.kind}/${page.id}`,
      `${page.position.sequence}:${Buffer.from(page.bytes).toString("hex")}`,
    ]),
  );
}

function sorted(content: ReadonlyMap<string, string>): unknown {
  return [...content].sort();
}

/** `makeWorld` gives an empty place each time. */
export function describeCheckpointStore(
  name: string,
  makeWorld: () => Promise<CheckpointWorld>,
): void {
  describe(`CheckpointStore: ${name}`, () => {
    let world: CheckpointWorld;
    let store: CheckpointStore;

    beforeEach(async () => {
      world = await makeWorld();
      store = await world.open();
    });
    afterEach(async () => {
      await store.close();
      await world.dispose();
    });

    async function restart(): Promise<void> {
      await store.close();
      store = await world.open();
    }

    it("has nothing at first and wants a full checkpoint", async () => {
      assert.equal(await store.readManifests(null), null);
      assert.deepEqual(await contentOf(store), new Map());
      assert.equal(store.wantsFull, true);
    });

    it("reads back manifests and pages, of the partitions asked for", async () => {
      const pages = [
        pageOf(0, 7, 3),
        pageOf(1, 65_535, 3, 9000),
        { ...pageOf(1, 1_700_000_040, 2, 0), kind: "keys" as const },
        { ...pageOf(1, 0, 3), kind: "meta" as const },
      ];
      assert.ok((await save(store, true, pages, setOf(3))) > 0);
      await restart();
      assert.deepEqual(await store.readManifests(null), setOf(3));
      assert.deepEqual(sorted(await contentOf(store)), sorted(contentOfPages(pages)));
      const first = sorted(contentOfPages(pages.slice(0, 1)));
      assert.deepEqual(sorted(await contentOf(store, [0])), first);
    });

    it("puts newer pages over older ones, over several checkpoints", async () => {
      const first = [pageOf(0, 1, 1), pageOf(0, 2, 1), pageOf(1, 3, 1)];
      await save(store, true, first, setOf(1));
      await save(store, false, [pageOf(0, 2, 2)], setOf(2));
      await restart();
      assert.deepEqual(await store.readManifests(null), setOf(2));
      await save(store, false, [pageOf(0, 4, 3)], setOf(3));
      await restart();
      const want = [pageOf(0, 1, 1), pageOf(0, 2, 2), pageOf(1, 3, 1), pageOf(0, 4, 3)];
      assert.deepEqual(sorted(await contentOf(store)), sorted(contentOfPages(want)));
    });

    it("shows no manifest of an abandoned or unfinished checkpoint", async () => {
      await save(store, true, [pageOf(0, 1, 1)], setOf(1));
      const abandoned = await store.begin(true);
      await abandoned.putPages([pageOf(0, 1, 2)]);
      await abandoned.abandon();
      assert.deepEqual(await store.readManifests(null), setOf(1));
      await save(store, true, [pageOf(0, 1, 3)], setOf(3));
      const unfinished = await store.begin(true);
      await unfinished.putPages([pageOf(0, 1, 4)]);
      await restart();
      assert.deepEqual(await store.readManifests(null), setOf(3));
    });

    it("keeps an empty delta's manifest", async () => {
      await save(store, true, [pageOf(0, 1, 1)], setOf(1));
      await save(store, false, [], setOf(9));
      await restart();
      assert.deepEqual(await store.readManifests(null), setOf(9));
      assert.equal((await contentOf(store)).size, 1);
    });
  });
}
