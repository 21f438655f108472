/** Goal: the audit reads what the product writes, and finds each way in which logs and clients can disagree. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { History, type Outcome } from "../../scripts/chaos/history.ts";
import {
  addEntry,
  checkAudit,
  keyName,
  type LoggedDomains,
} from "../../scripts/chaos/log-audit.ts";
import { BOUNCED, DELIVERED } from "../../src/model/event.ts";
import { RecordWriter } from "../../src/model/event-records.ts";
import { hashKey128 } from "../../src/model/key-hash.ts";
import {
  EVENTS_HEADER_BYTES,
  SECTION_EVENTS,
  SECTION_HEADER_BYTES,
  writeEventsHeader,
  writeSectionHeader,
} from "../../src/partition/section-codec.ts";
import { ENTRY_HEADER_BYTES, ENTRY_KIND_DATA, sealEnvelope } from "../../src/wal/entry-codec.ts";

const DOMAIN = "a.example";
const NAME = Buffer.from(DOMAIN);

/** One entry with these events; `key` null: anonymous. */
function entryOf(events: readonly { kind: 0 | 1; count: number; key: string | null }[]): Buffer {
  const records = new RecordWriter();
  const words = new Uint32Array(4);
  for (const { kind, count, key } of events) {
    if (key === null) {
      records.add(NAME, NAME.length, 7, kind, count);
    } else {
      hashKey128(NAME, NAME.length, key, words);
      records.addKeyed(NAME, NAME.length, 7, kind, count, words);
    }
  }
  const payloadBytes = EVENTS_HEADER_BYTES + records.length;
  const bytes = Buffer.alloc(ENTRY_HEADER_BYTES + SECTION_HEADER_BYTES + payloadBytes);
  const at = ENTRY_HEADER_BYTES + SECTION_HEADER_BYTES;
  writeSectionHeader(bytes, ENTRY_HEADER_BYTES, {
    ...{ partition: 1, kind: SECTION_EVENTS, epoch: 1, payloadBytes },
  });
  const header = { producer: 1, producerSequence: 1, recordCount: records.count };
  writeEventsHeader(bytes, at, header);
  records.copyInto(bytes, at + EVENTS_HEADER_BYTES);
  const envelope = { kind: ENTRY_KIND_DATA, nonce: 1, incarnation: 1, sequence: 1, timeMs: 1 };
  sealEnvelope(bytes, envelope, 0);
  return bytes;
}

function historyOf(writes: readonly (readonly [key: string | null, outcome: Outcome])[]): History {
  const history = new History(null);
  for (const [key, outcome] of writes) {
    const write = history.write({ domain: DOMAIN, type: "delivered", count: 1, key });
    history.attempt(write, "n1", 1);
    history.settle(write, outcome, 2, "told");
  }
  return history;
}

function broken(
  history: History,
  events: readonly { kind: 0 | 1; count: number; key: string | null }[],
  final?: { delivered: number; bounced: number },
): readonly string[] {
  const logged: LoggedDomains = new Map();
  for (const event of events) addEntry(entryOf([event]), logged);
  const answered = new Map(final === undefined ? [] : [[DOMAIN, final]]);
  const expected = { final: answered, mayComeLate: (domain: string) => domain !== DOMAIN };
  return checkAudit(history.domains, logged, expected).map(({ text }) => text);
}

const one = (key: string | null) => ({ kind: DELIVERED, count: 1, key }) as const;

describe("LogAudit", () => {
  it("reads the records of an entry", () => {
    const logged: LoggedDomains = new Map();
    const kinds = [one("x"), one(null), { kind: BOUNCED, count: 5, key: "y" }] as const;
    addEntry(entryOf(kinds), logged);
    const domain = logged.get(DOMAIN);
    assert.deepEqual([domain?.delivered, domain?.bounced], [2, 5]);
    const names = [keyName(DOMAIN, "x"), keyName(DOMAIN, "y")];
    assert.deepEqual(
      [...(domain?.keys ?? [])],
      [
        [names[0], 1],
        [names[1], 1],
      ],
    );
  });

  it("accepts logs that have what was acknowledged, and may have what is unknown", () => {
    const history = historyOf([
      ["x", "acked"],
      ["y", "unknown"],
      ["z", "none"],
      [null, "acked"],
    ]);
    const events = [one("x"), one(null)];
    assert.deepEqual(broken(history, events, { delivered: 2, bounced: 0 }), []);
    assert.deepEqual(broken(history, [...events, one("y")]), []);
  });

  it("finds a key that was lost, doubled, refused or never sent", () => {
    assert.match(broken(historyOf([["x", "acked"]]), []).join(), /lies in no log/);
    const twice = broken(historyOf([["x", "acked"]]), [one("x"), one("x")]);
    assert.match(twice.join(), /2 times/);
    assert.match(broken(historyOf([["x", "unknown"]]), [one("x"), one("x")]).join(), /2 times/);
    assert.match(broken(historyOf([["x", "none"]]), [one("x")]).join(), /was refused/);
    assert.match(broken(historyOf([[null, "acked"]]), [one("x")]).join(), /nobody sent/);
    assert.match(broken(new History(null), [one("x")]).join(), /nobody sent now/);
  });

  it("finds answers that are not the sums of the logs", () => {
    const history = historyOf([[null, "acked"]]);
    const wrong = broken(history, [one(null)], { delivered: 2, bounced: 0 });
    assert.match(wrong.join(), /the logs have 1 delivered, the nodes answer 2/);
  });
});
