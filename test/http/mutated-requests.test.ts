/**
 * Mutated requests over both servers, from a seed: test/support/http-fuzz-run.ts says which laws. `npm run http-fuzz`
 * sends many more; a seed that found something is pinned here.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DomainParser } from "../../src/model/domain-name.ts";
import { DELIVERED } from "../../src/model/event.ts";
import { COMMITTED, type Ingress } from "../../src/router/ingress.ts";
import { CountingLaw } from "../support/http-counting-law.ts";
import { type FuzzOptions, mutantsOf, runHttpFuzz } from "../support/http-fuzz-run.ts";
import { IngressWitness, ingressWith } from "../support/http-ingress-witness.ts";
import { AnswerJudge } from "../support/http-judge.ts";
import { readAnswers, readSequence, readStrictly } from "../support/http-reading.ts";
import { unseenEventsMax } from "../support/http-unseen.ts";
import { TestWorld } from "../support/test-node.ts";

const REQUESTS = Number(process.env["CATCHALL_MUTATED_REQUESTS"] ?? 25_000);
const SEED = 1;

type Defect = "lost" | "twice";

const DEFECTS: readonly (readonly [Defect, string])[] = [
  ["lost", "acknowledges and does not count"],
  ["twice", "counts twice"],
];

/** The first event that counts for the domain, and no other, is acknowledged and not counted, or counted once more. */
function withDefect(ingress: Ingress, defect: Defect, brokenDomain: string): Ingress {
  let isDue = true;
  const silent = { settled: () => undefined };
  return ingressWith(ingress, (domain, kind, count, eventId, reply, index) => {
    const isBroken = isDue && domain.name() === brokenDomain;
    if (isBroken) isDue = false;
    if (isBroken && defect === "lost") {
      setImmediate(() => reply.settled(index, COMMITTED));
      return;
    }
    ingress.submit(domain, kind, count, eventId, reply, index);
    if (isBroken) ingress.submit(domain, kind, count, null, silent, 0);
  });
}

/** The name of the first request for one event with which this and nothing else was done. */
function firstNamed(kind: "uws" | "node", operators: readonly string[]): string {
  const mutants = mutantsOf(kind, SEED);
  for (;;) {
    const { name, mutant } = mutants.next().value;
    const [text = "", ...more] = mutant.pieces;
    const isDone = more.length === 0 && mutant.operators.join() === operators.join();
    if (isDone && /^(PUT|POST) \/events\/q/.test(text)) return name;
  }
}

async function faultsWith(
  kind: "uws" | "node",
  name: string,
  defects: Pick<FuzzOptions, "routerDefect" | "surfaceDefect">,
): Promise<string[]> {
  const requests = Number(name.slice(1, 8)) + 100;
  return (await runHttpFuzz({ kind, requests, seed: SEED, ...defects })).faults;
}

for (const kind of ["uws", "node"] as const) {
  describe(`Mutated requests over ${kind}`, { timeout: 580_000 }, () => {
    it("count as acknowledged, and get no answer but declared ones", async () => {
      const report = await runHttpFuzz({ kind, requests: REQUESTS, seed: SEED });
      assert.deepEqual(report.faults, [], "faults");
      assert.equal(report.sent, REQUESTS);
      assert.ok(report.acknowledged > REQUESTS / 10, `${report.acknowledged} acknowledged`);
      assert.ok(report.honest > 0, "an honest client was served beside them");
      const { counted, acknowledged, unseenCounted, unseenMax } = report;
      assert.equal(counted, acknowledged + unseenCounted);
      assert.ok(unseenCounted <= unseenMax, `${unseenCounted} of ${unseenMax} unseen`);
    });

    it("show one event that is counted for another domain", async () => {
      const unchanged = firstNamed(kind, []);
      const other = new DomainParser();
      other.parseText("elsewhere.example", false);
      const elsewhere = (ingress: Ingress): Ingress =>
        ingressWith(ingress, (domain, ...event) =>
          ingress.submit(domain.name() === `${unchanged}.example` ? other : domain, ...event),
        );
      const faults = await faultsWith(kind, unchanged, { surfaceDefect: elsewhere });
      assert.match(faults.join("\n"), /1 counted for elsewhere\.example, which nobody sent/);
      assert.match(faults.join("\n"), new RegExp(`^0 counted, 1 .*${unchanged}`, "m"));
    });

    for (const [defect, sentence] of DEFECTS) {
      const unchanged = firstNamed(kind, []);
      const broken = (ingress: Ingress) => withDefect(ingress, defect, `${unchanged}.example`);
      const wrong = `${defect === "lost" ? 0 : 2} counted, 1 acknowledged, 0 unseen`;

      it(`show one event that the router ${sentence}`, async () => {
        const faults = await faultsWith(kind, unchanged, { routerDefect: broken });
        assert.equal(faults.length, 4, `of domain, request, and both sums: ${faults.join("; ")}`);
        assert.ok(faults[0]?.startsWith(`${unchanged}.example has `), faults[0]);
        assert.ok(faults[2]?.startsWith(wrong) && faults[2].includes(unchanged), faults[2]);
      });

      it(`show one event that what is in front of the router ${sentence}`, async () => {
        const faults = await faultsWith(kind, unchanged, { surfaceDefect: broken });
        assert.equal(faults.length, 2, `of the request and the sum: ${faults.join("; ")}`);
        assert.ok(faults[0]?.startsWith(wrong) && faults[0].includes(unchanged), faults[0]);
      });

      it(`show one event that the router ${sentence}, of a request in front of another`, async () => {
        const name = firstNamed(kind, ["duplicate"]);
        const faults = await faultsWith(kind, name, {
          routerDefect: (ingress) => withDefect(ingress, defect, `${name}.example`),
        });
        // Over uws its answer is not seen, but what the router settled is.
        assert.ok(faults[0]?.startsWith(`${name}.example has `), faults.join("; "));
      });
    }
  });
}

describe("CountingLaw", () => {
  it("knows two requests apart that became the same domain", async () => {
    const faults: string[] = [];
    const node = await new TestWorld().start();
    const witness = new IngressWitness(node.assembled.router);
    const law = new CountingLaw(witness, (sentence) => faults.push(sentence));
    const parser = new DomainParser();
    parser.parseText("q004.example", false);
    const count = () =>
      new Promise<void>((resolve) => {
        const reply = { settled: () => resolve() };
        witness.ingress.submit(parser, DELIVERED, 1, null, reply, 0);
      });
    const pieces = ["PUT /events/q004.example/delivered HTTP/1.1\r\n\r\n"];
    const sent = { mutant: { pieces, operators: ["shift"] }, acknowledged: 1, unseenMax: 0 };
    const lookAt = async (events: number): Promise<readonly string[]> => {
      for (const name of ["q0043103x0043103", "q0043257x0043257"]) law.add(name, sent);
      for (let i = 0; i < events; i++) await count();
      await law.check(() => false);
      return faults.splice(0);
    };
    assert.deepEqual(await lookAt(2), []);
    assert.deepEqual(await lookAt(1), ["0 counted, 1 acknowledged, 0 unseen"]);
    assert.deepEqual(await lookAt(3), ["1 counted for q004.example, which nobody sent"]);
  });
});

describe("readStrictly", () => {
  const head = "PUT /events/a.example/delivered HTTP/1.1\r\nHost: a.example\r\n";
  for (const whole of [`${head}\r\n`, `${head}Content-Length: 2\r\n\r\nab`]) {
    it(`reads ${JSON.stringify(whole.slice(head.length))} as one request`, () => {
      assert.equal(readStrictly(whole)?.path, "/events/a.example/delivered");
    });
  }
  for (const other of ["", "\r\nx", "Content-Length: 3\r\n\r\nab", "Host: b\r\n\r\n"]) {
    it(`does not read ${JSON.stringify(other)} as one request`, () => {
      assert.equal(readStrictly(head + other), null);
    });
  }
});

describe("readSequence", () => {
  const head = "PUT /events/a.example/delivered HTTP/1.1\r\nHost: a.example\r\n";
  it("reads the whole requests in front, and says what is behind them", () => {
    const whole = [`${head}Content-Length: 2\r\n\r\nab`, `${head}\r\n`];
    assert.deepEqual(readSequence(`${whole.join("")}PUT`), { whole, rest: "PUT" });
  });
});

describe("readAnswers", () => {
  const stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
  const counted = "HTTP/1.1 204 No Content\r\n\r\n";
  const statuses = (text: string) => readAnswers(text, false).answers.map(({ status }) => status);
  it("reads on behind the head of a stream that a HEAD asked for", () => {
    assert.deepEqual(statuses(stream + counted), [200, 204]);
    const chunked = stream.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert.deepEqual(statuses(chunked + counted), [200, 204]);
  });
  it("takes what a stream says for no answer", () => {
    assert.deepEqual(statuses(`${stream}: \n\n${counted}`), [200]);
    assert.equal(readAnswers(`${stream}: \n\n`, false).isStreaming, true);
  });
});

describe("AnswerJudge", () => {
  it("takes a refusal for overload as declared, and no other failure", () => {
    const judge = new AnswerJudge("node");
    const failed = (status: number, code: string, effect: string): string | null => {
      const body = JSON.stringify({ status, code, effect, title: "x", type: "x", retryable: true });
      const answer = { status, head: "", mediaType: "application/problem+json", body };
      return judge.faultOf(answer, null);
    };
    assert.equal(failed(503, "overloaded", "none"), null);
    assert.match(`${failed(503, "overloaded", "unknown")}`, /does not fit its problem/);
    assert.match(`${failed(504, "outcome_unknown", "unknown")}`, /^504 /);
    assert.match(`${failed(503, "log_failed", "none")}`, /^503 /);
  });
});

describe("unseenEventsMax", () => {
  const one = "PUT /events/a.example/delivered HTTP/1.1\r\nHost: a\r\n\r\n";
  const bulk = (head: string) =>
    `POST /events HTTP/1.1\r\n${head}Content-Length: 34\r\n\r\n{"domain":"a.ab"}{"domain":"b.ab"}`;
  const two = bulk("Host: a\r\n");
  const counted = "HTTP/1.1 204 No Content\r\n\r\n";
  const last = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
  const page = "HTTP/1.1 400 Bad Request\r\n\r\n<h1>Bad Request</h1>";
  const stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
  const cases: readonly (readonly [string, string, string, boolean, number, number])[] = [
    ["cut without an answer, the request with the most", one + two, "", true, 2, 0],
    ["cut behind an answer, what is behind it", two + one, counted, true, 1, 0],
    ["cut behind an answer that says it is the last, none", one + two, last, true, 0, 0],
    ["not cut, none", one + one, counted, false, 0, 0],
    ["refused by itself, none", bulk(""), page, true, 0, 0],
    [
      "cut in front of what is no request line, all events",
      `${bulk("")}PUT/${one}`,
      "",
      true,
      2,
      0,
    ],
    ["refused with bytes behind it, its own", `${one}x`, page, true, 1, 0],
    [
      "behind a stream, all over node",
      `GET /changes HTTP/1.1\r\nHost: a\r\n\r\n${one}${two}`,
      stream,
      false,
      0,
      3,
    ],
  ];
  for (const [sentence, text, answered, isCut, uws, node] of cases) {
    it(`is ${uws} over uws, ${node} over node: ${sentence}`, () => {
      const outcome = { ...readAnswers(answered, false), isCut, fault: null };
      for (const [kind, events] of [
        ["uws", uws],
        ["node", node],
      ] as const) {
        const judge = new AnswerJudge(kind);
        assert.equal(unseenEventsMax(text, outcome, { kind, judge }), events, kind);
      }
    });
  }
});
