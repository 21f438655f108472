/**
 * The part `failover`: how long a quarter of all domains is without an owner when one of four nodes is killed. Each
 * number of domains has a cluster of its own; between two rounds the dead node comes back and gets its quarter again.
 */
import type { ClusterRig } from "../../test/support/cluster-rig.ts";
import { bringBack, checkpointed } from "./cluster-changes.ts";
import { CountedLoads, scaled } from "./counted-loads.ts";
import { decimal, median, whole, withRange } from "./figures.ts";
import type { BenchContext, BenchPart, Table } from "./part.ts";
import { LEASE_TTL_MS, startRig, targetOf } from "./targets-cluster.ts";
import { cpuMsOfAll } from "./turns.ts";

const DOMAIN_COUNTS = [1_000_000, 10_000_000] as const;
const NODES = ["n1", "n2", "n3", "n4"] as const;
const ASKED = "n1";
const VICTIM = "n4";
const SEED = 1;
const FLAGS = ["--checkpoint-interval", "10s"];
const FAILOVER_LIMIT_MS = 120_000;

interface Failover {
  readonly seconds: number;
  /** Of the servers that stay alive, all threads. */
  readonly cpuSeconds: number;
}

export const failoverPart: BenchPart = {
  name: "failover",
  run: async (context) => {
    const results = new Map<number, readonly Failover[]>();
    for (const domains of DOMAIN_COUNTS.map((count) => scaled(context, count))) {
      results.set(domains, await measure(context, domains));
    }
    return [tableOf(results)];
  },
};

async function measure(context: BenchContext, domains: number): Promise<readonly Failover[]> {
  const rig = await startRig(FLAGS, NODES);
  try {
    const loads = new CountedLoads(targetOf(rig).url, SEED);
    context.say(`  filling a cluster with ${whole(domains)} domains`);
    await loads.fill(domains);
    const failovers: Failover[] = [];
    for (let round = 0; round < context.rounds; round++) {
      if (round > 0) await bringBack(rig, VICTIM);
      await checkpointed(rig);
      const failover = await failoverOf(rig, `again-${round}-`);
      const { seconds, cpuSeconds } = failover;
      context.say(`  ${whole(domains)}: ${decimal(seconds)} s, CPU ${decimal(cpuSeconds)} s`);
      failovers.push(failover);
    }
    await loads.verify();
    return failovers;
  } finally {
    await rig.dispose();
  }
}

/** From `kill -9` until every partition has counted an event. */
async function failoverOf(rig: ClusterRig, salt: string): Promise<Failover> {
  const domains = rig.domainsByPartition(salt);
  await rig.kill(VICTIM);
  const { pids } = targetOf(rig);
  const cpuBeforeMs = cpuMsOfAll(pids);
  const tookMs = await rig.answersAgain(ASKED, domains, FAILOVER_LIMIT_MS);
  return { seconds: tookMs / 1000, cpuSeconds: (cpuMsOfAll(pids) - cpuBeforeMs) / 1000 };
}

function tableOf(results: ReadonlyMap<number, readonly Failover[]>): Table {
  const all = [...results];
  const secondsOf = (failovers: readonly Failover[]) => failovers.map(({ seconds }) => seconds);
  return {
    title: "Failover of a quarter of the domains",
    text:
      `Four nodes, one of them killed. From \`kill -9\` until every partition has counted an event that was sent to ` +
      `another node; up to ${LEASE_TTL_MS / 1000} s of it are the lease of the dead node. Everything was in a checkpoint.`,
    columns: ["domains in all", "s", "CPU s of the others"],
    rows: all.map(([domains, failovers]) => [
      whole(domains),
      withRange(secondsOf(failovers), decimal),
      withRange(
        failovers.map(({ cpuSeconds }) => cpuSeconds),
        decimal,
      ),
    ]),
    plot: {
      name: "failover",
      x: { title: "Domains in the cluster", isLogarithmic: true },
      y: { title: "Seconds until all answer", isLogarithmic: false },
      series: [
        {
          title: "a quarter without its owner",
          points: all.map(([domains, failovers]) => [domains, median(secondsOf(failovers))]),
        },
      ],
    },
  };
}
