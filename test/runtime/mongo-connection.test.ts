import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CatchallError } from "../../src/model/errors.ts";
import { isAccessRefused, MongoConnection } from "../../src/runtime/mongo-connection.ts";
import { TestMongod } from "../support/mongod.ts";

function ping(connection: MongoConnection): Promise<unknown> {
  return connection.call("answer", () => connection.db.command({ ping: 1 }));
}

describe("MongoConnection", { timeout: 60_000 }, () => {
  it("connects once MongoDB is there, when it was away at first, and again after it was away", async () => {
    const mongod = await TestMongod.start();
    const options = { mongoUrl: mongod.url, database: "test", name: "test", callTimeoutMs: 500 };
    const connection = new MongoConnection(options);
    try {
      for (let outage = 0; outage < 2; outage++) {
        await mongod.kill();
        for (let i = 0; i < 2; i++) {
          await assert.rejects(
            ping(connection),
            (error) => error instanceof CatchallError && error.code === "checkpoint_unavailable",
          );
        }
        await mongod.restart();
        let answer: unknown = null;
        // The driver looks for a lost server every so often.
        for (let i = 0; i < 40 && answer === null; i++) {
          answer = await ping(connection).catch(() => null);
        }
        assert.deepEqual((answer as { ok: number } | null)?.ok, 1);
      }
    } finally {
      await connection.close();
      await mongod.dispose();
    }
    await assert.rejects(ping(connection), /the connection is closed/);
  });

  it("tells refused credentials from a MongoDB that is away", async () => {
    const mongod = await TestMongod.start();
    const mongoUrl = mongod.url.replace("//", "//nobody:wrong@");
    const connection = new MongoConnection({ mongoUrl, database: "test", name: "test" });
    try {
      await assert.rejects(ping(connection), (error) => isAccessRefused(error));
      await mongod.kill();
      await assert.rejects(ping(connection), (error) => !isAccessRefused(error));
    } finally {
      await connection.close();
      await mongod.dispose();
    }
  });
});
