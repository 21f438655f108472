/** Goal: cases that lost nothing and nodes that never answer are found, not passed over. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { checkLosses, readEverywhere } from "../../scripts/chaos/dropped-acks.ts";
import { History } from "../../scripts/chaos/history.ts";
import type { ClientAnswer } from "../../scripts/chaos/http-client.ts";

const DOMAIN = "d1.example";
const BODY = { domain: DOMAIN, delivered: 3, bounced: 0, status: "unknown" };

/** Answers 503 so many times before it answers. */
function client(refusals: number): { send(): Promise<ClientAnswer> } {
  let left = refusals;
  return {
    send: async () => {
      const isWell = --left < 0;
      const told = isWell ? "200" : "503 no_owner";
      const status = isWell ? 200 : 503;
      return { status, told, body: isWell ? BODY : null, outcome: "acked", isReplayed: false };
    },
  };
}

describe("readEverywhere", () => {
  it("reads through every node, and says which one never answers", async () => {
    const history = new History(null);
    const clients = new Map([
      ["n1", client(0)],
      ["n2", client(2)],
      ["n3", client(1)],
    ]);
    const silent = await readEverywhere({ clients, history, domain: DOMAIN, triesMax: 2 });
    assert.deepEqual(silent, [
      { rule: "unanswered", domain: DOMAIN, text: "n2 does not answer after 2 tries" },
    ]);
    const { reads } = history.of(DOMAIN);
    assert.deepEqual(
      reads.map(({ node, counts }) => [node, counts?.delivered]),
      [
        ["n1", 3],
        ["n3", 3],
      ],
    );
  });
});

describe("checkLosses", () => {
  it("finds cases without a lost acknowledgement", () => {
    const cases = { http: 12, publish: 12 };
    assert.deepEqual(checkLosses({ cases, lost: cases }), []);
    const [violation, ...others] = checkLosses({ cases, lost: { http: 12, publish: 11 } });
    assert.equal(violation?.rule, "fault");
    assert.match(violation?.text ?? "", /^11 publish acknowledgements were lost in 12 cases$/);
    assert.deepEqual(others, []);
  });
});
