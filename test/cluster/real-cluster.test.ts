/**
 * Goal: what `npm run cluster` starts is a cluster: events sent to the balancer are counted exactly, every node answers
 * for every domain, also one that joins later. Method: real nats-server, mongod and nodes, all on free ports.
 */

import assert from "node:assert/strict";
import path from "node:path";
import { describe, it } from "node:test";
import { ROOT, runningOf, TSX, withLocalCluster } from "../support/local-cluster.ts";

const NODE: readonly string[] = [...TSX, path.join(ROOT, "src/cli/main.ts")];
const FLAGS = ["--partitions=8", "--lease-ttl=3s", "--shutdown-timeout=10s"];
const DOMAINS = 10;
const ROUNDS = 30;

describe("npm run cluster", () => {
  it("counts exactly through the balancer, answers on every node, leaves nothing running", async () => {
    let pids: readonly number[] = [];
    const options = { nodes: 2, nodeCommand: NODE, nodeFlags: FLAGS };
    await withLocalCluster(options, async ({ cluster }) => {
      const url = `http://127.0.0.1:${cluster.port}`;
      const names = Array.from({ length: DOMAINS }, (_, index) => `d${index}.example.com`);
      for (let round = 0; round < ROUNDS; round++) {
        const sent = names.map((name) =>
          fetch(`${url}/events/${name}/delivered`, { method: "PUT" }).then(({ status }) => status),
        );
        assert.deepEqual(new Set(await Promise.all(sent)), new Set([204]));
      }
      const view = (await (await fetch(`${url}/cluster`)).json()) as {
        readonly nodes: readonly { readonly id: string; readonly partitionsOwned: number }[];
      };
      const owned = view.nodes.map(({ id, partitionsOwned }) => `${id} ${partitionsOwned}`).sort();
      assert.deepEqual(owned, ["n1 4", "n2 4"]);

      await cluster.command(["join"]);
      assert.equal(cluster.nodes.length, 3);
      for (const { id, port } of cluster.nodes) {
        const response = await fetch(`http://127.0.0.1:${port}/domains/lookup`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ domains: names }),
        });
        const { results } = (await response.json()) as {
          readonly results: readonly { readonly domain: string; readonly delivered: number }[];
        };
        const counts = results.map(({ domain, delivered }) => `${domain} ${delivered}`);
        assert.deepEqual(
          counts,
          names.map((name) => `${name} ${ROUNDS}`),
          id,
        );
      }
      const readiness = await (await fetch(`${url}/readyz`)).text();
      assert.match(readiness, /synced before each answer/);
      assert.equal(/NOT SYNCED/.test(readiness), false);
      pids = cluster.pids;
      assert.equal(pids.length, 6, "three nodes, mongod, nats-server and the reaper");
    });
    assert.deepEqual(runningOf(pids), []);
  });
});
