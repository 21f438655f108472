/**
 * The load engine against a toy node whose answers the test controls: rates, corrected latencies, unknown outcomes,
 * retries and restarts must end in an exact account.
 */
import assert from "node:assert/strict";
import { createServer, type Server } from "node:net";
import { afterEach, describe, it } from "node:test";
import { DomainNames } from "../../src/cli/load/domain-names.ts";
import { LoadEngine, type LoadEngineOptions } from "../../src/cli/load/load-engine.ts";
import { LoadHttp } from "../../src/cli/load/load-http.ts";
import { createMix } from "../../src/cli/load/mixes.ts";
import { type VerificationReport, verifyLoad } from "../../src/cli/load/verification.ts";
import { DEFAULT_RULE } from "../../src/model/status.ts";
import { ToyNode, type ToyNodeOptions } from "../support/toy-node.ts";

let node: ToyNode | null = null;

afterEach(async () => {
  await node?.close();
  node = null;
});

async function startToy(options: ToyNodeOptions = {}): Promise<ToyNode> {
  node = await ToyNode.start(options);
  return node;
}

const SEED = 11;
const DOMAINS = 300;

function engineFor(
  port: number,
  options: Partial<LoadEngineOptions> & { isKeyed?: boolean } = {},
): LoadEngine {
  const { isKeyed = false, ...engineOptions } = options;
  return new LoadEngine({
    targets: [{ host: "127.0.0.1", port, isTls: false }],
    hostHeader: `127.0.0.1:${port}`,
    basePath: "",
    token: null,
    keyPrefix: "k-",
    names: new DomainNames(SEED),
    stream: createMix("uniform", { seed: SEED, domains: DOMAINS, isKeyed }),
    events: 2000,
    durationMs: Number.POSITIVE_INFINITY,
    connections: 8,
    bulk: 0,
    rate: 0,
    warmupMs: 0,
    requestTimeoutMs: 5000,
    reconnectTimeoutMs: 5000,
    ...engineOptions,
  });
}

function verify(port: number, engine: LoadEngine): Promise<VerificationReport> {
  const baseUrl = `http://127.0.0.1:${port}`;
  const http = new LoadHttp({ baseUrl, token: null, deadlineMs: 2000 });
  const names = new DomainNames(SEED);
  return verifyLoad({ http, names, oracle: engine.oracle, rule: DEFAULT_RULE });
}

function total(toy: ToyNode): number {
  let sum = 0;
  for (const { delivered, bounced } of toy.counts.values()) sum += delivered + bounced;
  return sum;
}

describe("LoadEngine, closed loop", () => {
  it("sends every event once and accounts for it", async () => {
    const toy = await startToy();
    const engine = engineFor(toy.port, { events: 3000 });
    const outcome = await engine.run();
    assert.equal(outcome.ackedTotal, 3000);
    assert.equal(total(toy), 3000);
    assert.deepEqual(outcome.errors, {});
    assert.ok(outcome.latency.p50 > 0 && outcome.latency.p50 <= outcome.latency.max);
    const report = await verify(toy.port, engine);
    assert.deepEqual([report.wrongDomains, report.exactDomains], [0, report.domains]);
  });

  it("sends lines in bulk, the last request smaller", async () => {
    const toy = await startToy();
    const engine = engineFor(toy.port, { events: 1250, bulk: 100, connections: 2 });
    const outcome = await engine.run();
    assert.equal(outcome.ackedTotal, 1250);
    assert.equal(total(toy), 1250);
    assert.equal((await verify(toy.port, engine)).wrongDomains, 0);
  });

  it("counts keys once and reports replays", async () => {
    const toy = await startToy();
    const stream = createMix("duplicates", { seed: SEED, domains: DOMAINS, isKeyed: false });
    const engine = engineFor(toy.port, { stream });
    const outcome = await engine.run();
    assert.equal(outcome.ackedTotal, 2000);
    assert.equal(total(toy), 2000 - outcome.replayed);
    assert.ok(outcome.replayed > 500);
    assert.equal((await verify(toy.port, engine)).wrongDomains, 0);
  });

  it("finds a node that loses, doubles or forgets keys", async () => {
    for (const defect of ["lose", "double", "forget-keys"] as const) {
      const toy = await startToy({ defect });
      const stream = createMix("duplicates", { seed: SEED, domains: DOMAINS, isKeyed: false });
      const engine = engineFor(toy.port, { stream });
      await engine.run();
      const report = await verify(toy.port, engine);
      assert.ok(defect === "lose" ? report.lost > 0 : report.doubled > 0, defect);
      await toy.close();
      node = null;
    }
  });
});

describe("LoadEngine, open loop", () => {
  it("keeps the rate asked for", async () => {
    const toy = await startToy();
    const engine = engineFor(toy.port, { events: 1000, rate: 1000 });
    const outcome = await engine.run();
    assert.equal(outcome.ackedTotal, 1000);
    assert.ok(outcome.seconds > 0.98 && outcome.seconds < 1.5, `${outcome.seconds} s`);
  });

  it("counts latency from the intended start when the server stalls", async () => {
    // One stall of 500 ms on the only connection delays about 100 intended requests by 250 ms on average. A client
    // that measures from the send would report one slow request in 200 and a P95 of a millisecond.
    const stallMs = 500;
    const toy = await startToy({
      intercept: (request, _req, res) => {
        if (request !== 50) return false;
        setTimeout(() => res.writeHead(204).end(), stallMs);
        return true;
      },
    });
    const engine = engineFor(toy.port, { events: 200, rate: 200, connections: 1 });
    const outcome = await engine.run();
    assert.ok(outcome.latency.max >= stallMs - 10);
    assert.ok(outcome.latency.p95 > stallMs / 2, `P95 ${outcome.latency.p95} ms`);
  });
});

describe("LoadEngine, failures", () => {
  it("retries refusals with effect none and counts them once", async () => {
    const problem = JSON.stringify({ code: "overloaded", effect: "none" });
    const toy = await startToy({
      intercept: (request, _req, res) => {
        if (request % 10 !== 0) return false;
        res.writeHead(503, { "Retry-After": "0", "Content-Length": problem.length }).end(problem);
        return true;
      },
    });
    const engine = engineFor(toy.port, { events: 200 });
    const outcome = await engine.run();
    assert.equal(outcome.ackedTotal, 200);
    assert.ok((outcome.errors["overloaded"] as number) >= 20);
    assert.equal(outcome.maybe, 0);
    assert.equal((await verify(toy.port, engine)).wrongDomains, 0);
  });

  it("neither counts nor repeats what was refused for good", async () => {
    const toy = await startToy({
      intercept: (request, _req, res) => {
        if (request % 4 !== 0) return false;
        const problem = JSON.stringify({ code: "bad_char", effect: "none" });
        res.writeHead(400, { "Content-Length": problem.length }).end(problem);
        return true;
      },
    });
    const engine = engineFor(toy.port, { events: 400 });
    const outcome = await engine.run();
    assert.deepEqual(outcome.errors, { bad_char: 100 });
    assert.equal(outcome.ackedTotal, 300);
    const report = await verify(toy.port, engine);
    assert.deepEqual([report.wrongDomains, report.exactDomains], [0, report.domains]);
  });

  it("calls events maybe when the answer is lost, whether counted or not", async () => {
    let counted = 0;
    const toy: ToyNode = await startToy({
      intercept: (request, req, _res) => {
        if (request % 50 !== 0) return false;
        const [, , domain, type] = (req.url ?? "").split("/");
        if (request % 100 === 0) {
          counted++;
          toy.count(String(domain), String(type), "");
        }
        req.socket.destroy();
        return true;
      },
    });
    const engine = engineFor(toy.port, { events: 1000 });
    const outcome = await engine.run();
    assert.equal(outcome.maybe, 20);
    assert.equal(outcome.errors["connection_lost"], 20);
    assert.equal(total(toy), outcome.ackedTotal + counted);
    const report = await verify(toy.port, engine);
    assert.equal(report.wrongDomains, 0);
    assert.ok(report.exactDomains < report.domains);
  });

  it("sends keyed events again after a lost answer and stays exact", async () => {
    const toy: ToyNode = await startToy({
      intercept: (request, req, _res) => {
        if (request % 50 !== 0) return false;
        const [, , domain, type] = (req.url ?? "").split("/");
        const key = String(req.headers["idempotency-key"]);
        if (request % 100 === 0) toy.count(String(domain), String(type), key);
        req.socket.destroy();
        return true;
      },
    });
    const engine = engineFor(toy.port, { events: 1000, isKeyed: true });
    const outcome = await engine.run();
    assert.equal(outcome.maybe, 0);
    assert.equal(total(toy), 1000);
    const report = await verify(toy.port, engine);
    assert.deepEqual([report.wrongDomains, report.exactDomains], [0, report.domains]);
  });

  it("gives a request without an answer up after the timeout, as maybe", async () => {
    const toy = await startToy({ intercept: (request) => request === 5 });
    const engine = engineFor(toy.port, { events: 50, connections: 2, requestTimeoutMs: 300 });
    const outcome = await engine.run();
    assert.deepEqual(outcome.errors, { timeout: 1 });
    assert.deepEqual([outcome.ackedTotal, outcome.maybe], [49, 1]);
  });

  it("treats 504 as maybe and an answer with Connection: close as counted", async () => {
    const toy: ToyNode = await startToy({
      intercept: (request, req, res) => {
        const problem = JSON.stringify({ code: "outcome_unknown", effect: "unknown" });
        if (request === 3) {
          res.writeHead(504, { "Content-Length": problem.length }).end(problem);
          return true;
        }
        if (request !== 4) return false;
        const [, , domain, type] = (req.url ?? "").split("/");
        toy.count(String(domain), String(type), "");
        res.writeHead(204, { Connection: "close" }).end();
        return true;
      },
    });
    const engine = engineFor(toy.port, { events: 20, connections: 1 });
    const outcome = await engine.run();
    assert.deepEqual(outcome.errors, { outcome_unknown: 1 });
    assert.deepEqual([outcome.ackedTotal, outcome.maybe, outcome.reconnects], [19, 1, 1]);
    assert.equal((await verify(toy.port, engine)).wrongDomains, 0);
  });

  it("goes on when the node comes back on the same port", async () => {
    const before = await startToy();
    const { port } = before;
    const engine = engineFor(port, { events: 3000, isKeyed: true, rate: 3000 });
    const running = engine.run();
    while (engine.ackedSoFar < 500) await new Promise((resolve) => setImmediate(resolve));
    await before.close();
    const after = await startToy({ port });
    const outcome = await running;
    assert.equal(outcome.ackedTotal, 3000);
    assert.ok(outcome.reconnects >= 8);
    // The second node knows nothing of the first one's keys: those it acknowledged are there and nowhere else.
    assert.ok(total(before) + total(after) >= 3000);
  });

  it("ends when the node stays away, and says how much was never sent", async () => {
    const toy = await startToy();
    const engine = engineFor(toy.port, { events: 1e6, reconnectTimeoutMs: 200, connections: 2 });
    const running = engine.run();
    while (engine.ackedSoFar < 50) await new Promise((resolve) => setImmediate(resolve));
    await toy.close();
    node = null;
    const outcome = await running;
    assert.ok(outcome.ackedTotal >= 50 && outcome.ackedTotal < 1e6);
    assert.ok(outcome.maybe <= 2);
  });
});

describe("LoadEngine, unexpected bytes", () => {
  it("drops a connection that does not speak HTTP and calls the event maybe", async () => {
    const server: Server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.on("data", () => socket.write("220 smtp.example.com ready\r\n\r\n"));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    try {
      const outcome = await engineFor(port, { events: 3, connections: 1 }).run();
      assert.deepEqual(outcome.errors, { broken_answer: 3 });
      assert.equal(outcome.maybe, 3);
    } finally {
      server.close();
    }
  });
});
