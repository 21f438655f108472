/** A cluster node whose NATS goes away again while it joins: the next try joins, in the same process. */

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { FaultyLink } from "../../scripts/chaos/faulty-link.ts";
import { freePort } from "../../scripts/free-port.ts";
import { TestMongod } from "../support/mongod.ts";
import { TestNatsServer } from "../support/nats-server.ts";
import { NodeProcess } from "../support/node-process.ts";

/** Connections that break as soon as the node asks for its first stream. */
const BREAKS = 3;

describe("the start of a cluster node", () => {
  it("tries again when NATS goes away while it joins", async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "catchall-start-"));
    const [nats, mongod] = await Promise.all([TestNatsServer.start(), TestMongod.start()]);
    let breaks = 0;
    const createFilter = () => {
      let isAsked = false;
      return {
        up: (chunk: Buffer): void => {
          isAsked ||= chunk.includes("STREAM.CREATE");
        },
        down: (chunk: Buffer): Buffer | null =>
          isAsked && breaks < BREAKS && ++breaks > 0 ? null : chunk,
      };
    };
    const link = await FaultyLink.listen({ targetPort: nats.port, createFilter });
    const port = await freePort();
    const flags = ["--nats-url", `nats://127.0.0.1:${link.port}`, "--mongo-url", mongod.url];
    let node: NodeProcess | null = null;
    try {
      node = await NodeProcess.start({ port, dataDir, flags });
      assert.equal(breaks, BREAKS);
      assert.match(node.output, /"The node could not join; it tries again"/);
      const counted = await fetch(`${node.url}/events/a.example/delivered`, { method: "PUT" });
      assert.equal(counted.status, 204);
    } finally {
      await node?.kill();
      await link.close();
      await Promise.all([nats.dispose(), mongod.dispose(), rm(dataDir, { recursive: true })]);
    }
  });
});
