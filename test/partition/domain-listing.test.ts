/** The names of one page, however large: in order, cut as asked, and in turns of bounded work. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CatchallError } from "../../src/model/errors.ts";
import { STATUS_CATCH_ALL, STATUS_UNKNOWN, STATUS_UNSEEN } from "../../src/model/status.ts";
import { ENTRIES_PER_TURN, ListingTurns, namesAfter } from "../../src/partition/domain-listing.ts";
import type { PartitionActor } from "../../src/partition/partition-actor.ts";
import { TEST_TIMERS } from "../support/test-node.ts";

interface Page {
  readonly actor: PartitionActor;
  /** Names looked at since the last turn began, at most. */
  lookedAtMax: number;
  turns: number;
  isReadable: boolean;
}

/** A page of `count` names in no order; every 7th was never seen, every 3rd of the others is catch-all. */
function pageOf(count: number): Page & { readonly names: readonly string[] } {
  const names = Array.from({ length: count }, (_, i) => `d${(i * 7919) % count}.example`);
  const statuses = names.map((_, i) =>
    i % 7 === 0 ? STATUS_UNSEEN : i % 3 === 0 ? STATUS_CATCH_ALL : STATUS_UNKNOWN,
  );
  const page = { lookedAtMax: 0, turns: 0, isReadable: true };
  let lookedAt = 0;
  let isCounted = false;
  const table = {
    *pageEntries() {
      for (let entry = 0; entry < count; entry++) {
        if (!isCounted) {
          isCounted = true;
          setImmediate(() => {
            isCounted = false;
            lookedAt = 0;
            page.turns++;
          });
        }
        lookedAt++;
        page.lookedAtMax = Math.max(page.lookedAtMax, lookedAt);
        yield entry;
      }
    },
    status: (entry: number) => statuses[entry],
    name: (entry: number) => names[entry],
  };
  const actor = {
    state: { table, settle: () => undefined },
    assertReadable: () => {
      if (!page.isReadable) throw new CatchallError("lease_lost");
    },
  } as unknown as PartitionActor;
  return Object.assign(page, { actor, names });
}

describe("namesAfter", () => {
  for (const countMax of [1, 2, 100, 1001, 5000]) {
    it(`gives all names once and in order, ${countMax} at a time, of one status or all`, async () => {
      const { actor, names } = pageOf(2003);
      for (const status of [null, "catch-all"] as const) {
        const all = names
          .filter((_, i) => i % 7 !== 0 && (status === null || i % 3 === 0))
          .sort((a, b) => (a < b ? -1 : 1));
        const wanted = countMax < 100 ? all.slice(0, 40) : all;
        const got: string[] = [];
        let isMore = true;
        while (isMore && got.length < wanted.length) {
          const query = { afterName: got.at(-1) ?? "", status, countMax };
          const found = await namesAfter(actor, 0, query, new ListingTurns(TEST_TIMERS));
          assert.ok(found.names.length <= countMax);
          got.push(...found.names.map(({ name }) => name));
          isMore = found.isMore;
          assert.equal(isMore, got.length < all.length);
        }
        assert.deepEqual(got, wanted);
      }
    });
  }

  it("looks at a bounded number of names a turn, also when no name fits", async () => {
    for (const query of [
      { afterName: "", status: null, countMax: 1001 },
      { afterName: "", status: "not catch-all", countMax: 1001 },
      { afterName: "zzz", status: null, countMax: 1 },
    ] as const) {
      const page = pageOf(50_000);
      await namesAfter(page.actor, 0, query, new ListingTurns(TEST_TIMERS));
      assert.ok(page.lookedAtMax <= ENTRIES_PER_TURN + 1, `${page.lookedAtMax} in one turn`);
      assert.ok(page.turns >= 50_000 / ENTRIES_PER_TURN - 1, `${page.turns} turns`);
    }
  });

  it("stops when the node may not answer any more", async () => {
    const page = pageOf(50_000);
    const query = { afterName: "", status: null, countMax: 10 };
    const found = namesAfter(page.actor, 0, query, new ListingTurns(TEST_TIMERS));
    page.isReadable = false;
    await assert.rejects(found, { code: "lease_lost" });
  });
});
