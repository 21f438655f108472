/** MongoDB away, frozen, killed, refusing: bounded rejections, nothing half is believed, and back by itself. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { MongoCheckpointStore } from "../../src/checkpoint/mongo-checkpoint-store.ts";
import { CatchallError } from "../../src/model/errors.ts";
import { MongoConnection } from "../../src/runtime/mongo-connection.ts";
import { contentOf, contentOfPages, pageOf, save, setOf } from "../conformance/checkpoint-store.ts";
import { TestMongod } from "../support/mongod.ts";

const CALL_TIMEOUT_MS = 1000;
/** A call with its time limit, on a machine that is busy. */
const LIMIT_MS: number = CALL_TIMEOUT_MS + 1500;

let mongod: TestMongod;
before(async () => {
  mongod = await TestMongod.start();
});
after(async () => {
  await mongod?.dispose();
});

async function withStore(
  database: string,
  work: (store: MongoCheckpointStore) => Promise<void>,
): Promise<void> {
  const mongoUrl = mongod.url;
  const callTimeoutMs = CALL_TIMEOUT_MS;
  const connection = new MongoConnection({ mongoUrl, database, name: "test", callTimeoutMs });
  try {
    await work(new MongoCheckpointStore({ connection, storeId: 1 }));
  } finally {
    await connection.close();
  }
}

async function isUnavailableInTime(what: string, work: () => Promise<unknown>): Promise<void> {
  const startedMs = performance.now();
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof CatchallError, `${what}: ${String(error)}`);
    assert.equal(error.code, "checkpoint_unavailable", `${what}: ${error.message}`);
    return true;
  });
  const elapsedMs = performance.now() - startedMs;
  assert.ok(elapsedMs < LIMIT_MS, `${what} took ${elapsedMs} ms`);
}

/** Until it works again; the number of tries is bounded. */
async function eventually<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      if (tries === 10) throw error;
    }
  }
}

/** Pages that fill a batch, so that `putPages` has to send some. */
function manyPages(sequence: number): ReturnType<typeof pageOf>[] {
  return Array.from({ length: 80 }, (_, i) => pageOf(0, i * 16, sequence, 30_000));
}

describe("MongoCheckpointStore when MongoDB fails", () => {
  it("frozen: every call ends in time, and a later checkpoint is whole", async () => {
    await withStore("frozen", async (store) => {
      await save(store, true, [pageOf(0, 1, 1)], setOf(1));
      const writer = await store.begin(false);
      mongod.pause();
      try {
        await isUnavailableInTime("readManifests", () => store.readManifests(null));
        await isUnavailableInTime("readPages", () => contentOf(store));
        await isUnavailableInTime("begin", () => store.begin(false));
        await isUnavailableInTime("commit", async () => {
          await writer.putPages([pageOf(0, 1, 2)]);
          await writer.commit(setOf(2));
        });
        await writer.abandon();
      } finally {
        mongod.resume();
      }
      await eventually(() => save(store, true, [pageOf(0, 1, 3)], setOf(3)));
      assert.deepEqual(await store.readManifests(null), setOf(3));
      assert.deepEqual(await contentOf(store), contentOfPages([pageOf(0, 1, 3)]));
    });
  });

  it("killed: what was confirmed is there afterwards, and no manifest that was not", async () => {
    await withStore("killed", async (store) => {
      for (let round = 1; round <= 2; round++) {
        const sequence = round * 10;
        await eventually(() => save(store, store.wantsFull, manyPages(sequence), setOf(sequence)));
        const writer = await store.begin(false);
        await writer.putPages(manyPages(sequence + 1).slice(0, 40));
        await mongod.kill();
        await isUnavailableInTime("commit", () => writer.commit(setOf(sequence + 1)));
        await writer.abandon();
        await isUnavailableInTime("begin", () => store.begin(false));
        await mongod.restart();
        assert.deepEqual(await eventually(() => store.readManifests(null)), setOf(sequence));
        const content = await contentOf(store);
        assert.equal(content.size, 80);
        for (const [page, text] of content) {
          const [version] = text.split(":");
          assert.ok(Number(version) >= sequence, `page ${page} at ${version}`);
        }
      }
    });
  });

  it("refused or not replicated in time: no checkpoint, with the reason", async () => {
    await withStore("refused", async (store) => {
      await save(store, true, [pageOf(0, 1, 1)], setOf(1));
      const failures = [
        { writeConcernError: { code: 64, errmsg: "waiting for replication timed out" } },
        { errorCode: 13 },
        { closeConnection: true },
      ];
      for (const [i, data] of failures.entries()) {
        const writer = await store.begin(false);
        await mongod.command({
          configureFailPoint: "failCommand",
          mode: "alwaysOn",
          data: { failCommands: ["update"], appName: "test", ...data },
        });
        try {
          await isUnavailableInTime(JSON.stringify(data), async () => {
            await writer.putPages([pageOf(0, 1, 2 + i)]);
            await writer.commit(setOf(2 + i));
          });
        } finally {
          await mongod.command({ configureFailPoint: "failCommand", mode: "off" });
        }
        assert.deepEqual(await eventually(() => store.readManifests(null)), setOf(1));
      }
      await save(store, false, [pageOf(0, 1, 9)], setOf(9));
      assert.deepEqual(await store.readManifests(null), setOf(9));
    });
  });

  it("a manifest that fails leaves the one before", async () => {
    await withStore("manifest", async (store) => {
      await save(store, true, [pageOf(0, 1, 1)], setOf(1));
      const writer = await store.begin(false);
      await writer.putPages([pageOf(0, 1, 2), pageOf(0, 2, 2)]);
      // The pages' request passes, the manifests' fails.
      await mongod.command({
        configureFailPoint: "failCommand",
        mode: { skip: 1 },
        data: { failCommands: ["update"], appName: "test", errorCode: 13 },
      });
      try {
        await isUnavailableInTime("commit", () => writer.commit(setOf(2)));
      } finally {
        await mongod.command({ configureFailPoint: "failCommand", mode: "off" });
      }
      assert.deepEqual(await store.readManifests(null), setOf(1));
      const half = contentOfPages([pageOf(0, 1, 2), pageOf(0, 2, 2)]);
      assert.deepEqual(await contentOf(store), half, "pages of the failed one are harmless");
    });
  });

  it("away from the start: says so in time without the password", async () => {
    const mongoUrl = "mongodb://user:very-secret@127.0.0.1:1/?connectTimeoutMS=500";
    const connection = new MongoConnection({
      mongoUrl,
      database: "away",
      name: "test",
      callTimeoutMs: CALL_TIMEOUT_MS,
    });
    const store = new MongoCheckpointStore({ connection, storeId: 1 });
    await isUnavailableInTime("readManifests", () => store.readManifests(null));
    await assert.rejects(store.begin(true), (error) => {
      assert.doesNotMatch(`${(error as Error).message} ${(error as Error).stack}`, /very-secret/);
      return true;
    });
    await connection.close();
    assert.throws(
      () => new MongoConnection({ mongoUrl: "http://u:very-secret@h", database: "d", name: "n" }),
      (error) => {
        assert.ok(error instanceof CatchallError);
        assert.equal(error.code, "checkpoint_unavailable");
        assert.doesNotMatch(error.message, /very-secret/);
        return true;
      },
    );
  });
});
