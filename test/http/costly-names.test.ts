/** Names that are costly to parse, in bulk: the event loop gets its turn every few of them. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { FakeReply } from "../support/fake-http.ts";
import { type Fixture, openFixture } from "../support/http-fixture.ts";

/** As if each look at the clock had taken a millisecond of work. */
function slowFixture(): Fixture {
  const fixture = openFixture({ limits: { turnMs: 4 } });
  fixture.ingress.pendingEventsMax = 1_000_000;
  fixture.time.monotonicMs = () => {
    fixture.time.nowMs += 1;
    return fixture.time.nowMs;
  };
  return fixture;
}

async function turnsUntilAnswered(reply: FakeReply): Promise<number> {
  let turns = 0;
  while (reply.status === 0) {
    await new Promise((resolve) => setImmediate(resolve));
    turns++;
    assert.ok(turns < 10_000);
  }
  return turns;
}

const NAMES = 400;
/** Four of them fit into a turn of 4 ms. */
const TURNS_MIN = NAMES / 5;
const KINDS: readonly (readonly [string, (i: number) => string])[] = [
  ["names of other scripts", (i) => `bücher${i}.example`],
  ["punycode", () => "xn--bcher-kva.example"],
  ["names that are refused", (i) => `ﷺ${i}.example`],
];

describe("Costly names", () => {
  for (const [kind, nameOf] of KINDS) {
    const names = Array.from({ length: NAMES }, (_, i) => nameOf(i));

    it(`yield in NDJSON and in an array: ${kind}`, async () => {
      const events = names.map((domain) => ({ domain, type: "delivered" }));
      const bodies = [
        ["application/x-ndjson", events.map((event) => JSON.stringify(event)).join("\n")],
        ["application/json", JSON.stringify(events)],
      ] as const;
      for (const [type, body] of bodies) {
        const { http } = slowFixture();
        const reply = http.start("POST", "/events", { headers: { "content-type": type }, body });
        const turns = await turnsUntilAnswered(reply);
        assert.equal(reply.status, 200);
        const answer = reply.json() as { accepted: number; rejected: readonly unknown[] };
        assert.equal(answer.accepted + answer.rejected.length, NAMES);
        assert.ok(turns >= TURNS_MIN, `${type}: ${turns} turns`);
      }
    });

    it(`yield in a lookup: ${kind}`, async () => {
      const { http } = slowFixture();
      const reply = http.start("POST", "/domains/lookup", {
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ domains: names }),
      });
      const turns = await turnsUntilAnswered(reply);
      assert.equal(reply.status, 200);
      assert.equal((reply.json()["results"] as unknown[]).length, NAMES);
      assert.ok(turns >= TURNS_MIN, `${turns} turns`);
    });
  }

  it("end with the client that asked", async () => {
    const { http } = slowFixture();
    const reply = http.start("POST", "/domains/lookup", {
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ domains: Array.from({ length: 2000 }, (_, i) => `ü${i}.de`) }),
    });
    await new Promise((resolve) => setImmediate(resolve));
    reply.abort();
    let turns = 0;
    const before = process.cpuUsage().user;
    while (turns < 20) {
      await new Promise((resolve) => setImmediate(resolve));
      turns++;
    }
    assert.equal(reply.sends <= 1, true);
    assert.ok(process.cpuUsage().user - before < 200_000);
  });
});
