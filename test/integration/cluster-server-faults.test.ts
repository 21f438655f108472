/**
 * MongoDB and NATS go away under load and come back: MongoDB costs nothing but checkpoints, NATS costs time, neither
 * costs an event.
 * Order matters: each test leaves everything running.
 */
import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import { after, before, describe, it } from "node:test";
import {
  assertExact,
  ClusterRig,
  LEASE_TTL_MS,
  type Owner,
  pass,
  until,
} from "../support/cluster-rig.ts";

const NODES = ["n1", "n2", "n3"];
/** Bound for machines that do many other things; the figures themselves are printed. */
const RETURN_LIMIT_MS = 30_000;
/** NATS is back: what is promised until everything is served again. */
const SERVICE_LIMIT_MS = 10_000;
/** What clients of a cluster without NATS may be told. */
const OUTAGE_CODES = new Set([
  ...["log_unavailable", "outcome_unknown", "not_ready", "lease_lost", "owner_unreachable"],
  ...["no_owner", "partition_closed", "overloaded"],
]);

describe("a cluster whose servers fail", { timeout: 250_000 }, () => {
  let rig: ClusterRig;
  before(async () => {
    rig = await ClusterRig.start();
  });
  after(async () => {
    await rig?.dispose();
  });

  it("counts and answers while MongoDB is frozen, and writes checkpoints when it is back", async () => {
    const { result } = await rig.loadDuring(NODES, { seed: 41 }, async (engine) => {
      rig.mongod.pause();
      try {
        const before = engine.ackedSoFar;
        await pass(4000);
        await until("events flow", 10_000, async () =>
          engine.ackedSoFar > before + 300 ? 1 : null,
        );
        for (const id of NODES) {
          assert.equal((await rig.ask(id, "GET", "/readyz")).status, 200);
          assert.equal((await rig.ask(id, "GET", "/domains/frozen.example")).status, 200);
        }
      } finally {
        rig.mongod.resume();
      }
    });
    assertExact(result);
    assert.deepEqual(result.outcome.errors, {});
    await checkpointed(rig);
  });

  it("counts and answers while MongoDB is gone, and writes checkpoints when it is back", async () => {
    const { result } = await rig.loadDuring(NODES, { seed: 42 }, async (engine) => {
      await rig.mongod.kill();
      const before = engine.ackedSoFar;
      await until("events flow", 10_000, async () => (engine.ackedSoFar > before + 300 ? 1 : null));
      await rig.mongod.restart();
    });
    assertExact(result);
    assert.deepEqual(result.outcome.errors, {});
    await checkpointed(rig);
  });

  it("lets a failover wait for MongoDB, says so, and counts on elsewhere meanwhile", async (t) => {
    const owners = (await rig.cluster()).owners;
    const domains = rig.domainsByPartition("wait");
    const elsewhere = domains.filter((_, partition) => owners[partition]?.node !== "n3");
    const waiting = domains.filter((_, partition) => owners[partition]?.node === "n3");
    const { result } = await rig.loadDuring(["n1", "n2"], { seed: 43, isKeyed: true }, async () => {
      await rig.mongod.kill();
      await rig.kill("n3");
      await until("somebody says why ranges are not open", RETURN_LIMIT_MS, async () => {
        const answers = await Promise.all(["n1", "n2"].map((id) => rig.ask(id, "GET", "/readyz")));
        const words = answers.map(({ body }) => String(body.checks?.partitions));
        return words.some((text) => /not open/.test(text)) ? words : null;
      });
      const states = new Set((await rig.cluster("n1")).owners.map(({ state }) => state));
      assert.ok(states.has("opening"), [...states].join());
      for (const domain of elsewhere) {
        assert.equal((await rig.ask("n1", "PUT", `/events/${domain}/delivered`)).status, 204);
      }
      const refused = await rig.ask("n2", "GET", `/domains/${waiting[0]}`);
      assert.equal(refused.status, 503);
      assert.equal(refused.body.effect, "none");
      await rig.mongod.restart();
      const backMs = performance.now();
      await rig.allOpen(RETURN_LIMIT_MS);
      t.diagnostic(`open ${Math.round(performance.now() - backMs)} ms after MongoDB's return`);
    });
    assertExact(result);
    await rig.startNode("n3");
    await rig.sameEverywhere(43, 300);
  });

  it("refuses at once while NATS is gone, loses and doubles nothing, and serves again by itself", async (t) => {
    const domains = rig.domainsByPartition("outage");
    const { result } = await rig.loadDuring(NODES, { seed: 44, isKeyed: true }, async () => {
      await rig.nats.kill();
      await pass(1200);
      const askedMs = performance.now();
      const refused = await rig.ask("n1", "PUT", "/events/outage.example/delivered");
      const tookMs = performance.now() - askedMs;
      assert.equal(refused.status, 503, JSON.stringify(refused.body));
      assert.equal(refused.body.effect, "none");
      assert.ok(tookMs < 2000, `refused after ${tookMs} ms`);
      assert.equal((await rig.ask("n1", "GET", "/readyz")).status, 503);
      await rig.nats.restart();
      const took = await rig.answersAgain("n1", domains, SERVICE_LIMIT_MS);
      t.diagnostic(`every range took events again ${Math.round(took)} ms after NATS returned`);
    });
    assertOutage(result.outcome.errors);
    assertExact(result);
    await everybodyServes(rig);
    for (const { delivered } of await rig.counted("n2", domains)) assert.equal(delivered, 1);
    await rig.sameEverywhere(44, 300);
  });

  it("comes through an outage of NATS of three lease times", async (t) => {
    const domains = rig.domainsByPartition("long");
    const { result } = await rig.loadDuring(NODES, { seed: 45, isKeyed: true }, async () => {
      await rig.nats.kill();
      await pass(3 * LEASE_TTL_MS);
      await rig.nats.restart();
      const took = await rig.answersAgain("n2", domains, SERVICE_LIMIT_MS);
      t.diagnostic(`every range took events again ${Math.round(took)} ms after NATS returned`);
    });
    assertOutage(result.outcome.errors);
    assertExact(result);
    await everybodyServes(rig);
    for (const { delivered } of await rig.counted("n3", domains)) assert.equal(delivered, 1);
  });

  it("comes through a freeze of NATS of three lease times", async (t) => {
    const domains = rig.domainsByPartition("frozen");
    const { result } = await rig.loadDuring(NODES, { seed: 46, isKeyed: true }, async () => {
      rig.nats.pause();
      try {
        await pass(LEASE_TTL_MS + 500);
        const { status } = await rig.ask("n3", "GET", "/domains/frozen.example");
        assert.equal(status, 503, "no lease, no answer");
        await pass(2 * LEASE_TTL_MS);
      } finally {
        rig.nats.resume();
      }
      const took = await rig.answersAgain("n3", domains, SERVICE_LIMIT_MS);
      t.diagnostic(`every range took events again ${Math.round(took)} ms after the freeze`);
    });
    assertOutage(result.outcome.errors);
    assertExact(result);
    await everybodyServes(rig);
    for (const { delivered } of await rig.counted("n1", domains)) assert.equal(delivered, 1);
    await rig.sameEverywhere(46, 300);
  });
});

describe("a cluster with the default lease that loses NATS", { timeout: 150_000 }, () => {
  let rig: ClusterRig;
  before(async () => {
    rig = await ClusterRig.start({ nodes: ["n1", "n2"], leaseTtlMs: 5000 });
  });
  after(async () => {
    await rig?.dispose();
  });

  it("refuses events and reads of every partition once NATS is gone, and serves again", async (t) => {
    const domains = rig.domainsByPartition("gone");
    for (const { status } of await eachAnswer(rig, "PUT", domains)) assert.equal(status, 204);
    const { owners } = await rig.cluster("n1");
    await rig.nats.kill();
    await pass(300);
    const answers = await Promise.all([
      eachAnswer(rig, "PUT", domains),
      eachAnswer(rig, "GET", domains),
    ]);
    t.diagnostic(`PUT ${slowest(answers[0])} ms, GET ${slowest(answers[1])} ms`);
    assertRefused(answers, owners, 3000);
    await rig.nats.restart();
    const took = await rig.answersAgain("n1", domains, SERVICE_LIMIT_MS);
    t.diagnostic(`every range took events again ${Math.round(took)} ms after NATS returned`);
    await rig.allOpen();
    for (const { delivered } of await rig.counted("n2", domains)) assert.equal(delivered, 2);
  });

  it("refuses events and reads of every partition while NATS is frozen, and serves again", async (t) => {
    const domains = rig.domainsByPartition("stiff");
    const { owners } = await rig.cluster("n1");
    rig.nats.pause();
    try {
      await pass(300);
      // NATS has said nothing wrong yet: these wait until its silence is known, their outcome may be unknown.
      const early = Promise.all([eachAnswer(rig, "PUT", domains), eachAnswer(rig, "GET", domains)]);
      await pass(1200);
      const late = await Promise.all([
        eachAnswer(rig, "PUT", domains),
        eachAnswer(rig, "GET", domains),
      ]);
      t.diagnostic(`after 1.5 s: PUT ${slowest(late[0])} ms, GET ${slowest(late[1])} ms`);
      assertRefused(late, owners, 3500);
      const [puts, gets] = await early;
      t.diagnostic(`after 0.3 s: PUT ${slowest(puts)} ms, GET ${slowest(gets)} ms`);
      for (const { status } of puts) assert.ok(status === 503 || status === 504, String(status));
      assert.ok(slowest(puts) < 6000, `answered after ${slowest(puts)} ms`);
      assertRefused([[], gets], owners, 4000);
    } finally {
      rig.nats.resume();
    }
    const took = await rig.answersAgain("n1", domains, SERVICE_LIMIT_MS);
    t.diagnostic(`every range took events again ${Math.round(took)} ms after the freeze`);
    await everybodyServes(rig, ["n1", "n2"]);
    // What was told to be unknown may have been counted; what was refused was not.
    for (const { delivered } of await rig.counted("n2", domains)) {
      assert.ok(delivered === 1 || delivered === 2, String(delivered));
    }
  });
});

interface Timed {
  readonly status: number;
  readonly effect: unknown;
  readonly tookMs: number;
}

/** One request for a domain of every partition, all at once, through n1. */
async function eachAnswer(
  rig: ClusterRig,
  method: "GET" | "PUT",
  domains: readonly string[],
): Promise<readonly Timed[]> {
  return await Promise.all(
    domains.map(async (domain) => {
      const startMs = performance.now();
      const path = method === "GET" ? `/domains/${domain}` : `/events/${domain}/delivered`;
      const { status, body } = await rig.ask("n1", method, path);
      return { status, effect: body?.effect, tookMs: performance.now() - startMs };
    }),
  );
}

/** Events of every partition, and reads of those of another node; n1 may answer its own reads while its lease lasts. */
function assertRefused(
  [puts, gets]: readonly (readonly Timed[])[],
  owners: readonly Owner[],
  limitMs: number,
): void {
  for (const { status, effect } of puts ?? []) assert.deepEqual([status, effect], [503, "none"]);
  for (const [partition, { status, effect }] of (gets ?? []).entries()) {
    if (status === 200 && owners[partition]?.node === "n1") continue;
    assert.deepEqual([status, effect], [503, "none"], `partition ${partition}`);
  }
  for (const answers of [puts ?? [], gets ?? []]) {
    assert.ok(slowest(answers) < limitMs, `answered after ${slowest(answers)} ms`);
  }
}

function slowest(answers: readonly Timed[] | undefined): number {
  return Math.round(Math.max(0, ...(answers ?? []).map(({ tookMs }) => tookMs)));
}

async function everybodyServes(rig: ClusterRig, ids: readonly string[] = NODES): Promise<void> {
  await until("all nodes are ready", RETURN_LIMIT_MS, async () => {
    const answers = await Promise.all(ids.map((id) => rig.ask(id, "GET", "/readyz")));
    return answers.every(({ status }) => status === 200) ? true : null;
  });
  const { nodes } = await rig.allOpen();
  const alive = nodes.filter(({ state }) => state === "alive").map(({ id }) => id);
  assert.deepEqual([...alive].sort(), ids);
}

/** Every node that owns something has just written a checkpoint. */
async function checkpointed(rig: ClusterRig): Promise<void> {
  await until("checkpoints are written", RETURN_LIMIT_MS, async () => {
    const { nodes } = await rig.cluster();
    const owners = nodes.filter(({ partitionsOwned }) => partitionsOwned > 0);
    const isDone = owners.every(({ checkpointAgeMs, walLagEvents }) => {
      return checkpointAgeMs !== null && checkpointAgeMs < 3000 && walLagEvents < 50;
    });
    return isDone ? true : null;
  });
}

function assertOutage(errors: Readonly<Record<string, number>>): void {
  const others = Object.keys(errors).filter((code) => !OUTAGE_CODES.has(code));
  assert.deepEqual(others, [], JSON.stringify(errors));
}
