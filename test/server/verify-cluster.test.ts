/**
 * Goal: a recount of what is stored agrees with what nodes answer, while they serve, exactly when they are right.
 * Method: real partitions over logs and checkpoints in memory, claimed as a cluster's are; answers that a test makes up.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { CheckpointStore } from "../../src/checkpoint/checkpoint-store.ts";
import { encodeTable } from "../../src/control-plane/control-table-codec.ts";
import type { DomainName } from "../../src/model/domain-name.ts";
import { CatchallError } from "../../src/model/errors.ts";
import { BOUNCED, DELIVERED } from "../../src/model/event.ts";
import type { PartitionAssignment } from "../../src/model/ownership.ts";
import { NOBODY } from "../../src/model/ownership.ts";
import { appendMark } from "../../src/partition/mark-section.ts";
import { SECTION_CLAIM } from "../../src/partition/section-codec.ts";
import type { Recount } from "../../src/server/verify.ts";
import {
  type Answered,
  type ClusterRecount,
  differencesOf,
  recountCluster,
  type StoredCluster,
  verifyCluster,
} from "../../src/server/verify-cluster.ts";
import { FIRST_KEPT } from "../../src/wal/node-log.ts";
import { joinedTable } from "../support/table-builder.ts";
import { type TestNode, TestWorld } from "../support/test-node.ts";

const NAMES = Array.from({ length: 40 }, (_, i) => `d${i}.example.com` as DomainName);
const PARTITIONS = 4;

/** A life that has claimed all partitions; its epoch is its incarnation. */
async function claimed(world: TestWorld): Promise<TestNode> {
  const node = await world.start({ partitions: PARTITIONS });
  const { host, commit } = node.assembled;
  for (const { state, epoch } of host.actors) await appendMark(commit, state, epoch, SECTION_CLAIM);
  return node;
}

/** Two lives, each with events, an override and a reset. */
async function twoLives(world: TestWorld, isCheckpointed: boolean): Promise<TestNode> {
  let node = await claimed(world);
  for (const name of NAMES) await node.send(name, DELIVERED, { count: 900 });
  if (isCheckpointed) await node.assembled.checkpointer.run();
  for (const name of NAMES.slice(20)) await node.send(name, DELIVERED, { count: 200, id: "k" });
  node = await claimed(world);
  if (isCheckpointed) {
    await node.assembled.checkpointer.run();
    // Pages of a later position than the manifest.
    await node.send(NAMES[1] as string, BOUNCED);
    world.checkpoints.failures = 1;
    await node.assembled.checkpointer.run();
  } else await node.send(NAMES[1] as string, BOUNCED);
  const { router } = node.assembled;
  const pin = { status: "not catch-all", reason: "seen" } as const;
  await router.setOverride("pinned.example" as DomainName, pin, "ops");
  await router.reset(NAMES[2] as DomainName, "ops");
  return node;
}

function storedOf(world: TestWorld, assignment: Partial<PartitionAssignment> = {}): StoredCluster {
  const table = joinedTable(2, PARTITIONS);
  const first = world.log.logs.get(1)?.length ?? 0;
  const lineage = [{ epoch: 1, incarnation: 1, endSequence: first }];
  const each = { owner: 2, epoch: 2, lineage, moveTo: NOBODY, ...assignment };
  const value = encodeTable({ ...table, partitions: table.partitions.map(() => each) });
  const random = { uint32: () => 5 };
  const control = { read: async () => ({ key: "table", revision: 9, value }) };
  return { control, log: world.log, checkpoints: world.checkpoints, random };
}

async function answersOf(node: TestNode): Promise<Map<string, Answered>> {
  const { items } = await node.assembled.router.page({ status: null, cursor: null, limit: 1000 });
  return new Map(items.map((one) => [one.domain, one]));
}

describe("recountCluster", () => {
  it("counts the history that the table names and the owner's log so far, as memory has it", async () => {
    for (const isCheckpointed of [false, true]) {
      const world = new TestWorld();
      const node = await twoLives(world, isCheckpointed);
      const { epoch, entries, domains } = await recountCluster(storedOf(world));
      assert.equal(epoch, 9);
      assert.ok(entries > 0);
      const answers = await answersOf(node);
      assert.equal(domains.size, NAMES.length);
      assert.deepEqual([...domains.keys()].sort(), [...answers.keys()].sort());
      assert.deepEqual(differencesOf(answers, domains, answers), []);
      assert.deepEqual(domains.get(NAMES[25] as string), {
        delivered: 1100,
        bounced: 0,
        status: "catch-all",
      });
    }
  });

  it("counts up to the end of an owner that is gone and not replaced yet, nothing without any", async () => {
    const world = new TestWorld();
    await twoLives(world, false);
    const dead = await recountCluster(storedOf(world, { owner: 1, epoch: 1, lineage: [] }));
    assert.equal(dead.domains.get(NAMES[1] as string)?.bounced, 0);
    assert.equal(dead.domains.get(NAMES[25] as string)?.delivered, 1100);
    const never = await recountCluster(storedOf(world, { owner: NOBODY, epoch: 0, lineage: [] }));
    assert.equal(never.domains.size, 0);
  });

  it("misses nothing when checkpoints are written and logs trimmed at any moment meanwhile", async () => {
    for (const moment of ["manifests", "read", "end of read", "pages"]) {
      const world = new TestWorld();
      const node = await twoLives(world, true);
      await node.send(NAMES[3] as string, DELIVERED);
      const checkpoint = async (at: string): Promise<void> => {
        if (at !== moment) return;
        await node.send(NAMES[4] as string, DELIVERED);
        await node.assembled.checkpointer.run();
        await node.send(NAMES[5] as string, DELIVERED);
      };
      const stored = storedOf(world);
      const before = await answersOf(node);
      const log: StoredCluster["log"] = {
        lastSequence: (incarnation) => world.log.lastSequence(incarnation),
        async *read(incarnation, from, to) {
          await checkpoint("read");
          const kept = world.log.firstKept.get(incarnation) ?? 1;
          if (from !== FIRST_KEPT && from < kept) throw new CatchallError("log_damaged", "trimmed");
          yield* world.log.read(incarnation, from, to);
          await checkpoint("end of read");
        },
      };
      const checkpoints = Object.create(world.checkpoints) as CheckpointStore;
      checkpoints.readManifests = async () => {
        const manifests = await world.checkpoints.readManifests();
        await checkpoint("manifests");
        return manifests;
      };
      checkpoints.readPages = async function* (partitions) {
        await checkpoint("pages");
        yield* world.checkpoints.readPages(partitions);
      };
      const { domains } = await recountCluster({ ...stored, log, checkpoints });
      assert.deepEqual(differencesOf(before, domains, await answersOf(node)), [], moment);
      assert.ok((domains.get(NAMES[3] as string)?.delivered ?? 0) >= 901);
    }
  });

  it("begins again when a log can't be read, and gives up when it stays damaged", async () => {
    const world = new TestWorld();
    await twoLives(world, true);
    const read = world.log.read.bind(world.log);
    let failures = 2;
    world.log.read = (incarnation, from, to) => {
      if (failures-- > 0) throw new CatchallError("log_damaged", "A hole");
      return read(incarnation, from, to);
    };
    const { domains } = await recountCluster(storedOf(world));
    assert.equal(domains.size, NAMES.length);
    failures = Number.POSITIVE_INFINITY;
    await assert.rejects(recountCluster(storedOf(world)), { code: "log_damaged" });
  });

  it("refuses what is no cluster, or has a table that can't be read", async () => {
    const stored = storedOf(new TestWorld());
    const none = { ...stored, control: { read: async () => null } };
    await assert.rejects(recountCluster(none), { code: "conflict" });
    const value = new TextEncoder().encode("{}");
    const control = { read: async () => ({ key: "table", revision: 1, value }) };
    await assert.rejects(recountCluster({ ...stored, control }), { code: "checkpoint_damaged" });
  });
});

function answer(delivered: number, bounced = 0, statusSince = "t"): Answered {
  const status = bounced > 0 ? "not catch-all" : delivered > 1000 ? "catch-all" : "unknown";
  return { delivered, bounced, status, statusSince };
}

function recount(delivered: number, bounced = 0): Recount {
  const { status } = answer(delivered, bounced);
  return { delivered, bounced, status };
}

function differs(
  before: Answered | null,
  counted: Recount | null,
  after: Answered | null,
): boolean {
  const mapOf = <T>(one: T | null): Map<string, T> => new Map(one === null ? [] : [["a.com", one]]);
  return differencesOf(mapOf(before), mapOf(counted), mapOf(after)).length > 0;
}

describe("differencesOf", () => {
  it("wants a recount between the answers, and the same where they are the same", () => {
    assert.ok(!differs(answer(5), recount(5), answer(5)));
    assert.ok(differs(answer(5), recount(4), answer(5)));
    assert.ok(differs(answer(5), recount(6), answer(5)));
    assert.ok(!differs(answer(5), recount(6), answer(8)));
    assert.ok(differs(answer(5), recount(9), answer(8)));
    assert.ok(differs(answer(5), recount(4), answer(8)));
    assert.ok(differs(answer(5, 1), recount(5, 2), answer(8, 1)));
  });

  it("wants no domain to be missing, but one that is new", () => {
    assert.ok(!differs(null, recount(1), answer(1)));
    assert.ok(!differs(null, null, answer(1)));
    assert.ok(differs(null, recount(1), null));
    assert.ok(differs(answer(1), null, answer(1)));
    const pinned: Answered = { ...answer(0), status: "catch-all" };
    assert.ok(differs(pinned, null, pinned));
    assert.ok(differs(null, { ...recount(0), status: "catch-all" }, null));
  });

  it("wants the same status where the answers did not change theirs", () => {
    const wrong: Recount = { ...recount(5), status: "catch-all" };
    assert.ok(differs(answer(5), wrong, answer(5)));
    assert.ok(differs(answer(5), wrong, answer(6)));
    assert.ok(!differs(answer(5), wrong, answer(5, 0, "later")));
    assert.ok(!differs(answer(999), recount(1001), answer(1002)));
  });
});

describe("verifyCluster", () => {
  function counted(domains: Readonly<Record<string, Recount>>): ClusterRecount {
    return { epoch: 1, entries: 2, domains: new Map(Object.entries(domains)) };
  }

  /** `answers`: of each reading, the last for ever; `recounts` likewise. */
  async function verify(
    answers: readonly Readonly<Record<string, Answered>>[],
    recounts: readonly Readonly<Record<string, Recount>>[],
  ) {
    const order: string[] = [];
    let [reads, counts] = [0, 0];
    const result = await verifyCluster({
      rounds: 3,
      readAll: async () => {
        order.push("read");
        return new Map(Object.entries(answers[Math.min(reads++, answers.length - 1)] ?? {}));
      },
      recount: async () => {
        order.push("recount");
        return counted(recounts[Math.min(counts++, recounts.length - 1)] ?? {});
      },
      pause: async () => void order.push("pause"),
    });
    return { ...result, order: order.join(" ") };
  }

  it("reads, recounts, waits, reads: once when all is well", async () => {
    const { differences, rounds, domains, order } = await verify(
      [{ "a.com": answer(1) }, { "a.com": answer(3) }],
      [{ "a.com": recount(2) }],
    );
    assert.deepEqual([differences, rounds, domains], [[], 1, 1]);
    assert.equal(order, "read recount pause read");
  });

  it("tells what is wrong every time, and only that", async () => {
    const { differences, rounds } = await verify(
      [{ "a.com": answer(1), "b.com": answer(7) }],
      [
        { "a.com": recount(2), "b.com": recount(0) },
        { "a.com": recount(2), "b.com": recount(7) },
      ],
    );
    assert.equal(rounds, 3);
    assert.deepEqual(
      differences.map(({ domain, recounted }) => [domain, recounted?.delivered]),
      [["a.com", 2]],
    );
  });

  it("forgives a reset in between, and a different domain each time", async () => {
    const { differences, rounds } = await verify(
      [{ "a.com": answer(5) }, { "a.com": answer(1), "b.com": answer(3) }],
      [
        { "a.com": recount(0), "b.com": recount(3) },
        { "a.com": recount(1), "b.com": recount(9) },
      ],
    );
    assert.deepEqual([differences, rounds], [[], 2]);
  });
});
