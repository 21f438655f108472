/**
 * What is printed of a seed that failed: everything that somebody needs to see it again and to understand it.
 * Invariant: whole in itself: seed, commit, what broke, the plan, the last steps, and the command that repeats it.
 */

import { describePlan } from "./fault-plan.ts";
import type { SimulationResult } from "./simulator.ts";

export interface FailureContext {
  /** Of the source that ran, as `git describe` names it. */
  readonly commit: string;
  /** Runs this seed again, alone and with the same plan. */
  readonly command: string;
  /** What nobody caught. */
  readonly stray?: readonly string[];
}

/** Of a cluster or of a node that is alone: their plans have other fields. */
export type FailedRun = Omit<SimulationResult, "plan"> & { readonly plan: object };

/** Several lines, without a line feed at the end. */
export function describeFailure(result: FailedRun, context: FailureContext): string {
  const { seed, traceHash, failures, plan, notes, trace } = result;
  const { commit, command, stray = [] } = context;
  return [
    `seed ${seed} FAILED at commit ${commit}, trace ${traceHash}`,
    ...failures.map(({ rule, text, atMs }) => `  ${rule} at ${atMs} ms: ${text}`),
    ...stray.map((text) => `  nobody caught: ${text}`),
    "fault plan:",
    describePlan(plan),
    ...(notes.length > 0 ? ["what nodes said:", ...notes] : []),
    "last steps (ms, step, its numbers):",
    ...trace,
    `again: ${command}`,
  ].join("\n");
}

/** `flags` are those that make the plan what it was, with their values. */
export function repeatCommand(seed: number, flags: readonly string[]): string {
  return ["npm run simulate --", `--seed ${seed} --seeds 1`, ...flags].join(" ");
}
