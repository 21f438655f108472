/**
 * Clients whose headers never end, byte after byte: cut off in time by both servers, while others are served. Both at once,
 * since all the time is spent waiting.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { PrometheusMetrics } from "../../src/runtime/prometheus-metrics.ts";
import { exchange, RawConnection } from "../support/raw-http.ts";
import { listenWith, surfaceOver } from "../support/served-surface.ts";
import { TestWorld } from "../support/test-node.ts";

const HEAD = "PUT /events/slow.example/delivered HTTP/1.1\r\nHost: a.example\r\nX-Slow: ";
const QUICK = "PUT /events/quick.example/delivered HTTP/1.1\r\nHost: a.example\r\n\r\n";
const SOCKETS = 100;
const BYTE_INTERVAL_MS = 500;
/** Ten or eleven seconds on a quiet machine. */
const CLOSED_WITHIN_MS = 25_000;

describe("Clients that are slow with their headers", { timeout: 60_000, concurrency: true }, () => {
  for (const kind of ["uws", "node"] as const) {
    it(`are cut off by ${kind}, count for nothing, and others are served`, async () => {
      const node = await new TestWorld().start({ pendingEventsMax: 40 });
      const metrics = new PrometheusMetrics({ withProcess: false });
      const surface = surfaceOver({ ingress: node.assembled.router, limits: {}, metrics });
      const deadlines = { requestDeadlineMs: 30_000, bodyDeadlineMs: 30_000 };
      const listening = await listenWith(surface, { kind, onError: () => 0, ...deadlines });
      const slow = await Promise.all(
        Array.from({ length: SOCKETS }, () => RawConnection.open(listening.port)),
      );
      for (const connection of slow) connection.send(HEAD);
      const ticker = setInterval(() => {
        for (const connection of slow) if (!connection.isClosed) connection.send("a");
      }, BYTE_INTERVAL_MS);
      try {
        const closed = slow.map((each) => each.until(() => each.isClosed, CLOSED_WITHIN_MS));
        let quick = 0;
        while (slow.some((each) => !each.isClosed) && quick < 120) {
          const { responses } = await exchange(listening.port, QUICK);
          assert.equal(responses[0]?.status, 204, "an honest client is served");
          quick++;
          await new Promise((resolve) => setTimeout(resolve, 200));
        }
        assert.deepEqual(new Set(await Promise.all(closed)), new Set([true]), "all are cut off");
        const { delivered } = await node.assembled.router.stats();
        assert.equal(delivered, quick, "counted = acknowledged");
      } finally {
        clearInterval(ticker);
        for (const connection of slow) connection.destroy();
        await listening.close();
      }
    });
  }
});
