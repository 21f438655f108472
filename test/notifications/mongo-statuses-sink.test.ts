import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { Document } from "mongodb";
import { CatchallError } from "../../src/model/errors.ts";
import { MongoStatusesSink } from "../../src/notifications/mongo-statuses-sink.ts";
import { MongoConnection } from "../../src/runtime/mongo-connection.ts";
import { TestMongod } from "../support/mongod.ts";
import { changeOf } from "./changes.ts";

describe("MongoStatusesSink", () => {
  let mongod: TestMongod;
  let connection: MongoConnection;
  before(async () => {
    mongod = await TestMongod.start();
    const mongoUrl = mongod.url;
    const options = { mongoUrl, database: "statuses-test", name: "test", callTimeoutMs: 2000 };
    connection = new MongoConnection(options);
  });
  after(async () => {
    await connection?.close();
    await mongod?.dispose();
  });

  const read = (domain: string) => {
    return connection.collection<Document>("statuses").findOne({ _id: domain } as Document);
  };

  it("keeps the newest status of a domain, whatever is repeated or comes late", async () => {
    const sink = new MongoStatusesSink(connection);
    const domain = "$weird.example";
    const first = changeOf(7, 0, { domain, to: "catch-all", delivered: 1001, bounced: 0 });
    const second = changeOf(8, 2, { domain, from: "catch-all", delivered: 1001 });
    await sink.store([first, changeOf(7, 1), second]);
    const want = {
      _id: domain,
      status: "not catch-all",
      since: new Date(second.at),
      delivered: 1001,
      bounced: 1,
      changeId: "1-5-8-3-2",
      v: [1, 8, 2],
    };
    assert.deepEqual(await read(domain), want);
    await sink.store([first]);
    await sink.store([second]);
    assert.deepEqual(await read(domain), want, "an older one and a repeat change nothing");
    const later = changeOf(1, 0, { id: "2-6-1-3-0", domain, to: "unknown", bounced: 0 });
    await sink.store([later]);
    assert.equal(
      (await read(domain))?.["status"],
      "unknown",
      "a later epoch counts from one again",
    );
    assert.equal((await read("d7-1.example"))?.["status"], "not catch-all");
  });

  it("stores the same domains from two nodes at once", async () => {
    const changes = Array.from({ length: 500 }, (_, i) => changeOf(i, 1));
    const late = changes.map((change) => ({ ...change, id: change.id.replace(/1$/, "0") }));
    const sinks = [new MongoStatusesSink(connection), new MongoStatusesSink(connection)];
    await Promise.all([sinks[0]?.store(changes), sinks[1]?.store(late), sinks[1]?.store(changes)]);
    for (const { domain, id } of [changes[0], changes[499]] as typeof changes) {
      assert.equal((await read(domain))?.["changeId"], id);
    }
  });

  it("rejects in time when MongoDB is frozen, and stores when it is back", async () => {
    const sink = new MongoStatusesSink(connection);
    mongod.pause();
    try {
      await assert.rejects(sink.store([changeOf(900)]), (error) => {
        return error instanceof CatchallError && error.code === "checkpoint_unavailable";
      });
    } finally {
      mongod.resume();
    }
    await sink.store([changeOf(900)]).catch(() => sink.store([changeOf(900)]));
    assert.equal((await read("d900-0.example"))?.["delivered"], 900);
  });
});
