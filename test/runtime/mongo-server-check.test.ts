import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CatchallError } from "../../src/model/errors.ts";
import { MongoConnection } from "../../src/runtime/mongo-connection.ts";
import { checkMongo } from "../../src/runtime/mongo-server-check.ts";
import { TestMongod } from "../support/mongod.ts";

async function reportOf(mongoUrl: string): Promise<Awaited<ReturnType<typeof checkMongo>>> {
  const options = { mongoUrl, database: "check", name: "test", callTimeoutMs: 5000 };
  const connection = new MongoConnection(options);
  try {
    return await checkMongo(connection);
  } finally {
    await connection.close();
  }
}

describe("checkMongo", () => {
  it("tells version and whether it is a replica set, and rejects when nobody answers", async () => {
    const [replicated, alone] = await Promise.all([
      TestMongod.start(),
      TestMongod.start({ isReplicaSet: false }),
    ]);
    try {
      const first = await reportOf(replicated.url);
      assert.match(first.version, /^\d+\.\d+\.\d+/);
      assert.deepEqual(
        { ...first, version: "" },
        {
          version: "",
          topology: "replica set",
          memberCount: 1,
          problems: [],
          warnings: ["The replica set of MongoDB has 1 members, three survive a loss"],
        },
      );
      const second = await reportOf(alone.url);
      assert.equal(second.topology, "standalone");
      assert.deepEqual(second.problems, []);
      assert.match(second.warnings.join(), /no replica set/);
    } finally {
      await Promise.all([replicated.dispose(), alone.dispose()]);
    }
    await assert.rejects(reportOf(alone.url), (error) => {
      return error instanceof CatchallError && error.code === "checkpoint_unavailable";
    });
  });
});
