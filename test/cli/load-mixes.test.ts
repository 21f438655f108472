/**
 * The mixes of `catchall load`: reproducible, and `challenge` with the numbers of the challenge's own generator.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DomainNames } from "../../src/cli/load/domain-names.ts";
import {
  BOUNDARY_LIFETIMES,
  CHALLENGE_EVENTS_BOUND,
  challengeLifetime,
  createMix,
  FLIP_DELIVERIES,
  isBounce,
  MIX_NAMES,
  type MixName,
  UNKEYED,
} from "../../src/cli/load/mixes.ts";
import { SeededRandom } from "../../src/cli/load/seeded-random.ts";
import { ZipfSampler } from "../../src/cli/load/zipf-sampler.ts";
import { BOUNCED, DELIVERED } from "../../src/model/event.ts";
import { classify, DEFAULT_RULE, STATUS_NAMES } from "../../src/model/status.ts";

function take(name: MixName, seed: number, count: number, domains = 500): string[] {
  const stream = createMix(name, { seed, domains, isKeyed: false });
  const events: string[] = [];
  for (let i = 0; i < count; i++) {
    stream.next();
    events.push(`${stream.domain} ${stream.kind} ${stream.key}`);
  }
  return events;
}

function countByDomain(name: MixName, count: number): Map<number, [number, number]> {
  const stream = createMix(name, { seed: 5, domains: 500, isKeyed: false });
  const counts = new Map<number, [number, number]>();
  for (let i = 0; i < count; i++) {
    stream.next();
    const entry = counts.get(stream.domain) ?? [0, 0];
    entry[stream.kind]++;
    counts.set(stream.domain, entry);
  }
  return counts;
}

describe("createMix", () => {
  for (const name of MIX_NAMES) {
    it(`gives the same ${name} events for the same seed`, () => {
      assert.deepEqual(take(name, 42, 20_000), take(name, 42, 20_000));
    });
  }

  for (const name of ["challenge", "uniform", "zipf", "duplicates"] as const) {
    it(`gives other ${name} events for another seed`, () => {
      assert.notDeepEqual(take(name, 1, 20_000), take(name, 2, 20_000));
    });
  }

  it("numbers every event when asked for keys", () => {
    const stream = createMix("uniform", { seed: 1, domains: 10, isKeyed: true });
    for (let i = 0; i < 100; i++) {
      stream.next();
      assert.equal(stream.key, i);
    }
  });

  it("uniform touches every domain about equally", () => {
    const counts = countByDomain("uniform", 500_000);
    assert.equal(counts.size, 500);
    for (const [delivered, bounced] of counts.values()) {
      assert.ok(delivered + bounced > 800 && delivered + bounced < 1200);
    }
  });

  it("boundary ends its domains exactly around the threshold", () => {
    const counts = countByDomain("boundary", 300_000);
    for (const [index, lifetime] of BOUNDARY_LIFETIMES.entries()) {
      const bounces = lifetime.bounceAt < 0 ? 0 : 1;
      assert.deepEqual(counts.get(index), [lifetime.events - bounces, bounces]);
    }
    const delivered = BOUNDARY_LIFETIMES.filter((l) => l.bounceAt < 0).map((l) => l.events);
    for (const boundary of [999, 1000, 1001]) assert.ok(delivered.includes(boundary));
  });

  it("flip sends every second domain one bounce, after its last delivery", () => {
    const stream = createMix("flip", { seed: 1, domains: 1, isKeyed: false });
    const delivered = new Map<number, number>();
    const bounced = new Set<number>();
    for (let i = 0; i < 200_000; i++) {
      stream.next();
      if (stream.kind === DELIVERED) {
        delivered.set(stream.domain, (delivered.get(stream.domain) ?? 0) + 1);
      } else {
        assert.equal(delivered.get(stream.domain), FLIP_DELIVERIES);
        assert.equal(stream.domain % 2, 1);
        assert.ok(!bounced.has(stream.domain));
        bounced.add(stream.domain);
      }
    }
    assert.ok(bounced.size > 50);
  });

  it("duplicates repeats keys with the same domain and kind, one to four times", () => {
    const stream = createMix("duplicates", { seed: 9, domains: 50, isKeyed: false });
    const first = new Map<number, string>();
    const sends = new Map<number, number>();
    for (let i = 0; i < 100_000; i++) {
      stream.next();
      assert.notEqual(stream.key, UNKEYED);
      const event = `${stream.domain} ${stream.kind}`;
      assert.equal(first.get(stream.key) ?? event, event);
      first.set(stream.key, event);
      sends.set(stream.key, (sends.get(stream.key) ?? 0) + 1);
    }
    assert.equal(Math.max(...sends.values()), 4);
    const repeated = [...sends.values()].filter((times) => times > 1).length;
    assert.ok(repeated > sends.size / 2);
  });
});

describe("challengeLifetime", () => {
  it("has the exact expectations of 100,000 iterations of the original", () => {
    const perCycle = { events: 0, bounces: 0, appear: 0, exactly1000: 0 };
    const statuses: Record<string, number> = { unknown: 0, "catch-all": 0, "not catch-all": 0 };
    for (let max = 0; max < CHALLENGE_EVENTS_BOUND; max++) {
      for (const { iteration, weight } of [
        { iteration: 0, weight: 4000 },
        { iteration: 1, weight: 96_000 },
      ]) {
        const domains = weight / CHALLENGE_EVENTS_BOUND;
        const lifetime = challengeLifetime(iteration, max);
        let bounces = 0;
        for (let i = 0; i < lifetime.events; i++) if (isBounce(lifetime, i)) bounces++;
        perCycle.events += domains * max;
        perCycle.bounces += domains * bounces;
        if (max > 0) perCycle.appear += domains;
        if (bounces === 0 && max === 1000) perCycle.exactly1000 += domains;
        const status = STATUS_NAMES[classify(DEFAULT_RULE, max - bounces, bounces)];
        if (max > 0) statuses[status] = (statuses[status] as number) + domains;
      }
    }
    assert.equal(Math.round(perCycle.events), 124_950_000);
    assert.equal(Math.round(perCycle.appear), 99_960);
    assert.equal(Math.round(perCycle.bounces), 288_346);
    assert.equal(perCycle.exactly1000.toFixed(1), "1.6");
    assert.equal((statuses["not catch-all"] as number).toFixed(1), "95884.8");
    assert.equal((statuses["catch-all"] as number).toFixed(1), "2398.4");
    assert.equal((statuses["unknown"] as number).toFixed(1), "1676.8");
  });

  it("makes every event of a domain with three to five events a bounce", () => {
    for (const max of [3, 4, 5]) {
      const lifetime = challengeLifetime(1, max);
      for (let i = 0; i < max; i++) assert.ok(isBounce(lifetime, i));
    }
  });
});

describe("challenge mix", () => {
  it("keeps twenty domains live, each with a twentieth of the traffic", () => {
    const stream = createMix("challenge", { seed: 3, domains: 1, isKeyed: false });
    const recent = new Map<number, number>();
    for (let i = 0; i < 1000; i++) {
      stream.next();
      recent.set(stream.domain, (recent.get(stream.domain) ?? 0) + 1);
    }
    assert.ok(recent.size >= 20 && recent.size <= 26, `${recent.size} domains`);
    assert.ok(Math.max(...recent.values()) <= 50);
  });

  it("starts every bouncing domain with a bounce and keeps the share of bounces", () => {
    const stream = createMix("challenge", { seed: 4, domains: 1, isKeyed: false });
    const firstKinds = new Map<number, number>();
    const bouncing = new Set<number>();
    let bounces = 0;
    const events = 2_000_000;
    for (let i = 0; i < events; i++) {
      stream.next();
      if (!firstKinds.has(stream.domain)) firstKinds.set(stream.domain, stream.kind);
      if (stream.kind === BOUNCED) {
        bounces++;
        bouncing.add(stream.domain);
      }
    }
    for (const domain of bouncing) assert.equal(firstKinds.get(domain), BOUNCED);
    assert.ok(bounces / events > 0.002 && bounces / events < 0.0026);
    const perDomain = events / firstKinds.size;
    assert.ok(perDomain > 1130 && perDomain < 1370, `${perDomain} events a domain`);
  });
});

describe("DomainNames", () => {
  it("makes 14 mixed-case letters and one of five top-level domains", () => {
    const names = new DomainNames(1);
    const tlds = new Map<string, number>();
    for (let i = 0; i < 20_000; i++) {
      const name = names.nameOf(i);
      assert.match(name, /^[A-Za-z]{14}\.(net|com|org|io|gov)$/);
      const tld = name.slice(15);
      tlds.set(tld, (tlds.get(tld) ?? 0) + 1);
    }
    assert.equal(tlds.size, 5);
    for (const times of tlds.values()) assert.ok(times > 3700 && times < 4300);
  });

  it("names a domain the same at any time, and differently from every other", () => {
    const names = new DomainNames(77);
    const all = new Set<string>();
    for (let i = 0; i < 50_000; i++) all.add(names.nameOf(i).toLowerCase());
    assert.equal(all.size, 50_000);
    assert.equal(new DomainNames(77).nameOf(12_345), names.nameOf(12_345));
    assert.notEqual(new DomainNames(78).nameOf(12_345), names.nameOf(12_345));
  });
});

describe("ZipfSampler", () => {
  it("draws ranks in proportion to their weights", () => {
    const exponent = 0.99;
    const count = 1000;
    const sampler = new ZipfSampler(count, exponent);
    const random = new SeededRandom(1, 0);
    const seen = new Array<number>(count).fill(0);
    const draws = 400_000;
    for (let i = 0; i < draws; i++) {
      const rank = sampler.sample(random);
      seen[rank] = (seen[rank] as number) + 1;
    }
    let total = 0;
    for (let k = 1; k <= count; k++) total += k ** -exponent;
    for (const rank of [0, 1, 2, 9, 99]) {
      const expected = (draws * (rank + 1) ** -exponent) / total;
      const actual = seen[rank] as number;
      assert.ok(Math.abs(actual - expected) < 6 * Math.sqrt(expected), `rank ${rank}`);
    }
  });
});
