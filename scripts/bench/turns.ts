/**
 * Rounds in which several things are measured in their turn, so that a slow minute of the machine hits all. Targets live as
 * long as all rounds: the processor time of starts and of compilation is paid once, before anything is measured.
 */
import type { BenchContext } from "./part.ts";
import { cpuMsOf, type Target } from "./targets.ts";

/** Three nodes share a load: V8 still compiles them when it is done with a single process. */
const CLUSTER_SETTLE_FACTOR = 2;

/** How long a load runs before anything is measured, ms. */
export function settleMsOf({ settleMs }: BenchContext, isCluster: boolean): number {
  return isCluster ? settleMs * CLUSTER_SETTLE_FACTOR : settleMs;
}

/** Of several processes together. */
export function cpuMsOfAll(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + cpuMsOf(pid), 0);
}

/** Measures every name in its turn, as many times as there are rounds. */
export async function takeTurns<Name extends string, Result>(
  context: BenchContext,
  names: readonly Name[],
  measure: (name: Name) => Promise<Result>,
): Promise<ReadonlyMap<Name, readonly Result[]>> {
  const results = new Map<Name, Result[]>(names.map((name) => [name, []]));
  for (let round = 1; round <= context.rounds; round++) {
    context.say(`round ${round} of ${context.rounds}`);
    for (const [name, rounds] of results) rounds.push(await measure(name));
  }
  return results;
}

/** What is started once and lives until the last round is over. */
interface Living {
  readonly target: Target;
}

export interface TurnsOfLiving<Name extends string, Kept extends Living, Result> {
  /** Nothing that may fail once the target runs: that is for `settle`. */
  readonly start: (name: Name) => Promise<Kept>;
  /** Filling, and a load that is not measured. */
  readonly settle: (kept: Kept, name: Name) => Promise<void>;
  readonly measure: (kept: Kept, name: Name) => Promise<Result>;
  /** When all rounds are over. */
  readonly verify?: (kept: Kept) => Promise<void>;
}

/** Starts and settles one after the other, then has them take turns; all are ended. */
export async function takeTurnsLiving<Name extends string, Kept extends Living, Result>(
  context: BenchContext,
  names: readonly Name[],
  { start, settle, measure, verify }: TurnsOfLiving<Name, Kept, Result>,
): Promise<ReadonlyMap<Name, readonly Result[]>> {
  const all = new Map<Name, Kept>();
  try {
    for (const name of names) {
      context.say(`  settling: ${name}`);
      const kept = await start(name);
      all.set(name, kept);
      await settle(kept, name);
    }
    const results = await takeTurns(context, names, (name) => measure(all.get(name) as Kept, name));
    for (const kept of all.values()) await verify?.(kept);
    return results;
  } finally {
    for (const { target } of all.values()) await target.stop();
  }
}
