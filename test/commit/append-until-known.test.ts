import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { appendUntilKnown } from "../../src/commit/append-until-known.ts";
import type { Timers } from "../../src/runtime/timers.ts";
import { chainSeed, ENTRY_HEADER_BYTES, sealEnvelope } from "../../src/wal/entry-codec.ts";
import type { AppendOutcome } from "../../src/wal/node-log.ts";
import { MemoryNodeLog } from "../support/memory-node-log.ts";

const INCARNATION = 3;

const AT_ONCE: Timers = {
  after: (_delayMs, work) => {
    setImmediate(work);
    return { cancel: () => undefined };
  },
  soon: (work) => {
    setImmediate(work);
  },
};

function entry(sequence: number, nonce: number): Uint8Array {
  const bytes = new Uint8Array(ENTRY_HEADER_BYTES);
  const header = { kind: 0, nonce, incarnation: INCARNATION, sequence, timeMs: 1 };
  sealEnvelope(bytes, header, chainSeed(INCARNATION, 7));
  return bytes;
}

async function openLog(): Promise<MemoryNodeLog> {
  const log = new MemoryNodeLog();
  log.canResend = true;
  await log.create(INCARNATION);
  return log;
}

function append(log: MemoryNodeLog, nonce: number, isStopped = () => false) {
  const bytes = entry(1, nonce);
  const { timers, incarnation } = { timers: AT_ONCE, incarnation: INCARNATION };
  return appendUntilKnown({ log, timers, incarnation, bytes, expectedLast: 0, isStopped });
}

describe("appendUntilKnown", () => {
  it("finds its own entry again when it was stored and the answer was lost", async () => {
    const log = await openLog();
    log.outcomes.push({ kind: "unknown", reason: "timeout" });
    assert.deepEqual(await append(log, 1), { kind: "committed" });
    assert.equal(log.appends, 2);
    assert.equal(log.logs.get(INCARNATION)?.length, 1);
  });

  it("is fenced when another entry lies at its place", async () => {
    const log = await openLog();
    log.logs.get(INCARNATION)?.push(entry(1, 2));
    assert.equal((await append(log, 1)).kind, "fenced");
  });

  it("is fenced when the log has lost what was acknowledged", async () => {
    const log = await openLog();
    const bytes = entry(5, 1);
    const parts = { log, timers: AT_ONCE, incarnation: INCARNATION, bytes, expectedLast: 4 };
    assert.equal((await appendUntilKnown({ ...parts, isStopped: () => false })).kind, "fenced");
  });

  it("goes on while the log can't be read, and until it is told to stop", async () => {
    const log = await openLog();
    const unknown: AppendOutcome = { kind: "unknown", reason: "away" };
    let tries = 0;
    log.outcomes.push(unknown);
    log.read = () => {
      throw new Error("away");
    };
    const outcome = await append(log, 1, () => {
      tries++;
      return tries > 3;
    });
    assert.equal(outcome.kind, "unknown");
    assert.equal(log.logs.get(INCARNATION)?.length, 1);
  });

  it("tells why a try left the outcome open", async () => {
    const log = await openLog();
    const reasons = ["away"];
    for (const reason of reasons) log.outcomes.push({ kind: "unknown", reason });
    const told: string[] = [];
    const outcome = await appendUntilKnown({
      ...{ log, timers: AT_ONCE, incarnation: INCARNATION, bytes: entry(1, 1), expectedLast: 0 },
      isStopped: () => false,
      stalled: (reason) => told.push(reason),
    });
    assert.equal(outcome.kind, "committed");
    assert.deepEqual(told, reasons);
  });

  it("does not send again to a log that can't tell the two apart", async () => {
    const log = await openLog();
    log.canResend = false;
    log.outcomes.push({ kind: "unknown", reason: "fsync failed" });
    assert.equal((await append(log, 1)).kind, "unknown");
    assert.equal(log.appends, 1);
  });
});
