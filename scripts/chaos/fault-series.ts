/**
 * One kind of fault, many times, one after another: what a number of owner kills, of owners paused past their lease or of
 * restarts of NATS is worth is seen here, where `fault-plan.ts` mixes everything. Each fault hits a cluster that is whole again.
 * Who and how long come from the seed; only faults that happened count: a node that owned nothing is no owner.
 */

import type { SeededRandom } from "../../src/cli/load/seeded-random.ts";
import type { ChaosCluster } from "./chaos-cluster.ts";
import type { FaultDriver, FaultFigures } from "./fault-driver.ts";
import type { Fault, FaultKind } from "./fault-plan.ts";

export const SERIES_NAMES = ["owner-kills", "owner-pauses", "nats-restarts"] as const;
export type SeriesName = (typeof SERIES_NAMES)[number];

export interface SeriesOptions {
  readonly name: SeriesName;
  /** Faults that must have happened. */
  readonly times: number;
}

interface Series {
  readonly figure: keyof FaultFigures;
  readonly kinds: readonly FaultKind[];
  /** How long it lasts; for a pause on top of the lease. */
  readonly durationMaxMs: number;
}

const SERIES: Readonly<Record<SeriesName, Series>> = {
  "owner-kills": { figure: "ownerKills", kinds: ["kill"], durationMaxMs: 1000 },
  "owner-pauses": {
    figure: "pausesPastLease",
    kinds: ["pause-past-lease"],
    durationMaxMs: 1500,
  },
  "nats-restarts": {
    figure: "natsRestarts",
    kinds: ["nats-kill", "nats-stop"],
    durationMaxMs: 1000,
  },
};
/**
 * Between a whole cluster and the next fault: faults at all phases of leases and checkpoints, and work. With half a second
 * the eight events outstanding at each kill of an owner were 6 % of the domains, with no time for others.
 */
const REST_MAX_MS = 4000;
/** Past the lease by any clock. */
const PAST_LEASE_MS = 200;

export interface SeriesRound {
  readonly cluster: Pick<ChaosCluster, "view">;
  readonly driver: Pick<FaultDriver, "run" | "finish" | "figures">;
  readonly random: SeededRandom;
  readonly leaseTtlMs: number;
  /** Longest rest before a fault; default: four seconds. */
  readonly restMaxMs?: number;
  /** Resolves when the cluster is whole. */
  readonly heal: () => Promise<void>;
}

export function seriesFigure({ name }: SeriesOptions, figures: Readonly<FaultFigures>): number {
  return figures[SERIES[name].figure];
}

/** Does up to `faults` of them, fewer when the series ends or `isOver` says so; to how long each took to heal, in ms. */
export async function runSeries(
  options: SeriesOptions,
  { cluster, driver, random, leaseTtlMs, heal, restMaxMs = REST_MAX_MS }: SeriesRound,
  { faults, isOver }: { readonly faults: number; readonly isOver: () => boolean },
): Promise<readonly number[]> {
  const { kinds, durationMaxMs } = SERIES[options.name];
  const healedMs: number[] = [];
  for (let i = 0; i < faults && !isOver(); i++) {
    if (seriesFigure(options, driver.figures) >= options.times) break;
    await new Promise((resolve) => setTimeout(resolve, random.below(restMaxMs)));
    const kind = kinds[random.below(kinds.length)] ?? "kill";
    const isOfNode = !kind.startsWith("nats-");
    const owners = isOfNode ? await ownersOf(cluster) : [];
    if (isOfNode && owners.length === 0) {
      await heal();
      continue;
    }
    const pastMs = kind === "pause-past-lease" ? leaseTtlMs + PAST_LEASE_MS : 0;
    const fault: Fault = {
      ...{ atMs: 0, kind, node: owners[random.below(Math.max(1, owners.length))] ?? "" },
      ...{ durationMs: pastMs + random.below(durationMaxMs), link: "nats", direction: "up" },
      ...{ times: 1, variant: 0 },
    };
    const startMs = performance.now();
    await driver.run([fault], isOver);
    await driver.finish();
    await heal();
    healedMs.push(performance.now() - startMs);
  }
  return healedMs;
}

async function ownersOf(cluster: SeriesRound["cluster"]): Promise<readonly string[]> {
  const view = await cluster.view();
  return [...new Set(view?.owners.map(({ node }) => node))].sort();
}
