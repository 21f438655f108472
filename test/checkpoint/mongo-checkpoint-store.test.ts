import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { Document } from "mongodb";
import type { CheckpointPage, ManifestSet } from "../../src/checkpoint/checkpoint-store.ts";
import { MongoCheckpointStore } from "../../src/checkpoint/mongo-checkpoint-store.ts";
import { CatchallError } from "../../src/model/errors.ts";
import { MongoConnection } from "../../src/runtime/mongo-connection.ts";
import {
  contentOf,
  contentOfPages,
  describeCheckpointStore,
  pageOf,
  save,
  setOf,
} from "../conformance/checkpoint-store.ts";
import { TestMongod } from "../support/mongod.ts";

const STORE_ID = 4711;
let databaseCount = 0;

let mongod: TestMongod;
let alone: TestMongod;
before(async () => {
  [mongod, alone] = await Promise.all([
    TestMongod.start(),
    TestMongod.start({ isReplicaSet: false }),
  ]);
});
after(async () => {
  await Promise.all([mongod?.dispose(), alone?.dispose()]);
});

/** A database of its own. */
function connectionTo(server: TestMongod, callTimeoutMs?: number): MongoConnection {
  databaseCount += 1;
  const database = `test-${databaseCount}`;
  const limit = callTimeoutMs === undefined ? {} : { callTimeoutMs };
  return new MongoConnection({ mongoUrl: server.url, database, name: "test", ...limit });
}

function worldOf(server: () => TestMongod) {
  return async () => {
    const connection = connectionTo(server());
    return {
      isShared: true,
      open: async () => new MongoCheckpointStore({ connection, storeId: STORE_ID }),
      dispose: async () => {
        await connection.db.dropDatabase();
        await connection.close();
      },
    };
  };
}

describeCheckpointStore(
  "MongoDB, a replica set of one",
  worldOf(() => mongod),
);
describeCheckpointStore(
  "MongoDB, a server that stands alone",
  worldOf(() => alone),
);

function keysPage(bucket: number, sequence: number, size = 40): CheckpointPage {
  return { ...pageOf(0, bucket, sequence, size), kind: "keys" };
}

/** Partition 0 only, with these buckets. */
function setWith(sequence: number, keyBuckets: readonly number[], epoch = 1): ManifestSet {
  const set = setOf(sequence, 1);
  const watermark = { epoch, incarnation: 5, sequence };
  return { ...set, manifests: set.manifests.map((m) => ({ ...m, watermark, keyBuckets })) };
}

async function failsWith(code: string, pattern: RegExp, work: Promise<unknown>): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof CatchallError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, pattern);
    return true;
  });
}

describe("MongoCheckpointStore", () => {
  async function withStore(
    work: (store: MongoCheckpointStore, connection: MongoConnection) => Promise<void>,
  ): Promise<void> {
    const connection = connectionTo(mongod);
    try {
      await work(new MongoCheckpointStore({ connection, storeId: STORE_ID }), connection);
    } finally {
      await connection.close();
    }
  }

  const ids = async (connection: MongoConnection, name: string): Promise<string[]> => {
    const documents = await connection.collection<Document>(name).find().sort({ _id: 1 }).toArray();
    return documents.map(({ _id }) => String(_id));
  };

  it("packs sixteen neighbouring pages into a document, and puts each if newer", async () => {
    await withStore(async (store, connection) => {
      const pages = Array.from({ length: 48 }, (_, i) => pageOf(1, 65_488 + i, 5));
      await save(store, true, pages, setOf(5));
      assert.deepEqual(await ids(connection, "pages"), ["1/c/0ffd", "1/c/0ffe", "1/c/0fff"]);
      await save(store, false, [pageOf(1, 65_535, 6), pageOf(1, 65_534, 4)], setOf(6));
      const want = [...pages.slice(0, -1), pageOf(1, 65_535, 6)];
      assert.deepEqual(await contentOf(store), contentOfPages(want));
    });
  });

  it("deletes pages of expired keys behind the manifest, and no newer ones", async () => {
    await withStore(async (store, connection) => {
      const large = keysPage(120, 1, 100_000);
      await save(
        store,
        true,
        [keysPage(60, 1), large, keysPage(180, 1)],
        setWith(1, [60, 120, 180]),
      );
      assert.equal((await ids(connection, "parts")).length, 1);
      await save(store, false, [], setWith(2, [120, 180]));
      assert.deepEqual(await ids(connection, "pages"), ["0/k/120", "0/k/180"]);
      // Put by a successor, whom this writer does not know.
      const newer = { ...keysPage(180, 9), position: { epoch: 2, incarnation: 6, sequence: 9 } };
      const half = await store.begin(false);
      await half.putPages([newer]);
      await half.putPages([keysPage(240, 2)]);
      await half.abandon();
      await save(store, false, [newer, keysPage(240, 3)], setWith(3, [240]));
      assert.deepEqual(await ids(connection, "pages"), ["0/k/180", "0/k/240"]);
      assert.deepEqual(await ids(connection, "parts"), []);
    });
  });

  it("finds what another owner left to delete, at the first manifest of an epoch", async () => {
    await withStore(async (store, connection) => {
      await save(store, true, [keysPage(60, 1), keysPage(120, 1, 70_000)], setWith(1, [60, 120]));
      const successor = new MongoCheckpointStore({ connection, storeId: STORE_ID });
      await successor.readManifests(null);
      await save(successor, false, [], setWith(1, [180], 2));
      assert.deepEqual(await ids(connection, "pages"), []);
      assert.deepEqual(await ids(connection, "parts"), []);
    });
  });

  it("replaces parts of a large page only behind the manifest", async () => {
    await withStore(async (store, connection) => {
      await save(store, true, [pageOf(0, 1, 1, 2_100_000)], setOf(1));
      const before = await ids(connection, "parts");
      assert.equal(before.length, 3);
      const half = await store.begin(false);
      await half.putPages([pageOf(0, 1, 2, 1_100_000)]);
      await half.abandon();
      assert.equal((await ids(connection, "parts")).length, 5);
      await save(store, false, [pageOf(0, 1, 3, 90_000)], setOf(3));
      assert.equal((await ids(connection, "parts")).length, 1);
      assert.deepEqual(await contentOf(store), contentOfPages([pageOf(0, 1, 3, 90_000)]));
      await save(store, false, [pageOf(0, 1, 4, 10)], setOf(4));
      assert.deepEqual(await ids(connection, "parts"), []);
      assert.deepEqual(await contentOf(store), contentOfPages([pageOf(0, 1, 4, 10)]));
    });
  });

  it("says that it is damaged: bytes, positions, places, parts, manifests, records", async () => {
    const changes: readonly (readonly [string, string, Document])[] = [
      ["pages", "0/c/0000", { $set: { "s.1.b": Buffer.from("other") } }],
      ["pages", "0/c/0000", { $set: { "s.1.v": [1, 2, 5] } }],
      ["pages", "0/c/0000", { $set: { "s.1.v": ["1", 1, 5] } }],
      ["pages", "0/c/0000", { $set: { "s.1.v": [1, 1] } }],
      ["pages", "0/c/0000", { $set: { "s.1.c": 7 } }],
      ["pages", "0/c/0000", { $unset: { "s.1.b": 1 } }],
      ["pages", "0/c/0000", { $rename: { "s.1": "s.2" } }],
      ["pages", "0/c/0000", { $rename: { "s.1": "s.x" } }],
      ["pages", "0/c/0000", { $unset: { s: 1 } }],
      ["parts", "0/c/0010.0@", { $set: { b: Buffer.from("other") } }],
      ["parts", "0/c/0010.0@", { $unset: { b: 1 } }],
      ["manifests", "0", { $set: { domainCount: 4 } }],
      ["manifests", "0", { $set: { v: [1, 2, 5] } }],
      ["manifests", "0", { $unset: { keyBuckets: 1 } }],
      ["store", "store", { $set: { layoutVersion: 2 } }],
      ["store", "store", { $set: { partitions: "64" } }],
      ["store", "store", { $set: { storeId: 1 } }],
    ];
    for (const [name, id, update] of changes) {
      await withStore(async (store, connection) => {
        await save(store, true, [pageOf(0, 1, 1), pageOf(0, 256, 1, 90_000)], setOf(1));
        const range = name === "parts" ? { $gte: id, $lt: `${id}~` } : id;
        const filter = { _id: name === "manifests" ? 0 : range } as Document;
        const changed = await connection.collection<Document>(name).updateOne(filter, update);
        assert.equal(changed.modifiedCount, 1, JSON.stringify([name, update]));
        const read = async () => {
          await store.readManifests(null);
          await contentOf(store);
        };
        await failsWith("checkpoint_damaged", /in MongoDB/, read());
      });
    }
  });

  it("refuses a database of another cluster or with another hash range", async () => {
    await withStore(async (store, connection) => {
      await save(store, true, [pageOf(0, 1, 1)], setOf(1));
      const foreign = new MongoCheckpointStore({ connection, storeId: STORE_ID + 1 });
      await failsWith("checkpoint_damaged", /another cluster/, foreign.readManifests(null));
      await failsWith("checkpoint_damaged", /another cluster/, foreign.begin(true));
      await failsWith(
        "conflict",
        /^The MongoDB database "test-\d+" belongs to/,
        foreign.assertOwn(),
      );
      await store.assertOwn();
      const other = { ...setOf(2), hashName: "other" };
      await failsWith(
        "checkpoint_damaged",
        /hashName "murmur3-x86-32"/,
        save(store, false, [], other),
      );
      assert.deepEqual(await store.readManifests(null), setOf(1));
    });
  });

  it("writes no delta over a database that was emptied meanwhile", async () => {
    await withStore(async (store, connection) => {
      await save(store, true, [pageOf(0, 1, 1)], setOf(1));
      const half = await store.begin(false);
      await half.putPages([pageOf(0, 2, 2)]);
      await connection.db.dropDatabase();
      await failsWith("checkpoint_unavailable", /written in full/, half.commit(setOf(2)));
      assert.equal(store.wantsFull, true);
      await save(store, true, [pageOf(0, 1, 3)], setOf(3));
      await connection.db.dropDatabase();
      await failsWith("checkpoint_unavailable", /written in full/, store.begin(false));
      assert.equal(store.wantsFull, true);
      assert.equal(await store.readManifests(null), null);
    });
  });
});
