/** The command line against a stub node: exit codes, what goes to stdout and stderr, and what is asked of the node. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { OPTIONS } from "../../src/config/options.ts";
import { type CliRun, type CliRunOptions, cli } from "../support/cli-run.ts";
import {
  answerJson,
  answerProblem,
  type StubRequest,
  type StubServer,
  startStub,
} from "../support/stub-server.ts";

const ROOT = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))));
const open: StubServer[] = [];
const folder = mkdtempSync(path.join(tmpdir(), "catchall-cli-"));
after(async () => {
  rmSync(folder, { recursive: true });
  await Promise.all(open.map((stub) => stub.close()));
});

function domain(name: string, fields: object = {}) {
  const times = { firstSeen: "2026-01-01T00:00:00.000Z", lastSeen: null, statusSince: null };
  const counts = { delivered: 1001, bounced: 0, threshold: 1000 };
  const about = { status: "catch-all", reason: "delivered 1001 > 1000, bounced 0" };
  return {
    domain: name,
    ...about,
    ...counts,
    ...times,
    overridden: false,
    node: "n1",
    asOf: "t",
    ...fields,
  };
}

const CLUSTER = {
  cluster: "catchall",
  mode: "cluster",
  epoch: 7,
  partitions: 8,
  handoffs: [],
  nodes: [
    {
      id: "n1",
      incarnation: 1,
      state: "alive",
      partitionsOwned: 5,
      leaseRemainingMs: 4321,
      walLagEvents: 0,
      checkpointAgeMs: 1,
    },
    {
      id: "n2",
      incarnation: 2,
      state: "draining",
      partitionsOwned: 3,
      leaseRemainingMs: null,
      walLagEvents: 0,
      checkpointAgeMs: 1,
    },
  ],
  owners: [0, 1, 2, 5, 7, 3, 4, 6].map((partition, index) => ({
    partition,
    node: index < 5 ? "n1" : "n2",
    epoch: 1,
    state: "open",
  })),
  log: { kind: "jetstream", synced: true, sizeBytes: 12345 },
};
const STATS = {
  domains: { "catch-all": 1234, "not catch-all": 2, unknown: 3 },
  delivered: 1_000_000,
  bounced: 5,
  nodes: [],
  asOf: "t",
};

type Answer = (request: StubRequest, response: ServerResponse, index: number) => void;

/** Runs one command against a stub. */
async function against(
  answer: Answer,
  argv: readonly string[],
  options: CliRunOptions = {},
): Promise<
  CliRun & { readonly asked: readonly string[]; readonly requests: readonly StubRequest[] }
> {
  const stub = await startStub(answer);
  open.push(stub);
  const run = await cli([...argv, "--url", stub.url], options);
  const asked = stub.requests.map(({ method, path: at }) => `${method} ${at}`);
  return { ...run, asked, requests: stub.requests };
}

const json =
  (body: unknown): Answer =>
  (_, response) =>
    answerJson(response, 200, body);
const noContent: Answer = (_, response) => response.writeHead(204).end();

describe("usage", () => {
  it("ends with 2 for wrong usage and with 0 for help", async () => {
    const wrong = [
      [],
      ["bogus"],
      ["get"],
      ["get", "x.com", "--bogus"],
      ["send", "x.com", "opened"],
      ["send", "x.com"],
      ["send", "x.com", "delivered", "--count", "0"],
      ["send", "x.com", "delivered", "--count", "1e3"],
      ["send", "x.com", "delivered", "--id", "a b"],
      ["send", "x.com", "delivered", "--id", "a", "--count", "1000001"],
      ["rule", "set"],
      ["rule", "set", "--max-bounce-ratio", "2"],
      ["override", "x.com"],
      ["override", "x.com", "unknown"],
      ["override", "x.com", "maybe", "--reason", "r"],
      ["override", "x.com", "unknown", "--remove"],
      ["export", "--status", "x"],
      ["get", "x.com", "--url", "localhost:1"],
      ["get", "-", "x.com"],
      ["inspect", "wal"],
      ["inspect", "wal", ".", "--dry-run"],
    ];
    for (const argv of wrong) {
      const { code, stdout, stderr } = await cli(argv);
      assert.deepEqual([code, stdout], [2, ""], argv.join(" "));
      assert.notEqual(stderr, "", argv.join(" "));
    }
    for (const argv of [
      ["--help"],
      ["get", "--help"],
      ["rule", "set", "--help"],
      ["serve", "--help"],
      ["load", "--help"],
      ["--version"],
    ]) {
      const { code, stdout, stderr } = await cli(argv);
      assert.deepEqual([code, stderr], [0, ""], argv.join(" "));
      assert.notEqual(stdout, "", argv.join(" "));
    }
  });

  it("shows every option of a node in the help of serve", async () => {
    const { stdout } = await cli(["serve", "--help"]);
    for (const { flag, description } of OPTIONS) {
      assert.ok(stdout.includes(`--${flag}`), flag);
      assert.ok(stdout.includes(description), flag);
    }
  });

  it("shows the connection options and never the token in the help of every command that talks to a node", async () => {
    for (const command of [
      "send",
      "get",
      "where",
      "override",
      "reset",
      "export",
      "status",
      "ring",
      "import",
      "rebalance",
      "drain",
      "verify",
      "load",
    ]) {
      const { stdout } = await cli([command, "--help"], {
        env: { CATCHALL_TOKEN: "hunter2", CATCHALL_URL: "http://a:1" },
      });
      for (const flag of ["--url", "--token", "--json", "http://a:1"])
        assert.ok(stdout.includes(flag), `${command} ${flag}`);
      assert.ok(!stdout.includes("hunter2"), command);
    }
  });

  it("takes address and token from the environment", async () => {
    const stub = await startStub(json(domain("x.com")));
    open.push(stub);
    const env = { CATCHALL_URL: stub.url, CATCHALL_TOKEN: "hunter2" };
    assert.equal((await cli(["get", "x.com"], { env })).code, 0);
    assert.equal(stub.requests[0]?.headers["authorization"], "Bearer hunter2");
  });
});

describe("failures", () => {
  it("says what, why and what next, with 1 and nothing on stdout", async () => {
    const fail: Answer = (_, response) =>
      answerProblem(response, 401, "unauthorized", { detail: "A valid token is needed" });
    const { code, stdout, stderr } = await against(fail, ["get", "x.com"]);
    assert.deepEqual([code, stdout], [1, ""]);
    assert.equal(
      stderr,
      "error: A valid token is needed\n  code unauthorized, status 401, effect none: nothing was counted or changed\n" +
        "  next: give a token with CATCHALL_TOKEN or --token\n",
    );
  });

  it("names no role of its own where the node said which one is needed", async () => {
    const detail = 'This needs a token with the role "write"';
    const fail: Answer = (_, response) => answerProblem(response, 403, "forbidden", { detail });
    const { stderr } = await against(fail, ["send", "x.com", "delivered"]);
    assert.match(stderr, /^error: This needs a token with the role "write"\n/);
    assert.match(stderr, /\n {2}next: use a token with that role; tokens are set up with/);
  });

  it("gives the problem document as one line of JSON on stderr with --json", async () => {
    const fail: Answer = (_, response) => answerProblem(response, 409, "drain_impossible");
    const { code, stdout, stderr } = await against(fail, ["drain", "n1", "--json"]);
    assert.deepEqual([code, stdout], [1, ""]);
    const failure = JSON.parse(stderr);
    assert.deepEqual(
      [failure.code, failure.status, failure.effect, failure.problem.code],
      ["drain_impossible", 409, "none", "drain_impossible"],
    );
  });

  it("says that an outcome is unknown", async () => {
    const fail: Answer = (_, response) =>
      answerProblem(response, 504, "outcome_unknown", { effect: "unknown" });
    const { code, stderr } = await against(fail, ["reset", "x.com"]);
    assert.equal(code, 1);
    assert.match(stderr, /effect unknown: it may or may not have been counted or changed/);
  });

  it("names the address that can't be reached", async () => {
    const stub = await startStub(noContent);
    await stub.close();
    const { code, stderr } = await cli(["reset", "x.com", "--url", stub.url]);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^error: Can't reach http:\/\/127\.0\.0\.1:\d+ \(ECONNREFUSED\)\n.*effect none/,
    );
    assert.match(stderr, /next: check that a node runs there/);
  });

  it("lets no control character of an answer reach the terminal", async () => {
    const fail: Answer = (_, response) =>
      answerProblem(response, 400, "single_label", { detail: "x\u001b]0;evil\u0007" });
    assert.match((await against(fail, ["get", "x"])).stderr, /^error: x\\x1b\]0;evil\\x07\n/);
    const shown = await against(json(domain("x.com", { reason: "\u001b[2J" })), ["get", "x.com"]);
    assert.ok(!shown.stdout.includes("\u001b"));
  });
});

describe("send", () => {
  it("puts one event", async () => {
    const { code, stdout, asked, requests } = await against(noContent, [
      "send",
      "x.com",
      "delivered",
      "--id",
      "k",
    ]);
    assert.deepEqual(
      [code, stdout, asked],
      [0, "x.com: counted 1 delivered\n", ["PUT /events/x.com/delivered"]],
    );
    assert.equal(requests[0]?.headers["idempotency-key"], "k");
  });

  it("says when an id was counted before", async () => {
    const replay: Answer = (_, response) =>
      response.writeHead(204, { "idempotency-replayed": "true" }).end();
    const { code, stdout } = await against(replay, [
      "send",
      "x.com",
      "bounced",
      "--id",
      "k",
      "--json",
    ]);
    assert.equal(code, 0);
    assert.deepEqual(JSON.parse(stdout), {
      domain: "x.com",
      type: "bounced",
      count: 1,
      replayed: true,
    });
  });

  it("splits a big count into lines of at most a million, each with its own id", async () => {
    const { code, stdout, requests } = await against(
      json({ accepted: 3, replayed: 0, rejected: [] }),
      ["send", "x.com", "delivered", "--count", "2500000"],
    );
    assert.deepEqual([code, stdout], [0, "x.com: counted 2,500,000 delivered\n"]);
    const lines = (requests[0]?.body ?? "")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.deepEqual(
      lines.map((line) => line.count),
      [1_000_000, 1_000_000, 500_000],
    );
    assert.equal(new Set(lines.map((line) => line.id)).size, 3);
  });

  it("fails when a line was rejected, and says how much was counted", async () => {
    const body = {
      accepted: 1,
      replayed: 0,
      rejected: [{ index: 1, code: "overloaded", message: "Too many events are pending" }],
    };
    const { code, stdout, stderr } = await against(json(body), [
      "send",
      "x.com",
      "delivered",
      "--count",
      "1500000",
    ]);
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(
      stderr,
      /Too many events are pending \(code overloaded\); 1,000,000 of 1,500,000 were counted\n {2}next: send the other 500,000/,
    );
  });
});

describe("domains", () => {
  it("shows one domain as a table and as JSON", async () => {
    const table = await against(json(domain("x.com")), ["get", "x.com"]);
    assert.match(
      table.stdout,
      /^FIELD +VALUE\ndomain +x\.com\nstatus +catch-all\nreason +delivered 1001 > 1000, bounced 0\ndelivered +1,001\n/,
    );
    assert.match(table.stdout, /\nlast seen +-\n/);
    const plain = await against(json(domain("x.com")), ["get", "x.com", "--json"]);
    assert.deepEqual(JSON.parse(plain.stdout), domain("x.com"));
  });

  it("looks many domains up at once, and ends with 1 when one is invalid", async () => {
    const body = {
      results: [domain("a.com"), { domain: "nope", error: "single_label" }],
      summary: { "catch-all": 1, "not catch-all": 0, unknown: 0, invalid: 1 },
    };
    const { code, stdout, asked, requests } = await against(json(body), ["get", "a.com", "nope"]);
    assert.deepEqual([code, asked], [1, ["POST /domains/lookup"]]);
    assert.equal(requests[0]?.body, '{"domains":["a.com","nope"]}');
    assert.match(
      stdout,
      /^DOMAIN +STATUS +DELIVERED +BOUNCED +REASON\na\.com +catch-all +1,001 +0 +.*\nnope +invalid +- +- +single_label\n$/,
    );
  });

  it("reads domains from stdin, ten thousand a request", async () => {
    const body = {
      results: [],
      summary: { "catch-all": 1, "not catch-all": 0, unknown: 0, invalid: 0 },
    };
    const stdin = Array.from({ length: 10_001 }, (_, index) => `d${index}.com\r\n\n`).join("");
    const { code, stdout, asked } = await against(json(body), ["get", "-", "--json"], { stdin });
    assert.deepEqual([code, asked.length, JSON.parse(stdout).summary["catch-all"]], [0, 2, 2]);
  });

  it("shows where a domain lives", async () => {
    const place = { domain: "x.com", hash: 255, partition: 3, owner: "n2", epoch: 9 };
    const { stdout } = await against(json(place), ["where", "x.com"]);
    assert.match(stdout, /\nx\.com +0x000000ff +3 +n2 +9\n$/);
  });

  it("pins, unpins and resets", async () => {
    const pin = await against(json(domain("x.com")), [
      "override",
      "x.com",
      "not-catch-all",
      "--reason",
      "ticket 12",
    ]);
    assert.equal(pin.requests[0]?.body, '{"status":"not catch-all","reason":"ticket 12"}');
    assert.equal(pin.stdout, "x.com: pinned to not catch-all\n");
    const unpin = await against(noContent, ["override", "x.com", "--remove"]);
    assert.deepEqual([unpin.code, unpin.asked], [0, ["DELETE /domains/x.com/override"]]);
    const reset = await against(noContent, ["reset", "x.com", "--json"]);
    assert.deepEqual([reset.code, reset.asked], [0, ["POST /domains/x.com/reset"]]);
    assert.deepEqual(JSON.parse(reset.stdout), { domain: "x.com", reset: true });
  });

  const exporting: Answer = ({ path: at }, response) => {
    if (at === "/domains/stats") answerJson(response, 200, STATS);
    else response.end(`${JSON.stringify(domain("a.com"))}\n${JSON.stringify(domain("b.com"))}\n`);
  };

  it("exports NDJSON to stdout with the progress beside it on stderr", async () => {
    const { code, stdout, stderr, asked } = await against(exporting, [
      "export",
      "--status",
      "not-catch-all",
    ]);
    assert.deepEqual([code, asked[1]], [0, "GET /domains?status=not+catch-all"]);
    assert.deepEqual(
      stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).domain),
      ["a.com", "b.com"],
    );
    assert.match(stderr, /export: 2 of 2 domains/);
  });

  it("exports to a file that only appears when it is complete", async () => {
    const output = path.join(folder, "all.ndjson");
    const cut: Answer = ({ path: at }, response) => {
      if (at === "/domains/stats") answerJson(response, 200, STATS);
      else
        response.write(`${JSON.stringify(domain("a.com"))}\n`, () =>
          setImmediate(() => response.destroy()),
        );
    };
    assert.equal((await against(cut, ["export", "--output", output])).code, 1);
    assert.deepEqual([existsSync(output), existsSync(`${output}.partial`)], [false, false]);
    assert.equal((await against(exporting, ["export", "--output", output])).code, 0);
    assert.equal(readFileSync(output, "utf8").trim().split("\n").length, 2);
  });

  it("prints changes as they come until it is told to end", async () => {
    const end = new AbortController();
    const change = {
      id: "1",
      domain: "x.com",
      from: "unknown",
      to: "catch-all",
      delivered: 1001,
      bounced: 0,
      at: "T",
    };
    const stream: Answer = (_, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(
        `event: status\ndata: ${JSON.stringify(domain("x.com", { status: "unknown" }))}\n\n`,
      );
      response.write(`event: change\nid: 1\ndata: ${JSON.stringify(change)}\n\n`);
      setTimeout(() => end.abort(), 50);
    };
    const { code, stdout } = await against(stream, ["watch", "x.com"], { signal: end.signal });
    assert.deepEqual([code, stdout], [0, "t x.com: unknown\nT x.com: unknown -> catch-all\n"]);
  });
});

describe("cluster", () => {
  const healthy: Answer = ({ path: at }, response) => {
    if (at === "/readyz") answerJson(response, 200, { ready: true, reasons: [] });
    else answerJson(response, 200, at === "/cluster" ? CLUSTER : STATS);
  };

  it("shows the status of a ready node", async () => {
    const { code, stdout } = await against(healthy, ["status"]);
    assert.equal(code, 0);
    assert.match(
      stdout,
      /^ready\nmode +cluster \(catchall\), epoch 7\nnodes +2 of 2 alive \(1 draining\), 8 partitions\nlog +jetstream, synced before every answer, 12,345 bytes\n/,
    );
    assert.match(
      stdout,
      /domains +1,234 catch-all, 2 not catch-all, 3 unknown\nevents +1,000,000 delivered, 5 bounced\n$/,
    );
  });

  it("counts a node that came back once in the status, and a dead one not as alive", async () => {
    const [n1] = CLUSTER.nodes;
    const nodes = [
      { ...n1, incarnation: 0, state: "dead" },
      { ...n1, id: "n3", state: "dead" },
      { ...n1, incarnation: 4 },
    ];
    const answer: Answer = (request, response, count) => {
      if (request.path === "/cluster") answerJson(response, 200, { ...CLUSTER, nodes });
      else healthy(request, response, count);
    };
    const { stdout } = await against(answer, ["status"]);
    assert.match(stdout, /\nnodes +1 of 2 alive, 8 partitions\n/);
  });

  it("ends with 1 and the reasons when the node is not ready", async () => {
    const waiting: Answer = ({ path: at }, response) => {
      if (at === "/readyz")
        answerJson(response, 503, { ready: false, reasons: ["The log is being read"] });
      else answerProblem(response, 404, "not_found");
    };
    const { code, stdout } = await against(waiting, ["status"]);
    assert.deepEqual([code, stdout], [1, "not ready\n  The log is being read\n"]);
    const asJson = await against(waiting, ["status", "--json"]);
    assert.deepEqual([asJson.code, JSON.parse(asJson.stdout).readiness.ready], [1, false]);
  });

  it("shows the ring with partitions as ranges", async () => {
    const { stdout } = await against(json(CLUSTER), ["ring"]);
    const rows = /\nn1 +alive +5 +62\.5% +4\.3s +0-2,5,7\nn2 +draining +3 +37\.5% +- +3-4,6\n/;
    assert.match(stdout, rows);
    assert.match(stdout, /\n8 partitions of 536,870,912 hashes, busiest\/mean 1\.00\n$/);
  });

  it("shows the ring as hash ranges in JSON, a node that came back once, and what nobody owns", async () => {
    const [n1, n2] = CLUSTER.nodes;
    const dead = { ...n1, incarnation: 0, state: "dead", partitionsOwned: 0 };
    const n3 = { ...n2, id: "n3", incarnation: 3, state: "alive", partitionsOwned: 1 };
    const owners = CLUSTER.owners.map((owner) =>
      owner.partition === 7
        ? { ...owner, node: "n3" }
        : owner.partition === 6
          ? { ...owner, node: "" }
          : owner,
    );
    const view = { ...CLUSTER, nodes: [dead, ...CLUSTER.nodes, n3], owners, handoffs: [{}, {}] };
    const ring = JSON.parse((await against(json(view), ["ring", "--json"])).stdout);
    assert.deepEqual(
      ring.nodes.map((node: Record<string, unknown>) => [
        node["id"],
        node["state"],
        node["partitions"],
        node["share"],
      ]),
      [
        ["n1", "alive", 4, 0.5],
        ["n2", "draining", 2, 0.25],
        ["n3", "alive", 1, 0.125],
      ],
    );
    assert.deepEqual(ring.nodes[0].ranges, [
      { first: 0, last: 2, from: "0x00000000", to: "0x5fffffff" },
      { first: 5, last: 5, from: "0xa0000000", to: "0xbfffffff" },
    ]);
    assert.deepEqual(ring.nodes[2].ranges[0].to, "0xffffffff");
    assert.deepEqual(
      ring.unassigned.map((range: { first: number }) => range.first),
      [6],
    );
    assert.equal(ring.busiestToMean, 4 / 2.5);
    const { stdout } = await against(json(view), ["ring"]);
    assert.match(
      stdout,
      /\nnobody owns 6\n8 partitions .*, busiest\/mean 1\.60, 2 partitions moving\n$/,
    );
  });

  const plan = { id: "r1", moves: [{ partition: 3, from: "n1", to: "n2" }] };

  it("only shows the moves with --dry-run", async () => {
    const { code, stdout, asked } = await against(json(plan), ["rebalance", "--dry-run"]);
    assert.deepEqual([code, asked], [0, ["POST /cluster/rebalance?dryRun=true"]]);
    assert.match(stdout, /\n +3 +n1 +n2\n$/);
  });

  it("watches moves to the end in plain lines where there is no terminal", async () => {
    const moving: Answer = ({ method }, response, index) => {
      if (method === "POST") answerJson(response, 202, plan);
      else
        answerJson(response, 200, {
          id: "r1",
          state: index < 2 ? "running" : "done",
          done: index < 2 ? 0 : 1,
          total: 1,
          bytes: 42,
          etaMs: index < 2 ? 1500 : null,
        });
    };
    const { code, stderr, asked } = await against(moving, ["drain", "n1", "--watch", "--json"]);
    assert.deepEqual(
      [code, asked.slice(0, 2)],
      [0, ["POST /cluster/nodes/n1/drain", "GET /cluster/rebalances/r1"]],
    );
    assert.equal(
      stderr,
      "moving r1: 0 of 1 partitions, 42 bytes, 2 s left\n" +
        "moving r1: 1 of 1 partitions, 42 bytes\nMoved 1 partition\n",
    );
  });

  it("ends with 1 when the moves fail, and says how many were seen to move", async () => {
    const progress = { id: "r1", total: 21, bytes: 0, etaMs: null };
    const failing: Answer = ({ method }, response, index) => {
      if (method === "POST") answerJson(response, 202, plan);
      else if (index < 2) answerJson(response, 200, { ...progress, state: "running", done: 9 });
      else answerJson(response, 200, { ...progress, state: "failed", done: 0 });
    };
    const { code, stderr } = await against(failing, ["rebalance", "--watch"]);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /error: r1 failed: 9 of 21 partitions moved\n {2}next: see: catchall ring/,
    );
    assert.doesNotMatch(stderr, /21 of 21/);
  });

  it("goes on watching while nobody answers for a while, and says when somebody cancelled", async () => {
    const progress = { id: "r1", done: 0, total: 3, bytes: 0, etaMs: null };
    const passing: Answer = ({ method }, response, index) => {
      if (method === "POST") answerJson(response, 202, plan);
      else if (index < 7) answerProblem(response, 503, "not_ready");
      else answerJson(response, 200, { ...progress, state: "cancelled", done: 1 });
    };
    const { code, stderr } = await against(passing, ["rebalance", "--watch"]);
    assert.equal(code, 1);
    assert.match(stderr, /error: r1 was cancelled: 1 of 3 partitions moved\n/);
    const lost: Answer = ({ method }, response) =>
      method === "POST"
        ? answerJson(response, 202, plan)
        : answerProblem(response, 404, "rebalance_not_found");
    assert.equal((await against(lost, ["rebalance", "--watch"])).code, 1);
  });

  it("cancels a rebalance, alone", async () => {
    const progress = { id: "r1", state: "cancelled", done: 1, total: 3, bytes: 0, etaMs: 0 };
    const run = await against(json(progress), ["rebalance", "--cancel", "r1"]);
    assert.deepEqual([run.code, run.asked], [0, ["DELETE /cluster/rebalances/r1"]]);
    assert.equal(run.stdout, "r1 is cancelled: 1 of 3 partitions moved\n");
    const wrong = await against(json(progress), ["rebalance", "--cancel", "r1", "--watch"]);
    assert.deepEqual([wrong.code, wrong.asked], [2, []]);
    const done: Answer = (_, response) => answerProblem(response, 409, "conflict");
    assert.equal((await against(done, ["rebalance", "--cancel", "r1"])).code, 1);
  });

  it("shows the rule, and changes only what is named", async () => {
    const rule = { deliveredThreshold: 1000, bouncedThreshold: 1, maxBounceRatio: 0.1 };
    const shown = await against(json(rule), ["rule"]);
    assert.match(
      shown.stdout,
      /delivered threshold +1,000\nbounced threshold +1\nmax bounce ratio +0\.1\n$/,
    );
    const setting: Answer = ({ method, body }, response) => {
      if (method === "GET") return answerJson(response, 200, rule);
      const transitions = [{ from: "catch-all", to: "unknown", count: 1 }];
      answerJson(response, 200, { rule: JSON.parse(body), transitions, domainsChanged: 1 });
    };
    const set = await against(setting, [
      "rule",
      "set",
      "--delivered-threshold",
      "5",
      "--max-bounce-ratio",
      "none",
      "--dry-run",
    ]);
    assert.deepEqual([set.code, set.asked[1]], [0, "PUT /cluster/rule?dryRun=true"]);
    assert.deepEqual(JSON.parse(set.requests[1]?.body ?? ""), {
      deliveredThreshold: 5,
      bouncedThreshold: 1,
      maxBounceRatio: null,
    });
    assert.match(
      set.stdout,
      /1 domain would change status\nFROM +TO +DOMAINS\ncatch-all +unknown +1\n$/,
    );
  });
});

describe("the catchall process", () => {
  function run(...argv: string[]) {
    const main = path.join(ROOT, "src", "cli", "main.ts");
    return spawnSync(process.execPath, ["--import", "tsx", main, ...argv], {
      cwd: ROOT,
      encoding: "utf8",
    });
  }

  it("begins with a line that makes it a command", () => {
    const [first] = readFileSync(path.join(ROOT, "src", "cli", "main.ts"), "utf8").split("\n");
    assert.equal(first, "#!/usr/bin/env node");
  });

  it("hands the exit code and the streams on", () => {
    const wrong = run("bogus");
    assert.deepEqual([wrong.status, wrong.stdout], [2, ""]);
    const good = run("--version");
    assert.equal(good.status, 0);
    assert.match(good.stdout, /^\d+\.\d+\.\d+\n$/);
  });

  it("ends serve with 78 and one sentence per mistake", () => {
    const { status, stderr } = run("serve", "--prot", "1", "--partitions", "3");
    assert.equal(status, 78);
    assert.match(stderr, /--prot is not an option; did you mean --port\?/);
    assert.match(stderr, /--partitions must be a power of two/);
  });
});
