/** The ring of recent changes against a list that keeps all. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ChangeHistory } from "../../src/http/change-history.ts";
import type { StatusChange } from "../../src/model/status-change.ts";

function change(number: number): StatusChange {
  return {
    id: `1-1-${number}-0-0`,
    domain: "a.example",
    from: "unknown",
    to: "catch-all",
    delivered: 1001,
    bounced: 0,
    at: "2026-11-21T10:00:00.000Z",
  };
}

describe("ChangeHistory", () => {
  for (const changesMax of [0, 1, 2, 7]) {
    it(`keeps ${changesMax} changes and knows of each id whether all that followed is kept`, () => {
      const history = new ChangeHistory(changesMax, "origin");
      const all: StatusChange[] = [];
      for (let count = 0; count <= 20; count++) {
        assert.equal(history.lastId, all.at(-1)?.id ?? "origin");
        for (let seen = 0; seen <= all.length; seen++) {
          const id = seen === 0 ? "origin" : (all[seen - 1]?.id ?? "");
          const rest = all.slice(seen);
          assert.deepEqual(history.after(id), rest.length <= changesMax ? rest : null, id);
        }
        assert.equal(history.after("other"), null);
        all.push(change(count));
        history.add(change(count));
      }
    });
  }
});
