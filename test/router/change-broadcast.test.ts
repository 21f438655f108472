import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { StatusChange } from "../../src/model/status-change.ts";
import {
  CHANGE_IDS_MIN,
  CHANGES_QUEUED_MAX,
  ChangeBroadcast,
} from "../../src/router/change-broadcast.ts";
import { PeerLink } from "../../src/router/peer-link.ts";
import { SILENT_LOGGER } from "../../src/runtime/logger.ts";
import { FRAME_BYTES_MAX, type Transport } from "../../src/transport/transport.ts";
import { FakeOwnership, Wire } from "../support/fake-ownership.ts";
import { VirtualTimers } from "../support/virtual-timers.ts";

function change(id: number): StatusChange {
  return {
    id: `1-1-${id}-0-0`,
    domain: `${"d".repeat(60)}.${"e".repeat(60)}.${"f".repeat(60)}.${"g".repeat(60)}.com`,
    from: "unknown",
    to: "catch-all",
    delivered: id,
    bounced: 0,
    at: "2026-11-21T10:00:00.000Z",
  };
}

class Bench {
  readonly timers = new VirtualTimers();
  readonly wire = new Wire();
  readonly frames: Uint8Array[] = [];
  readonly told: StatusChange[] = [];
  readonly warnings: unknown[] = [];
  readonly from: ChangeBroadcast;
  readonly end: Transport;

  constructor() {
    const logger = {
      ...SILENT_LOGGER,
      warn: (fields: unknown) => void this.warnings.push(fields),
    };
    const [first, second] = [1, 2].map((self) => {
      const link = new PeerLink(new FakeOwnership(self, [1, 2]), this.wire.end(self));
      return new ChangeBroadcast({ link, timers: this.timers, logger });
    }) as [ChangeBroadcast, ChangeBroadcast];
    this.from = first;
    first.listen(() => assert.fail("told of its own change"));
    second.listen((one) => this.told.push(one));
    this.end = this.wire.end(3);
    this.end.onBroadcast((frame) => this.frames.push(frame));
  }
}

describe("ChangeBroadcast", () => {
  it("tells what was told here at the end of the turn, in order, in frames within the limit", async () => {
    const bench = new Bench();
    for (let id = 0; id < 1_500; id++) bench.from.tell(change(id));
    assert.equal(bench.frames.length, 0);
    await bench.timers.advance(0);
    assert.deepEqual(
      bench.told.map(({ delivered }) => delivered),
      Array.from({ length: 1_500 }, (_, id) => id),
    );
    assert.deepEqual(bench.told[7], change(7));
    for (const frame of bench.frames) assert.ok(frame.length <= FRAME_BYTES_MAX);
  });

  it("tells a change that comes twice once", async () => {
    const bench = new Bench();
    bench.from.tell(change(1));
    await bench.timers.advance(0);
    bench.end.broadcast(bench.frames[0] as Uint8Array);
    assert.equal(bench.told.length, 1);
    for (let id = 2; id < CHANGE_IDS_MIN; id++) {
      bench.from.tell(change(id));
      if (id % 5_000 === 0) await bench.timers.advance(0);
    }
    await bench.timers.advance(0);
    const before = bench.told.length;
    bench.end.broadcast(bench.frames[0] as Uint8Array);
    assert.equal(bench.told.length, before, "as far back as the window reaches");
  });

  it("drops what is over the queue, and says so", async () => {
    const bench = new Bench();
    for (let id = 0; id < CHANGES_QUEUED_MAX + 5; id++) bench.from.tell(change(id));
    await bench.timers.advance(0);
    assert.equal(bench.told.length, CHANGES_QUEUED_MAX);
    assert.deepEqual(bench.warnings, [{ dropped: 5 }]);
  });

  it("passes over notices that cannot be read", () => {
    const bench = new Bench();
    bench.end.broadcast(Uint8Array.of(1, 2, 3));
    assert.equal(bench.told.length, 0);
    assert.equal(bench.warnings.length, 2, "each node says so");
  });
});
