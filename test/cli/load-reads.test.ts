/** `catchall load --reads`: GETs among the PUTs, judged and timed by themselves, never counted as events. */
import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { afterEach, describe, it } from "node:test";
import { reportOf } from "../../src/cli/load/load-report.ts";
import { type LoadRunOptions, type LoadRunResult, runLoad } from "../../src/cli/load/load-run.ts";
import { ReadTally } from "../../src/cli/load/read-tally.ts";
import { ToyNode } from "../support/toy-node.ts";

let node: ToyNode | null = null;

afterEach(async () => {
  await node?.close();
  node = null;
});

type Intercept = (req: IncomingMessage, res: ServerResponse) => boolean;

/** Paths of the GETs in the order of their arrival, and whatever `intercept` does to them. */
async function load(
  options: Partial<LoadRunOptions>,
  intercept: Intercept = () => false,
): Promise<{ readonly result: LoadRunResult; readonly gets: string[]; readonly events: number }> {
  const gets: string[] = [];
  const toy = await ToyNode.start({
    intercept: (_request, req, res) => {
      if (req.method !== "GET" || req.url?.startsWith("/domains/") !== true) return false;
      gets.push(req.url);
      return intercept(req, res);
    },
  });
  node = toy;
  const result = await runLoad({
    ...{ url: toy.url, token: null, mix: "uniform", seed: 7, domains: 20, isKeyed: false },
    ...{ events: 200, durationMs: Number.POSITIVE_INFINITY, warmupMs: 0, connections: 1 },
    ...{ bulk: 0, rate: 0, requestTimeoutMs: 5000, reconnectTimeoutMs: 1000 },
    isVerifying: true,
    ...options,
  });
  let events = 0;
  for (const { delivered, bounced } of toy.counts.values()) events += delivered + bounced;
  await toy.close();
  node = null;
  return { result, gets, events };
}

describe("catchall load --reads", () => {
  it("reads in one request of ten, and counts only the others", async () => {
    const { result, gets, events } = await load({ reads: 0.1 });
    const { outcome, verification } = result;
    assert.deepEqual([gets.length, outcome.reads?.answered, outcome.acked], [20, 20, 180]);
    assert.equal(events, 180);
    assert.deepEqual([verification?.wrongDomains, verification?.lost], [0, 0]);
    const { p50 = 0, max = 0 } = outcome.reads?.latency ?? {};
    assert.ok(p50 > 0 && p50 <= max, `P50 ${p50}, at most ${max} ms`);
    assert.match(reportOf(result), /reads \(ms a GET\).*20 GETs.* P50 /);
  });

  it("only reads with a share of 1, domains of the mix", async () => {
    const { result, gets, events } = await load({ reads: 1 });
    assert.deepEqual([gets.length, events, result.outcome.acked], [200, 0, 0]);
    assert.equal(result.outcome.reads?.answeredTotal, 200);
    assert.equal(new Set(gets).size, 20);
  });

  it("reads the same domains for the same seed, and none without the flag", async () => {
    const first = await load({ reads: 0.3 });
    assert.deepEqual((await load({ reads: 0.3 })).gets, first.gets);
    const { result, gets } = await load({});
    assert.deepEqual([gets.length, result.outcome.reads], [0, null]);
    assert.doesNotMatch(reportOf(result), /GETs/);
  });

  it("sends the same events with and without reads", async () => {
    // 200 requests with a half of reads are the first 100 events.
    const half = await load({ reads: 0.5, mix: "challenge" });
    const whole = await load({ events: 100, mix: "challenge" });
    assert.deepEqual(half.result.verification?.statuses, whole.result.verification?.statuses);
    assert.deepEqual([half.events, whole.events], [100, 100]);
  });

  it("takes 404 with a body for an answer, a body that makes no sense for none", async () => {
    const answer = (status: number, body: string): Intercept => {
      return (_req, res) => {
        res.writeHead(status, { "Content-Length": body.length }).end(body);
        return true;
      };
    };
    const missing = await load({ reads: 0.5, events: 20 }, answer(404, '{"code":"not_found"}'));
    assert.deepEqual(missing.result.outcome.reads?.answered, 10);
    for (const [status, body] of [
      [200, '{"delivered":1'],
      [200, '{"delivered":1,"bounced":0}'],
      [404, "not found"],
    ] as const) {
      const { outcome } = (await load({ reads: 0.5, events: 20 }, answer(status, body))).result;
      assert.deepEqual([outcome.errors, outcome.reads?.answered], [{ bad_answer: 10 }, 0], body);
    }
    const { outcome } = (
      await load({ reads: 0.5, events: 20 }, (_req, res) => {
        res.writeHead(204).end();
        return true;
      })
    ).result;
    assert.deepEqual([outcome.errors, outcome.acked], [{ http_204: 10 }, 10]);
  });

  it("reads again after a refusal or a lost answer, and calls no event maybe", async () => {
    let asked = 0;
    const { result, gets } = await load({ reads: 0.5, events: 40 }, (req, res) => {
      asked++;
      if (asked % 5 === 0) {
        req.socket.destroy();
        return true;
      }
      if (asked % 5 !== 2) return false;
      const problem = JSON.stringify({ code: "not_owner", effect: "none" });
      res.writeHead(503, { "Retry-After": "0", "Content-Length": problem.length }).end(problem);
      return true;
    });
    const { outcome, verification } = result;
    assert.deepEqual([outcome.reads?.answered, outcome.acked, outcome.maybe], [20, 20, 0]);
    assert.ok(gets.length > 20 && outcome.retries > 0, `${gets.length} GETs`);
    assert.equal(verification?.exactDomains, verification?.domains);
  });

  it("reads a body that comes in pieces whole", async () => {
    const { result } = await load({ reads: 1, events: 10 }, (_req, res) => {
      const body = JSON.stringify({ status: "unknown", delivered: 1, bounced: 0 });
      res.writeHead(200, { "Content-Length": body.length });
      res.write(body.slice(0, 9));
      setTimeout(() => res.end(body.slice(9)), 5);
      return true;
    });
    assert.deepEqual([result.outcome.reads?.answered, result.outcome.errors], [10, {}]);
  });

  it("keeps the rate asked for, reads among the requests", async () => {
    const { result } = await load({ reads: 0.5, events: 300, rate: 1000, connections: 8 });
    const { acked, reads, seconds } = result.outcome;
    assert.deepEqual([acked, reads?.answered], [150, 150]);
    assert.ok(seconds > 0.28 && seconds < 1.2, `${seconds} s`);
  });
});

describe("ReadTally", () => {
  it("spreads reads evenly", () => {
    for (const [share, expected] of [
      [0, 0],
      [0.001, 1],
      [0.1, 100],
      [0.9, 900],
      [1, 1000],
    ] as const) {
      const tally = new ReadTally(share);
      const reads = Array.from({ length: 1000 }, (_, i) => tally.isRead(i));
      assert.equal(reads.filter(Boolean).length, expected, `${share}`);
      if (share === 0.1) assert.equal(reads.slice(0, 500).filter(Boolean).length, 50);
    }
  });

  it("leaves the warm-up out of count and latency, not out of the total", () => {
    const tally = new ReadTally(0.5);
    tally.record(500);
    tally.endWarmup();
    for (let i = 0; i < 4; i++) tally.record(2);
    const outcome = tally.outcome(2);
    assert.deepEqual(
      [outcome?.answered, outcome?.answeredTotal, outcome?.readsPerSecond],
      [4, 5, 2],
    );
    assert.ok((outcome?.latency.max ?? 0) < 3, `${outcome?.latency.max} ms`);
  });
});
