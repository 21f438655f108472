/**
 * Clients that cut their requests in two at every byte, that are slow, that never read, and that are ten times too many:
 * over both servers and a node whose log is held by the test. The law throughout: counted = acknowledged.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { PrometheusMetrics } from "../../src/runtime/prometheus-metrics.ts";
import { waitFor } from "../support/http-requests.ts";
import { exchange, RawConnection, type RawResponse } from "../support/raw-http.ts";
import { listenWith, surfaceOver } from "../support/served-surface.ts";
import { type TestNode, TestWorld } from "../support/test-node.ts";

const HOST = "Host: a.example\r\n";
const BODY_DEADLINE_MS = 700;
const PENDING_MAX = 40;
const LINE = '{"domain":"bulk.example","type":"bounced"}\n';

const WATCH_HEAD = `GET /domains/a.example/watch HTTP/1.1\r\n${HOST}`;
const WATCH = `${WATCH_HEAD}\r\n`;
/** Requests that a client leaves in the middle: those behind a stream, and a stream whose own body is missing. */
const BEGUN = [
  WATCH,
  `${WATCH}GET /dom`,
  `${WATCH}GET /healthz HTTP/1.1\r\n${HOST}\r\nGET`,
  `${WATCH}${WATCH}PUT /ev`,
  `${WATCH}POST /events HTTP/1.1\r\n${HOST}Content-Type: application/x-ndjson\r\nContent-Length: 99\r\n\r\n{`,
  `${WATCH}CONNECT a:1 HTTP/1.1\r\n${HOST}\r\n`,
  `${WATCH_HEAD}Content-Length: 9\r\n\r\nab`,
];

interface Rig {
  readonly kind: "uws" | "node";
  readonly port: number;
  readonly world: TestWorld;
  readonly node: TestNode;
  readonly errors: readonly unknown[];
  readonly metrics: PrometheusMetrics;
}

function put(domain: string): string {
  return `PUT /events/${domain}/delivered HTTP/1.1\r\n${HOST}\r\n`;
}

function bulk(lines: number, extra: string = ""): string {
  const body = LINE.repeat(lines);
  const length = `Content-Length: ${body.length}\r\n`;
  const head = `POST /events HTTP/1.1\r\n${HOST}Content-Type: application/x-ndjson\r\n`;
  return `${head}${extra}${length}\r\n${body}`;
}

/** How many events the answer says are counted. */
function acknowledged({ status, body }: RawResponse): number {
  if (status === 204) return 1;
  if (status !== 200) return 0;
  return Number((JSON.parse(body.toString()) as { accepted?: number }).accepted ?? 0);
}

async function counted({ node }: Rig): Promise<number> {
  const { delivered, bounced } = await node.assembled.router.stats();
  return delivered + bounced;
}

async function withRig(kind: "uws" | "node", work: (rig: Rig) => Promise<void>): Promise<void> {
  const world = new TestWorld();
  const node = await world.start({ pendingEventsMax: PENDING_MAX });
  const errors: unknown[] = [];
  const metrics = new PrometheusMetrics({ withProcess: false });
  const limits = { bulkWaitMs: 50 };
  const surface = surfaceOver({ ingress: node.assembled.router, limits, metrics });
  const deadlines = { requestDeadlineMs: 30_000, bodyDeadlineMs: BODY_DEADLINE_MS };
  const onError = (error: unknown): number => errors.push(error);
  const listening = await listenWith(surface, { kind, onError, ...deadlines });
  try {
    await work({ kind, port: listening.port, world, node, errors, metrics });
    assert.deepEqual(errors, [], "no handler failed");
  } finally {
    await listening.close();
  }
}

/** The answer to bytes that come in two writes, at each place where they can be cut. */
async function splits({ port }: Rig, bytes: string): Promise<RawResponse[]> {
  const answers: RawResponse[] = [];
  // In groups: what is sent at once must stay below the limit of pending events.
  const cuts = Array.from({ length: bytes.length - 1 }, (_, index) => index + 1);
  while (cuts.length > 0) {
    const group = cuts.splice(0, 8).map(async (cut) => {
      const connection = await RawConnection.open(port);
      connection.send(bytes.slice(0, cut));
      await new Promise((resolve) => setTimeout(resolve, 5));
      connection.send(bytes.slice(cut));
      const [answer] = await connection.responses(1, 10_000);
      connection.destroy();
      assert.ok(answer !== undefined, `no answer when cut at ${cut}`);
      return answer;
    });
    answers.push(...(await Promise.all(group)));
  }
  return answers;
}

/** Sends while the log commits nothing, lets it go on, and gives all answers. */
async function flood(
  { port, world, node }: Rig,
  requests: readonly string[],
): Promise<RawResponse[]> {
  let release = (): void => undefined;
  world.log.hold = new Promise((resolve) => {
    release = resolve;
  });
  let refused = 0;
  const answers = requests.map(async (bytes) => {
    const { responses } = await exchange(port, bytes, { timeoutMs: 20_000 });
    refused++;
    assert.equal(responses.length, 1, "one answer");
    return responses[0] as RawResponse;
  });
  // What is over the limit is told so while the log still hangs; what is admitted waits.
  await waitFor(() => refused >= requests.length - PENDING_MAX, 20_000);
  assert.ok(node.assembled.router.pendingEvents <= PENDING_MAX, "no more than the limit is held");
  world.log.hold = null;
  release();
  return await Promise.all(answers);
}

for (const kind of ["uws", "node"] as const) {
  describe(`Unkind clients over ${kind}`, { timeout: 120_000 }, () => {
    for (const [name, bytes] of [
      ["a PUT", put("split.example")],
      ["a bulk", bulk(2)],
    ] as const) {
      it(`are acknowledged what is counted of ${name} that is cut at each byte`, () =>
        withRig(kind, async (rig) => {
          const answers = await splits(rig, bytes);
          const told = answers.reduce((sum, answer) => sum + acknowledged(answer), 0);
          assert.equal(await counted(rig), told);
          // uWebSockets.js refuses a request line that arrives cut at one of some places.
          const others = answers.filter(({ status }) => status !== 204 && status !== 200);
          assert.ok(
            others.every(({ status }) => status === 505),
            "505 only",
          );
          assert.ok(others.length <= (kind === "uws" ? 12 : 0), `${others.length} refused`);
        }));
    }

    it("that go in the middle of a request leave no stream open that was before it", () =>
      withRig(kind, async ({ port, metrics }) => {
        for (const begun of BEGUN) {
          const connection = await RawConnection.open(port);
          connection.send(begun);
          // uWebSockets.js closes when whole requests follow one that is not answered.
          const hasStream = (): boolean => connection.bytes.includes("text/event-stream");
          await waitFor(() => connection.isClosed || hasStream());
          // What the stream begins with is read, so that the client's end arrives as an end and not as a reset.
          await new Promise((resolve) => setTimeout(resolve, 50));
          connection.destroy();
          await waitFor(async () => /^catchall_http_streams 0$/m.test((await metrics.text()).body));
        }
      }));

    it("that are slow with a body get 408, nothing of it counts, and others are served", () =>
      withRig(kind, async (rig) => {
        const bytes = bulk(3);
        const slow = await Promise.all(
          Array.from({ length: 50 }, () => RawConnection.open(rig.port)),
        );
        for (const connection of slow) connection.send(bytes.slice(0, -1));
        const { responses } = await exchange(rig.port, put("quick.example"));
        assert.equal(responses[0]?.status, 204);
        for (const connection of slow) {
          const [answer] = await connection.responses(1, 10_000);
          assert.equal(answer?.status, 408);
          connection.destroy();
        }
        assert.equal(await counted(rig), 1);
      }));

    it("that send byte by byte are served when they are in time", () =>
      withRig(kind, async (rig) => {
        const bytes = put("slow.example");
        const connection = await RawConnection.open(rig.port);
        // The request line at once: uWebSockets.js refuses one that comes in pieces.
        const line = bytes.indexOf("\r\n") + 2;
        connection.send(bytes.slice(0, line));
        for (const byte of bytes.slice(line)) {
          await new Promise((resolve) => setTimeout(resolve, 2));
          connection.send(byte);
        }
        assert.equal((await connection.responses(1, 10_000))[0]?.status, 204);
        connection.destroy();
        assert.equal(await counted(rig), 1);
      }));

    for (const factor of [5, 10]) {
      it(`that are ${factor} times too many get 204 and count, or 503 with effect none and do not`, () =>
        withRig(kind, async (rig) => {
          const requests = Array.from({ length: factor * PENDING_MAX }, (_, i) =>
            put(`d${i % 9}.example`),
          );
          const answers = await flood(rig, requests);
          for (const { status, body, headers } of answers) {
            if (status === 204) continue;
            const problem = JSON.parse(body.toString()) as { code: string; effect: string };
            assert.deepEqual([status, problem.code, problem.effect], [503, "overloaded", "none"]);
            assert.equal(headers.get("retry-after"), "1");
          }
          const told = answers.reduce((sum, answer) => sum + acknowledged(answer), 0);
          assert.equal(told, PENDING_MAX);
          assert.equal(await counted(rig), told);
          const { responses } = await exchange(rig.port, put("after.example"));
          assert.equal(responses[0]?.status, 204, "served again at once");
        }));
    }

    it("with bulks ten times too large for the queue are told each line that did not count", () =>
      withRig(kind, async (rig) => {
        const single = Array.from({ length: PENDING_MAX }, (_, i) => put(`d${i}.example`));
        const bulks = Array.from({ length: 5 }, () => bulk(2 * PENDING_MAX));
        const answers = await flood(rig, [...single, ...bulks]);
        const told = answers.reduce((sum, answer) => sum + acknowledged(answer), 0);
        assert.equal(await counted(rig), told);
        for (const { status, body } of answers.slice(PENDING_MAX)) {
          if (status === 503) continue;
          const { accepted, rejected } = JSON.parse(body.toString()) as {
            accepted: number;
            rejected: readonly { code: string }[];
          };
          assert.equal(accepted + rejected.length, 2 * PENDING_MAX);
          assert.ok(
            rejected.every(({ code }) => code === "overloaded"),
            "each for want of room",
          );
        }
      }));
  });
}
