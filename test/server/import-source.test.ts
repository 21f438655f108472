/**
 * Goal: what one store counted arrives in another exactly once, whatever is repeated, killed or restored in between.
 * Method: production assemblies over ports in memory; the source is cut into chunks as `catchall import` does.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type DomainName, DomainParser } from "../../src/model/domain-name.ts";
import { BOUNCED, DELIVERED } from "../../src/model/event.ts";
import {
  IMPORT_CHUNK_BYTES_MAX,
  type ImportChunk,
  importPlaceOf,
} from "../../src/model/import-chunk.ts";
import { PAGES, pageOf } from "../../src/model/partition-id.ts";
import { DEFAULT_RULE } from "../../src/model/status.ts";
import type { StatusChange } from "../../src/model/status-change.ts";
import {
  SECTION_OVERRIDE,
  SECTION_RESET,
  SECTION_RULE,
} from "../../src/partition/section-codec.ts";
import { type ImportSource, importSourceOf } from "../../src/server/import-source.ts";
import { type TestNode, TestWorld } from "../support/test-node.ts";

const NAMES = Array.from({ length: 300 }, (_, i) => `d${i}.example.com` as DomainName);
const MILLION = 1_000_000;

/** A node with counts of every kind; `seed` makes it another one. */
async function filled(partitions: number, seed = 0): Promise<TestNode> {
  const world = new TestWorld();
  const node = await world.start({ partitions });
  for (const [i, name] of NAMES.entries()) {
    world.clock.nowMs += 1000;
    await node.send(name, DELIVERED, { count: 500 + seed + i * 5 });
    if (i % 7 === 0) await node.send(name, BOUNCED, { count: 1 + (i % 3) });
  }
  return node;
}

function sourceOf(node: TestNode, storeId = 99, domainsMax?: number): ImportSource {
  const states = node.assembled.host.actors.map(({ state }) => state);
  return importSourceOf(storeId, states, domainsMax);
}

/** Of each partition of a target with so many. */
function chunksOf(source: ImportSource, partitions = 1): ImportChunk[] {
  const each = PAGES / partitions;
  return Array.from({ length: partitions }, (_, partition) => {
    return [...source.chunks(partition * each, (partition + 1) * each)];
  }).flat();
}

/** One domain at a time: the difference of large lists takes minutes to draw. */
async function assertSame(
  one: TestNode,
  other: TestNode,
  names: readonly DomainName[] = NAMES,
): Promise<void> {
  const [left, right] = [await viewsOf(one, names), await viewsOf(other, names)];
  for (const [i, view] of left.entries()) assert.deepEqual(view, right[i]);
}

/** Resolves to how many domains each chunk added. */
async function send(node: TestNode, chunks: readonly ImportChunk[]): Promise<number[]> {
  const added: number[] = [];
  for (const chunk of chunks) {
    added.push((await node.assembled.router.importChunk(chunk, "ops")).added);
  }
  return added;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/** Everything that a reader sees of the domains, but who says so and when. */
async function viewsOf(node: TestNode, names: readonly DomainName[] = NAMES): Promise<object[]> {
  const all = await node.assembled.router.statuses(names);
  return all.map(({ node: _node, asOf: _asOf, ...view }) => view);
}

describe("importSourceOf", () => {
  it("has the same order and digest for the same content, whatever the number of partitions", async () => {
    const [two, eight] = [sourceOf(await filled(2)), sourceOf(await filled(8))];
    assert.equal(two.source.digest, eight.source.digest);
    assert.equal(two.domainCount, NAMES.length);
    assert.deepEqual(chunksOf(two, 4), chunksOf(eight, 4));
    const other = sourceOf(await filled(2, 1));
    assert.notEqual(other.source.digest, two.source.digest);
  });

  it("names the domain before, also where only some pages are read", async () => {
    const source = sourceOf(await filled(2), 99, 1);
    const places = chunksOf(source).map(({ domains }) => importPlaceOf(nameOf(domains)));
    assert.equal(places.length, NAMES.length);
    for (const partitions of [1, 8, 256]) {
      assert.deepEqual(
        chunksOf(source, partitions).map(({ previous }) => previous),
        [null, ...places.slice(0, -1)],
      );
    }
  });

  it("leaves out what was reset", async () => {
    const node = await new TestWorld().start({ partitions: 1 });
    await node.send("gone.example.com", DELIVERED);
    await node.assembled.router.reset("gone.example.com" as DomainName, "ops");
    assert.deepEqual(chunksOf(sourceOf(node)), []);
  });

  it("cuts by bytes, also within a page", async () => {
    const names = namesOfOnePage(11);
    const node = await new TestWorld().start({ partitions: 1 });
    const override = { status: "unknown", reason: "\u{1f4ec}".repeat(250) } as const;
    for (const name of [...names, ...NAMES]) {
      await node.assembled.router.setOverride(name, override, "ops");
    }
    const chunks = chunksOf(sourceOf(node));
    assert.ok(chunks.length > 2);
    for (const chunk of chunks) {
      assert.ok(Buffer.byteLength(JSON.stringify(chunk)) < IMPORT_CHUNK_BYTES_MAX);
    }
    for (const cut of [chunks, chunksOf(sourceOf(node, 99, 4))]) {
      const to = await new TestWorld().start({ partitions: 1 });
      assert.equal(sum(await send(to, cut)), names.length + NAMES.length);
      await assertSame(to, node, names);
    }
  });
});

function nameOf(domains: ImportChunk["domains"]): DomainName {
  return (domains[0] as ImportChunk["domains"][number]).domain;
}

/** Domains whose hashes share their high half: found by trying, as an attacker would. */
function namesOfOnePage(count: number): DomainName[] {
  const parser = new DomainParser();
  const names: DomainName[] = [];
  for (let i = 0; names.length < count; i++) {
    const name = `a${i.toString(36)}.com`;
    parser.parseText(name, false);
    if (pageOf(parser.hash) === 0) names.push(name as DomainName);
  }
  return names;
}

describe("An import", () => {
  it("makes an empty store of other partitions answer as the source did, and counts nothing twice", async () => {
    const from = await filled(4);
    for (const partitions of [1, 2, 64]) {
      const chunks = chunksOf(sourceOf(from), partitions);
      const to = await new TestWorld().start({ partitions });
      assert.equal(sum(await send(to, chunks)), NAMES.length);
      await assertSame(to, from);
      assert.equal(sum(await send(to, chunks)), 0);
      await assertSame(to, from);
      const { delivered, bounced, domains } = await to.assembled.router.stats();
      const expected = await from.assembled.router.stats();
      assert.deepEqual(
        [delivered, bounced, domains],
        [expected.delivered, expected.bounced, expected.domains],
      );
    }
  });

  it("goes on where it was after kills of the target, with and without checkpoints, however it is cut", async () => {
    const from = await filled(4);
    const world = new TestWorld();
    let to = await world.start({ partitions: 8 });
    let total = 0;
    for (const [round, domainsMax] of [3, 1, 7, 2, 50, 5, 4, 1000].entries()) {
      // From the beginning each time, as the command does; cut short after so many domains.
      const all = chunksOf(sourceOf(from, 99, domainsMax), 8);
      const some = all.slice(0, Math.ceil((all.length * (round + 1)) / 10));
      total += sum(await send(to, some));
      // Every other checkpoint leaves pages and meta of a later position than its manifest.
      if (round % 3 !== 0) {
        world.checkpoints.failures = round % 2;
        await to.assembled.checkpointer.run().catch(() => undefined);
      }
      to = await world.start({ partitions: 8 });
    }
    assert.ok(total < NAMES.length && total > NAMES.length / 2);
    const chunks = chunksOf(sourceOf(from), 8);
    assert.equal(total + sum(await send(to, chunks)), NAMES.length);
    await assertSame(to, from);
    to = await world.start({ partitions: 8 });
    await assertSame(to, from);
    assert.equal(sum(await send(to, chunks)), 0);
  });

  it("counts a chunk once when it is sent many times at once", async () => {
    const from = await filled(4);
    const to = await new TestWorld().start({ partitions: 2 });
    for (const chunk of chunksOf(sourceOf(from, 99, 10), 2)) {
      const all = await Promise.all([1, 2, 3].map(() => send(to, [chunk])));
      assert.deepEqual(all.flat(), [chunk.domains.length, 0, 0]);
    }
    await assertSame(to, from);
  });

  it("is refused when a domain is missing before, and changes nothing then", async () => {
    const chunks = chunksOf(sourceOf(await filled(4), 99, 1));
    const to = await new TestWorld().start({ partitions: 1 });
    await assert.rejects(send(to, chunks.slice(1)), { code: "import_gap", retryable: false });
    await send(to, chunks.slice(0, 2));
    await assert.rejects(send(to, chunks.slice(3)), { code: "import_gap" });
    assert.equal(
      (await to.assembled.router.page({ status: null, cursor: null, limit: 9 })).items.length,
      2,
    );
    // Lines between partitions are the target's: what lies in another partition is not missed.
    const wide = await new TestWorld().start({ partitions: 64 });
    const second = chunks.findIndex(
      ({ domains }) => importPlaceOf(nameOf(domains)).page >= PAGES / 64,
    );
    assert.deepEqual(await send(wide, chunks.slice(second, second + 1)), [1]);
  });

  it("is refused when a chunk is of two partitions", async () => {
    const chunks = chunksOf(sourceOf(await filled(4)));
    const to = await new TestWorld().start({ partitions: 64 });
    await assert.rejects(send(to, chunks), { code: "invalid_body" });
    assert.equal(
      (await to.assembled.router.page({ status: null, cursor: null, limit: 9 })).items.length,
      0,
    );
  });

  it("is refused when the source changed since it began", async () => {
    const from = await filled(4);
    const to = await new TestWorld().start({ partitions: 1 });
    await send(to, chunksOf(sourceOf(from, 99, 1)).slice(0, 10));
    await from.send(NAMES[0] as string, DELIVERED);
    await assert.rejects(send(to, chunksOf(sourceOf(from))), { code: "import_changed" });
  });

  it("adds up two sources and what was there before", async () => {
    const [one, two] = [await filled(4), await filled(2, 7)];
    const world = new TestWorld();
    world.clock.nowMs += 500_000;
    const to = await world.start({ partitions: 4 });
    await to.send(NAMES[5] as string, DELIVERED, { count: 3 });
    await send(to, chunksOf(sourceOf(one, 1), 4));
    await send(to, chunksOf(sourceOf(two, 2), 4));
    for (const [i, name] of NAMES.entries()) {
      const [a, b] = [await one.counts(name), await two.counts(name)];
      const status = await to.assembled.router.status(name);
      assert.equal(status.delivered, a[0] + b[0] + (i === 5 ? 3 : 0));
      assert.equal(status.bounced, a[1] + b[1]);
    }
    const mine = await to.assembled.router.status(NAMES[5] as DomainName);
    const theirs = await one.assembled.router.status(NAMES[5] as DomainName);
    assert.equal(mine.firstSeen, theirs.firstSeen);
    assert.ok((mine.lastSeen as string) > (theirs.lastSeen as string));
  });

  it("carries counts up to 2^53 - 1, and stops there", async () => {
    const from = await new TestWorld().start({ partitions: 1 });
    const name = "large.example.com" as DomainName;
    await from.send(name, DELIVERED, { count: MILLION });
    await from.send("fits.example.com", DELIVERED, { count: MILLION });
    const state = from.assembled.host.actors[0]?.state;
    assert.ok(state !== undefined);
    const times = { firstSeenMs: 5, lastSeenMs: 6 };
    const rest = Number.MAX_SAFE_INTEGER - MILLION;
    state.table.merge(state.find(name), { ...times, delivered: rest, bounced: 2 ** 52 });
    const chunks = chunksOf(sourceOf(from), 2);
    const to = await new TestWorld().start({ partitions: 2 });
    const json = (chunk: ImportChunk): ImportChunk => JSON.parse(JSON.stringify(chunk));
    await send(to, chunks.map(json));
    assert.deepEqual((await to.counts(name)).slice(0, 2), [Number.MAX_SAFE_INTEGER, 2 ** 52]);
    await send(to, chunksOf(sourceOf(from, 100), 2));
    assert.deepEqual((await to.counts(name)).slice(0, 2), [Number.MAX_SAFE_INTEGER, 2 ** 53 - 1]);
    assert.deepEqual((await to.counts("fits.example.com")).slice(0, 2), [2 * MILLION, 0]);
  });

  it("lets the target's rule decide, and tells of the changes", async () => {
    const from = await filled(4);
    const to = await new TestWorld().start({ partitions: 1 });
    const rule = { ...DEFAULT_RULE, deliveredThreshold: 600, bouncedThreshold: 2 };
    const change = { kind: SECTION_RULE, rule, revision: 1, by: "ops" } as const;
    await to.assembled.host.actors[0]?.change(change);
    const changes: StatusChange[] = [];
    to.assembled.router.onStatusChange((one) => changes.push(one));
    await send(to, chunksOf(sourceOf(from)));
    for (const name of NAMES) {
      const [before, after] = [
        await from.assembled.router.status(name),
        await to.assembled.router.status(name),
      ];
      const { delivered, bounced } = before;
      const expected = bounced >= 2 ? "not catch-all" : delivered > 600 ? "catch-all" : "unknown";
      assert.equal(after.status, expected);
      // As old as the source says only where the source said the same.
      if (before.status === after.status) assert.equal(after.statusSince, before.statusSince);
      else assert.ok((after.statusSince as string) >= "2026");
    }
    const known = (await viewsOf(to)).filter(
      (view) => (view as { status: string }).status !== "unknown",
    );
    assert.equal(changes.length, known.length);
    assert.equal(new Set(changes.map(({ id }) => id)).size, changes.length);
  });

  it("takes over overrides, but for domains that have one", async () => {
    const from = await new TestWorld().start({ partitions: 1 });
    const [kept, taken, reset] = NAMES as [DomainName, DomainName, DomainName];
    const pin = (domain: DomainName, reason: string) =>
      ({
        kind: SECTION_OVERRIDE,
        domain,
        override: { status: "catch-all", reason },
        by: "ann",
      }) as const;
    for (const name of [kept, taken, reset]) {
      await from.send(name, BOUNCED);
      await from.assembled.host.actors[0]?.change(pin(name, "theirs"));
    }
    await from.assembled.host.actors[0]?.change({ kind: SECTION_RESET, domain: reset, by: "ann" });
    const world = new TestWorld();
    let to = await world.start({ partitions: 4 });
    await to.assembled.host.actorOf(kept).change(pin(kept, "ours"));
    await send(to, chunksOf(sourceOf(from), 4));
    const check = async (): Promise<void> => {
      const reasonOf = async (name: DomainName) =>
        (await to.assembled.router.status(name)).override?.reason;
      assert.equal(await reasonOf(kept), "ours");
      assert.equal(await reasonOf(taken), "theirs");
      await assertSame(to, from, [taken, reset]);
      assert.equal((await to.assembled.router.status(reset)).firstSeen, null);
    };
    await check();
    await to.assembled.checkpointer.run();
    to = await world.start({ partitions: 4 });
    await check();
  });
});
