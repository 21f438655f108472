/**
 * The part `reads`: `GET`s of domains that have counts. Every target in a closed loop; then one node of a cluster, with
 * domains that it owns beside domains that others own, at the same fixed rate: the difference is what forwarding adds.
 */
import { DomainNames } from "../../src/cli/load/domain-names.ts";
import type { LoadOutcome } from "../../src/cli/load/load-engine.ts";
import { hash32 } from "../../src/model/hash32.ts";
import { partitionOf } from "../../src/model/partition-id.ts";
import type { ClusterRig } from "../../test/support/cluster-rig.ts";
import { compare } from "./compare.ts";
import { decimal, percent, whole, withRange } from "./figures.ts";
import { runLoadTool } from "./load-tool.ts";
import type { BenchContext, BenchPart, Table } from "./part.ts";
import { usualConnections, withoutPeers } from "./single-part.ts";
import { startRig, targetOf } from "./targets-cluster.ts";
import { cpuMsOfAll, settleMsOf, takeTurns } from "./turns.ts";

const DOMAINS = 10_000;
const EVENTS_A_DOMAIN = 10;
const SEED = 1;

export const readsPart: BenchPart = {
  name: "reads",
  run: async (context) => {
    const forwarded = context.targets.includes("cluster") ? [await compareOwners(context)] : [];
    return [...(await compareTargets(context)), ...forwarded];
  },
};

/** Flags of a load of `domains` domains, the same ones for the same seed. */
function domainFlags(domains: number, seed: number): readonly string[] {
  return ["--mix", "uniform", "--domains", String(domains), "--seed", String(seed)];
}

async function compareTargets(context: BenchContext): Promise<readonly Table[]> {
  const connections = usualConnections(context);
  const tables = await compare(context, {
    targets: withoutPeers(context),
    prepare: [
      ...domainFlags(DOMAINS, SEED),
      ...["--events", String(DOMAINS * EVENTS_A_DOMAIN), "--bulk", "1000"],
    ],
    loads: [
      {
        title: `GETs, ${connections} connections`,
        text:
          `\`GET /domains/{domain}\` of ${whole(DOMAINS)} domains with counts, closed loop, ` +
          "keep-alive. Two thirds of those of the cluster are forwarded to the owner.",
        connections,
        flags: [...domainFlags(DOMAINS, SEED), "--reads", "1"],
      },
    ],
  });
  return tables.map((table) => {
    return { ...table, columns: table.columns.map((column) => column.replace("event", "read")) };
  });
}

/** Few, so that a seed whose domains all have the right owner is soon found. */
const OWNED_DOMAINS = 8;
const ASKED = "n1";
const SHARE_OF_PEAK = 0.5;
const OWNERS = ["the node that is asked", "other nodes"] as const;
type Owners = (typeof OWNERS)[number];

interface OwnerMeasurement {
  /** In a closed loop. */
  readonly readsPerSecond: number;
  /** At the fixed rate, and how much of the above it is, ms. */
  readonly ofPeak: number;
  readonly p50: number;
  readonly p99: number;
  readonly serverUsPerRead: number;
}

/** What one round came to. */
type OwnersRound = Readonly<Record<Owners, OwnerMeasurement>>;

async function compareOwners(context: BenchContext): Promise<Table> {
  const rig = await startRig();
  try {
    const seeds: Readonly<Record<Owners, number>> = {
      [OWNERS[0]]: await seedOf(rig, (node) => node === ASKED),
      [OWNERS[1]]: await seedOf(rig, (node) => node !== ASKED),
    };
    for (const seed of Object.values(seeds)) {
      const known = [...domainFlags(OWNED_DOMAINS, seed), "--events", "1000"];
      await runLoadTool(["--url", rig.url(ASKED), ...known]);
      const durationMs = settleMsOf(context, true);
      if (durationMs > 0) await read({ ...context, durationMs }, rig, seed);
    }
    const results = await takeTurns(context, ["both"], () => measureOwners(context, rig, seeds));
    return ownersTable(results.get("both") ?? [], usualConnections(context));
  } finally {
    await rig.dispose();
  }
}

/** A seed whose first domains all belong to nodes that are wanted. */
async function seedOf(rig: ClusterRig, isWanted: (node: string) => boolean): Promise<number> {
  const { owners } = await rig.cluster(ASKED);
  const wanted = new Set(owners.flatMap((row) => (isWanted(row.node) ? [row.partition] : [])));
  const hasOwner = (names: DomainNames, index: number): boolean => {
    const name = Buffer.from(names.nameOf(index).toLowerCase());
    return wanted.has(partitionOf(hash32(name, 0, name.length), owners.length));
  };
  const indexes = Array.from({ length: OWNED_DOMAINS }, (_, index) => index);
  if (wanted.size === 0) throw new Error("No partition has such an owner");
  for (let seed = 1; ; seed++) {
    const names = new DomainNames(seed);
    if (indexes.every((index) => hasOwner(names, index))) return seed;
  }
}

/** `rate` 0: a closed loop. */
function read(
  context: BenchContext,
  rig: ClusterRig,
  seed: number,
  rate: number = 0,
): Promise<LoadOutcome> {
  const { durationMs, warmupMs } = context;
  return runLoadTool([
    ...["--url", rig.url(ASKED), "--connections", String(usualConnections(context))],
    ...["--duration", `${durationMs}ms`, "--warmup", `${warmupMs}ms`],
    ...[...domainFlags(OWNED_DOMAINS, seed), "--reads", "1", "--rate", String(rate)],
  ]);
}

function perSecond({ reads }: LoadOutcome): number {
  return reads?.readsPerSecond ?? 0;
}

/** Both in a closed loop, then both at half the lower rate. */
async function measureOwners(
  context: BenchContext,
  rig: ClusterRig,
  seeds: Readonly<Record<Owners, number>>,
): Promise<OwnersRound> {
  const peakOf = async (owners: Owners) => perSecond(await read(context, rig, seeds[owners]));
  const peaks = { [OWNERS[0]]: await peakOf(OWNERS[0]), [OWNERS[1]]: await peakOf(OWNERS[1]) };
  const rate = Math.ceil(Math.min(...Object.values(peaks)) * SHARE_OF_PEAK);
  const { pids } = targetOf(rig);
  const paced = async (owners: Owners): Promise<OwnerMeasurement> => {
    const readsPerSecond = peaks[owners] as number;
    const cpuBeforeMs = cpuMsOfAll(pids);
    const outcome = await read(context, rig, seeds[owners], rate);
    const { reads } = outcome;
    if (reads === null) throw new Error("The load tool did not read");
    const serverUsPerRead = ((cpuMsOfAll(pids) - cpuBeforeMs) * 1000) / reads.answeredTotal;
    const { p50, p99 } = reads.latency;
    context.say(`  ${owners}: ${whole(readsPerSecond)}/s; at ${rate}/s P50 ${p50} P99 ${p99} ms`);
    return {
      readsPerSecond,
      ofPeak: perSecond(outcome) / readsPerSecond,
      p50,
      p99,
      serverUsPerRead,
    };
  };
  return { [OWNERS[0]]: await paced(OWNERS[0]), [OWNERS[1]]: await paced(OWNERS[1]) };
}

function ownersTable(rounds: readonly OwnersRound[], connections: number): Table {
  const row = (
    title: string,
    figureOf: (round: OwnersRound, key: keyof OwnerMeasurement) => number,
  ) => {
    const all = (key: keyof OwnerMeasurement) => rounds.map((round) => figureOf(round, key));
    return [
      title,
      withRange(all("readsPerSecond"), whole),
      withRange(all("ofPeak"), percent, " %"),
      withRange(all("p50"), decimal),
      withRange(all("p99"), decimal),
      withRange(all("serverUsPerRead"), decimal),
    ];
  };
  const [own, others] = OWNERS;
  const added = row("what forwarding adds", (round, key) => round[others][key] - round[own][key]);
  return {
    title: "GETs answered by the node that is asked, and by others",
    text:
      `Three nodes, one of them asked, ${connections} connections, ${OWNED_DOMAINS} domains. Closed ` +
      "loop for the rate; latencies in an open loop at half the lower of the two rates of the same round, corrected for " +
      "coordinated omission. CPU of all server processes at that rate. Differences are taken round by round.",
    columns: [
      ...["domains are owned by", "reads/s, closed loop", "open loop, of it"],
      ...["P50 ms", "P99 ms", "CPU µs/read"],
    ],
    rows: [
      ...OWNERS.map((owners) => row(owners, (round, key) => round[owners][key])),
      added.with(2, ""),
    ],
  };
}
