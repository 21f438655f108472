/** What every CheckpointStore promises: each adapter and each simulated one runs this. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type {
  CheckpointPage,
  CheckpointStore,
  ManifestSet,
  PartitionManifest,
} from "../../src/checkpoint/checkpoint-store.ts";

export interface CheckpointWorld {
  /** True where several processes use one store at once, as the nodes of a cluster do. */
  readonly isShared?: boolean;
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
        { ...pageOf(1, 120, 2, 0), kind: "keys" as const },
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

    it("keeps pages of every size apart", async () => {
      const sizes = [0, 1, 4000, 70_000, 1_048_576, 1_048_577, 2_500_000];
      const pages = sizes.map((size, i) => pageOf(i % 2, i, 3, size));
      await save(store, true, pages, setOf(3));
      const grown = [pageOf(0, 0, 4, 80_000), pageOf(0, 6, 4, 10)];
      await save(store, false, grown, setOf(4));
      await restart();
      await store.readManifests(null);
      const kept = pages.filter(({ id }) => id !== 0 && id !== 6);
      const want = contentOfPages([...kept, ...grown]);
      assert.deepEqual(sorted(await contentOf(store)), sorted(want));
    });

    it("reads all of a half-written checkpoint's base: pages of it or newer ones", async () => {
      const first = [pageOf(0, 1, 1), pageOf(0, 2, 1), pageOf(1, 3, 1)];
      await save(store, true, first, setOf(1));
      const half = await store.begin(false);
      await half.putPages([pageOf(0, 2, 2)]);
      await restart();
      assert.deepEqual(await store.readManifests(null), setOf(1));
      const content = await contentOf(store);
      assert.equal(content.size, 3);
      for (const page of first) {
        const [sequence] = (content.get(`${page.partition}/counters/${page.id}`) ?? "0").split(":");
        assert.ok(Number(sequence) >= 1, `page ${page.id} at ${sequence}`);
      }
    });

    it("two writers: the later position stays, whoever comes last", async (t) => {
      if (world.isShared !== true) return t.skip("one process at a time");
      const later = { epoch: 2, incarnation: 6, sequence: 1 };
      const successor = await world.open();
      await save(store, true, [pageOf(0, 1, 8), pageOf(0, 2, 8), pageOf(1, 3, 8)], setOf(8));
      await successor.readManifests(null);
      const page = { ...pageOf(0, 1, 1, 60), position: later };
      const [first, second] = setOf(8).manifests;
      const manifest = { ...(first as PartitionManifest), watermark: later };
      await save(successor, false, [page], { ...setOf(8), manifests: [manifest] });
      // The predecessor does not know yet.
      await save(store, false, [pageOf(0, 1, 9), pageOf(0, 2, 9), pageOf(1, 3, 9)], setOf(9));
      for (const reader of [store, successor]) {
        const set = await reader.readManifests(null);
        const [, kept] = setOf(9).manifests;
        assert.deepEqual(set?.manifests, [manifest, kept], `not ${JSON.stringify(second)}`);
        const pages: CheckpointPage[] = [];
        for await (const { bytes, ...rest } of reader.readPages(new Set([0, 1]))) {
          pages.push({ ...rest, bytes: bytes.slice() });
        }
        const versions = pages.map(({ id, position }) => [id, position.epoch, position.sequence]);
        assert.deepEqual(versions.sort(), [
          [1, 2, 1],
          [2, 1, 9],
          [3, 1, 9],
        ]);
      }
      await successor.close();
    });

    it("two writers of different partitions each keep theirs", async (t) => {
      if (world.isShared !== true) return t.skip("one process at a time");
      const other = await world.open();
      const [first, second] = setOf(5).manifests as [PartitionManifest, PartitionManifest];
      await Promise.all([
        save(store, true, [pageOf(0, 1, 5)], { ...setOf(5), manifests: [first] }),
        save(other, true, [pageOf(1, 1, 5)], { ...setOf(5), manifests: [second] }),
      ]);
      assert.deepEqual(await store.readManifests(null), setOf(5));
      assert.deepEqual(await other.readManifests(new Set([1])), {
        ...setOf(5),
        manifests: [second],
      });
      assert.deepEqual((await other.readManifests(new Set([7])))?.manifests, []);
      const want = contentOfPages([pageOf(0, 1, 5), pageOf(1, 1, 5)]);
      assert.deepEqual(await contentOf(store), want);
      await other.close();
    });
  });
}
