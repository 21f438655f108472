/**
 * Many requests that are cut off, broken or never read, against a whole node behind both servers. Afterwards nothing is
 * pending or held, memory has not grown, and the law holds: what was acknowledged is counted, and nothing that was not
 * sent. `CATCHALL_ODD_REQUESTS=100000` runs more than the usual number, for each server.
 */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { performance } from "node:perf_hooks";
import { describe, it } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { PrometheusMetrics } from "../../src/runtime/prometheus-metrics.ts";
import { listenWith, surfaceOver } from "../support/served-surface.ts";
import { TestWorld } from "../support/test-node.ts";

const REQUESTS = Number(process.env["CATCHALL_ODD_REQUESTS"] ?? 2_000);
const WARM_UP = 500;
const AT_ONCE = 32;
const HEAP_GROWTH_MAX = 6 * 1024 * 1024;
const HOST = "Host: a.example\r\n";
const LINES = '{"domain":"d1.example","type":"delivered"}\n'.repeat(3);
const JSON_HEAD = `${HOST}Content-Type: application/json\r\n`;
const LOOKUP = '{"domains":["d1.example","bücher.example"]}';

/** Bytes, and how many events they may count. */
const SEEDS: readonly (readonly [string, number])[] = [
  [`PUT /events/d2.example/delivered HTTP/1.1\r\n${HOST}\r\n`, 1],
  [`PUT /events/d3.example/bounced HTTP/1.1\r\n${HOST}Content-Length: 0\r\n\r\n`, 1],
  [
    `POST /events HTTP/1.1\r\n${HOST}Content-Type: application/x-ndjson\r\nContent-Length: ${LINES.length}\r\n\r\n${LINES}`,
    3,
  ],
  [
    `POST /events HTTP/1.1\r\n${HOST}Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n${LINES.length.toString(16)}\r\n${LINES}\r\n0\r\n\r\n`,
    3,
  ],
  [
    `POST /domains/lookup HTTP/1.1\r\n${JSON_HEAD}Content-Length: ${Buffer.byteLength(LOOKUP)}\r\n\r\n${LOOKUP}`,
    0,
  ],
  [`GET /domains/d1.example/watch HTTP/1.1\r\n${HOST}\r\n`, 0],
  [`GET /changes HTTP/1.1\r\n${HOST}Last-Event-ID: x\r\n\r\n`, 0],
  [`GET /domains HTTP/1.1\r\n${HOST}Accept: application/x-ndjson\r\n\r\n`, 0],
  [`GET /metrics HTTP/1.1\r\n${HOST}\r\n`, 0],
];
const ODD_BYTES = ["\r", "\n", "\0", ":", ",", ";", "\x0b", " ", "%", "\xff", "{", "9", "\r\n\r\n"];

/** A small seeded generator (xorshift): the choices of one request must not hang together. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

interface Odd {
  readonly bytes: Buffer;
  readonly eventsMax: number;
  /** How long the client waits for an answer, ms; 0: it goes at once. */
  readonly patienceMs: number;
}

function oddOf(random: (below: number) => number): Odd {
  const [seed, events] = SEEDS[random(SEEDS.length)] as readonly [string, number];
  const bytes = Buffer.from(seed);
  const at = random(bytes.length);
  const odd = Buffer.from(ODD_BYTES[random(ODD_BYTES.length)] as string, "latin1");
  const kind = random(6);
  const isWaiting = random(2) === 0;
  // What is whole is answered, however busy the machine; what is not may never be.
  const patienceMs = isWaiting ? 100 : 0;
  if (kind === 0) return { bytes: bytes.subarray(0, at), eventsMax: events, patienceMs: 0 };
  if (kind === 1) return { bytes, eventsMax: events, patienceMs: 0 };
  if (kind === 2) return { bytes, eventsMax: events, patienceMs: isWaiting ? 10_000 : 0 };
  if (kind === 3) {
    // A second request on the same connection, whole or cut.
    const both = Buffer.concat([bytes, bytes.subarray(0, random(2) === 0 ? at : bytes.length)]);
    return { bytes: both, eventsMax: 2 * events, patienceMs };
  }
  const rest = bytes.subarray(kind === 4 ? at + 1 : at);
  return { bytes: Buffer.concat([bytes.subarray(0, at), odd, rest]), eventsMax: 3, patienceMs };
}

/** Sends, and goes at once or after the first bytes of an answer. Resolves to the number of 204 that came. */
function send(port: number, { bytes, patienceMs }: Odd): Promise<number> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect({ port, host: "127.0.0.1" });
    const end = (): void => {
      socket.destroy();
    };
    const timer = setTimeout(end, patienceMs || 100);
    socket.on("connect", () => socket.write(bytes, patienceMs > 0 ? undefined : end));
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
      end();
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      clearTimeout(timer);
      resolve(text.split("HTTP/1.1 204").length - 1);
    });
  });
}

function heapBytes(): number {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

for (const kind of ["uws", "node"] as const) {
  describe(`Odd requests over ${kind}`, { timeout: 280_000 }, () => {
    it("leave nothing pending, nothing held, no growth, and no event counted that was not sent", async () => {
      const node = await new TestWorld().start();
      const metrics = new PrometheusMetrics({ withProcess: false });
      const errors: unknown[] = [];
      const { router } = node.assembled;
      const limits = { streamsMax: 100_000 };
      const listening = await listenWith(surfaceOver({ ingress: router, limits, metrics }), {
        kind,
        onError: (error) => errors.push(error),
        requestDeadlineMs: 2_000,
        bodyDeadlineMs: 1_000,
      });
      try {
        const { port } = listening;
        const random = randomOf(kind === "uws" ? 123_456_789 : 987_654_321);
        let acknowledged = 0;
        let eventsMax = 0;
        const run = async (count: number): Promise<void> => {
          let left = count;
          const worker = async (): Promise<void> => {
            while (left-- > 0) {
              const odd = oddOf(random);
              eventsMax += odd.eventsMax;
              const count = await send(port, odd);
              acknowledged += count;
            }
          };
          await Promise.all(Array.from({ length: AT_ONCE }, worker));
        };
        const gauge = async (name: string): Promise<number> => {
          const { body } = await metrics.text();
          return Number(new RegExp(`^catchall_${name} (\\S+)$`, "m").exec(body)?.[1]);
        };
        const held = async (): Promise<string> =>
          [
            router.pendingEvents,
            await gauge("http_streams"),
            await gauge("http_body_bytes"),
          ].join();
        /** Events, streams and bytes of bodies; waits a while for them to go. */
        const assertIdle = async (): Promise<void> => {
          const deadline = performance.now() + 10_000;
          while ((await held()) !== "0,0,0" && performance.now() < deadline) {
            await new Promise((resolve) => setTimeout(resolve, 20));
          }
          assert.equal(await held(), "0,0,0", "pending events, streams, bytes of bodies");
        };
        await run(WARM_UP);
        await assertIdle();
        const before = heapBytes();
        await run(REQUESTS);
        await assertIdle();
        const growth = heapBytes() - before;
        const { delivered, bounced } = await router.stats();
        const counted = delivered + bounced;
        assert.ok(acknowledged > REQUESTS / 100, `${acknowledged} acknowledged`);
        assert.ok(counted >= acknowledged, `${counted} counted, ${acknowledged} acknowledged`);
        assert.ok(counted <= eventsMax, `${counted} counted, at most ${eventsMax} sent`);
        assert.deepEqual(errors, []);
        assert.ok(growth < HEAP_GROWTH_MAX, `${growth} bytes more after ${REQUESTS} requests`);
        const fresh = "PUT /events/fresh.example/delivered HTTP/1.1\r\n";
        assert.equal(
          await send(port, {
            bytes: Buffer.from(`${fresh}${HOST}\r\n`),
            eventsMax: 1,
            patienceMs: 10_000,
          }),
          1,
          "the node goes on serving",
        );
        assert.equal((await node.counts("fresh.example"))[0], 1);
      } finally {
        await listening.close();
      }
    });
  });
}
