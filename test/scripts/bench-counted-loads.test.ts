/** The benchmark's loads on known domains, against a toy node: what was counted before a load stays part of the account. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CountedLoads } from "../../scripts/bench/counted-loads.ts";
import { ToyNode } from "../support/toy-node.ts";

const SEED = 7;
const DOMAINS = 600;

describe("CountedLoads", () => {
  it("counts every domain once, then events among the same domains, and finds all of them", async () => {
    const node = await ToyNode.start();
    try {
      const loads = new CountedLoads(node.url, SEED);
      assert.equal((await loads.fill(DOMAINS)).ackedTotal, DOMAINS);
      const single = await loads.run({ connections: 4, events: 100 });
      const bulk = await loads.run({ connections: 2, bulk: 50, events: 200 });
      assert.deepEqual([single.ackedTotal, bulk.ackedTotal], [100, 200]);
      await loads.verify();
      const counts = [...node.counts.values()];
      assert.equal(counts.length, DOMAINS);
      const events = counts.reduce((sum, { delivered, bounced }) => sum + delivered + bounced, 0);
      assert.equal(events, DOMAINS + 300);
    } finally {
      await node.close();
    }
  });

  it("does not accept an event that is counted twice, or not at all", async () => {
    for (const defect of ["double", "lose"] as const) {
      const node = await ToyNode.start({ defect });
      try {
        const loads = new CountedLoads(node.url, SEED);
        await loads.fill(DOMAINS);
        await assert.rejects(loads.verify(), /Wrong counts/, defect);
      } finally {
        await node.close();
      }
    }
  });
});
