import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CounterTable } from "../../src/counters/counter-table.ts";
import { type DomainName, DomainParser } from "../../src/model/domain-name.ts";
import { BOUNCED } from "../../src/model/event.ts";
import { RecordWriter } from "../../src/model/event-records.ts";
import { DEFAULT_RULE, STATUS_CATCH_ALL } from "../../src/model/status.ts";
import { IdempotencyWindow, KeyBudget } from "../../src/partition/idempotency-window.ts";
import { PartitionState } from "../../src/partition/partition-state.ts";
import {
  SECTION_OVERRIDE,
  SECTION_RESET,
  SECTION_RULE,
} from "../../src/partition/section-codec.ts";
import { statusChangeOf } from "../../src/router/router.ts";

const ENTRY = { incarnation: 4, sequence: 9, timeMs: 1_790_000_000_000 };

interface Told {
  readonly domain: string;
  readonly id: string;
}

function openState(told: Told[]): PartitionState {
  return new PartitionState({
    partition: 0,
    table: new CounterTable({ partition: 0, partitions: 1, seed: [1, 2] }),
    window: new IdempotencyWindow(60_000, new KeyBudget(10)),
    rule: DEFAULT_RULE,
    onChange: (change) => told.push(statusChangeOf(change)),
  });
}

function bounces(domains: readonly string[]): RecordWriter {
  const records = new RecordWriter();
  const parser = new DomainParser();
  for (const domain of domains) {
    assert.equal(parser.parseText(domain, false), null);
    records.add(parser.bytes, parser.length, parser.hash, BOUNCED, 1);
  }
  return records;
}

function apply(state: PartitionState, domains: readonly string[]): void {
  const records = bounces(domains);
  state.advance(3, ENTRY);
  state.applyEvents(records.bytes, 0, records.count, ENTRY.timeMs);
}

describe("PartitionState", () => {
  it("gives a change the same id when it is replayed over a page that is ahead", () => {
    const first: Told[] = [];
    const live = openState(first);
    live.endRecovery();
    apply(live, ["a.example", "b.example"]);
    assert.equal(first.length, 2);

    const second: Told[] = [];
    const again = openState(second);
    const page = live.table.hashOf(0) >>> 16;
    assert.notEqual(page, live.table.hashOf(1) >>> 16);
    again.restorePage(
      {
        partition: 0,
        kind: "counters",
        id: page,
        position: { epoch: 3, incarnation: 4, sequence: 9 },
        bytes: live.table.encodePage(page),
      },
      { epoch: 3, incarnation: 4, sequence: 8 },
    );
    apply(again, ["a.example", "b.example"]);
    assert.deepEqual(second, first.slice(1));
  });

  it("keeps the age of a status that an override holds over a reset", () => {
    const state = openState([]);
    state.endRecovery();
    apply(state, ["a.example"]);
    const domain = "a.example" as DomainName;
    const override = { status: "catch-all", reason: "known" } as const;
    const atMs = ENTRY.timeMs + 1000;
    state.applyChange({ kind: SECTION_OVERRIDE, domain, override, by: "test" }, atMs);
    state.applyChange({ kind: SECTION_RESET, domain, by: "test" }, atMs + 1000);
    const entry = state.find(domain);
    assert.deepEqual(
      [state.table.status(entry), state.table.statusSinceMs(entry)],
      [STATUS_CATCH_ALL, atMs],
    );
  });

  it("takes no rule that a later one has overtaken, whatever the log brings", () => {
    const state = openState([]);
    state.endRecovery();
    apply(state, ["a.example"]);
    const rule = { ...DEFAULT_RULE, bouncedThreshold: 5, deliveredThreshold: 0 };
    state.applyChange({ kind: SECTION_RULE, rule, revision: 2, by: "test" }, ENTRY.timeMs);
    for (const revision of [1, 2]) {
      const old = { kind: SECTION_RULE, rule: DEFAULT_RULE, revision, by: "test" } as const;
      state.applyChange(old, ENTRY.timeMs);
    }
    assert.deepEqual([state.rule, state.ruleRevision], [rule, 2]);
  });

  it("orders a rule's changes after those of the events before it in its entry", () => {
    const told: Told[] = [];
    const state = openState(told);
    state.endRecovery();
    apply(state, ["a.example"]);
    const rule = { ...DEFAULT_RULE, bouncedThreshold: 5, deliveredThreshold: 0 };
    state.applyChange({ kind: SECTION_RULE, rule, revision: 1, by: "test" }, ENTRY.timeMs);
    state.sweepRule(Number.POSITIVE_INFINITY);
    assert.deepEqual(
      told.map(({ id }) => id),
      ["3-4-9-0-0", "3-4-9-0-1-a.example"],
    );
  });
});
