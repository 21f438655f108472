import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DomainParser } from "../../src/model/domain-name.ts";
import { CatchallError } from "../../src/model/errors.ts";
import { BOUNCED, DELIVERED } from "../../src/model/event.ts";
import { recordCount, recordEnd } from "../../src/model/event-records.ts";
import { partitionOf } from "../../src/model/partition-id.ts";
import {
  KEY_COUNTED,
  KEY_REPLAYED,
  KEY_REUSED,
  KEY_WINDOW_FULL,
  type SubBatch,
} from "../../src/partition/partition-actor.ts";
import { EventRouter, SUB_BATCH_BYTES_MAX } from "../../src/router/event-router.ts";
import { COMMITTED, type EventOutcome, REPLAYED } from "../../src/router/ingress.ts";

interface Delivery {
  readonly partition: number;
  readonly batch: SubBatch;
  readonly sequence: number;
  readonly events: number;
}

/** A router whose ticks and deliveries the test runs by hand. */
class Bench {
  readonly deliveries: Delivery[] = [];
  readonly rejected: string[] = [];
  readonly outcomes: Map<number, EventOutcome[]> = new Map();
  refusal: CatchallError | null = null;
  /** Called for each delivery, when set. */
  onDeliver: ((delivery: Delivery) => void) | null = null;
  readonly router: EventRouter;
  readonly #parser = new DomainParser();
  nowMs = 0;
  /** Waits that are under way: when, and what then. */
  readonly waits: { readonly ms: number; readonly work: () => void; isCancelled: boolean }[] = [];
  #soon: (() => void)[] = [];
  #next = 0;

  constructor(partitions = 4, pendingEventsMax = 1_000_000, isShared = false) {
    this.router = new EventRouter({
      partitions,
      producer: 7,
      pendingEventsMax,
      timers: {
        after: (ms, work) => {
          const wait = { ms, work, isCancelled: false };
          this.waits.push(wait);
          return {
            cancel: () => {
              wait.isCancelled = true;
            },
          };
        },
        soon: (work) => this.#soon.push(work),
      },
      ...(isShared ? { clock: { monotonicMs: () => this.nowMs, wallMs: () => 0 } } : {}),
      refusal: () => this.refusal,
      rejected: (code, events) => {
        this.rejected.push(`${code} ${events}`);
      },
      deliver: (partition, batch) => {
        const { producerSequence: sequence, eventCount: events } = batch;
        const delivery = { partition, batch, sequence, events };
        this.deliveries.push(delivery);
        this.onDeliver?.(delivery);
      },
    });
  }

  /** Returns the index of the event. */
  submit(domain: string, id: string | null = null, count = 1): number {
    assert.equal(this.#parser.parseText(domain, false), null);
    const index = this.#next++;
    const settled = (at: number, outcome: EventOutcome): void => {
      this.outcomes.set(at, [...(this.outcomes.get(at) ?? []), outcome]);
    };
    this.router.submit(this.#parser, DELIVERED, count, id, { settled }, index);
    return index;
  }

  /** Ends a turn; returns how many works ran. */
  tick(): number {
    const due = this.#soon;
    this.#soon = [];
    for (const work of due) work();
    return due.length;
  }

  partitionOf(domain: string, partitions: number): number {
    this.#parser.parseText(domain, false);
    return partitionOf(this.#parser.hash, partitions);
  }
}

function countsOf(batch: SubBatch): number[] {
  const { bytes, length } = batch.records;
  const counts: number[] = [];
  for (let at = 0; at < length; at = recordEnd(bytes, at)) counts.push(recordCount(bytes, at));
  return counts;
}

describe("EventRouter", () => {
  it("asks again whether it may admit when answers, not admissions, make the next flush", () => {
    const bench = new Bench(1);
    bench.submit("a.com");
    bench.tick();
    const [inFlight] = bench.deliveries;
    // Admitted behind what is in flight: nothing is due until that is answered.
    bench.submit("b.com");
    bench.refusal = new CatchallError("shutting_down");
    inFlight?.batch.committed(null);
    const late = bench.submit("c.com");
    assert.deepEqual(bench.rejected, ["shutting_down 1"]);
    assert.deepEqual(bench.outcomes.get(late), [bench.refusal]);
    bench.tick();
    assert.equal(bench.deliveries[1]?.events, 1);
  });

  it("delivers nothing before the end of the tick, then one sub-batch a partition", () => {
    const bench = new Bench();
    for (let i = 0; i < 40; i++) bench.submit(`d${i}.com`);
    assert.equal(bench.deliveries.length, 0);
    assert.equal(bench.tick(), 1);
    assert.deepEqual(bench.deliveries.map((delivery) => delivery.partition).sort(), [0, 1, 2, 3]);
    assert.equal(
      bench.deliveries.reduce((sum, delivery) => sum + delivery.events, 0),
      40,
    );
  });

  it("gathers for a round trip under load, where others own partitions", () => {
    const bench = new Bench(1, 1_000_000, true);
    const roundTrip = (events: number): void => {
      for (let i = 0; i < events; i++) bench.submit(`d${i}.com`);
      if (bench.tick() === 0) bench.waits.at(-1)?.work();
      bench.nowMs += 16;
      bench.deliveries.at(-1)?.batch.committed(null);
    };
    roundTrip(8);
    assert.equal(bench.waits.length, 0, "the first leaves at once");
    roundTrip(8);
    assert.equal(bench.waits.length, 1);
    assert.ok((bench.waits[0]?.ms ?? 0) > 1);
    for (let i = 0; i < 20; i++) roundTrip(8);
    assert.equal(bench.waits.at(-1)?.ms, 10, "never longer than the limit");
    roundTrip(7);
    const before = bench.waits.length;
    bench.submit("a.com");
    assert.equal(bench.tick(), 1, "little to do: at once again");
    assert.equal(bench.waits.length, before);
  });

  it("leaves early when there is enough for a frame", () => {
    const bench = new Bench(1, 1_000_000, true);
    for (let i = 0; i < 8; i++) bench.submit("a.com");
    bench.tick();
    bench.nowMs += 100;
    bench.deliveries[0]?.batch.committed(null);
    for (let i = 0; i < 511; i++) bench.submit("a.com");
    assert.equal(bench.tick(), 0);
    bench.submit("a.com");
    bench.submit("a.com");
    assert.equal(bench.waits[0]?.isCancelled, true);
    assert.equal(bench.tick(), 1);
    assert.deepEqual(
      bench.deliveries.map(({ events }) => events),
      [8, 513],
    );
  });

  it("sends an event to the partition of its hash", () => {
    const bench = new Bench(64);
    for (const domain of ["a.com", "b.org", "example.net"]) {
      bench.submit(domain);
      bench.tick();
      assert.equal(bench.deliveries.at(-1)?.partition, bench.partitionOf(domain, 64));
    }
  });

  it("keeps one sub-batch of a partition in flight and gathers the rest behind it", () => {
    const bench = new Bench(1);
    bench.submit("a.com");
    bench.tick();
    for (let i = 0; i < 5; i++) {
      bench.submit("a.com");
      bench.tick();
    }
    assert.equal(bench.deliveries.length, 1);
    bench.deliveries[0]?.batch.committed(null);
    assert.equal(bench.deliveries.length, 1, "the answers may bring more");
    bench.tick();
    assert.equal(bench.deliveries.length, 2);
    assert.equal(bench.deliveries[1]?.events, 5);
    assert.deepEqual(countsOf(bench.deliveries[1]?.batch as SubBatch), [5]);
    assert.deepEqual(
      bench.deliveries.map((delivery) => delivery.sequence),
      [1, 2],
    );
  });

  it("closes a sub-batch at its size limit and sends the closed ones in order", () => {
    const bench = new Bench(1);
    const perBatch = Math.ceil(SUB_BATCH_BYTES_MAX / (12 + 20 + 9));
    let submitted = 0;
    for (; submitted < perBatch * 3; submitted++) {
      bench.submit(`x${String(submitted % 1000).padStart(4, "0")}.com`, `k${submitted}`);
    }
    bench.tick();
    let events = 0;
    for (let i = 0; i < bench.deliveries.length; i++) {
      const { batch, sequence } = bench.deliveries[i] as Delivery;
      assert.equal(sequence, i + 1);
      assert.ok(batch.records.length < SUB_BATCH_BYTES_MAX + 300);
      events += batch.eventCount;
      batch.committed(new Uint8Array(batch.records.keyedCount));
      if (i === 1) assert.equal(bench.deliveries.length, 3, "a closed one follows at once");
    }
    assert.equal(bench.deliveries.length, 3);
    assert.equal(events, submitted);
    assert.equal(bench.router.pendingEvents, 0);
  });

  it("does not spin on a refused sub-batch: the next goes out a tick later, same sequence", () => {
    const bench = new Bench(1);
    bench.onDeliver = ({ batch }) => batch.failed(new CatchallError("not_ready"));
    bench.submit("a.com");
    bench.tick();
    assert.equal(bench.deliveries.length, 1);
    assert.equal(bench.tick(), 0, "nothing waits, so nothing is due");
    bench.onDeliver = null;
    bench.submit("a.com");
    bench.tick();
    bench.submit("b.com");
    bench.deliveries[1]?.batch.failed(new CatchallError("log_full"));
    assert.equal(bench.deliveries.length, 2, "not in the same tick");
    bench.tick();
    assert.deepEqual(
      bench.deliveries.map((delivery) => delivery.sequence),
      [1, 1, 1],
    );
  });

  it("refuses with the gate's refusal and over the limit, with effect none and nothing pending", () => {
    const bench = new Bench(1, 2);
    bench.refusal = new CatchallError("shutting_down");
    const refused = bench.submit("a.com");
    assert.deepEqual(bench.outcomes.get(refused), [bench.refusal]);
    assert.equal(bench.router.pendingEvents, 0);
    bench.refusal = null;
    bench.submit("a.com");
    bench.submit("a.com");
    const over = bench.outcomes.get(bench.submit("a.com"))?.[0] as CatchallError;
    assert.deepEqual([over.code, over.effect], ["overloaded", "none"]);
    assert.deepEqual(bench.rejected, ["shutting_down 1", "overloaded 1"]);
    assert.equal(bench.router.pendingEvents, 2);
  });

  it("tells each keyed event what became of it, and anonymous ones between them", () => {
    const bench = new Bench(1);
    const indexes = [
      bench.submit("a.com", "k1"),
      bench.submit("a.com"),
      bench.submit("a.com", "k2"),
      bench.submit("a.com", "k3"),
      bench.submit("a.com"),
      bench.submit("a.com", "k4"),
    ];
    bench.tick();
    bench.deliveries[0]?.batch.committed(
      Uint8Array.of(KEY_COUNTED, KEY_REPLAYED, KEY_REUSED, KEY_WINDOW_FULL),
    );
    const told = indexes.map((index) => {
      const outcome = bench.outcomes.get(index)?.[0];
      return outcome instanceof CatchallError ? outcome.code : outcome;
    });
    assert.deepEqual(told, [
      COMMITTED,
      COMMITTED,
      REPLAYED,
      "idempotency_key_reused",
      COMMITTED,
      "idempotency_window_full",
    ]);
  });

  it("takes events that a reply submits at once", () => {
    const bench = new Bench(1);
    const parser = new DomainParser();
    parser.parseText("a.com", false);
    let again = 3;
    const reply = {
      settled: (): void => {
        if (again-- > 0) bench.router.submit(parser, BOUNCED, 1, null, reply, 0);
      },
    };
    bench.onDeliver = ({ batch }) => {
      bench.tick();
      batch.committed(null);
    };
    bench.router.submit(parser, BOUNCED, 1, null, reply, 0);
    while (bench.tick() > 0);
    assert.equal(bench.deliveries.length, 4);
    assert.equal(bench.router.pendingEvents, 0);
  });

  it("settles every event exactly once under random outcomes (200 seeds)", () => {
    for (let seed = 1; seed <= 200; seed++) runRandom(seed);
  });
});

function runRandom(seed: number): void {
  let state = seed * 7919;
  const random = (below: number): number => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
  const partitions = [1, 2, 16][random(3)] as number;
  const bench = new Bench(partitions, 50);
  const inFlight: Delivery[] = [];
  const expected: number[] = Array.from({ length: partitions }, () => 1);
  bench.onDeliver = (delivery) => {
    const { partition, sequence } = delivery;
    assert.ok(!inFlight.some((other) => other.partition === partition), "one in flight");
    assert.equal(sequence, expected[partition], "sequences have no gap");
    if (random(6) === 0) delivery.batch.failed(new CatchallError("not_ready"));
    else inFlight.push(delivery);
  };
  const settleOne = (): void => {
    const at = random(inFlight.length);
    const [{ batch, partition }] = inFlight.splice(at, 1) as [Delivery];
    if (random(4) === 0) return batch.failed(new CatchallError("log_full"));
    expected[partition] = (expected[partition] as number) + 1;
    const { keyedCount } = batch.records;
    batch.committed(
      keyedCount === 0 ? null : Uint8Array.from({ length: keyedCount }, () => random(4)),
    );
  };
  let submitted = 0;
  for (let step = 0; step < 200; step++) {
    const action = random(6);
    if (action === 0) bench.tick();
    else if (action === 1 && inFlight.length > 0) settleOne();
    else
      submitted = bench.submit(`d${random(30)}.com`, random(3) === 0 ? `k${random(9)}` : null) + 1;
  }
  for (let i = 0; i < 1000 && bench.router.pendingEvents > 0; i++) {
    bench.tick();
    if (inFlight.length > 0) settleOne();
  }
  assert.equal(bench.router.pendingEvents, 0, `seed ${seed}`);
  assert.equal(bench.outcomes.size, submitted, `seed ${seed}`);
  for (const [index, outcomes] of bench.outcomes) {
    assert.equal(outcomes.length, 1, `seed ${seed}, event ${index}`);
  }
}
