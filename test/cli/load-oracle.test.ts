/**
 * The oracle and the verification: one event lost, one doubled or one wrong status must be found, a maybe must not
 * raise an alarm.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DomainNames } from "../../src/cli/load/domain-names.ts";
import type { DomainAnswer, LoadHttp } from "../../src/cli/load/load-http.ts";
import { LoadOracle } from "../../src/cli/load/oracle.ts";
import { type VerificationReport, verifyLoad } from "../../src/cli/load/verification.ts";
import { BOUNCED, DELIVERED } from "../../src/model/event.ts";
import { DEFAULT_RULE } from "../../src/model/status.ts";

const NAMES = new DomainNames(1);

/** Verifies one domain that the service answers with `answer`. */
function verify(
  oracle: LoadOracle,
  answer: Partial<DomainAnswer> & { delivered: number; bounced: number },
  baseline?: Uint32Array,
): Promise<VerificationReport> {
  const derived = answer.bounced > 0 ? "not catch-all" : undefined;
  const status = derived ?? (answer.delivered > 1000 ? "catch-all" : "unknown");
  const http = {
    lookup: async (domains: readonly string[]) =>
      domains.map(() => ({ status, overridden: false, ...answer })),
  } as unknown as LoadHttp;
  const options = { http, names: NAMES, oracle, rule: DEFAULT_RULE };
  return verifyLoad(baseline === undefined ? options : { ...options, baseline });
}

function acked(delivered: number, bounced: number): LoadOracle {
  const oracle = new LoadOracle();
  for (let i = 0; i < delivered; i++) oracle.ack(0, DELIVERED, -1);
  for (let i = 0; i < bounced; i++) oracle.ack(0, BOUNCED, -1);
  return oracle;
}

describe("verifyLoad", () => {
  it("accepts exact counts", async () => {
    const report = await verify(acked(1001, 0), { delivered: 1001, bounced: 0 });
    assert.equal(report.wrongDomains, 0);
    assert.equal(report.exactDomains, 1);
    assert.deepEqual(report.statuses, { "catch-all": 1 });
  });

  it("finds one lost event", async () => {
    const report = await verify(acked(1001, 2), { delivered: 1001, bounced: 1 });
    assert.deepEqual([report.wrongDomains, report.lost, report.doubled], [1, 1, 0]);
    assert.equal(report.firstWrong.length, 1);
  });

  it("finds one doubled event", async () => {
    const report = await verify(acked(5, 0), { delivered: 6, bounced: 0 });
    assert.deepEqual([report.wrongDomains, report.lost, report.doubled], [1, 0, 1]);
  });

  it("finds one lost and one doubled event of another kind", async () => {
    const report = await verify(acked(5, 5), { delivered: 4, bounced: 6 });
    assert.deepEqual([report.lost, report.doubled], [1, 1]);
  });

  it("finds a status that does not follow from the counts", async () => {
    const report = await verify(acked(1000, 0), {
      delivered: 1000,
      bounced: 0,
      status: "catch-all",
    });
    assert.deepEqual([report.wrongDomains, report.wrongStatuses], [1, 1]);
  });

  it("does not judge the status of an overridden domain", async () => {
    const answer = { delivered: 1, bounced: 0, status: "catch-all", overridden: true };
    assert.equal((await verify(acked(1, 0), answer)).wrongDomains, 0);
  });

  it("allows a maybe either way, and nothing beyond it", async () => {
    const oracle = acked(5, 0);
    oracle.maybe(0, DELIVERED, -1);
    assert.equal((await verify(oracle, { delivered: 5, bounced: 0 })).wrongDomains, 0);
    assert.equal((await verify(oracle, { delivered: 6, bounced: 0 })).wrongDomains, 0);
    assert.equal((await verify(oracle, { delivered: 7, bounced: 0 })).doubled, 1);
    assert.equal((await verify(oracle, { delivered: 4, bounced: 0 })).lost, 1);
    assert.equal((await verify(oracle, { delivered: 5, bounced: 0 })).exactDomains, 0);
  });

  it("takes off what was counted before the run", async () => {
    const baseline = new Uint32Array([10, 3]);
    const report = await verify(acked(5, 0), { delivered: 15, bounced: 3 }, baseline);
    assert.equal(report.wrongDomains, 0);
  });
});

describe("LoadOracle", () => {
  it("counts an acknowledged key once", () => {
    const oracle = new LoadOracle();
    for (let i = 0; i < 4; i++) oracle.ack(7, DELIVERED, 0);
    assert.equal(oracle.expectationOf(7).delivered, 1);
    assert.equal(oracle.ackedEvents, 1);
  });

  it("makes a key exact once any send of it is acknowledged", () => {
    const oracle = new LoadOracle();
    oracle.maybe(7, BOUNCED, 3);
    oracle.maybe(7, BOUNCED, 3);
    assert.equal(oracle.expectationOf(7).maybeBounced, 1);
    oracle.ack(7, BOUNCED, 3);
    oracle.maybe(7, BOUNCED, 3);
    assert.deepEqual(oracle.expectationOf(7), {
      delivered: 0,
      bounced: 1,
      maybeDelivered: 0,
      maybeBounced: 0,
    });
  });

  it("grows to any domain and key number", () => {
    const oracle = new LoadOracle();
    oracle.ack(2_000_000, DELIVERED, 3_000_000);
    oracle.ack(0, DELIVERED, -1);
    assert.equal(oracle.domainsEnd, 2_000_001);
    assert.equal(oracle.expectationOf(2_000_000).delivered, 1);
    assert.ok(!oracle.isTouched(1));
  });
});
