/**
 * The faults of one round, from a seed alone: what, to whom, when, for how long. The same seed gives the same plan; how
 * it falls into the work of the processes is theirs. Faults may overlap; `fault-driver.ts` passes over those that can't
 * be done (a node that is down can't be frozen).
 */

import { SeededRandom } from "../../src/cli/load/seeded-random.ts";

export const FAULT_KINDS = [
  "kill",
  "pause",
  "pause-past-lease",
  "stop",
  "kill-all",
  "rolling-restart",
  "rebalance",
  "drain",
  "nats-kill",
  "nats-stop",
  "nats-pause",
  "nats-full",
  "nats-step-down-log",
  "nats-step-down-control",
  "mongo-kill",
  "mongo-pause",
  "mongo-fail",
  "link-cut",
  "link-break",
  "link-delay",
  "link-slow",
  "link-hold",
  "link-lose",
  "lost-publish-acks",
  "lost-http-answers",
] as const;

export type FaultKind = (typeof FAULT_KINDS)[number];
export type LinkName = "http" | "nats" | "mongo";

export interface Fault {
  readonly atMs: number;
  readonly kind: FaultKind;
  /** "" where it is about no single node. */
  readonly node: string;
  readonly durationMs: number;
  readonly link: LinkName;
  readonly direction: "up" | "down";
  /** Of what can come in numbers: acknowledgements, failing commands. */
  readonly times: number;
  /** Picks a variant where there are some. */
  readonly variant: number;
}

export interface FaultPlanOptions {
  readonly seed: number;
  readonly round: number;
  readonly nodes: readonly string[];
  readonly durationMs: number;
  readonly leaseTtlMs: number;
  /** Longest time between two faults, without the quiet ones. */
  readonly gapMaxMs?: number;
  /** Default: all. */
  readonly kinds?: readonly FaultKind[];
}

/** How often of each kind, and how long in milliseconds. */
const PROFILES: Readonly<Record<FaultKind, readonly [weight: number, min: number, max: number]>> = {
  kill: [10, 0, 2500],
  pause: [3, 100, 1500],
  "pause-past-lease": [8, 0, 3000],
  stop: [4, 0, 1500],
  "kill-all": [1, 0, 500],
  "rolling-restart": [1, 0, 0],
  rebalance: [10, 0, 0],
  drain: [2, 0, 0],
  "nats-kill": [4, 0, 1500],
  "nats-stop": [2, 0, 1500],
  "nats-pause": [3, 200, 4000],
  "nats-full": [2, 500, 4000],
  "nats-step-down-log": [5, 0, 0],
  "nats-step-down-control": [3, 0, 0],
  "mongo-kill": [2, 0, 3000],
  "mongo-pause": [2, 500, 6000],
  "mongo-fail": [3, 0, 0],
  "link-cut": [4, 200, 4000],
  "link-break": [4, 0, 0],
  "link-delay": [4, 500, 5000],
  "link-slow": [3, 500, 5000],
  "link-hold": [5, 200, 5000],
  "link-lose": [5, 200, 5000],
  "lost-publish-acks": [8, 0, 0],
  "lost-http-answers": [6, 0, 0],
};

const LINKS: readonly LinkName[] = ["nats", "nats", "nats", "http", "mongo"];
const FIRST_MS = 500;
const GAP_MIN_MS = 200;
const GAP_MAX_MS = 2600;
/** Every so often nothing happens for a while: what is only wrong in peace shows then. */
const QUIET_SHARE = 0.12;
const QUIET_GAPS = 2;

export function planFaults(options: FaultPlanOptions): readonly Fault[] {
  const random = new SeededRandom(options.seed, 1000 + options.round);
  const { kinds = FAULT_KINDS, gapMaxMs = GAP_MAX_MS } = options;
  const faults: Fault[] = [];
  for (let atMs = FIRST_MS; atMs < options.durationMs; ) {
    faults.push(faultAt(atMs, pickKind(kinds, random), options, random));
    atMs += GAP_MIN_MS + random.below(gapMaxMs - GAP_MIN_MS);
    if (random.unit() < QUIET_SHARE) atMs += QUIET_GAPS * gapMaxMs;
  }
  return faults;
}

export function textOfFault(fault: Fault): string {
  const { atMs, kind, node, durationMs, link, direction, times } = fault;
  const parts = [`${(atMs / 1000).toFixed(1)}s`, kind];
  if (node !== "") parts.push(node);
  if (kind.startsWith("link-")) parts.push(link);
  if (kind === "link-hold" || kind === "link-lose") parts.push(direction);
  if (kind === "mongo-fail" || kind.startsWith("lost-")) parts.push(`×${times}`);
  if (durationMs > 0) parts.push(`${durationMs} ms`);
  return parts.join(" ");
}

function pickKind(kinds: readonly FaultKind[], random: SeededRandom): FaultKind {
  let at = random.below(kinds.reduce((sum, kind) => sum + PROFILES[kind][0], 0));
  for (const kind of kinds) {
    at -= PROFILES[kind][0];
    if (at < 0) return kind;
  }
  return "kill";
}

function faultAt(
  atMs: number,
  kind: FaultKind,
  { nodes, leaseTtlMs }: FaultPlanOptions,
  random: SeededRandom,
): Fault {
  const [, min, max] = PROFILES[kind];
  const shortMs = min + random.below(max - min + 1);
  return {
    ...{ atMs, kind },
    node: isOfNode(kind) ? (nodes[random.below(nodes.length)] ?? "") : "",
    durationMs: kind === "pause-past-lease" ? leaseTtlMs + 200 + shortMs : shortMs,
    link: LINKS[random.below(LINKS.length)] ?? "nats",
    direction: random.below(2) === 0 ? "up" : "down",
    times: 1 + random.below(3),
    variant: random.below(1000),
  };
}

function isOfNode(kind: FaultKind): boolean {
  if (kind.startsWith("link-") || kind.startsWith("lost-")) return true;
  return ["kill", "pause", "pause-past-lease", "stop", "drain"].includes(kind);
}
